"""The listener filters of a listener, and for which connections each runs (envoy.config.listener.v3.ListenerFilter)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from meshproxy.config.http.filters import compile_filter
from meshproxy.config.values.context import CompileContext
from meshproxy.messages.by_name import message_class
from meshproxy.model.listener import FilterSpec
from meshproxy.plugin.view import ConfigView

SocketPredicate = Callable[[Any], bool]

_PROXY_PROTOCOL = "envoy.extensions.filters.listener.proxy_protocol.v3.ProxyProtocol"
_ORIGINAL_DST = "envoy.extensions.filters.listener.original_dst.v3.OriginalDst"


def compile_listener_filters(view: ConfigView, context: CompileContext) -> tuple[FilterSpec, ...]:
    """Those of a listener. Problems are noted in the context."""
    specs = []
    for entry in view.views("listener_filters"):
        with entry.collect(context.problems):
            spec = compile_filter(entry, "listener", context.stats, context)
            off = entry.view("filter_disabled")
            specs.append(spec if off is None else replace(spec, skips=_predicate(off)))
    if view.boolean("use_original_dst"):
        specs.append(_implied("envoy.filters.listener.original_dst", _ORIGINAL_DST, view, context))
    chains = view.views("filter_chains")
    wants_proxy_protocol = [chain.boolean("use_proxy_proto") for chain in chains]
    if wants_proxy_protocol and wants_proxy_protocol[0]:  # Envoy asks the first alone
        specs.append(_implied("envoy.filters.listener.proxy_protocol", _PROXY_PROTOCOL, chains[0], context))
    return tuple(specs)


def _predicate(view: ConfigView) -> SocketPredicate:
    """`ListenerFilterChainMatchPredicate`, of the port that the connection goes to. Raises ConfigError."""
    kind = view.which("rule")
    if kind in ("or_match", "and_match"):
        parts = [_predicate(entry) for entry in view.required(kind).views("rules")]
        some = any if kind == "or_match" else all
        return lambda socket: some(part(socket) for part in parts)
    if kind == "not_match":
        inner = _predicate(view.required(kind))
        return lambda socket: not inner(socket)
    if kind == "any_match":
        view.boolean(kind)
        return lambda socket: True
    if kind == "destination_port_range":
        ports = view.required(kind)
        start, end = ports.integer("start"), ports.integer("end")
        return lambda socket: start <= socket.local[1] < end
    view.fail("a predicate needs a rule")


def _implied(name: str, full_name: str, view: ConfigView, context: CompileContext) -> FilterSpec:
    """The filter that a flag in `view` stands for (`use_original_dst`, the deprecated `use_proxy_proto`)."""
    filter_type, config_type = message_class("envoy.config.listener.v3.ListenerFilter"), message_class(full_name)
    assert filter_type is not None
    assert config_type is not None
    message: Any = filter_type(name=name)
    message.typed_config.Pack(config_type())
    entry = ConfigView(message, path=view.path, place=view.place, source=view.source)
    return compile_filter(entry, "listener", context.stats, context)
