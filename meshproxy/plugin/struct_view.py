"""Values without a schema: `google.protobuf.Struct` as plain Python values, with the place of each key."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NoReturn

from google.protobuf.struct_pb2 import Struct, Value

from meshproxy.errors import ConfigError, Problem
from meshproxy.plugin.place import Place, problem_at
from meshproxy.records import dataclass

Key = str | int


@dataclass(frozen=True, slots=True)
class StructView:
    """A mapping of plain values: dict, list, str, float, bool and None, as they are in JSON.

    A number of YAML is a float here when it is a whole one within 32 bits, and otherwise a string, as Envoy has it.
    """

    value: dict[str, Any]
    path: str = ""
    place: Place | None = None
    source: str = ""

    def error(self, message: str, *keys: Key) -> Problem:
        """A problem with the value at `keys` (keys of mappings, indices of lists), or with the whole."""
        path, place = self.path, self.place
        for key in keys:
            if isinstance(key, int):
                path = f"{path}[{key}]"
                place = (place.item(key) if place else None) or place
            else:
                path = f"{path}.{key}" if path else key
                place = (place.field(key) if place else None) or place
        return problem_at(place, self.source, path, message)

    def unknown_key(self, message: str, *keys: Key) -> Problem:
        """A problem with the last of `keys` itself: at its place, under the path of the mapping that holds it."""
        problem = self.error(message, *keys)
        return replace(problem, path=self.error("", *keys[:-1]).path)

    def fail(self, message: str, *keys: Key) -> NoReturn:
        """Raises ConfigError with `error`."""
        raise ConfigError(self.error(message, *keys))


def plain_struct(struct: Struct) -> dict[str, Any]:
    """A Struct as a dict."""
    return {key: plain_value(value) for key, value in struct.fields.items()}


def plain_value(value: Value) -> Any:
    """A Value as dict, list, str, float, bool or None; a whole number as int."""
    match value.WhichOneof("kind"):
        case "struct_value":
            return plain_struct(value.struct_value)
        case "list_value":
            return [plain_value(element) for element in value.list_value.values]
        case "string_value":
            return value.string_value
        case "bool_value":
            return value.bool_value
        case "number_value":
            number = value.number_value
            return int(number) if number.is_integer() and abs(number) < 2**53 else number
        case _:
            return None
