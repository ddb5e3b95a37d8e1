"""The configuration of a Python filter: plain values (a `TypedStruct`) to the type that the filter declares.

A dataclass is walked here, with every fault at its place and a suggestion for a misspelt name. A pydantic model
validates itself and its complaints are given their places (pydantic is recognised, never imported). A protobuf
message is parsed by protobuf's JSON rules, a plain `dict` taken as it is.

Of a dataclass field these types are understood: str, int, float, bool, None, Any, Literal, Enum (by value), lists,
tuples, sets, dict[str, X], unions, and nested dataclasses. A float also takes a duration, such as "0.5s", in seconds;
numbers may be quoted, since Envoy's YAML makes strings of those that aren't 32-bit integers.
"""

from __future__ import annotations

import dataclasses
import enum
import math
import re
import types
import typing
from collections.abc import Callable, Sequence
from typing import Any, Literal, TypeVar, Union, cast, get_args, get_origin

from google.protobuf.message import Message

from meshproxy.errors import ConfigError, Problem
from meshproxy.plugin.struct_message import read_message
from meshproxy.plugin.struct_view import Key, StructView
from meshproxy.suggest import did_you_mean

T = TypeVar("T")

_INTEGER = re.compile(r"[+-]?[0-9]{1,30}\Z")
_FLOAT = re.compile(r"[+-]?(?:[0-9]{1,30}\.?[0-9]{0,30}|\.[0-9]{1,30})(?:[eE][+-]?[0-9]{1,3})?\Z")
_DURATION = re.compile(r"(-?[0-9]{1,15}(?:\.[0-9]{1,9})?)s\Z")


def read_struct(struct: StructView, target: type[T]) -> T:
    """Make a `target` of the values. Raises ConfigError with every fault, TypeError for a type that can't be read."""
    if target is dict:
        return cast(T, struct.value)
    if dataclasses.is_dataclass(target):
        reader = _Reader(struct)
        made = reader.dataclass(struct.value, target, ())
        if reader.problems:
            raise ConfigError(reader.problems)
        return cast(T, made)
    if isinstance(target, type) and issubclass(target, Message):
        return cast(T, read_message(struct, target))
    if hasattr(target, "model_validate"):
        return _read_model(struct, target)
    raise TypeError(f"a configuration can't be read into {target!r}: it is no dataclass, pydantic model or message")


class _Bad(Exception):
    """A value of another type than is declared; the message says which is expected."""


_FAILED: Any = object()  # a value whose fault is noted already


class _Reader:
    """Reads one struct; collects faults."""

    def __init__(self, struct: StructView) -> None:
        self._struct = struct
        self.problems: list[Problem] = []

    def _refuse(self, message: str, keys: Sequence[Key]) -> Any:
        self.problems.append(self._struct.error(message, *keys))
        return _FAILED

    def dataclass(self, value: Any, target: type, keys: tuple[Key, ...]) -> Any:
        if not isinstance(value, dict):
            return self._refuse(f"the fields of {target.__name__} are expected, not {_shown(value)}", keys)
        hints = typing.get_type_hints(target)
        fields = {field.name: field for field in dataclasses.fields(target) if field.init}
        for key in value:
            if key not in fields:
                message = f"no field '{key}' in {target.__name__}{did_you_mean(key, fields)}"
                self.problems.append(self._struct.unknown_key(message, *keys, key))
        arguments: dict[str, Any] = {}
        failed = False
        for name, field in fields.items():
            if name in value:
                arguments[name] = self.value(value[name], hints[name], (*keys, name))
                failed = failed or arguments[name] is _FAILED
            elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
                self._refuse(f"field '{name}' of {target.__name__} is required", keys)
                failed = True
        if failed:
            return _FAILED
        try:
            return target(**arguments)
        except ValueError as error:  # its __post_init__
            return self._refuse(str(error), keys)

    def value(self, value: Any, hint: Any, keys: tuple[Key, ...]) -> Any:
        """The value as the type `hint`; `_FAILED` when its fault is noted."""
        origin = get_origin(hint)
        if origin in (Union, types.UnionType):
            return self._union(value, get_args(hint), keys)
        if origin is not None and origin is not Literal:
            return self._collection(value, origin, get_args(hint), keys)
        if dataclasses.is_dataclass(hint):
            return self.dataclass(value, cast(type, hint), keys)
        try:
            if origin is Literal:
                return _literal(value, get_args(hint))
            return _scalar(value, hint)
        except _Bad as error:
            return self._refuse(str(error), keys)

    def _union(self, value: Any, hints: tuple[Any, ...], keys: tuple[Key, ...]) -> Any:
        if value is None and type(None) in hints:
            return None
        choices = [hint for hint in hints if hint is not type(None)]
        if len(choices) == 1:
            return self.value(value, choices[0], keys)
        # The first choice that fits; those of the exact type before those that convert.
        for hint in sorted(choices, key=lambda hint: hint is not type(value)):
            attempt = _Reader(self._struct)
            made = attempt.value(value, hint, keys)
            if not attempt.problems:
                return made
        names = " or ".join(getattr(hint, "__name__", str(hint)) for hint in choices)
        return self._refuse(f"{names} is expected, not {_shown(value)}", keys)

    def _collection(self, value: Any, origin: Any, arguments: tuple[Any, ...], keys: tuple[Key, ...]) -> Any:
        if origin is dict:
            if not isinstance(value, dict):
                return self._refuse(f"a mapping is expected, not {_shown(value)}", keys)
            pairs = {key: self.value(element, arguments[1], (*keys, key)) for key, element in value.items()}
            return _FAILED if _FAILED in pairs.values() else pairs
        if origin not in (tuple, list, frozenset, set):
            raise TypeError(f"a field of type {origin!r} can't be read from a configuration")
        if not isinstance(value, list):
            return self._refuse(f"a list is expected, not {_shown(value)}", keys)
        fixed = origin is tuple and not (len(arguments) == 2 and arguments[1] is Ellipsis)
        if fixed and len(value) != len(arguments):
            return self._refuse(f"a list of {len(arguments)} is expected, not of {len(value)}", keys)
        elements = [
            self.value(element, arguments[index] if fixed else arguments[0], (*keys, index))
            for index, element in enumerate(value)
        ]
        return _FAILED if any(element is _FAILED for element in elements) else origin(elements)


def _scalar(value: Any, hint: Any) -> Any:
    converter = _CONVERTERS.get(hint)
    if converter is not None:
        return converter(value)
    if hint is Any or hint is object:
        return value
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        try:
            return hint(value)
        except ValueError:
            raise _Bad(_choices(value, [member.value for member in hint])) from None
    if hint in (dict, list):
        if isinstance(value, hint):
            return value
        raise _Bad(f"a {'mapping' if hint is dict else 'list'} is expected, not {_shown(value)}")
    raise TypeError(f"a field of type {hint!r} can't be read from a configuration")


def _literal(value: Any, choices: tuple[Any, ...]) -> Any:
    for choice in choices:
        if type(choice) is type(value) and choice == value:
            return choice
    raise _Bad(_choices(value, choices))


def _choices(value: Any, choices: Sequence[Any]) -> str:
    suggestion = (
        did_you_mean(value, [choice for choice in choices if isinstance(choice, str)])
        if value and isinstance(value, str)
        else ""
    )
    return f"one of {', '.join(repr(choice) for choice in choices)} is expected, not {_shown(value)}{suggestion}"


def _to_text(value: Any) -> str:
    if not isinstance(value, str):
        hint = "; quote it" if isinstance(value, bool | int | float) else ""
        raise _Bad(f"a string is expected, not {_shown(value)}{hint}")
    return value


def _to_integer(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise _Bad(f"a whole number is expected, not {_shown(value)}")
    if isinstance(value, int):
        return value
    if _INTEGER.match(value):
        return int(value)
    raise _Bad(f"a whole number is expected, not {_shown(value)}")


def to_seconds(value: Any) -> float:
    """A number, a number as a string, or a duration such as "0.5s". Raises ValueError for anything else."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if isinstance(value, str):
        if match := _DURATION.match(value):
            return float(match[1])
        if _FLOAT.match(value):
            return float(value)
        if value in ("NaN", "Infinity", "-Infinity"):
            return {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}[value]
    raise ValueError(f"a number or a duration is expected, not {_shown(value)}")


def _to_float(value: Any) -> float:
    try:
        return to_seconds(value)
    except ValueError as error:
        raise _Bad(str(error)) from None


def _to_bool(value: Any) -> bool:
    if not isinstance(value, bool):
        raise _Bad(f"true or false is expected, not {_shown(value)}")
    return value


def _to_none(value: Any) -> None:
    if value is not None:
        raise _Bad(f"null is expected, not {_shown(value)}")


_CONVERTERS: dict[Any, Callable[[Any], Any]] = {
    str: _to_text,
    int: _to_integer,
    float: _to_float,
    bool: _to_bool,
    type(None): _to_none,
}


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _read_model(struct: StructView, target: type[T]) -> T:
    """A pydantic model. Its ValidationError is a ValueError with `errors()`, each with a `loc` of keys."""
    try:
        return cast(T, cast(Any, target).model_validate(struct.value))
    except ValueError as error:
        faults = getattr(error, "errors", None)
        if faults is None:
            raise ConfigError(struct.error(str(error))) from None
        raise ConfigError([_model_problem(struct, fault, target) for fault in faults()]) from None


def _model_problem(struct: StructView, fault: dict[str, Any], target: type) -> Problem:
    keys = tuple(key for key in fault["loc"] if isinstance(key, str | int))
    if fault["type"] == "extra_forbidden" and len(keys) == 1:
        known = did_you_mean(str(keys[0]), cast(Any, target).model_fields)
        return struct.unknown_key(f"no field '{keys[0]}' in {target.__name__}{known}", *keys)
    return struct.error(str(fault["msg"]), *keys)
