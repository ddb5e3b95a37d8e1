"""Matcher trees (`xds.type.matcher.v3.Matcher`): from what is known of a stream to an action, by predicates or maps.

A tree becomes one closure that gives the action or None. A nested tree that finds nothing is as if its predicate had
not held: the next one is tried, in a map of prefixes the next shorter one, and `on_no_match` at the end.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from meshproxy.address import CidrRange, is_ip
from meshproxy.config.matching.matcher_inputs import CEL_INPUT, METADATA_INPUT, Input, compile_input, typed_of
from meshproxy.config.matching.matcher_predicates import Inputs, Predicate, compile_predicate
from meshproxy.config.values.addresses import compile_ranges
from meshproxy.config.values.context import CompileContext
from meshproxy.matching import wire_text
from meshproxy.plugin.view import ConfigView, TypedView
from meshproxy.suggest import unsupported_extension

A = TypeVar("A")

Match = Callable[[Any], A | None]
"""From the stream to the action, None where nothing matches."""

CompileAction = Callable[[TypedView], A]

_IP_MATCHER = "xds.type.matcher.v3.IPMatcher"
_NAME_MATCHER = "xds.type.matcher.v3.ServerNameMatcher"


def compile_matcher(
    view: ConfigView, compile_action: CompileAction[A], inputs: Inputs, context: CompileContext
) -> Match[A]:
    """`Matcher`. compile_action: from the configuration of an action to what the tree gives. Raises ConfigError."""
    return _Compiler(compile_action, inputs, context).matcher(view)


def _no_match(info: object) -> None:
    """What a matcher that says nothing finds."""


class _Compiler:
    def __init__(self, compile_action: CompileAction[Any], inputs: Inputs, context: CompileContext) -> None:
        self._compile_action = compile_action
        self._inputs = inputs
        self._context = context

    def matcher(self, view: ConfigView) -> Match[Any]:
        otherwise = view.view("on_no_match")
        fallback = self._on_match(otherwise) if otherwise is not None else None
        kind = view.which("matcher_type")
        if kind == "matcher_list":
            found = self._list(view.required(kind).views("matchers"))
        elif kind == "matcher_tree":
            found = self._tree(view.required(kind))
        else:
            return fallback or _no_match
        if fallback is None:
            return found
        return lambda info: fallback(info) if (action := found(info)) is None else action

    def _on_match(self, view: ConfigView) -> Match[Any]:
        if view.boolean("keep_matching"):
            view.fail("going on after a match isn't supported by meshproxy", "keep_matching")
        nested = view.view("matcher")
        if nested is not None:
            return self.matcher(nested)
        extension = view.view("action")
        if extension is None:
            view.fail("'matcher' or 'action' is required")
        action = self._compile_action(typed_of(extension))
        return lambda info: action

    def _list(self, views: Sequence[ConfigView]) -> Match[Any]:
        entries: list[tuple[Predicate, Match[Any]]] = [
            (
                compile_predicate(entry.required("predicate"), self._inputs, self._context),
                self._on_match(entry.required("on_match")),
            )
            for entry in views
        ]

        def find(info: Any) -> Any:
            for holds, then in entries:
                if holds(info) and (action := then(info)) is not None:
                    return action
            return None

        return find

    def _tree(self, view: ConfigView) -> Match[Any]:
        input_view = view.required("input")
        input_kind, read = compile_input(input_view, self._inputs)
        if input_kind in (CEL_INPUT, METADATA_INPUT):
            input_view.fail(f"a map can't look at what {input_kind} gives")
        kind = view.which("tree_type")
        if kind in ("exact_match_map", "prefix_match_map"):
            entries = view.required(kind).view_map("map")
            below = {wire_text(key): self._on_match(entry) for key, entry in entries.items()}
            return _exact(read, below) if kind == "exact_match_map" else _prefix(read, below)
        if kind is None:
            view.fail("a map is required")
        typed = typed_of(view.required("custom_match"))
        if typed.view is None or typed.full_name not in (_IP_MATCHER, _NAME_MATCHER):
            typed.fail(unsupported_extension(typed.full_name, (_IP_MATCHER, _NAME_MATCHER)))
        return self._by_address(typed.view, read) if typed.full_name == _IP_MATCHER else self._by_name(typed.view, read)

    def _by_address(self, view: ConfigView, read: Input) -> Match[Any]:
        """Of the ranges that hold the address the smallest; without `exclusive` then larger ones."""
        entries: list[tuple[CidrRange, Match[Any], bool]] = []
        for entry in view.views("range_matchers"):
            then, exclusive = self._on_match(entry.required("on_match")), entry.boolean("exclusive")
            entries += [(cidr, then, exclusive) for cidr in compile_ranges(entry, "ranges")]
        entries.sort(key=lambda entry: -entry[0].length)

        def find(info: Any) -> Any:
            value = read(info)
            if type(value) is not str or not is_ip(value):
                return None
            for cidr, then, exclusive in entries:
                if cidr.contains(value):
                    action = then(info)
                    if action is not None or exclusive:
                        return action
            return None

        return find

    def _by_name(self, view: ConfigView, read: Input) -> Match[Any]:
        """Exact names before wildcards (`*.b.c`, then `*.c`), then `*`."""
        below: dict[str, Match[Any]] = {}
        for entry in view.views("domain_matchers"):
            then = self._on_match(entry.required("on_match"))
            for domain in entry.texts("domains"):
                below.setdefault(domain.lower(), then)

        def find(info: Any) -> Any:
            value = read(info)
            if type(value) is not str:
                return None
            name = value.lower()
            labels = name.split(".")
            candidates = [name, *(f"*.{'.'.join(labels[at:])}" for at in range(1, len(labels))), "*"]
            for candidate in candidates:
                then = below.get(candidate)
                if then is not None and (action := then(info)) is not None:
                    return action
            return None

        return find


def _exact(read: Input, below: dict[str, Match[Any]]) -> Match[Any]:
    def find(info: Any) -> Any:
        then = below.get(read(info))
        return None if then is None else then(info)

    return find


def _prefix(read: Input, below: dict[str, Match[Any]]) -> Match[Any]:
    """The longest prefix that leads to an action."""
    lengths = sorted({len(key) for key in below}, reverse=True)

    def find(info: Any) -> Any:
        value = read(info)
        if type(value) is not str:
            return None
        for length in lengths:
            then = below.get(value[:length]) if length <= len(value) else None
            if then is not None and (action := then(info)) is not None:
                return action
        return None

    return find
