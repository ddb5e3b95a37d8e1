"""The predicates of a matcher list: one input with a matcher for it, and their combination with and, or and not."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from meshproxy.config.matching.matcher_inputs import CEL_INPUT, METADATA_INPUT, Input, compile_input, typed_of
from meshproxy.config.matching.matchers import compile_runtime_fraction, compile_string_matcher
from meshproxy.config.matching.stream_matchers import compile_value_matcher
from meshproxy.config.values.addresses import compile_range_set
from meshproxy.config.values.context import CompileContext
from meshproxy.hashing import xxhash64
from meshproxy.plugin.view import ConfigView
from meshproxy.suggest import unsupported_extension

Predicate = Callable[[Any], bool]
Inputs = Mapping[str, Callable[[ConfigView], Input]]

_CEL = "xds.type.matcher.v3.CelMatcher"
_IP = "envoy.extensions.matching.input_matchers.ip.v3.Ip"
_METADATA = "envoy.extensions.matching.input_matchers.metadata.v3.Metadata"
_FRACTION = "envoy.extensions.matching.input_matchers.runtime_fraction.v3.RuntimeFraction"


def compile_predicate(view: ConfigView, inputs: Inputs, context: CompileContext) -> Predicate:
    """`Matcher.MatcherList.Predicate`. Raises ConfigError."""
    kind = view.which("match_type")
    if kind == "single_predicate":
        return _compile_single(view.required(kind), inputs, context)
    if kind == "not_matcher":
        inner = compile_predicate(view.required(kind), inputs, context)
        return lambda info: not inner(info)
    if kind is None:
        view.fail("a predicate of some kind is required")
    parts = tuple(compile_predicate(entry, inputs, context) for entry in view.required(kind).views("predicate"))
    if kind == "or_matcher":
        return lambda info: any(holds(info) for holds in parts)
    return lambda info: all(holds(info) for holds in parts)


def _compile_single(view: ConfigView, inputs: Inputs, context: CompileContext) -> Predicate:
    kind, read = compile_input(view.required("input"), inputs)
    if view.which("matcher") == "value_match":
        if kind in (CEL_INPUT, METADATA_INPUT):
            view.fail(f"a text can't be matched with what {kind} gives", "value_match")
        matches = compile_string_matcher(view.required("value_match"))
        return lambda info: type(value := read(info)) is str and matches(value)
    custom = view.view("custom_match")
    if custom is None:
        view.fail("'value_match' or 'custom_match' is required")
    return _compile_custom(custom, kind, read, context)


def _compile_custom(extension: ConfigView, kind: str, read: Input, context: CompileContext) -> Predicate:
    typed = typed_of(extension)
    view = typed.view
    compiler = _CUSTOM.get(typed.full_name)
    if compiler is None or view is None:
        typed.fail(unsupported_extension(typed.full_name, _CUSTOM))
    needed = {_CEL: CEL_INPUT, _METADATA: METADATA_INPUT}.get(typed.full_name)
    if (needed or kind) != kind or (kind in (CEL_INPUT, METADATA_INPUT) and needed is None):
        typed.fail(f"{typed.full_name} can't look at what {kind} gives")
    return compiler(view, read, context)


def _cel(view: ConfigView, read: Input, context: CompileContext) -> Predicate:
    from meshproxy.config.values.expressions import compile_cel_expression  # few configurations have expressions

    view.text("description")
    return compile_cel_expression(view.required("expr_match"))


def _ip(view: ConfigView, read: Input, context: CompileContext) -> Predicate:
    ranges = compile_range_set(view, "cidr_ranges")
    failed = context.stats.counter(f"{view.text('stat_prefix')}.ip_parsing_failed")

    def matches(info: Any) -> bool:
        value = read(info)
        if type(value) is not str:
            return False
        try:
            return value in ranges
        except ValueError:
            failed.value += 1
            return False

    return matches


def _metadata(view: ConfigView, read: Input, context: CompileContext) -> Predicate:
    test = compile_value_matcher(view.required("value"))
    invert = view.boolean("invert")
    return lambda info: test(read(info)) is not invert


def _fraction(view: ConfigView, read: Input, context: CompileContext) -> Predicate:
    share = compile_runtime_fraction(view.required("runtime_fraction"), context)
    seed = view.integer("seed")
    return lambda info: type(value := read(info)) is str and share.covers(xxhash64(value.encode("latin-1"), seed))


_CUSTOM: Mapping[str, Callable[[ConfigView, Input, CompileContext], Predicate]] = {
    _CEL: _cel,
    _IP: _ip,
    _METADATA: _metadata,
    _FRACTION: _fraction,
}
