"""Matchers of strings, headers, query parameters and shares of traffic: protobuf to the closures of
`meshproxy.matching` (envoy.type.matcher.v3, and route.v3.HeaderMatcher, QueryParameterMatcher)."""

from __future__ import annotations

from collections.abc import Callable

from meshproxy.config.values.context import CompileContext
from meshproxy.matching import (
    FractionalPercent,
    HeaderMatcher,
    QueryMatcher,
    StringMatcher,
    header_matcher,
    query_parameter_matcher,
    range_matcher,
    string_matcher,
)
from meshproxy.plugin.view import ConfigView
from meshproxy.regex import regex_matcher, regex_replacer
from meshproxy.runtime_values import DENOMINATORS, Live, Share


def compile_regex(view: ConfigView) -> str:
    """`RegexMatcher`: the expression itself, for RE2. Raises ConfigError."""
    view.has("google_re2")  # the one engine there is
    return view.text("regex")


def compile_regex_matcher(view: ConfigView) -> StringMatcher:
    """`RegexMatcher` that a whole value must match. Raises ConfigError."""
    try:
        return regex_matcher(compile_regex(view))
    except ValueError as error:
        view.fail(str(error), "regex")


def compile_regex_replacer(view: ConfigView) -> Callable[[str], str]:
    """`RegexMatchAndSubstitute`: replaces every match. Raises ConfigError."""
    pattern = compile_regex(view.required("pattern"))
    try:
        return regex_replacer(pattern, view.text("substitution"))
    except ValueError as error:
        view.fail(str(error))


def compile_string_matcher(view: ConfigView) -> StringMatcher:
    """`type.matcher.v3.StringMatcher`. Raises ConfigError."""
    kind = view.which("match_pattern")
    if kind == "safe_regex":
        if view.boolean("ignore_case"):
            view.fail("ignore_case has no effect for safe_regex", "ignore_case")
        return compile_regex_matcher(view.required("safe_regex"))
    if kind in (None, "custom"):
        view.fail("a string matcher of the kinds exact, prefix, suffix, contains and safe_regex is needed")
    return string_matcher(kind, view.text(kind), view.boolean("ignore_case"))


def compile_string_matchers(view: ConfigView, field: str) -> StringMatcher:
    """A list of them, of which one must match (`ListStringMatcher.patterns` and its like). Raises ConfigError."""
    matchers = tuple(compile_string_matcher(entry) for entry in view.views(field))
    return matchers[0] if len(matchers) == 1 else lambda value: any(matches(value) for matches in matchers)


def compile_header_matcher(view: ConfigView) -> HeaderMatcher:
    """`route.v3.HeaderMatcher`. Raises ConfigError."""
    name = view.text("name")
    kind = view.which("header_match_specifier")
    invert = view.boolean("invert_match")
    as_empty = view.boolean("treat_missing_header_as_empty")
    if kind is None:
        return header_matcher(name, invert=invert, missing_as_empty=as_empty)
    if kind == "present_match":
        present = view.boolean("present_match")
        return header_matcher(name, present=present, invert=invert, missing_as_empty=as_empty)
    return header_matcher(name, _value_matcher(view, kind), invert=invert, missing_as_empty=as_empty)


def _value_matcher(view: ConfigView, kind: str) -> StringMatcher:
    if kind == "string_match":
        return compile_string_matcher(view.required("string_match"))
    if kind == "range_match":
        bounds = view.required("range_match")
        start, end = bounds.integer("start"), bounds.integer("end")
        return range_matcher(start, end)
    if kind == "safe_regex_match":
        return compile_regex_matcher(view.required("safe_regex_match"))
    # exact_match, prefix_match, suffix_match, contains_match: deprecated names of the same.
    return string_matcher(kind.removesuffix("_match"), view.text(kind))


def compile_query_matcher(view: ConfigView) -> QueryMatcher:
    """`route.v3.QueryParameterMatcher`, for the result of `matching.parse_query`. Raises ConfigError."""
    name = view.text("name")
    kind = view.which("query_parameter_match_specifier")
    if kind == "string_match":
        return query_parameter_matcher(name, compile_string_matcher(view.required("string_match")))
    return query_parameter_matcher(name, present=kind is None or view.boolean("present_match"))


def compile_fraction(view: ConfigView) -> FractionalPercent:
    """`type.v3.FractionalPercent`. Raises ConfigError."""
    denominator = DENOMINATORS.get(view.enum("denominator"))
    if denominator is None:
        view.fail("an unknown denominator", "denominator")
    return FractionalPercent(view.integer("numerator"), denominator)


def compile_runtime_fraction(view: ConfigView, context: CompileContext) -> Share:
    """`RuntimeFractionalPercent`: follows its key, if it has one."""
    default = view.view("default_value")
    fraction = compile_fraction(default) if default is not None else FractionalPercent(0)
    return context.runtime.share(view.text("runtime_key"), fraction)


def compile_runtime_flag(view: ConfigView, context: CompileContext) -> Live[bool]:
    """`RuntimeFeatureFlag`: follows its key, if it has one."""
    return context.runtime.flag(view.text("runtime_key"), view.boolean("default_value"))


def compile_runtime_integer(view: ConfigView, context: CompileContext) -> Live[int]:
    """`RuntimeUInt32`: follows its key, if it has one."""
    return context.runtime.integer(view.text("runtime_key"), view.integer("default_value"))


def compile_runtime_double(view: ConfigView, context: CompileContext) -> Live[float]:
    """`RuntimeDouble`: follows its key, if it has one."""
    return context.runtime.number(view.text("runtime_key"), view.number("default_value"))
