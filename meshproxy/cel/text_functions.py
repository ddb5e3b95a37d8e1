"""The functions of texts that a configuration switches on (`CelExpressionConfig`): conversion, joining, the library.

Source: the strings extension of the language. Places and lengths count characters, so texts are decoded for them.
`format` is not there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from meshproxy.cel.functions import Function, Overload, Overloads, concatenate
from meshproxy.cel.times import json_duration, json_timestamp
from meshproxy.cel.values import Duration, EvaluationError, Timestamp, Uint, unicode_text
from meshproxy.matching import ascii_lower, wire_text

_SPACE = (
    " \t\n\v\f\r\x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u2028\u2029\u202f"
    "\u205f\u3000"
)
_QUOTED = {
    **{"\a": "\\a", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\v": "\\v"},
    **{"\\": "\\\\", '"': '\\"'},
}


def to_string(value: Any) -> str:
    """`string(x)`."""
    kind = type(value)
    if kind is str:
        return str(value)
    if kind is bool:
        return "true" if value else "false"
    if kind in (int, Uint):
        return str(int(value))
    if kind is float:
        return repr(value).removesuffix(".0")
    if kind is bytes:
        try:
            value.decode("utf-8")
        except UnicodeDecodeError:
            raise EvaluationError("the bytes are no text") from None
        return str(value.decode("latin-1"))
    if kind is Duration:
        return json_duration(value)
    if kind is Timestamp:
        return json_timestamp(value)
    raise EvaluationError("no overload of string")


def _typed(name: str, function: Callable[..., Any], *kinds: type[Any]) -> Function:
    """`function` for arguments of these types; texts come decoded and what it returns is encoded again."""

    def call(*values: Any) -> Any:
        if any(type(value) is not kind for value, kind in zip(values, kinds, strict=True)):
            raise EvaluationError(f"no overload of {name}")
        result = function(*[unicode_text(value) if type(value) is str else value for value in values])
        if isinstance(result, list):
            return tuple([wire_text(item) for item in result])
        return wire_text(result) if isinstance(result, str) else result

    return call


def _replace(text: str, old: str, new: str, limit: int = -1) -> str:
    return text.replace(old, new, limit if limit >= 0 else -1)


def _split(text: str, separator: str, limit: int = -1) -> list[str]:
    if limit == 0:
        return []
    if separator:
        return text.split(separator, limit - 1 if limit > 0 else -1)
    if limit < 0 or limit >= len(text):
        return list(text)
    return [*text[: limit - 1], text[limit - 1 :]]


def _join(items: tuple[Any, ...], separator: str = "") -> str:
    if any(type(item) is not str for item in items):
        raise EvaluationError("only texts can be joined")
    return separator.join([unicode_text(item) for item in items])


def _within(text: str, place: int) -> None:
    if not 0 <= place <= len(text):
        raise EvaluationError(f"place {place} is outside of the text")


def _char_at(text: str, place: int) -> str:
    _within(text, place)
    return text[place : place + 1]


def _index_of(text: str, part: str, start: int = 0) -> int:
    _within(text, start)
    return text.find(part, start)


def _last_index_of(text: str, part: str, start: int | None = None) -> int:
    if start is None:
        return text.rfind(part)
    _within(text, start)
    return text.rfind(part, 0, start + len(part))


def _substring(text: str, start: int, end: int | None = None) -> str:
    end = len(text) if end is None else end
    _within(text, start)
    _within(text, end)
    if start > end:
        raise EvaluationError("a substring ends before it begins")
    return text[start:end]


def _quote(text: str) -> str:
    return '"' + "".join([_QUOTED.get(character, character) for character in text]) + '"'


def _upper(text: str) -> str:
    return "".join([character.upper() if character.isascii() else character for character in text])


def _lower(text: str) -> str:
    return "".join([ascii_lower(character) if character.isascii() else character for character in text])


def _methods(name: str, function: Callable[..., Any], *shapes: tuple[type[Any], ...]) -> tuple[Overload, ...]:
    return tuple(Overload(_typed(name, function, *kinds), len(kinds), plain=False, method=True) for kinds in shapes)


CONVERSION: Overloads = {"string": (Overload(to_string, 1),)}
CONCATENATION: Overloads = {"_+_": (Overload(concatenate, 2),)}
TEXT_FUNCTIONS: Overloads = {
    "lowerAscii": _methods("lowerAscii", _lower, (str,)),
    "upperAscii": _methods("upperAscii", _upper, (str,)),
    "split": _methods("split", _split, (str, str), (str, str, int)),
    "join": _methods("join", _join, (tuple,), (tuple, str)),
    "replace": _methods("replace", _replace, (str, str, str), (str, str, str, int)),
    "charAt": _methods("charAt", _char_at, (str, int)),
    "indexOf": _methods("indexOf", _index_of, (str, str), (str, str, int)),
    "lastIndexOf": _methods("lastIndexOf", _last_index_of, (str, str), (str, str, int)),
    "substring": _methods("substring", _substring, (str, int), (str, int, int)),
    "trim": _methods("trim", lambda text: text.strip(_SPACE), (str,)),
    "reverse": _methods("reverse", lambda text: text[::-1], (str,)),
    "strings.quote": (Overload(_typed("strings.quote", _quote, str), 1),),
}
