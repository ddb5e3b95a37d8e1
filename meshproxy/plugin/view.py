"""The view through which all code reads configuration: a protobuf message, its place, and a note of what was read.

Nothing that is set may go unnoticed. Each read marks its field; once everything is compiled, `unread_problems` names
every field that is set and that no code asked for. What counts as reading:

- a value (`text`, `integer`, `duration`, ...) is read by asking for it;
- a message is read by asking for its view, and then each of its own fields counts by itself;
- `has` and `which` read nothing but a message's mere presence: its fields still count one by one;
- `raw` reads everything below, `ignore` reads a field that stands in the table of ignorable ones;
- `error` and `fail` count as reading too: one complaint about a field is enough.

Views of one message are made once, so all readers share one record. A view is for compiling, never
for the request path.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NoReturn

from google.protobuf.message import DecodeError, Message

from meshproxy.errors import ConfigError, Problem
from meshproxy.messages.by_name import TYPED_STRUCTS, message_class, name_of_type_url
from meshproxy.plugin import reading_record
from meshproxy.plugin.place import Place, field_path, problem_at
from meshproxy.plugin.struct_message import read_message
from meshproxy.plugin.struct_view import StructView, plain_struct
from meshproxy.plugin.view_record import ViewRecord

_MAX_SECONDS = 2.0**63 / 1e9
"""Envoy counts nanoseconds in 64 bits."""


class ConfigView(ViewRecord):
    """One message of the configuration.

    message_name, full_name: of its type, without and with the package. path: as printed in problems. source: what
    problems name when there is no place, such as an xDS resource.

    Asking for a field that the message type doesn't have is a programming error: AttributeError.
    """

    __slots__ = ()

    # -- single values

    def has(self, name: str) -> bool:
        """Is the field set? A plain one at its default value isn't."""
        found = self._is_set(name)
        if found:
            self._touch(name)
        return found

    def _touch(self, name: str) -> None:
        """Read the presence of a message, so that one without fields counts as read; plain fields stay unread."""
        if self._shape.fields[name].message:
            self.view(name)

    def which(self, oneof: str) -> str | None:
        """The name of the field that is set in a oneof; None when none is."""
        name: str | None = self._message.WhichOneof(oneof)
        if name is not None:
            self._touch(name)
        return name

    def _scalar(self, name: str, default: Any) -> Any:
        value = self._value(name)
        if value is None:
            return default
        return value.value if self._shape.fields[name].wrapped else value

    def text(self, name: str, default: str = "") -> str:
        """A string, also a wrapped one; `default` when it is unset."""
        return str(self._scalar(name, default))

    def data(self, name: str, default: bytes = b"") -> bytes:
        """A field of bytes, also a wrapped one; `default` when it is unset."""
        return bytes(self._scalar(name, default))

    def integer(self, name: str, default: int = 0) -> int:
        """A whole number, also a wrapped one; `default` when it is unset."""
        return int(self._scalar(name, default))

    def boolean(self, name: str, default: bool = False) -> bool:
        """A boolean, also a wrapped one; `default` when it is unset."""
        return bool(self._scalar(name, default))

    def number(self, name: str, default: float = 0.0) -> float:
        """A number, also a wrapped one or an `envoy.type.v3.Percent` (0-100); `default` when it is unset."""
        return float(self._scalar(name, default))

    def enum(self, name: str) -> str:
        """The name of an enum's value; a number beyond the known ones as digits."""
        number = self._value(name) or 0
        return self._shape.fields[name].enum.get(number) or str(number)

    def enums(self, name: str) -> list[str]:
        """The names of a repeated enum's values."""
        numbers = self._value(name) or ()
        known = self._shape.fields[name].enum
        return [known.get(number) or str(number) for number in numbers]

    def duration(self, name: str, default: float | None = None) -> float | None:
        """A `google.protobuf.Duration` in seconds; `default` when it is unset. 0 is a value: often "no limit"."""
        value = self._value(name)
        if value is None:
            return default
        seconds = float(value.seconds + value.nanos / 1e9)
        if seconds < 0.0:
            self.fail("invalid duration: expected a positive duration", name)
        if seconds >= _MAX_SECONDS:
            self.fail("invalid duration: it is out of range", name)
        return seconds

    def seconds(self, name: str, default: float) -> float:
        """`duration` for a field that has a default."""
        value = self.duration(name)
        return default if value is None else value

    # -- lists and maps of plain values

    def texts(self, name: str) -> list[str]:
        """A repeated string."""
        return [str(value) for value in self._value(name) or ()]

    def integers(self, name: str) -> list[int]:
        """A repeated whole number."""
        return [int(value) for value in self._value(name) or ()]

    def numbers(self, name: str) -> list[float]:
        """A repeated number."""
        return [float(value) for value in self._value(name) or ()]

    def text_map(self, name: str) -> dict[str, str]:
        """A map from string to string."""
        return {str(key): str(value) for key, value in (self._value(name) or {}).items()}

    # -- messages

    def _child(self, message: Message, path: str, place: Place | None) -> ConfigView:
        return ConfigView(message, path=path, place=place or self.place, source=self.source)

    def view(self, name: str) -> ConfigView | None:
        """The view of a message field; None when it is unset."""
        value = self._value(name)
        if value is None:
            return None
        child = self._children.get(name)
        if child is None:
            child = self._children[name] = self._child(value, field_path(self.path, name), self._child_place(name))
        return child

    def required(self, name: str) -> ConfigView:
        """`view` of a field that has to be set. Raises ConfigError when it isn't."""
        child = self.view(name)
        if child is None:
            self.fail(f"field '{name}' of {self.message_name} is required")
        return child

    def views(self, name: str) -> list[ConfigView]:
        """The views of a repeated message field."""
        values = self._value(name)
        if values is None:
            return []
        children = self._children.get(name)
        if children is None:
            path, place = field_path(self.path, name), self._child_place(name)
            children = self._children[name] = [
                self._child(value, f"{path}[{index}]", place.item(index) if place else None)
                for index, value in enumerate(values)
            ]
        return children

    def views_in_turn(self, name: str) -> Iterator[ConfigView]:
        """`views` of what there may be thousands of, once: each is made when its turn comes, and settled after it."""
        path, place = field_path(self.path, name), self._child_place(name)
        unread = self._children[name] = []
        for index, value in enumerate(self._value(name) or ()):
            child = self._child(value, f"{path}[{index}]", place.item(index) if place else None)
            yield child
            if child.settle():
                unread.append(child)

    def view_map(self, name: str) -> dict[str, ConfigView]:
        """The views of a map's messages, by key (keys of other types as text)."""
        values = self._value(name)
        if values is None:
            return {}
        children = self._children.get(name)
        if children is None:
            path, place = field_path(self.path, name), self._child_place(name)
            children = self._children[name] = {
                str(key): self._child(value, f'{path}["{key}"]', place.field(str(key)) if place else None)
                for key, value in values.items()
            }
        return children

    def any(self, name: str) -> TypedView | None:
        """What a `google.protobuf.Any` holds; None when it is unset. Raises ConfigError for what can't be unpacked."""
        value = self._value(name)
        if value is None or not value.type_url:
            return None
        child = self._children.get(name)
        if child is None:
            path, place = field_path(self.path, name), self._child_place(name) or self.place
            child = self._children[name] = TypedView(value, path, place, self.source)
        return child

    def anys(self, name: str) -> list[TypedView]:
        """A repeated `google.protobuf.Any`. Raises ConfigError for what can't be unpacked."""
        values = self._value(name)
        if values is None:
            return []
        children = self._children.get(name)
        if children is None:
            path, place = field_path(self.path, name), self._child_place(name)
            children = self._children[name] = [
                TypedView(value, f"{path}[{index}]", (place.item(index) if place else None) or self.place, self.source)
                for index, value in enumerate(values)
            ]
        return children

    def any_map(self, name: str) -> dict[str, TypedView]:
        """A map of `google.protobuf.Any`. Raises ConfigError for what can't be unpacked."""
        values = self._value(name)
        if values is None:
            return {}
        children = self._children.get(name)
        if children is None:
            path, place = field_path(self.path, name), self._child_place(name)
            children = self._children[name] = {
                key: TypedView(
                    value, f'{path}["{key}"]', (place.field(key) if place else None) or self.place, self.source
                )
                for key, value in values.items()
            }
        return children

    def struct(self, name: str) -> StructView | None:
        """A `google.protobuf.Struct` as plain values with places; None when it is unset."""
        value = self._value(name)
        if value is None:
            return None
        return StructView(plain_struct(value), field_path(self.path, name), self._child_place(name), self.source)

    def struct_map(self, name: str) -> dict[str, StructView]:
        """A map of `google.protobuf.Struct`, such as `Metadata.filter_metadata`."""
        values = self._value(name) or {}
        path, place = field_path(self.path, name), self._child_place(name)
        return {
            key: StructView(plain_struct(value), f'{path}["{key}"]', place.field(key) if place else None, self.source)
            for key, value in values.items()
        }


class TypedView:
    """What an `Any` holds: the configuration of an extension.

    type_url: as given. full_name: of the message; for a `TypedStruct` of the type that it stands for.
    Exactly one of `view` and `struct` is set: the latter for a `TypedStruct` that stands for no protobuf message. One
    that does (Istio wraps Envoy's own messages that way) is unwrapped to it.
    """

    __slots__ = ("full_name", "path", "place", "source", "struct", "type_url", "view")

    def __init__(self, packed: Any, path: str, place: Place | None, source: str) -> None:
        self.type_url: str = packed.type_url
        self.path = path
        self.place = place
        self.source = source
        self.full_name = name_of_type_url(self.type_url)
        self.view: ConfigView | None = None
        self.struct: StructView | None = None
        packed_type = message_class(self.full_name)
        if packed_type is None:
            self.fail(f"unknown type '{self.type_url}'")
        message: Any = packed_type()
        try:
            message.ParseFromString(packed.value)
        except DecodeError:
            self.fail(f"the packed message is no valid {self.full_name}")
        if self.full_name not in TYPED_STRUCTS:
            self.view = ConfigView(message, path=path, place=place, source=source)
            return
        if reading_record.active:
            reading_record.note_reading(self.full_name, "*")
        inner = message.type_url
        self.full_name = name_of_type_url(inner) or inner
        value_place = place.field("value") if place else None
        self.struct = StructView(plain_struct(message.value), path, value_place or place, source)
        wrapped_type = message_class(self.full_name)
        if wrapped_type is not None:
            self.view = ConfigView(read_message(self.struct, wrapped_type), path=path, place=value_place, source=source)
            self.struct = None

    @property
    def value(self) -> dict[str, Any] | None:
        """The plain value of a `TypedStruct`; None for a message."""
        return self.struct.value if self.struct is not None else None

    def _collect_unread(self, problems: list[Problem]) -> None:
        if self.view is not None:
            self.view._collect_unread(problems)

    def message(self, full_name: str) -> ConfigView:
        """The view when it holds this type. Raises ConfigError for any other."""
        if self.view is None or self.full_name != full_name:
            self.fail(f"a {full_name} is expected here, not a {self.full_name}")
        return self.view

    def error(self, message: str) -> Problem:
        """A problem with the whole of it, which counts as read."""
        if self.view is not None:
            self.view.raw()
        return problem_at(self.place, self.source, self.path, message)

    def fail(self, message: str) -> NoReturn:
        """Raises ConfigError for the whole of it."""
        raise ConfigError(problem_at(self.place, self.source, self.path, message))
