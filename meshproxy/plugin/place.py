"""Where a value of the configuration was written.

A protobuf message can't carry marks, so a tree of places stands beside it with the same shape. It exists for what was
read from text; a message that came in binary (xDS) has none, and its problems name the resource instead.

Invariants:
- `fields` is keyed by protobuf field name, or by key for a map and a `google.protobuf.Struct`;
- a repeated field has one place of its own, with `items`;
- `typed_config` is no step of its own: the fields of the packed message hang on the place of the `Any`.
"""

from __future__ import annotations

from meshproxy.errors import Problem


class Place:
    """The start of a value (for a field: of its name). `line` and `column` count from 1."""

    __slots__ = ("column", "fields", "items", "line", "source")

    def __init__(self, source: str, line: int, column: int) -> None:
        self.source = source
        self.line = line
        self.column = column
        self.fields: dict[str, Place] | None = None
        self.items: list[Place] | None = None

    def field(self, name: str) -> Place | None:
        """The place of a field or key, if it is known."""
        return self.fields.get(name) if self.fields else None

    def item(self, index: int) -> Place | None:
        """The place of an element, if it is known."""
        return self.items[index] if self.items and index < len(self.items) else None

    def problem(self, path: str, message: str) -> Problem:
        """A problem at this place."""
        return Problem(path, message, self.source, self.line, self.column)


def problem_at(place: Place | None, source: str, path: str, message: str) -> Problem:
    """A problem at `place`; when that is unknown, one that names `source` alone."""
    return place.problem(path, message) if place else Problem(path, message, source)


def field_path(parent: str, name: str) -> str:
    """The printed path of a field: `static_resources` at its beginning and the step `typed_config` are left out."""
    if name == "typed_config":
        return parent
    if not parent:
        return "" if name == "static_resources" else name
    return f"{parent}.{name}"
