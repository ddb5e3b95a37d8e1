"""The functions and operators of the language, by name, number of arguments and whether they can be methods.

What Envoy registers, and no more: an expression that calls another function is refused when it is loaded. A function
that has no overload for what it is given raises EvaluationError.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from meshproxy.cel import times
from meshproxy.cel.patterns import capture, capture_named, extract, matches
from meshproxy.cel.values import (
    INT_MAX,
    INT_MIN,
    MISSING,
    UINT_MAX,
    CelMap,
    Duration,
    EvaluationError,
    Timestamp,
    Uint,
    compare,
    equal,
    type_of,
    unicode_text,
)
from meshproxy.matching import parse_int64
from meshproxy.records import dataclass

Function = Callable[..., Any]


@dataclass(frozen=True, slots=True)
class Overload:
    """arguments: how many, the target of a method among them. method, plain: the ways in which it may be called."""

    call: Function
    arguments: int
    plain: bool = True
    method: bool = False


def _no_overload(name: str, *values: Any) -> EvaluationError:
    return EvaluationError(f"no overload of {name} for {', '.join(type_of(value) for value in values)}")


def _int(value: int) -> int:
    if not INT_MIN <= value <= INT_MAX:
        raise EvaluationError("integer overflow")
    return value


def _uint(value: int) -> Uint:
    if not 0 <= value <= UINT_MAX:
        raise EvaluationError("unsigned integer overflow")
    return Uint(value)


def add(left: Any, right: Any) -> Any:
    """`+` of numbers, durations and timestamps."""
    kind, other = type(left), type(right)
    if kind is other:
        if kind is int:
            return _int(left + right)
        if kind is float:
            return left + right
        if kind is Uint:
            return _uint(int(left) + int(right))
        if kind is Duration:
            return times.duration(int(left) + int(right))
    elif {kind, other} == {Duration, Timestamp}:
        return times.timestamp(int(left) + int(right))
    raise _no_overload("_+_", left, right)


def concatenate(left: Any, right: Any) -> Any:
    """`+` where texts and bytes may be joined too."""
    if type(left) is type(right) and type(left) in (str, bytes):
        return left + right
    return add(left, right)


def subtract(left: Any, right: Any) -> Any:
    kind, other = type(left), type(right)
    if kind is other:
        if kind is int:
            return _int(left - right)
        if kind is float:
            return left - right
        if kind is Uint:
            return _uint(int(left) - int(right))
        if kind in (Duration, Timestamp):
            return times.duration(int(left) - int(right))
    elif kind is Timestamp and other is Duration:
        return times.timestamp(int(left) - int(right))
    raise _no_overload("_-_", left, right)


def multiply(left: Any, right: Any) -> Any:
    kind = type(left)
    if kind is type(right):
        if kind is int:
            return _int(left * right)
        if kind is float:
            return left * right
        if kind is Uint:
            return _uint(int(left) * int(right))
    raise _no_overload("_*_", left, right)


def divide(left: Any, right: Any) -> Any:
    """Whole numbers are cut towards zero; a double divided by zero is infinite."""
    kind = type(left)
    if kind is type(right):
        if kind is float:
            if right:
                return left / right
            return math.nan if not left or math.isnan(left) else math.copysign(math.inf, left) * math.copysign(1, right)
        if kind in (int, Uint):
            if not right:
                raise EvaluationError("divide by zero")
            quotient = abs(int(left)) // abs(int(right))
            return _uint(quotient) if kind is Uint else _int(quotient if (left < 0) == (right < 0) else -quotient)
    raise _no_overload("_/_", left, right)


def modulo(left: Any, right: Any) -> Any:
    """The remainder has the sign of the dividend."""
    kind = type(left)
    if kind is type(right) and kind in (int, Uint):
        if not right:
            raise EvaluationError("modulus by zero")
        rest = abs(int(left)) % abs(int(right))
        return Uint(rest) if kind is Uint else -rest if left < 0 else rest
    raise _no_overload("_%_", left, right)


def negate(value: Any) -> Any:
    if type(value) is int:
        return _int(-value)
    if type(value) is float:
        return -value
    raise _no_overload("-_", value)


def invert(value: Any) -> bool:
    if type(value) is bool:
        return not value
    raise _no_overload("!_", value)


def index(container: Any, key: Any) -> Any:
    """`container[key]`. Raises EvaluationError for what isn't there."""
    if isinstance(container, CelMap):
        value = container.find(key)
        if value is MISSING:
            raise EvaluationError(f"no key {key!r}")
        return value
    if type(container) is tuple and type(key) in (int, Uint, float) and key == int(key):
        if 0 <= key < len(container):
            return container[int(key)]
        raise EvaluationError(f"no index {key}")
    raise _no_overload("_[_]", container, key)


def contained(value: Any, container: Any) -> bool:
    """`value in container`."""
    if type(container) is tuple:
        return any(equal(value, item) for item in container)
    if isinstance(container, CelMap):
        return container.find(value) is not MISSING
    raise _no_overload("@in", value, container)


def size(value: Any) -> int:
    if type(value) is str:
        return len(unicode_text(value))
    if type(value) in (bytes, tuple):
        return len(value)
    items = value.items() if isinstance(value, CelMap) else None
    if items is None:
        raise _no_overload("size", value)
    return len(list(items))


def _of_texts(name: str, test: Callable[[str, str], bool]) -> Function:
    def function(text: Any, part: Any) -> bool:
        if type(text) is str and type(part) is str:
            return test(text, part)
        raise _no_overload(name, text, part)

    return function


def to_int(value: Any) -> int:
    kind = type(value)
    if kind in (int, Uint, bool):
        return _int(int(value))
    if kind is float and -(2.0**63) < value < 2.0**63:
        return int(value)
    if kind is Timestamp:
        return int(value) // times.SECOND
    if kind is str and (number := parse_int64(value)) is not None:
        return number
    raise _no_overload("int", value)


def to_uint(value: Any) -> Uint:
    kind = type(value)
    if kind in (int, Uint):
        return _uint(int(value))
    if kind is float and 0.0 <= value < 2.0**64:
        return Uint(int(value))
    if kind is str and value.isascii() and value.isdigit() and len(value) < 25:
        return _uint(int(value))
    raise _no_overload("uint", value)


def to_double(value: Any) -> float:
    if type(value) in (int, Uint, float):
        return float(value)
    if type(value) is str and value.isascii() and "_" not in value:
        try:
            return float(value)
        except ValueError:
            pass
    raise _no_overload("double", value)


_BOOLS = {
    **dict.fromkeys(("1", "t", "T", "true", "TRUE", "True"), True),
    **dict.fromkeys(("0", "f", "F", "false", "FALSE", "False"), False),
}


def to_bool(value: Any) -> bool:
    if type(value) is bool:
        return value
    if type(value) is str and value in _BOOLS:
        return _BOOLS[value]
    raise _no_overload("bool", value)


def to_bytes(value: Any) -> bytes:
    if type(value) is bytes:
        return value
    if type(value) is str:
        return value.encode("latin-1")
    raise _no_overload("bytes", value)


def to_duration(value: Any) -> Duration:
    if type(value) is Duration:
        return value
    if type(value) is str:
        return times.parse_duration(value)
    raise _no_overload("duration", value)


def to_timestamp(value: Any) -> Timestamp:
    if type(value) is Timestamp:
        return value
    if type(value) is int:
        return times.timestamp(value * times.SECOND)
    if type(value) is str:
        return times.parse_timestamp(value)
    raise _no_overload("timestamp", value)


def _part(name: str) -> Function:
    def function(value: Any, zone: Any = None) -> int:
        if zone is not None and type(zone) is not str:
            raise _no_overload(name, value, zone)
        return times.part_of(name, value, zone)

    return function


def _ordering(name: str, holds: Callable[[int], bool]) -> Overload:
    return Overload(lambda left, right: holds(compare(left, right)), 2)


Overloads = Mapping[str, tuple[Overload, ...]]

BUILTIN: Overloads = {
    "_+_": (Overload(add, 2),),
    "_-_": (Overload(subtract, 2),),
    "_*_": (Overload(multiply, 2),),
    "_/_": (Overload(divide, 2),),
    "_%_": (Overload(modulo, 2),),
    "-_": (Overload(negate, 1),),
    "!_": (Overload(invert, 1),),
    "_==_": (Overload(equal, 2),),
    "_!=_": (Overload(lambda left, right: not equal(left, right), 2),),
    "_<_": (_ordering("_<_", lambda order: order == -1),),
    "_<=_": (_ordering("_<=_", lambda order: order <= 0),),
    "_>_": (_ordering("_>_", lambda order: order == 1),),
    "_>=_": (_ordering("_>=_", lambda order: order in (0, 1)),),
    "_[_]": (Overload(index, 2),),
    "@in": (Overload(contained, 2),),
    "size": (Overload(size, 1, method=True),),
    "contains": (Overload(_of_texts("contains", lambda text, part: part in text), 2, method=True),),
    "startsWith": (Overload(_of_texts("startsWith", str.startswith), 2, method=True),),
    "endsWith": (Overload(_of_texts("endsWith", str.endswith), 2, method=True),),
    "matches": (Overload(matches, 2, method=True),),
    "int": (Overload(to_int, 1),),
    "uint": (Overload(to_uint, 1),),
    "double": (Overload(to_double, 1),),
    "bool": (Overload(to_bool, 1),),
    "bytes": (Overload(to_bytes, 1),),
    "dyn": (Overload(lambda value: value, 1),),
    "type": (Overload(type_of, 1),),
    "duration": (Overload(to_duration, 1),),
    "timestamp": (Overload(to_timestamp, 1),),
    "re.extract": (Overload(extract, 3),),
    "re.capture": (Overload(capture, 2),),
    "re.captureN": (Overload(capture_named, 2),),
    **{
        name: (Overload(_part(name), 1, plain=False, method=True), Overload(_part(name), 2, plain=False, method=True))
        for name in times.DATE_PARTS
    },
}
