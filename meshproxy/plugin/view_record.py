"""The half of a view that keeps account: which fields were read, which were not, and what is wrong with them.

See `meshproxy.plugin.view` for what counts as reading.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

from google.protobuf.message import Message

from meshproxy.errors import ConfigError, Problem
from meshproxy.messages.shape import shape_of
from meshproxy.plugin import reading_record
from meshproxy.plugin.ignorable import reason_to_ignore
from meshproxy.plugin.place import Place, field_path, problem_at


class NoSuchField(AttributeError):
    """Code asked a message for a field that its type doesn't have."""


class ViewRecord:
    """One message, its place, and the record of its fields."""

    __slots__ = ("_children", "_message", "_present", "_read", "_shape", "_unread", "path", "place", "source")

    def __init__(self, message: Message, *, path: str = "", place: Place | None = None, source: str = "") -> None:
        self._message: Any = message
        self._shape = shape_of(message)
        # Most fields that are asked for aren't set: a look into this dictionary is all that they cost.
        self._present: dict[str, Any] = {field.name: value for field, value in message.ListFields()}
        self.path = path
        self.place = place
        self.source = source
        self._read: set[str] = set()
        self._unread: list[Problem] | None = None  # once it is settled
        self._children: dict[str, Any] = {}  # field name -> view, list of views, mapping of views, or the same of Any

    @property
    def message_name(self) -> str:
        """The name of the message's type, without its package."""
        return self._shape.name

    @property
    def full_name(self) -> str:
        """The name of the message's type, with its package."""
        return self._shape.full_name

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.full_name} at {self.path or 'the root'})"

    def _value(self, name: str) -> Any:
        """Read a field: its value, or None when it isn't set (a plain one: when it is at its default)."""
        self._read.add(name)
        if reading_record.active:
            reading_record.note_reading(self.full_name, name)
        value = self._present.get(name)
        if value is None:
            self._check_name(name)
        return value

    def _check_name(self, name: str) -> None:
        if name not in self._shape.fields:
            raise NoSuchField(f"{self.full_name} has no field {name!r}")

    def _is_set(self, name: str) -> bool:
        """Set explicitly (messages, oneofs, optional fields), or not at its default."""
        self._check_name(name)
        return name in self._present

    def _child_place(self, name: str) -> Place | None:
        return self.place.field(name) if self.place else None

    def peek(self) -> Message:
        """The message itself, to look whether it is worth reading in one go; nothing of it counts as read."""
        message: Message = self._message
        return message

    def raw(self) -> Message:
        """The message itself. The whole of it counts as read."""
        self._read_all()
        if reading_record.active:
            reading_record.note_reading(self.full_name, "*")
        message: Message = self._message
        return message

    def _read_all(self) -> None:
        self._read.update(self._shape.fields)
        self._children.clear()

    # -- the record

    def ignore(self, *names: str) -> None:
        """Read fields on purpose, without effect. Raises ValueError for one without a reason in `ignorable`."""
        for name in names:
            if reason_to_ignore(self.full_name, name) is None:
                raise ValueError(f"{self.full_name}.{name} is not in the table of ignorable fields")
            self._value(name)
            self._children.pop(name, None)

    def settle(self) -> bool:
        """All that is to be read of this message has been: find what hasn't now, and not when its parent asks.

        Returns whether there is anything.
        """
        problems: list[Problem] = []
        self._collect_unread(problems)
        self._unread = problems
        self._children.clear()
        return bool(problems)

    def unread_problems(self) -> list[Problem]:
        """A problem for every field, here and below, that is set and that nothing read."""
        problems: list[Problem] = []
        self._collect_unread(problems)
        return sorted(problems, key=lambda problem: (problem.source, problem.line, problem.column))

    def _collect_unread(self, problems: list[Problem]) -> None:
        if self._unread is not None:
            problems += self._unread
            return
        read, all_children = self._read, self._children
        for name in self._present:
            if name in read:
                children = all_children.get(name)
                if children is None:
                    continue
                if isinstance(children, dict):
                    children = list(children.values())
                for child in children if isinstance(children, list) else (children,):
                    child._collect_unread(problems)
            elif reason_to_ignore(self.full_name, name) is None:
                message = f"field '{name}' in {self.message_name} isn't supported by meshproxy"
                problems.append(problem_at(self._child_place(name) or self.place, self.source, self.path, message))

    # -- complaints

    def error(self, message: str, field: str = "") -> Problem:
        """A problem with this message, or with one of its fields; that field counts as read."""
        if not field:
            return problem_at(self.place, self.source, self.path, message)
        self._read.add(field)
        self._children.pop(field, None)
        return problem_at(self._child_place(field) or self.place, self.source, field_path(self.path, field), message)

    def fail(self, message: str, field: str = "") -> NoReturn:
        """Give this message up. Raises ConfigError; all of the message counts as read."""
        problem = self.error(message, field)
        self._read_all()
        raise ConfigError(problem)

    def unsupported(self, *names: str) -> list[Problem]:
        """Problems for those of `names` that are set: for fields that code knows of and refuses."""
        return [
            self.error(f"field '{name}' in {self.message_name} isn't supported by meshproxy", name)
            for name in names
            if self._is_set(name)
        ]

    @contextmanager
    def collect(self, problems: list[Problem]) -> Iterator[None]:
        """Add the problems of a ConfigError raised inside to `problems` and go on; what is below counts as read."""
        try:
            yield
        except ConfigError as error:
            problems += error.problems
            self._read_all()
