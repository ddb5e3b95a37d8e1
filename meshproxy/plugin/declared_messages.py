"""Messages that no published package has, declared from their field numbers.

Only the fields that are used need to be declared; what else a peer sends is skipped, as protobuf has it.
"""

from __future__ import annotations

from collections.abc import Sequence

from google.protobuf.descriptor_pb2 import DescriptorProto, EnumDescriptorProto, FieldDescriptorProto

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
