"""Scalars: the text of a node to the value of a protobuf field of a given type.

The rules are those of protobuf's JSON parser in the lenient mode that Envoy uses, fed by Envoy's YAML reader: numbers
may be quoted, a boolean may not stand in a string field (so `id: n` is refused), an enum goes by name in any case or
by number. Each reader returns the value or raises `Refused`; `NULL` stands for a null, which leaves a field unset.
"""

from __future__ import annotations

import base64
import binascii
import math
import re
from collections.abc import Callable
from typing import Any, Final

from google.protobuf.descriptor import FieldDescriptor
from yaml.nodes import Node, ScalarNode

from meshproxy.config.text.yaml_tree import Scalar, is_quoted, json_value, kind_of, plain_value
from meshproxy.suggest import did_you_mean

NULL: Final = object()
# bool | int | float | str | bytes, or NULL: what protobuf's setters take is only known at run time.
FieldValue = Any
ScalarReader = Callable[[Node, bool], FieldValue]

_DECIMAL = re.compile(r"[+-]?[0-9]{1,40}\Z")
_HEX = re.compile(r"[+-]?0[xX][0-9a-fA-F]{1,32}\Z")
_FLOAT = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?\Z")
_NAMED = {"nan": math.nan, "inf": math.inf, "infinity": math.inf, "-inf": -math.inf, "-infinity": -math.inf}
_FLOAT_MAX = (2.0 - 2.0**-23) * 2.0**127


class Refused(ValueError):
    """A value that its field can't hold; the message says what is expected."""


def scalar_of(node: Node, json: bool) -> Scalar:
    """The value of a scalar node before its field's type is considered. Raises Refused for a list or a mapping."""
    if type(node) is not ScalarNode:
        raise Refused(f"a single value is expected, not {kind_of(node)}")
    text: str = node.value
    if is_quoted(node):
        return text
    if not json:
        return plain_value(text)
    try:
        return json_value(text)
    except ValueError as error:
        raise Refused(str(error)) from None


def read_string(node: Node, json: bool) -> FieldValue:
    if type(node) is ScalarNode and is_quoted(node):
        return _encodable(node.value)
    value = scalar_of(node, json)
    if value is None:
        return NULL
    if isinstance(value, str):
        return _encodable(value)
    if isinstance(value, bool) and not json:
        word = "true" if value else "false"
        raise Refused(f"a string is expected, and {node.value} is the boolean {word} in YAML; quote it")
    raise Refused(f"a string is expected, not {node.value}; quote it")


def _encodable(text: str) -> str:
    if not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text):
        raise Refused("a lone surrogate is not Unicode text")
    return text


def read_bool(node: Node, json: bool) -> FieldValue:
    value = scalar_of(node, json)
    if value is None:
        return NULL
    if isinstance(value, bool):
        return value
    if isinstance(value, str):
        lowered = value.lower()
        if lowered in ("true", "t", "yes", "y", "1"):
            return True
        if lowered in ("false", "f", "no", "n", "0"):
            return False
    raise Refused(f"true or false is expected, not {kind_of(node)}")


def _integer_reader(low: int, high: int) -> ScalarReader:
    def read_integer(node: Node, json: bool) -> FieldValue:
        value = scalar_of(node, json)
        if value is None:
            return NULL
        number = _whole(value)
        if number is None:
            raise Refused(f"a whole number is expected, not {kind_of(node)}")
        if not low <= number <= high:
            raise Refused(f"{number} is out of range: {low} to {high}")
        return number

    return read_integer


def _whole(value: Scalar) -> int | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value
    if isinstance(value, str):
        if _DECIMAL.match(value):
            return int(value)
        if _HEX.match(value):
            return int(value, 16)
        if not _FLOAT.match(value) or len(value) > 64:
            return None
        value = float(value)
    if isinstance(value, float) and math.isfinite(value) and value == math.floor(value):
        return int(value)
    return None


def _float_reader(largest: float) -> ScalarReader:
    def read_float(node: Node, json: bool) -> FieldValue:
        value = scalar_of(node, json)
        if value is None:
            return NULL
        number = to_float(value)
        if number is None:
            raise Refused(f"a number is expected, not {kind_of(node)}")
        if math.isfinite(number) and abs(number) > largest:
            raise Refused(f"{number} is out of range for a single-precision number")
        return number

    return read_float


def to_float(value: object) -> float | None:
    """A number, also one that is written as a string (`NaN` and `Infinity` among them); None for anything else."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        return float(value)
    if not isinstance(value, str):
        return None
    text = value.strip(" ")
    if _FLOAT.match(text):
        return float(text)
    if _HEX.match(text):
        return float(int(text, 16))
    return _NAMED.get(text.lower())


def read_bytes(node: Node, json: bool) -> FieldValue:
    value = read_string(node, json)
    if value is NULL:
        return NULL
    text = value.rstrip("=").replace("-", "+").replace("_", "/")
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise Refused("not valid base64") from None


def enum_reader(enum: Any) -> ScalarReader:
    """A reader for an enum: by name in any case, or by number. Unknown numbers pass: proto3 enums are open."""
    by_name = {value.name: value.number for value in enum.values}
    by_folded = {name.lower(): number for name, number in by_name.items()}
    name = enum.full_name.rpartition(".")[2]

    def read_enum(node: Node, json: bool) -> FieldValue:
        value = scalar_of(node, json)
        if value is None:
            return NULL
        if isinstance(value, str):
            number = by_name.get(value)
            if number is None:
                number = by_folded.get(value.lower())
            if number is not None:
                return number
            if not _DECIMAL.match(value):
                raise Refused(f"'{value}' is no value of {name}{did_you_mean(value, by_name) or _listed(by_name)}")
        number = _whole(value)
        if number is None or not -(2**31) <= number < 2**31:
            raise Refused(f"a value of {name} is expected, not {kind_of(node)}{_listed(by_name)}")
        return number

    return read_enum


def _listed(names: dict[str, int]) -> str:
    return f" (one of {', '.join(names)})" if len(names) <= 12 else ""


_I32 = _integer_reader(-(2**31), 2**31 - 1)
_I64 = _integer_reader(-(2**63), 2**63 - 1)
_U32 = _integer_reader(0, 2**32 - 1)
_U64 = _integer_reader(0, 2**64 - 1)

READERS: dict[int, ScalarReader] = {
    FieldDescriptor.CPPTYPE_INT32: _I32,
    FieldDescriptor.CPPTYPE_INT64: _I64,
    FieldDescriptor.CPPTYPE_UINT32: _U32,
    FieldDescriptor.CPPTYPE_UINT64: _U64,
    FieldDescriptor.CPPTYPE_BOOL: read_bool,
    FieldDescriptor.CPPTYPE_FLOAT: _float_reader(_FLOAT_MAX),
    FieldDescriptor.CPPTYPE_DOUBLE: _float_reader(math.inf),
    FieldDescriptor.CPPTYPE_STRING: read_string,
}


def reader_for(field: Any) -> ScalarReader:
    """The reader for a scalar field (or for the key or value of a map)."""
    if field.cpp_type == FieldDescriptor.CPPTYPE_ENUM:
        return enum_reader(field.enum_type)
    if field.type == FieldDescriptor.TYPE_BYTES:
        return read_bytes
    return READERS[field.cpp_type]
