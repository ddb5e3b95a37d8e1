import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshproxy.headers import Headers, RequestHeaders, ResponseHeaders
from meshproxy.matching import (
    FractionalPercent,
    ascii_lower,
    header_matcher,
    parse_int64,
    parse_query,
    query_parameter_matcher,
    range_matcher,
    string_matcher,
    wire_text,
)
from meshproxy.regex import regex_matcher, regex_replacer

BINARY = st.text(st.characters(max_codepoint=255), max_size=12)


@pytest.mark.parametrize(
    ("kind", "pattern", "yes", "no"),
    [
        ("exact", "ab", ["ab"], ["", "a", "abc", "AB"]),
        ("prefix", "ab", ["ab", "abc"], ["", "a", "xab", "ABc"]),
        ("suffix", "ab", ["ab", "xab"], ["", "b", "abx", "xAB"]),
        ("contains", "ab", ["ab", "xabx"], ["", "a b", "xABx"]),
        ("safe_regex", "a+b?", ["a", "aab"], ["", "b", "aabx", "xa", "A"]),
        ("exact", "é", ["\xc3\xa9"], ["\xe9"]),
        ("contains", "é", ["x\xc3\xa9x"], ["\xe9"]),
        ("safe_regex", ".*é.*", ["x\xc3\xa9x"], ["\xe9"]),
    ],
)
def test_string_matcher(kind: str, pattern: str, yes: list[str], no: list[str]) -> None:
    matches = string_matcher(kind, pattern)
    assert [value for value in yes + no if matches(value)] == yes


@pytest.mark.parametrize("kind", ["exact", "prefix", "suffix", "contains"])
def test_ignore_case_is_of_ascii_letters_only(kind: str) -> None:
    matches = string_matcher(kind, "aB", ignore_case=True)
    assert matches("Ab")
    assert not matches("A")
    # 0xC0 and 0xE0 are one letter in two cases in Latin-1, and two different bytes on the wire.
    matches = string_matcher(kind, "x\u00c0", ignore_case=True)
    assert matches("X\xc3\x80")
    assert not matches("X\xe3\x80")


@pytest.mark.parametrize("ignore_case", [False, True])
def test_unknown_kind(ignore_case: bool) -> None:
    with pytest.raises(ValueError, match="glob"):
        string_matcher("glob", "a", ignore_case)


@given(BINARY, BINARY)
def test_plain_kinds_agree_with_an_escaped_expression(pattern: str, value: str) -> None:
    quoted = "".join(f"\\x{{{ord(character):02x}}}" for character in wire_text(pattern))
    for kind, expression in [("exact", "(?s)%s"), ("prefix", "(?s)%s.*"), ("suffix", "(?s).*%s")]:
        assert string_matcher(kind, pattern)(value) is string_matcher("safe_regex", expression % quoted)(value)


def test_a_byte_that_is_no_utf8_does_not_hide_the_rest() -> None:
    assert regex_matcher(".*admin.*")("/\xffadmin")


@pytest.mark.parametrize("pattern", ["(?=a)", "(a)\\1", "a(", "[z-a]", "a{1001}"])
def test_what_re2_refuses_is_a_value_error_with_the_reason(pattern: str) -> None:
    with pytest.raises(ValueError, match=r"the regular expression .*: [a-z]"):
        regex_matcher(pattern)


def test_a_catastrophic_expression_is_linear() -> None:
    assert not regex_matcher("(a+)+$b")("a" * 50_000)


@pytest.mark.parametrize(
    ("pattern", "substitution", "value", "expected"),
    [
        # The first six rows are those of RE2's own test of GlobalReplace.
        ("(qu|[b-df-hj-np-tv-z]*)([a-z]+)", r"\2\1ay", "the quick brown fox", "ethay ickquay ownbray oxfay"),
        ("b*", "bb", "bbbbbb", "bb"),
        ("b*", "bb", "abbbbbc", "bbabbcbb"),
        ("b+", "bb", "abbbbbc", "abbc"),
        ("a.*a", r"(\0)", "banana", "b(anana)"),
        ("b*", "bb", "a", "bbabb"),
        ("^/service/([^/]+)(/.*)$", r"\2/instance/\1", "/service/foo/v1/api", "/v1/api/instance/foo"),
        ("(?i)/xxx/", "/yyy/", "/aaa/XxX/bbb", "/aaa/yyy/bbb"),
        ("one", "two", "/xxx/one/yyy/one/zzz", "/xxx/two/yyy/two/zzz"),
        ("x", r"a\\b\\", "-x-", "-a\\b\\-"),
        ("(a)|(b)", r"[\1\2]", "ab", "[a][b]"),
        ("x", "é", "\xffx", "\xff\xc3\xa9"),
        ("nothing", "x", "/same", "/same"),
    ],
)
def test_regex_replacer(pattern: str, substitution: str, value: str, expected: str) -> None:
    assert regex_replacer(pattern, substitution)(value) == expected


@pytest.mark.parametrize("substitution", ["\\", "a\\x", "\\2", "\\\\\\"])
def test_bad_substitution(substitution: str) -> None:
    with pytest.raises(ValueError, match="substitution"):
        regex_replacer("(a)", substitution)


def test_range() -> None:
    matches = range_matcher(-10, 0)
    assert [text for text in ("-11", "-10", "-1", " -1 ", "0", "-1.0", "", "x", "-", "- 1", "１") if matches(text)] == [
        "-10",
        "-1",
        " -1 ",
    ]


def test_int64_bounds() -> None:
    assert parse_int64("9223372036854775807") == 2**63 - 1
    assert parse_int64("9223372036854775808") is None
    assert parse_int64("-9223372036854775808") == -(2**63)
    assert parse_int64("+7") == 7
    assert parse_int64("9" * 5000) is None


# Each row was run through Envoy 1.40.0 as the `headers` of a route, with and without the header "x".
# kind, invert, missing_as_empty -> x: "" / x: a / x: b / without x
HEADER_ROWS = [
    ("exact a", False, False, "nYnn"),
    ("exact a", True, False, "YnYn"),
    ("exact a", False, True, "nYnn"),
    ("exact a", True, True, "YnYY"),
    ("empty", False, False, "Ynnn"),
    ("empty", True, False, "nYYn"),
    ("empty", False, True, "YnnY"),
    ("empty", True, True, "nYYn"),
    ("present", False, False, "YYYn"),
    ("present", True, False, "nnnY"),
    ("present", False, True, "YYYY"),
    ("present", True, True, "nnnn"),
    ("absent", False, False, "nnnY"),
    ("absent", True, False, "YYYn"),
    ("absent", False, True, "nnnn"),
    ("absent", True, True, "YYYY"),
]


@pytest.mark.parametrize(("kind", "invert", "as_empty", "expected"), HEADER_ROWS)
def test_header_matcher(kind: str, invert: bool, as_empty: bool, expected: str) -> None:
    value = {"exact a": string_matcher("exact", "a"), "empty": string_matcher("safe_regex", "")}.get(kind)
    matches = header_matcher("X", value, present=kind != "absent", invert=invert, missing_as_empty=as_empty)
    requests = [RequestHeaders(fields=[("x", text)]) for text in ("", "a", "b")] + [RequestHeaders()]
    assert "".join("nY"[matches(request)] for request in requests) == expected


# As HEADER_ROWS, for messages with the header twice: what matches a / b, 1 / 20, and the single line "a,b".
REPEATED_ROWS = [
    ("exact", "a", False, "Ynn"),
    ("exact", "a", True, "nYY"),
    ("exact", "a,b", False, "nnY"),
    ("exact", "a,b", True, "YYn"),
    ("prefix", "a", False, "YnY"),
    ("prefix", "a", True, "nYn"),
    ("suffix", "b", False, "YnY"),
    ("contains", ",", False, "nnY"),
    ("contains", ",", True, "YYn"),
    ("safe_regex", "b", False, "Ynn"),
    ("safe_regex", "a,b", False, "nnY"),
    ("range", "", False, "nYn"),
    ("range", "", True, "YnY"),
]


@pytest.mark.parametrize(("kind", "pattern", "invert", "expected"), REPEATED_ROWS)
def test_repeated_fields_are_matched_one_by_one(kind: str, pattern: str, invert: bool, expected: str) -> None:
    value = range_matcher(0, 10) if kind == "range" else string_matcher(kind, pattern)
    matches = header_matcher("x", value, invert=invert)
    messages = [
        Headers([("x", "a"), ("y", "1"), ("x", "b")]),
        Headers([("x", "20"), ("x", "1")]),
        Headers([("x", "a,b")]),
    ]
    assert "".join("nY"[matches(headers)] for headers in messages) == expected


def test_pseudo_fields() -> None:
    request = RequestHeaders("PUT", "/p?q", "h:1", "https")
    for name, value in [(":method", "PUT"), (":path", "/p?q"), (":authority", "h:1"), (":scheme", "https")]:
        assert header_matcher(name, string_matcher("exact", value))(request)
        assert not header_matcher(name)(ResponseHeaders())
    assert header_matcher("Host", string_matcher("exact", "h:1"))(request)
    assert header_matcher(":status", range_matcher(500, 600))(ResponseHeaders(503))
    assert not header_matcher(":status")(request)


def test_query() -> None:
    assert parse_query("/a?b=1&b=2&c&=x&d=e=f&%62=9") == {"b": "1", "c": "", "": "x", "d": "e=f", "%62": "9"}
    assert parse_query("/a") == parse_query("/a?") == {}
    query = parse_query("/a?b=1&b=2&c")
    assert query_parameter_matcher("b", string_matcher("exact", "1"))(query)
    assert not query_parameter_matcher("b", string_matcher("exact", "2"))(query)
    assert query_parameter_matcher("c")(query)
    assert not query_parameter_matcher("c", present=False)(query)
    assert query_parameter_matcher("d", present=False)(query)
    assert not query_parameter_matcher("d", string_matcher("prefix", ""))(query)


def test_fractional_percent() -> None:
    assert [FractionalPercent(25).covers(number) for number in (0, 24, 25, 99, 124)] == [True, True, False, False, True]
    sample = FractionalPercent(2500, 10_000).sampler(random.Random(1))
    assert 2300 < sum(sample() for _ in range(10_000)) < 2700
    never_drawn = random.Random(1)
    state = never_drawn.getstate()
    assert FractionalPercent(100).sampler(never_drawn)()
    assert not FractionalPercent(0).sampler(never_drawn)()
    assert never_drawn.getstate() == state


@given(BINARY)
def test_ascii_lower_leaves_other_bytes(text: str) -> None:
    assert ascii_lower(text).encode("latin-1") == text.encode("latin-1").lower()
