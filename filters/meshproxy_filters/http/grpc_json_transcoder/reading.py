"""What protobuf's C++ code, Envoy's, makes of JSON where its Python code makes something else.

One value in the place of several is one of several, `"true"` is true, and neither a name that an enum doesn't have nor
a text that is no base64 is passed over as an unknown field would be.
"""

from __future__ import annotations

import base64
from typing import Any

from google.protobuf.descriptor import FieldDescriptor

_FLAGS = {"true": True, "false": False}


def as_cpp_reads(plain: Any, kind: Any) -> Any:
    """`plain`, changed where Python would read it otherwise. kind: a Descriptor. Raises ValueError."""
    if kind.full_name.startswith("google.protobuf."):
        return plain
    if not isinstance(plain, dict):
        raise ValueError(f"an object is expected for {kind.full_name}")
    fields = {field.name: field for field in kind.fields} | {field.json_name: field for field in kind.fields}
    return {name: _value(value, fields[name]) if name in fields else value for name, value in plain.items()}


def _value(value: Any, field: Any) -> Any:
    if value is None:
        return None
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        inner = field.message_type.fields_by_name["value"]
        return {key: _one(each, inner) for key, each in value.items()} if isinstance(value, dict) else value
    if field.is_repeated:
        return [_one(each, field) for each in (value if isinstance(value, list) else [value])]
    return _one(value, field)


def _one(value: Any, field: Any) -> Any:
    if field.message_type is not None:
        return as_cpp_reads(value, field.message_type)
    if not isinstance(value, str):
        return value
    if field.cpp_type == FieldDescriptor.CPPTYPE_BOOL:
        return _FLAGS.get(value, value)
    if field.cpp_type == FieldDescriptor.CPPTYPE_ENUM:
        if value not in field.enum_type.values_by_name and not value.lstrip("-").isdecimal():
            raise ValueError(f"{field.name}: '{value}' isn't a value of {field.enum_type.full_name}")
    elif field.type == FieldDescriptor.TYPE_BYTES:
        text = value.replace("-", "+").replace("_", "/").rstrip("=")
        base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    return value
