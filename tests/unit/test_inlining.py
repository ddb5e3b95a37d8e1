"""Predicates written into one another's place say what they say when they are called."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Any

import pytest

from meshproxy.headers import RequestHeaders
from meshproxy.inlining import compile_all, compile_choice, inlined
from meshproxy.matching import header_matcher, range_matcher, string_matcher
from meshproxy.regex import regex_matcher

VALUES = ("", "a", "A", "ab", "ba", "7", "'", '"\\', "{x}")
MATCHERS = [
    *(string_matcher(kind, text) for kind, text in product(("exact", "prefix", "suffix", "contains"), VALUES)),
    string_matcher("exact", "a", ignore_case=True),
    regex_matcher("a+"),
    range_matcher(5, 9),
]
REQUESTS = [
    RequestHeaders("GET", "/", "host", fields=fields)
    for fields in ((), *([("name", value)] for value in VALUES), [("name", "a"), ("name", "b")], [("name", "b")] * 2)
]


def chosen(predicate: Callable[[Any], bool], argument: object) -> bool:
    choose = compile_choice([(predicate, True)], False)
    result: bool = choose(argument)
    return result


@pytest.mark.parametrize("name", ["name", ":method", ":authority", "host", ":status"])
@pytest.mark.parametrize(("invert", "as_empty"), list(product((False, True), repeat=2)))
def test_header_matchers(name: str, invert: bool, as_empty: bool) -> None:
    for check in (*MATCHERS, None):
        matches = header_matcher(name, check, invert=invert, missing_as_empty=as_empty)
        choose = compile_choice([(matches, True)], False)
        for request in REQUESTS:
            assert choose(request) is matches(request), (request, check)


def test_string_matchers() -> None:
    for matches in MATCHERS:
        choose = compile_choice([(matches, True)], False)
        assert [choose(value) for value in VALUES] == [matches(value) for value in VALUES]


def test_the_first_that_holds_is_chosen() -> None:
    choose = compile_choice([("a".__eq__, 1), (lambda value: value in ("a", "b"), "two")], None)
    assert [choose(value) for value in ("a", "b", "c")] == [1, "two", None]


@pytest.mark.parametrize(("texts", "expected"), [((), True), (("a",), True), (("a", "b"), True), (("a", "c"), False)])
def test_all_must_hold(texts: tuple[str, ...], expected: bool) -> None:
    holds = compile_all([string_matcher("contains", text) for text in texts])
    assert holds("ab") is expected


def test_any_depth() -> None:
    def nest(inner: Callable[[Any], bool]) -> Callable[[Any], bool]:
        return inlined(lambda value: not inner(value), lambda value, source: f"not {source.test(inner, value)}")

    predicate: Callable[[Any], bool] = string_matcher("exact", "a")
    for _ in range(500):
        predicate = nest(predicate)
    assert chosen(predicate, "a")
    assert not chosen(predicate, "b")
