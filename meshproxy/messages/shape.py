"""What reading a message needs to know of its type, looked up once for each type.

Asking a descriptor costs as much as reading a value, and a configuration of thousands of resources asks it millions of
times.
"""

from __future__ import annotations

from typing import Any

from google.protobuf.message import Message

from meshproxy.messages.by_name import VALUE_MESSAGES

_WRAPPED = "value"  # the one field of google.protobuf.UInt32Value and its like, and of envoy.type.v3.Percent


class FieldShape:
    """One field.

    message: it is a single message of the API, whose fields count one by one. wrapped: the value is in a message of one
    field. enum: the names of an enum's values by number.
    """

    __slots__ = ("enum", "message", "wrapped")

    def __init__(self, field: Any) -> None:
        kind = field.message_type
        self.message: bool = kind is not None and not field.is_repeated and kind.full_name not in VALUE_MESSAGES
        self.wrapped: bool = kind is not None and not field.is_repeated and _WRAPPED in kind.fields_by_name
        values = field.enum_type.values_by_number if field.enum_type is not None else {}
        self.enum: dict[int, str] = {number: value.name for number, value in values.items()}


class MessageShape:
    """One message type. fields: by name."""

    __slots__ = ("fields", "full_name", "name")

    def __init__(self, descriptor: Any) -> None:
        self.name: str = descriptor.name
        self.full_name: str = descriptor.full_name
        self.fields = {field.name: FieldShape(field) for field in descriptor.fields}


_SHAPES: dict[type, MessageShape] = {}


def shape_of(message: Message) -> MessageShape:
    """The shape of a message's type."""
    kind = type(message)
    shape = _SHAPES.get(kind)
    if shape is None:
        shape = _SHAPES[kind] = MessageShape(message.DESCRIPTOR)
    return shape
