"""The values of literals: numbers and texts with their escapes ("Values", "String and Bytes Values" of the language).

A text is kept as it would stand in a message: a str whose characters are the bytes of its UTF-8 form, so that
comparing it with a header costs no conversion (see `meshproxy.matching`). Bytes are `bytes`.
"""

from __future__ import annotations

import re

from meshproxy.cel.values import INT_MAX, INT_MIN, UINT_MAX, Uint
from meshproxy.matching import wire_text

_PREFIX = re.compile(r"[rRbB]*")
_ESCAPE = re.compile(
    r"\\(?:x([0-9a-fA-F]{2})|X([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|([0-3][0-7]{2})|([\s\S]))"
)
_PLAIN = {
    **{"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"},
    **{sign: sign for sign in "\\?\"'`"},
}


def int_literal(source: str) -> int:
    """`12`, `-0x1F`, `3u`. Raises ValueError for one out of range."""
    unsigned = source[-1] in "uU"
    digits = source.rstrip("uU")
    if len(digits) > 30:
        raise ValueError(f"{source} is out of range")
    value = int(digits, 16 if "0x" in digits else 10)
    if unsigned:
        if not 0 <= value <= UINT_MAX:
            raise ValueError(f"{source} is out of range")
        return Uint(value)
    if not INT_MIN <= value <= INT_MAX:
        raise ValueError(f"{source} is out of range")
    return value


def text_literal(source: str) -> str | bytes:
    """A text or bytes in quotes. Raises ValueError for an escape that isn't one."""
    match = _PREFIX.match(source)
    prefix = match.group().lower() if match else ""
    body = source[len(prefix) :]
    body = body[3:-3] if body[:3] in ('"""', "'''") and len(body) >= 6 else body[1:-1]
    body = body.replace("\r\n", "\n").replace("\r", "\n")
    if "b" in prefix:
        return body.encode() if "r" in prefix else _bytes(body)
    return wire_text(body) if "r" in prefix else wire_text(_ESCAPE.sub(_character, body))


def _code(match: re.Match[str]) -> int | None:
    """The number that an escape stands for; None for one of the letters."""
    for group in (1, 2, 3, 4):
        if match.group(group):
            return int(match.group(group), 16)
    return int(match.group(5), 8) if match.group(5) else None


def _letter(match: re.Match[str]) -> str:
    letter = _PLAIN.get(match.group(6))
    if letter is None:
        raise ValueError(f"there is no escape \\{match.group(6)}")
    return letter


def _character(match: re.Match[str]) -> str:
    code = _code(match)
    if code is None:
        return _letter(match)
    if code > 0x10FFFF or 0xD800 <= code < 0xE000:
        raise ValueError(f"{match.group()} is no character")
    return chr(code)


def _bytes(body: str) -> bytes:
    """In bytes a two-digit or octal escape is one byte."""
    out, position = bytearray(), 0
    for match in _ESCAPE.finditer(body):
        out += body[position : match.start()].encode()
        if match.group(3) or match.group(4):
            raise ValueError(f"{match.group()} can't stand in bytes")
        code = _code(match)
        out += _letter(match).encode() if code is None else bytes((code,))
        position = match.end()
    return bytes(out + body[position:].encode())
