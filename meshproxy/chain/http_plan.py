"""The plan of an HTTP filter chain: which filters a route's requests meet, and which of them have which hook.

Made once per route when the configuration is compiled, so that a stream walks tuples of positions and never asks
whether a filter overrides something, is disabled, or has a configuration of its own on this route.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from meshproxy.chain.missing_filter import MissingFilter, MissingTerminal
from meshproxy.model.extension_slot import RouteOverride
from meshproxy.model.listener import FilterSpec
from meshproxy.model.route import FILTER_DISABLED, FILTER_ENABLED
from meshproxy.plugin.http import HttpFilter, TerminalHttpFilter
from meshproxy.records import dataclass


@dataclass(frozen=True, slots=True, eq=False)
class HttpPlan:
    """What `FilterStream` walks. Positions index `makers`; the terminal filter is the last and in no request tuple.

    makers: (class, configuration, context) of each filter that takes part.
    shared: at each position the instance that serves all streams; where each stream has its own, a stand-in.
    per_stream: (position, class, configuration, context) of those others.
    request_*: positions in chain order. response_*: positions in reverse order, the terminal filter left out.
    request_buffered, response_buffered: those that want the whole body.
    complete: positions of filters that want to hear of the stream's end.
    """

    makers: tuple[tuple[type[HttpFilter[Any]], Any, Any], ...]
    shared: list[HttpFilter[Any]]
    per_stream: tuple[tuple[int, type[HttpFilter[Any]], Any, Any], ...]
    names: tuple[str, ...]
    request_headers: tuple[int, ...]
    request_body: tuple[int, ...]
    request_trailers: tuple[int, ...]
    response_headers: tuple[int, ...]
    response_body: tuple[int, ...]
    response_trailers: tuple[int, ...]
    request_buffered: frozenset[int]
    response_buffered: frozenset[int]
    complete: tuple[int, ...]


_STAND_IN: Any = None


def _overrides(filter_class: type[HttpFilter[Any]], hook: str) -> bool:
    inherited = (getattr(HttpFilter, hook), getattr(TerminalHttpFilter, hook))
    return getattr(filter_class, hook) not in inherited


def _effective(placed: FilterSpec, route_config: Mapping[str, Any]) -> FilterSpec | None:
    """The filter as it takes part on this route; None: it doesn't."""
    override = route_config.get(placed.name)
    if override is FILTER_DISABLED or (override is None and placed.disabled):
        return None
    spec = placed.current()
    if spec is None:
        missing = MissingTerminal if placed.slot.last else MissingFilter
        return replace(placed, filter_class=missing)
    if isinstance(override, RouteOverride):
        override = override.config if override.filter_class is spec.filter_class else None
    if override is not None and override is not FILTER_ENABLED:
        spec = replace(spec, config=spec.filter_class.merge_route(spec.config, override))
    return spec if spec.filter_class.is_active(spec.config) else None


def plan_filters(specs: Sequence[FilterSpec], route_config: Mapping[str, Any]) -> HttpPlan:
    """Plan the chain `specs` (the terminal filter last) for a route with this `typed_per_filter_config`."""
    makers: list[tuple[type[HttpFilter[Any]], Any, Any]] = []
    names: list[str] = []
    for placed in specs:
        spec = _effective(placed, route_config)
        if spec is not None:
            makers.append((spec.filter_class.for_config(spec.config), spec.config, spec.context))
            names.append(spec.name)
    classes = [maker[0] for maker in makers]
    before_terminal = range(len(classes) - 1)

    def having(hook: str, buffered: frozenset[int] = frozenset()) -> tuple[int, ...]:
        return tuple(i for i in before_terminal if i in buffered or _overrides(classes[i], hook))

    request_buffered = frozenset(i for i in before_terminal if makers[i][0].buffers_request(makers[i][1]))
    response_buffered = frozenset(i for i in before_terminal if classes[i].buffers_response(makers[i][1]))
    return HttpPlan(
        makers=tuple(makers),
        shared=[make(config, context) if make.stateless else _STAND_IN for make, config, context in makers],
        per_stream=tuple((position, *maker) for position, maker in enumerate(makers) if not maker[0].stateless),
        names=tuple(names),
        request_headers=having("on_request_headers", request_buffered),
        request_body=having("on_request_body", request_buffered),
        request_trailers=having("on_request_trailers"),
        response_headers=having("on_response_headers", response_buffered)[::-1],
        response_body=having("on_response_body", response_buffered)[::-1],
        response_trailers=having("on_response_trailers")[::-1],
        request_buffered=request_buffered,
        response_buffered=response_buffered,
        complete=tuple(i for i in range(len(classes)) if _overrides(classes[i], "on_stream_complete")),
    )
