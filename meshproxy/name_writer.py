"""How an HTTP/1 head spells the names of its fields, where `header_key_format` asks for other than lower case."""

from __future__ import annotations

from collections.abc import Mapping

_NONE: Mapping[str, str] = {}


class NameWriter:
    """Spells the names of one head.

    original: lower-case name -> the name as the peer wrote it (`preserve_case`).
    proper: other names in proper case; else in lower case.
    reason: the peer's reason phrase, where that is kept too (`forward_reason_phrase`); "" takes the usual one.
    """

    __slots__ = ("_original", "_proper", "reason")

    def __init__(self, original: Mapping[str, str] = _NONE, *, proper: bool, reason: str = "") -> None:
        self._original = original
        self._proper = proper
        self.reason = reason

    def line(self, name: str, value: str) -> str:
        """One field line with its CR LF."""
        written = self._original.get(name) or (_proper_case(name) if self._proper else name)
        return f"{written}: {value}\r\n"

    def lines(self, text: str) -> str:
        """The same for at most one line that is written already."""
        name, colon, rest = text.partition(": ")
        return self.line(name, rest[:-2]) if colon else text


def _proper_case(name: str) -> str:
    """As Envoy: the first letter in upper case, and each that follows a byte that is neither letter nor digit."""
    letters = list(name)
    after_other = True
    for index, letter in enumerate(letters):
        if after_other:
            letters[index] = letter.upper()
        after_other = not letter.isalnum()
    return "".join(letters)
