"""Messages that no published package has, declared from their field numbers.

Only the fields that are used need to be declared; what else a peer sends is skipped, as protobuf has it.
"""

from __future__ import annotations

from collections.abc import Sequence

from google.protobuf.descriptor_pb2 import DescriptorProto, EnumDescriptorProto, FieldDescriptorProto
from validate.validate_pb2 import FieldRules, MessageRules, StringRules, rules

from meshproxy.records import dataclass

OF = FieldDescriptorProto
"""Short, for its TYPE_* members."""


def field(
    name: str, number: int, kind: FieldDescriptorProto.Type.ValueType, type_name: str = "", *, repeated: bool = False
) -> FieldDescriptorProto:
    """A field. type_name: of a message or enum, with a dot before its package."""
    label = FieldDescriptorProto.LABEL_REPEATED if repeated else FieldDescriptorProto.LABEL_OPTIONAL
    return FieldDescriptorProto(name=name, number=number, type=kind, type_name=type_name or None, label=label)


def enum(name: str, values: Sequence[str]) -> EnumDescriptorProto:
    """An enum whose values are numbered from 0."""
    made = EnumDescriptorProto(name=name)
    for number, value in enumerate(values):
        made.value.add(name=value, number=number)
    return made


def map_entry(name: str, value: FieldDescriptorProto.Type.ValueType, type_name: str = "") -> DescriptorProto:
    """The entries of a map with text keys."""
    entry = DescriptorProto(name=name, field=[field("key", 1, OF.TYPE_STRING), field("value", 2, value, type_name)])
    entry.options.map_entry = True
    return entry


def ruled(declared: FieldDescriptorProto, demands: FieldRules) -> FieldDescriptorProto:
    """The field, with rules on its values."""
    declared.options.Extensions[rules].CopyFrom(demands)
    return declared


def text_field(name: str, number: int, least: int = 0) -> FieldDescriptorProto:
    """A string of at least so many characters."""
    declared = field(name, number, OF.TYPE_STRING)
    return ruled(declared, FieldRules(string=StringRules(min_len=least))) if least else declared


def required(declared: FieldDescriptorProto) -> FieldDescriptorProto:
    """The message field, which has to be set."""
    return ruled(declared, FieldRules(message=MessageRules(required=True)))


@dataclass(frozen=True)
class Additions:
    """What one file of a published package gets.

    messages, enums: its new ones; nested: new messages inside of the message that is named; fields: new ones of the
    message that is named. A field's oneof, which may be new, is named before its name, as `oneof/name`.
    dependencies: further files that
    the additions name. values: those that an enum, named with its message, gets behind its own. freed: fields of the
    message that is named whose rules on values are gone.
    """

    fields: dict[str, Sequence[FieldDescriptorProto]]
    messages: Sequence[DescriptorProto] = ()
    enums: Sequence[EnumDescriptorProto] = ()
    nested: dict[str, Sequence[DescriptorProto]] | None = None
    dependencies: Sequence[str] = ()
    values: dict[str, Sequence[str]] | None = None
    freed: dict[str, Sequence[str]] | None = None
