"""Matchers of plain values, compiled once from plain values.

A matcher is a closure that takes a value and says yes or no, so that asking costs one call and nothing is decided
again that the configuration has decided. Nothing here knows protobuf.

Text. A value taken from a message is a str whose characters stand for bytes (Latin-1). A pattern comes from the
configuration, as Unicode; its UTF-8 bytes are what it is compared with. `wire_text` makes that step, for patterns
here and for a caller whose values are Unicode (a claim of a token, say).

Regular expressions are RE2, as in Envoy, over bytes with Latin-1 as the encoding: with UTF-8 `.*admin.*` would not
match a value that has a byte 0xFF before `admin`, and a rule that denies would let it pass. Time is linear in the
value; Python's `re`, which can take exponential time, is never used on a pattern from the configuration.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import Protocol
from urllib.parse import unquote

import re2

from meshproxy.inlining import Source, inlined
from meshproxy.records import dataclass

StringMatcher = Callable[[str], bool]
QueryMatcher = Callable[[Mapping[str, str]], bool]

_INT64_MIN, _INT64_MAX = -(2**63), 2**63 - 1


class HeaderSource(Protocol):
    """What a header matcher reads: `meshproxy.headers.Headers` and its like."""

    fields: dict[str, str]
    repeated: bool

    def get(self, name: str, default: str | None = None) -> str | None:
        """The value of the field; repeated ones joined with ","."""

    def get_all(self, name: str) -> list[str]:
        """Every value of the field, in wire order."""


HeaderMatcher = Callable[[HeaderSource], bool]


def wire_text(text: str) -> str:
    """The str whose Latin-1 characters are the UTF-8 bytes of `text`."""
    return text if text.isascii() else text.encode("utf-8", "surrogateescape").decode("latin-1")


def ascii_lower(text: str) -> str:
    """`text` with A-Z in lower case and every other character as it is (str.lower would change bytes 0xC0-0xDE)."""
    return text.lower() if text.isascii() else text.encode("latin-1").lower().decode("latin-1")


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


def regex_matcher(pattern: str) -> StringMatcher:
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


def string_matcher(kind: str, pattern: str, ignore_case: bool = False) -> StringMatcher:
    """Compile Envoy's `type.matcher.v3.StringMatcher`.

    kind: exact, prefix, suffix, contains or safe_regex. ignore_case: of A-Z only; without effect on safe_regex.
    Raises ValueError for an unknown kind or an expression that RE2 refuses.
    """
    if kind == "safe_regex":
        return regex_matcher(pattern)
    expected = wire_text(pattern)
    if ignore_case:
        return _ignoring_case(kind, ascii_lower(expected))
    if kind == "exact":
        return inlined(lambda value: value == expected, lambda value, _: f"{value} == {expected!r}")
    if kind == "prefix":
        return inlined(lambda value: value.startswith(expected), lambda value, _: f"{value}.startswith({expected!r})")
    if kind == "suffix":
        return inlined(lambda value: value.endswith(expected), lambda value, _: f"{value}.endswith({expected!r})")
    if kind == "contains":
        return inlined(lambda value: expected in value, lambda value, _: f"{expected!r} in {value}")
    raise ValueError(f"{kind!r} is not a kind of string match")


def _ignoring_case(kind: str, expected: str) -> StringMatcher:
    if kind == "exact":
        return lambda value: ascii_lower(value) == expected
    if kind == "prefix":
        return lambda value: ascii_lower(value).startswith(expected)
    if kind == "suffix":
        return lambda value: ascii_lower(value).endswith(expected)
    if kind == "contains":
        return lambda value: expected in ascii_lower(value)
    raise ValueError(f"{kind!r} is not a kind of string match")


def parse_int64(text: str) -> int | None:
    """A decimal number as absl::SimpleAtoi reads it: optional sign, surrounding white space; None if it isn't one."""
    text = text.strip(" \t\n\v\f\r")
    digits = text[1:] if text[:1] in ("-", "+") else text
    if not (digits.isascii() and digits.isdigit()) or len(digits) > 4000:
        return None
    number = int(text)
    return number if _INT64_MIN <= number <= _INT64_MAX else None


def range_matcher(start: int, end: int) -> StringMatcher:
    """Matches a decimal number of `start` <= n < `end`; whatever is no such number doesn't match."""

    def matches(value: str) -> bool:
        number = parse_int64(value)
        return number is not None and start <= number < end

    return matches


# Where the pseudo-fields of RFC 9113 section 8.3.1 stand in a message's head. Envoy's maps read `host` as `:authority`.
_PSEUDO = {":method": "method", ":path": "path", ":authority": "authority", ":scheme": "scheme", "host": "authority"}


def header_getter(name: str) -> Callable[[HeaderSource], str | None]:
    """A function that reads one field, or pseudo-field, of a request or a response; None when it is absent.

    Repeated fields are joined with ",".
    """
    name = wire_text(name.lower())
    if name == ":status":
        return lambda headers: None if (status := getattr(headers, "status", None)) is None else str(status)
    attribute = _PSEUDO.get(name)
    if attribute is None:
        return lambda headers: headers.get(name)
    return inlined(
        lambda headers: getattr(headers, attribute, None), lambda headers, _: f"getattr({headers}, {attribute!r}, None)"
    )


def header_matcher(
    name: str,
    value: StringMatcher | None = None,
    *,
    present: bool = True,
    invert: bool = False,
    missing_as_empty: bool = False,
) -> HeaderMatcher:
    """Compile Envoy's `route.v3.HeaderMatcher`.

    value: what a value must match (`string_matcher`, `range_matcher`); without it presence alone is matched:
    `present` says whether the field must be there. Of repeated fields each value is looked at by itself and one that
    matches is enough (none, when inverted); Envoy 1.40 doesn't look at the joined value. A field that is missing
    never matches a value, inverted or not, unless `missing_as_empty` makes it "".
    """
    if value is None:
        return _presence_matcher(header_getter(name), present != invert, missing_as_empty)
    lowered = wire_text(name.lower())
    if lowered in _PSEUDO or lowered == ":status":
        return _single_value_matcher(header_getter(name), value, invert, missing_as_empty)
    return _field_matcher(lowered, value, invert, missing_as_empty)


def _field_matcher(name: str, check: StringMatcher, invert: bool, missing_as_empty: bool) -> HeaderMatcher:
    wanted = not invert
    when_missing = missing_as_empty and check("") is wanted

    def matches(headers: HeaderSource) -> bool:
        text = headers.fields.get(name)
        if text is None:
            return when_missing
        if headers.repeated:
            return any(map(check, headers.get_all(name))) is wanted
        return check(text) is wanted

    def render(headers: str, source: Source) -> str:
        text = source.local()
        test = f"{'' if wanted else 'not '}{source.test(check, text)}"
        once = f"{test} if ({text} := {headers}.fields.get({name!r})) is not None else {when_missing}"
        return f"({once}) if not {headers}.repeated else {source.constant(matches)}({headers})"

    return inlined(matches, render)


def _single_value_matcher(
    read: Callable[[HeaderSource], str | None], check: StringMatcher, invert: bool, missing_as_empty: bool
) -> HeaderMatcher:
    wanted = not invert
    when_missing = missing_as_empty and check("") is wanted

    def render(headers: str, source: Source) -> str:
        text = source.local()
        value = source.test(read, headers)
        return (
            f"{when_missing} if ({text} := {value}) is None else {'' if wanted else 'not '}{source.test(check, text)}"
        )

    return inlined(lambda headers: when_missing if (text := read(headers)) is None else check(text) is wanted, render)


def _presence_matcher(
    read: Callable[[HeaderSource], str | None], wanted: bool, missing_as_empty: bool
) -> HeaderMatcher:
    if missing_as_empty:
        return lambda headers: wanted
    if wanted:
        return lambda headers: read(headers) is not None
    return lambda headers: read(headers) is None


def parse_query(path: str) -> dict[str, str]:
    """The first value of each query parameter of a request target, not percent-decoded, as Envoy's routes see them."""
    _, mark, query = path.partition("?")
    parameters: dict[str, str] = {}
    if mark and query:
        for field in query.split("&"):
            name, _, value = field.partition("=")
            if name not in parameters:
                parameters[name] = value
    return parameters


def decode_query(path: str) -> dict[str, str]:
    """`parse_query`, percent-decoded."""
    query = parse_query(path)
    if "%" not in path:
        return query
    return {unquote(name, "latin-1"): unquote(value, "latin-1") for name, value in reversed(query.items())}


def query_parameter_matcher(name: str, value: StringMatcher | None = None, present: bool = True) -> QueryMatcher:
    """Compile Envoy's `route.v3.QueryParameterMatcher` for the result of `parse_query`.

    value: what the first value must match; without it presence alone is matched, as `present` says.
    """
    name = wire_text(name)
    if value is None:
        return (lambda query: name in query) if present else (lambda query: name not in query)
    check = value
    return lambda query: name in query and check(query[name])


@dataclass(frozen=True, slots=True)
class FractionalPercent:
    """A share of events, `numerator` in `denominator` (100, 10 000 or 1 000 000)."""

    numerator: int
    denominator: int = 100

    @property
    def possible(self) -> bool:
        """Whether it covers anything."""
        return self.numerator > 0

    def covers(self, number: int) -> bool:
        """Whether this random number (any non-negative integer) falls into the share."""
        return number % self.denominator < self.numerator

    def sampler(self, random: Random) -> Callable[[], bool]:
        """A function that says yes for that share of its calls; nothing is drawn when the answer is always the same."""
        if self.numerator <= 0:
            return lambda: False
        if self.numerator >= self.denominator:
            return lambda: True
        draw, limit = random.random, self.numerator / self.denominator
        return lambda: draw() < limit
