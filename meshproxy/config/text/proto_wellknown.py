"""The messages of google.protobuf that have a JSON form of their own: durations, wrappers, Struct and the like.

Each reader fills its message, or raises `Refused` when the whole of it is wrong. As in Envoy's lenient parser, a
Duration or a wrapper may also be written as the message that it is (`{seconds: 1}`, `{value: 5}`).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

from google.protobuf.message import Message
from google.protobuf.struct_pb2 import NULL_VALUE, ListValue, Struct, Value
from yaml.nodes import MappingNode, Node, SequenceNode

from meshproxy.config.text.proto_scalars import NULL, Refused, reader_for, scalar_of
from meshproxy.config.text.yaml_tree import IGNORED_KEY, kind_of
from meshproxy.plugin.place import Place

if TYPE_CHECKING:
    from meshproxy.config.text.proto_tree import TreeReader

_DURATION = re.compile(r"(-?)([0-9]{1,15})(?:\.([0-9]{1,9}))?s\Z")
_MAX_SECONDS = 315_576_000_000  # duration.proto
_CAMEL_STEP = re.compile(r"[A-Z]")


def duration_parts(text: str) -> tuple[int, int]:
    """Seconds and nanoseconds of "1.5s". Raises Refused for what isn't protobuf's JSON form of a duration."""
    match = _DURATION.match(text)
    if match is None:
        raise Refused(f"a duration is expected, such as 1.5s, not {text!r}")
    minus, whole, fraction = match.groups()
    seconds, nanos = int(whole), int((fraction or "").ljust(9, "0"))
    if seconds > _MAX_SECONDS:
        raise Refused(f"{text} is out of range for a duration")
    return (-seconds, -nanos) if minus else (seconds, nanos)


def _fields(reader: TreeReader, node: MappingNode, message: Message, path: str) -> None:
    """The message form of a well-known type: its scalar fields by name."""
    for key, value in node.value:
        field = message.DESCRIPTOR.fields_by_name.get(key.value) if type(key.value) is str else None
        if field is None:
            reader.refuse(key, path, f"no field '{key.value}' in {message.DESCRIPTOR.name}")
            continue
        scalar = reader_for(field)(value, reader.json)
        if scalar is not NULL:
            setattr(message, field.name, scalar)


def _read_duration(reader: TreeReader, node: Node, message: Message, path: str, place: Place) -> None:
    if type(node) is MappingNode:
        _fields(reader, node, message, path)
        return
    value = scalar_of(node, reader.json)
    if not isinstance(value, str):
        raise Refused(f"a duration is expected, such as {node.value}s or 1.5s, not {node.value}")
    duration = cast(Any, message)
    duration.seconds, duration.nanos = duration_parts(value)


def _read_timestamp(reader: TreeReader, node: Node, message: Message, path: str, place: Place) -> None:
    if type(node) is MappingNode:
        _fields(reader, node, message, path)
        return
    value = scalar_of(node, reader.json)
    if not isinstance(value, str):
        raise Refused(f"a time is expected, such as 2026-01-31T12:00:00Z, not {kind_of(node)}")
    try:
        cast(Any, message).FromJsonString(value)
    except ValueError:
        raise Refused(f"a time is expected, such as 2026-01-31T12:00:00Z, not {value!r}") from None


def _read_wrapper(reader: TreeReader, node: Node, message: Message, path: str, place: Place) -> None:
    if type(node) is MappingNode:
        _fields(reader, node, message, path)
        return
    scalar = _wrapper_reader(message)(node, reader.json)
    if scalar is not NULL:
        cast(Any, message).value = scalar


def _wrapper_reader(message: Message) -> Callable[[Node, bool], Any]:
    name = message.DESCRIPTOR.full_name
    reader = _WRAPPER_READERS.get(name)
    if reader is None:
        reader = _WRAPPER_READERS[name] = reader_for(message.DESCRIPTOR.fields_by_name["value"])
    return reader


_WRAPPER_READERS: dict[str, Callable[[Node, bool], Any]] = {}


def _read_field_mask(reader: TreeReader, node: Node, message: Message, path: str, place: Place) -> None:
    value = scalar_of(node, reader.json)
    if not isinstance(value, str):
        raise Refused("a comma-separated list of fields is expected")
    names = [name for name in value.split(",") if name]
    cast(Any, message).paths.extend(_CAMEL_STEP.sub(lambda match: "_" + match[0].lower(), name) for name in names)


def _read_struct(reader: TreeReader, node: Node, message: Message, path: str, place: Place) -> None:
    if type(node) is not MappingNode:
        raise Refused(f"a mapping is expected, not {kind_of(node)}")
    _fill_struct(reader, node, cast(Struct, message), path, place)


def _read_value(reader: TreeReader, node: Node, message: Message, path: str, place: Place) -> None:
    _fill_value(reader, node, cast(Value, message), path, place)


def _read_list_value(reader: TreeReader, node: Node, message: Message, path: str, place: Place) -> None:
    if type(node) is not SequenceNode:
        raise Refused(f"a list is expected, not {kind_of(node)}")
    _fill_list(reader, node, cast(ListValue, message), path, place)


def _fill_struct(reader: TreeReader, node: MappingNode, struct: Struct, path: str, place: Place) -> None:
    reader.enter(len(node.value))
    places: dict[str, Place] = {}
    place.fields = places
    for key, value in node.value:
        name = key.value
        if key.tag == IGNORED_KEY:
            continue
        if type(name) is not str:
            reader.refuse(key, path, f"a key is expected, not {kind_of(key)}")
        elif name in places:
            reader.refuse(key, path, f"'{name}' is given twice")
        else:
            places[name] = reader.place(key)
            _fill_value(reader, value, struct.fields[name], f"{path}.{name}" if path else name, places[name])
    reader.leave()


def _fill_list(reader: TreeReader, node: SequenceNode, values: ListValue, path: str, place: Place) -> None:
    reader.enter(len(node.value))
    place.items = []
    for index, element in enumerate(node.value):
        element_place = reader.place(element)
        place.items.append(element_place)
        _fill_value(reader, element, values.values.add(), f"{path}[{index}]", element_place)
    reader.leave()


def _fill_value(reader: TreeReader, node: Node, value: Value, path: str, place: Place) -> None:
    if type(node) is MappingNode:
        value.struct_value.SetInParent()
        _fill_struct(reader, node, value.struct_value, path, place)
        return
    if type(node) is SequenceNode:
        value.list_value.SetInParent()
        _fill_list(reader, node, value.list_value, path, place)
        return
    try:
        scalar = scalar_of(node, reader.json)
        if scalar is None:
            value.null_value = NULL_VALUE
        elif isinstance(scalar, bool):
            value.bool_value = scalar
        elif isinstance(scalar, str):
            value.string_value = scalar
        else:
            value.number_value = float(scalar)
    except (Refused, UnicodeEncodeError, OverflowError) as error:
        value.null_value = NULL_VALUE
        reader.refuse(node, path, str(error))


_Reader = Callable[["TreeReader", Node, Message, str, Place], None]

READERS: dict[str, _Reader] = {
    "google.protobuf.Duration": _read_duration,
    "google.protobuf.Timestamp": _read_timestamp,
    "google.protobuf.FieldMask": _read_field_mask,
    "google.protobuf.Struct": _read_struct,
    "google.protobuf.Value": _read_value,
    "google.protobuf.ListValue": _read_list_value,
    **{
        f"google.protobuf.{kind}Value": _read_wrapper
        for kind in ("Bool", "String", "Bytes", "Int32", "UInt32", "Int64", "UInt64", "Float", "Double")
    },
}
