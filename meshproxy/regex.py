"""Regular expressions of a configuration: RE2, as in Envoy, over bytes with Latin-1 as the encoding.

With UTF-8 `.*admin.*` would not match a value that has a byte 0xFF before `admin`, and a rule that denies would let it
pass. Time is linear in the value; Python's `re`, which can take exponential time, is never used on a pattern from the
configuration.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import re2


def _options(captures: bool) -> re2.Options:
    options = re2.Options()
    options.encoding = re2.Options.Encoding.LATIN1
    options.log_errors = False
    options.never_capture = not captures
    return options


def _compile(pattern: str, captures: bool) -> re2._Regexp:
    try:
        return re2.compile(pattern.encode("utf-8", "surrogateescape"), _options(captures))
    except re2.error as error:
        reason = error.args[0].decode("utf-8", "replace") if error.args else "unknown fault"
        raise ValueError(f"the regular expression {pattern!r}: {reason}") from None


def regex_matcher(pattern: str) -> Callable[[str], bool]:
    """Matches a value that the RE2 expression matches from its first byte to its last. Raises ValueError."""
    compiled = _compile(pattern, captures=False)
    native = getattr(compiled, "_regexp", None)
    if native is None:  # another release of the binding: its public way costs a microsecond more
        return lambda value: compiled.fullmatch(value.encode("latin-1")) is not None
    search, both_ends = native.Match, re2._Anchor.ANCHOR_BOTH

    def matches(value: str) -> bool:
        data = value.encode("latin-1")
        return search(both_ends, data, 0, len(data))[0][0] == 0  # type: ignore[no-any-return]  # re2 has no types

    return matches


class Pattern:
    """An RE2 expression that is looked for anywhere in a text (Latin-1 characters, as everywhere here).

    size: of its program, in instructions. names: of its groups, with their numbers. Raises ValueError.
    """

    __slots__ = ("_compiled", "names", "size")

    def __init__(self, pattern: bytes) -> None:
        self._compiled = _compile(pattern.decode("utf-8", "surrogateescape"), captures=True)
        native = getattr(self._compiled, "_regexp", None)
        self.size: int = native.ProgramSize() if native is not None else self._compiled.programsize
        self.names: dict[str, int] = {
            name.decode("latin-1"): number for name, number in self._compiled.groupindex.items()
        }

    def search(self, text: str) -> list[str | None] | None:
        """The first match and what each of its groups holds; None where nothing matches."""
        return self._groups(self._compiled.search(text.encode("latin-1")))

    def whole(self, text: str) -> list[str | None] | None:
        """The same for a match of the whole text."""
        return self._groups(self._compiled.fullmatch(text.encode("latin-1")))

    @staticmethod
    def _groups(match: re2._Match | None) -> list[str | None] | None:
        if match is None:
            return None
        return [None if part is None else part.decode("latin-1") for part in (match.group(0), *match.groups())]


def regex_replacement(substitution: str, groups: list[str | None]) -> str:
    r"""`substitution` with `\0` to `\9` replaced by the groups of a match. Raises ValueError for a bad one."""
    parts = _parse_substitution(substitution, len(groups) - 1)
    return "".join([part.decode("latin-1") if isinstance(part, bytes) else groups[part] or "" for part in parts])


def regex_replacer(pattern: str, substitution: str) -> Callable[[str], str]:
    r"""Replaces every match, with `\0` the match, `\1` to `\9` its groups and `\\` a backslash (RE2 GlobalReplace).

    A value without a match comes back as it is. Raises ValueError for a bad expression or substitution.
    """
    compiled = _compile(pattern, captures=True)
    parts = _parse_substitution(substitution, compiled.groups)
    find = _finder(compiled)

    def replace(value: str) -> str:
        data = value.encode("latin-1")
        output: list[bytes] = []
        position = last_end = at = 0
        while (spans := find(data, at)) is not None:
            start, end = spans[0]
            # An empty match right behind the previous match doesn't count.
            if not (start == end == last_end and output):
                output.append(data[position:start])
                for part in parts:
                    if isinstance(part, bytes):
                        output.append(part)
                    else:
                        first, behind = spans[part]
                        output.append(data[first:behind] if first >= 0 else b"")
                position = last_end = end
            if at == len(data):
                break
            at = end if end > at else at + 1
        if not output:
            return value
        output.append(data[position:])
        return b"".join(output).decode("latin-1")

    return replace


_Spans = Sequence[tuple[int, int]]


def _finder(compiled: re2._Regexp) -> Callable[[bytes, int], _Spans | None]:
    """What finds the first match from a position on, and where it and its groups are; -1 for groups without a part."""
    native = getattr(compiled, "_regexp", None)
    if native is None:  # another release of the binding

        def find(data: bytes, at: int) -> _Spans | None:
            match = compiled.search(data, at)
            return None if match is None else [match.span(group) for group in range(compiled.groups + 1)]

        return find
    search, anywhere = native.Match, re2._Anchor.UNANCHORED

    def find_natively(data: bytes, at: int) -> _Spans | None:
        spans: _Spans = search(anywhere, data, at, len(data))
        return spans if spans[0][0] >= 0 else None

    return find_natively


def _parse_substitution(substitution: str, groups: int) -> list[bytes | int]:
    parts: list[bytes | int] = []
    pieces = substitution.split("\\")
    parts.append(pieces[0].encode("utf-8", "surrogateescape"))
    index = 1
    while index < len(pieces):
        piece = pieces[index]
        if not piece and index + 1 < len(pieces):  # two backslashes: the next piece is literal
            parts.append(("\\" + pieces[index + 1]).encode("utf-8", "surrogateescape"))
            index += 2
            continue
        if piece[:1] not in tuple("0123456789"):
            raise ValueError(f"the substitution {substitution!r}: a backslash is followed by a digit or a backslash")
        if int(piece[0]) > groups:
            raise ValueError(f"the substitution {substitution!r}: the expression has {groups} groups, not {piece[0]}")
        parts.append(int(piece[0]))
        parts.append(piece[1:].encode("utf-8", "surrogateescape"))
        index += 1
    return [part for part in parts if part != b""]
