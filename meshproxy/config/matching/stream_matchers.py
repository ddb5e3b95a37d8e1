"""Matchers of what is known of a stream beside its head: dynamic metadata and filter state
(envoy.type.matcher.v3.MetadataMatcher, ValueMatcher, FilterStateMatcher)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from meshproxy.config.matching.matchers import compile_string_matcher
from meshproxy.config.values.addresses import compile_address_matcher
from meshproxy.matching import wire_text
from meshproxy.plugin.stream_info import StreamInfo, split_address
from meshproxy.plugin.view import ConfigView

ValueTest = Callable[[Any], bool]
StreamTest = Callable[[StreamInfo], bool]

ABSENT: Any = object()
"""Stands for a value that isn't there; null is a value."""


def compile_value_matcher(view: ConfigView) -> ValueTest:
    """`ValueMatcher`: a test of a plain value (what JSON can say), or of `ABSENT`. Raises ConfigError."""
    kind = view.which("match_pattern")
    if kind == "null_match":
        return lambda value: value is None
    if kind == "double_match":
        return _number_matcher(view.required("double_match"))
    if kind == "string_match":
        matches = compile_string_matcher(view.required("string_match"))
        # A value of metadata is Unicode; string matchers compare the bytes of the wire.
        return lambda value: isinstance(value, str) and matches(wire_text(value))
    if kind == "bool_match":
        wanted = view.boolean("bool_match")
        return lambda value: value is wanted
    if kind == "present_match":
        present = view.boolean("present_match")
        return lambda value: present and value is not ABSENT  # false matches nothing, in Envoy either
    if kind == "list_match":
        test = compile_value_matcher(view.required("list_match").required("one_of"))
        return lambda value: isinstance(value, list | tuple) and any(map(test, value))
    tests = tuple(compile_value_matcher(entry) for entry in view.required("or_match").views("value_matchers"))
    return lambda value: any(test(value) for test in tests)


def _number_matcher(view: ConfigView) -> ValueTest:
    if view.which("match_pattern") == "exact":
        wanted = view.number("exact")
        return lambda value: _is_number(value) and value == wanted
    bounds = view.required("range")
    start, end = bounds.number("start"), bounds.number("end")
    return lambda value: _is_number(value) and start <= value < end


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def compile_metadata_matcher(view: ConfigView) -> Callable[[Mapping[str, Any] | None], bool]:
    """`MetadataMatcher`: a test of metadata, namespace to fields. Raises ConfigError."""
    keys = (view.text("filter"), *(segment.text("key") for segment in view.views("path")))
    test = compile_value_matcher(view.required("value"))
    invert = view.boolean("invert")
    return lambda metadata: test(find_value(metadata, keys)) is not invert


def find_value(metadata: Mapping[str, Any] | None, keys: tuple[str, ...]) -> Any:
    """The value at a path of keys; `ABSENT` when there is none."""
    value: Any = metadata
    for key in keys:
        if not isinstance(value, Mapping) or key not in value:
            return ABSENT
        value = value[key]
    return value


def compile_dynamic_metadata_matcher(view: ConfigView) -> StreamTest:
    """A `MetadataMatcher` for a stream's dynamic metadata. Raises ConfigError."""
    matches = compile_metadata_matcher(view)
    return lambda stream: matches(stream.dynamic_metadata)


def compile_filter_state_matcher(view: ConfigView) -> StreamTest:
    """`FilterStateMatcher`: asks for the text, or the address, of an object in the filter state. Raises ConfigError."""
    key = view.text("key")
    if view.which("matcher") == "address_match":
        inside = compile_address_matcher(view.required("address_match"))
        return lambda stream: _is_address(inside, _state(stream, key))
    matches = compile_string_matcher(view.required("string_match"))
    return lambda stream: (value := _state(stream, key)) is not None and matches(wire_text(str(value)))


def _state(stream: StreamInfo, key: str) -> object | None:
    state = stream.known_state
    return state.get(key) if state else None


def _is_address(inside: Callable[[str], bool], value: object | None) -> bool:
    if value is None:
        return False
    try:
        return inside(split_address(str(value))[0])
    except ValueError:
        return False
