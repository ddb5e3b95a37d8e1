"""Fields of a message that the path or the query of a request sets."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Sequence
from typing import Any

from google.protobuf import json_format
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from meshproxy_filters.http.grpc_json_transcoder.schema import TranscodeError

_OF = FieldDescriptor
_FLAGS = {
    text: value for value, texts in {True: "true t yes y 1", False: "false f no n 0"}.items() for text in texts.split()
}
_FLOATS = (_OF.CPPTYPE_DOUBLE, _OF.CPPTYPE_FLOAT)
_NAMES = {getattr(_OF, name): name for name in dir(_OF) if name.startswith("TYPE_")}
_INTEGERS = (_OF.CPPTYPE_INT32, _OF.CPPTYPE_INT64, _OF.CPPTYPE_UINT32, _OF.CPPTYPE_UINT64)


def bind(message: Message, path: Sequence[FieldDescriptor], text: str, *, any_case: bool) -> None:
    """Set the field at the end of `path`, or add to it. any_case: names of enums may be written in any.

    Raises TranscodeError.
    """
    *way, last = path
    target: Any = message
    for field in way:
        target = getattr(target, field.name)
        target.SetInParent()
    try:
        if last.message_type is not None:
            inner = getattr(target, last.name)
            json_format.Parse(_json_of(last, text), inner.add() if last.is_repeated else inner)
            return
        value = _value(last, text, any_case=any_case)
        if last.is_repeated:
            getattr(target, last.name).append(value)
        else:
            setattr(target, last.name, value)
    except (ValueError, TypeError, binascii.Error, json_format.ParseError):
        raise TranscodeError(f'{last.name}: invalid value "{text}" for type {_NAMES[last.type]}') from None


def is_set(message: Message, path: Sequence[FieldDescriptor]) -> bool:
    """Whether the body has said something of the field."""
    target: Any = message
    for field in path[:-1]:
        if not target.HasField(field.name):
            return False
        target = getattr(target, field.name)
    last = path[-1]
    return any(field.number == last.number for field, _ in target.ListFields())


def _json_of(field: FieldDescriptor, text: str) -> str:
    """How a message that is one value stands in JSON: of those that wrap a number or a flag without quotes."""
    kind = field.message_type
    return text if kind is not None and kind.full_name == "google.protobuf.BoolValue" else json.dumps(text)


def _value(field: FieldDescriptor, text: str, *, any_case: bool) -> Any:
    kind = field.cpp_type
    if kind in _INTEGERS:
        return int(text) if text.strip("-").isdecimal() and text.isascii() else _refuse(text)
    if kind in _FLOATS:
        return float(text) if text.isascii() and "_" not in text else _refuse(text)
    if kind == _OF.CPPTYPE_BOOL:
        return _FLAGS[text.lower()] if text.lower() in _FLAGS else _refuse(text)
    if kind == _OF.CPPTYPE_ENUM:
        return _enum_value(field, text, any_case=any_case)
    if field.type == _OF.TYPE_BYTES:
        return base64.b64decode(text.replace("-", "+").replace("_", "/") + "=" * (-len(text) % 4), validate=True)
    return text


def _enum_value(field: FieldDescriptor, text: str, *, any_case: bool) -> int:
    assert field.enum_type is not None
    values = field.enum_type.values_by_name
    if text in values:
        return int(values[text].number)
    if any_case:
        wanted = text.upper().replace("-", "_")
        for name, value in values.items():
            if name.upper() == wanted:
                return int(value.number)
    number = int(text) if text.strip("-").isdecimal() and text.isascii() else _refuse(text)
    return number if number in field.enum_type.values_by_number else _refuse(text)


def _refuse(text: str) -> Any:
    raise ValueError(text)
