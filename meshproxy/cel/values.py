"""The values of the language, as Python has them, and how they compare.

    int     int         uint       Uint         double  float     bool  bool     null  None
    string  str (the characters are its UTF-8 bytes)               bytes bytes
    list    tuple       map        CelMap       duration  Duration (nanoseconds)
    type    CelType     timestamp  Timestamp (nanoseconds since 1970)

A message (the metadata, say) is a map whose fields are there also when they are unset (`MessageMap`).

An evaluation that comes to nothing (a header that isn't there, a function that has no such overload) raises
`EvaluationError`: in the language errors are values that `&&` and `||` may absorb, here they are exceptions that these
two catch.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from meshproxy.matching import wire_text

INT_MIN, INT_MAX, UINT_MAX = -(2**63), 2**63 - 1, 2**64 - 1

MISSING: Any = object()
"""What a map says for a key that it doesn't have."""


class EvaluationError(Exception):
    """The expression has no value for this stream."""


class Uint(int):
    """An unsigned number of 64 bits."""

    __slots__ = ()


class Duration(int):
    """Nanoseconds."""

    __slots__ = ()


class Timestamp(int):
    """Nanoseconds since 1970, UTC."""

    __slots__ = ()


class CelType(str):
    """A type by its name, such as "int"."""

    __slots__ = ()


class CelMap(ABC):
    """A map of the language."""

    __slots__ = ()

    @abstractmethod
    def find(self, key: Any) -> Any:
        """The value of a key, `MISSING` if there is none."""

    def has(self, field: str) -> bool:
        """What `has(map.field)` says."""
        return self.find(field) is not MISSING

    @abstractmethod
    def items(self) -> Iterable[tuple[Any, Any]] | None:
        """All keys with their values; None for a map that can be asked but not listed."""


class ValueMap(CelMap):
    """A map of values, such as the language's own `{...}`. Whole numbers of all types are the same key."""

    __slots__ = ("entries",)

    def __init__(self, entries: Mapping[Any, Any]) -> None:
        self.entries = entries

    def find(self, key: Any) -> Any:
        if type(key) is float and not key.is_integer():
            return MISSING
        try:
            found = self.entries.get(key, MISSING)
        except TypeError:
            return MISSING
        if found is not MISSING and type(key) is bool:  # True is no 1 here
            return next((value for name, value in self.entries.items() if name is key), MISSING)
        return found

    def items(self) -> Iterable[tuple[Any, Any]]:
        return self.entries.items()


class StructMap(CelMap):
    """What JSON can say, as metadata holds it: texts are Unicode, numbers are doubles."""

    __slots__ = ("entries",)

    def __init__(self, entries: Mapping[str, Any]) -> None:
        self.entries = entries

    def find(self, key: Any) -> Any:
        if type(key) is not str:
            return MISSING
        value = self.entries.get(key if key.isascii() else unicode_text(key), MISSING)
        return value if value is MISSING else lift(value)

    def items(self) -> Iterable[tuple[Any, Any]]:
        return [(wire_text(str(key)), lift(value)) for key, value in self.entries.items()]


class MessageMap(CelMap):
    """A protobuf message: unset fields have a default, fields that its type doesn't have are errors.

    show: the text form of the message, as `%CEL%` prints it.
    """

    __slots__ = ("fields", "set_fields", "show")

    def __init__(self, fields: Mapping[str, Any], set_fields: frozenset[str], show: Callable[[], str]) -> None:
        self.fields = fields
        self.set_fields = set_fields
        self.show = show

    def find(self, key: Any) -> Any:
        return self.fields.get(key, MISSING) if type(key) is str else MISSING

    def has(self, field: str) -> bool:
        if field not in self.fields:
            raise EvaluationError(f"no field {field!r}")
        return field in self.set_fields

    def items(self) -> Iterable[tuple[Any, Any]]:
        return [(name, value) for name, value in self.fields.items() if name in self.set_fields]


def unicode_text(text: str) -> str:
    """The Unicode text whose UTF-8 bytes are the characters of `text`; what is no UTF-8 is replaced."""
    return text if text.isascii() else text.encode("latin-1").decode("utf-8", "replace")


def lift(value: Any) -> Any:
    """A value of JSON as a value of the language."""
    if isinstance(value, str):
        return wire_text(value)
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int | float):
        return float(value)
    if isinstance(value, Mapping):
        return StructMap(value)
    if isinstance(value, list | tuple):
        return tuple([lift(item) for item in value])
    return wire_text(str(value))


_TYPES: dict[type[Any], CelType] = {
    bool: CelType("bool"),
    int: CelType("int"),
    Uint: CelType("uint"),
    float: CelType("double"),
    str: CelType("string"),
    bytes: CelType("bytes"),
    tuple: CelType("list"),
    type(None): CelType("null_type"),
    Duration: CelType("google.protobuf.Duration"),
    Timestamp: CelType("google.protobuf.Timestamp"),
    CelType: CelType("type"),
}
NAMED_TYPES = {str(name): name for name in (*_TYPES.values(), CelType("map")) if "." not in name}


def type_of(value: Any) -> CelType:
    """The type of a value."""
    return _TYPES.get(type(value)) or CelType("map")


_NUMBERS = frozenset((int, Uint, float))
_ORDERED = frozenset((bool, str, bytes, Duration, Timestamp))


def equal(left: Any, right: Any) -> bool:
    """`==`: numbers of all types compare by value; values of different types are unequal, which is no error."""
    kind, other = type(left), type(right)
    if kind is other:
        if kind is tuple:
            return len(left) == len(right) and all(map(equal, left, right))
        if not isinstance(left, CelMap):
            return bool(left == right)
    elif kind in _NUMBERS and other in _NUMBERS:
        return bool(left == right)
    if isinstance(left, CelMap) and isinstance(right, CelMap):
        return _equal_maps(left, right)
    return False


def _equal_maps(left: CelMap, right: CelMap) -> bool:
    mine, theirs = left.items(), right.items()
    if mine is None or theirs is None:
        return False
    pairs = list(mine)
    return len(pairs) == len(list(theirs)) and all(
        (found := right.find(key)) is not MISSING and equal(value, found) for key, value in pairs
    )


def compare(left: Any, right: Any) -> int:
    """-1, 0 or 1; 2 where a NaN has no order. Raises EvaluationError for values that have none."""
    kind, other = type(left), type(right)
    if (kind is other and kind in _ORDERED) or (kind in _NUMBERS and other in _NUMBERS):
        return -1 if left < right else 0 if left == right else 1 if left > right else 2
    raise EvaluationError("no order between these types")
