"""Matchers of plain values, compiled once from plain values.

A matcher is a closure that takes a value and says yes or no, so that asking costs one call and nothing is decided
again that the configuration has decided. Nothing here knows protobuf.

Text. A value taken from a message is a str whose characters stand for bytes (Latin-1). A pattern comes from the
configuration, as Unicode; its UTF-8 bytes are what it is compared with. `wire_text` makes that step, for patterns
here and for a caller whose values are Unicode (a claim of a token, say).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from random import Random
from typing import Protocol
from urllib.parse import unquote

from meshproxy.inlining import Source, inlined
from meshproxy.records import dataclass
from meshproxy.regex import regex_matcher

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
