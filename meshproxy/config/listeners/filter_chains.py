"""Filter chains of a listener: what selects them, and their network filters (envoy.config.listener.v3.FilterChain)."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from meshproxy.config.http.connection_manager import HTTP_CONNECTION_MANAGER, compile_http_connection_manager
from meshproxy.config.http.filters import CompileMessage, compile_chain, compile_filter, is_discovered
from meshproxy.config.tls.transport_sockets import compile_transport_socket
from meshproxy.config.values.addresses import compile_ranges
from meshproxy.config.values.context import CompileContext
from meshproxy.config.values.metadata import compile_metadata
from meshproxy.model.filter_chain import FilterChainMatch, SourceType
from meshproxy.model.http import HttpConnectionManagerConfig
from meshproxy.model.listener import FilterChain, FilterSpec
from meshproxy.plugin.context import FactoryContext
from meshproxy.plugin.registry import FilterClass
from meshproxy.plugin.view import ConfigView


def compile_filter_chain(view: ConfigView, context: CompileContext) -> FilterChain:
    """One chain. Problems of its filters are noted in the context; others raise ConfigError."""
    context = replace(context, stats=context.stats.scope(""))
    match = view.view("filter_chain_match")
    return FilterChain(
        match=_compile_match(match) if match is not None else FilterChainMatch(),
        filters=compile_chain(
            view.views("filters"), "network", lambda entry: _compile_network_filter(entry, context), context
        ),
        name=view.text("name"),
        transport_socket=compile_transport_socket(view.view("transport_socket"), context),
        transport_socket_connect_timeout=view.seconds("transport_socket_connect_timeout", 0.0),
        metadata=compile_metadata(view, "metadata"),
        scope=context.stats,
    )


def _compile_network_filter(view: ConfigView, context: CompileContext) -> FilterSpec:
    discovered = is_discovered(view)

    def compile_with(context: CompileContext) -> CompileMessage:
        def compile_message(filter_class: FilterClass, message: ConfigView, factory: FactoryContext) -> Any:
            # The connection manager belongs to the core: it needs more than a plugin is given.
            if message.full_name != HTTP_CONNECTION_MANAGER:
                return filter_class.compile(message, factory)
            manager = compile_http_connection_manager(message, context)
            if discovered and _waits_for_more(manager):
                message.fail("a connection manager that comes by discovery must have its routes and filters in it")
            return manager

        return compile_message

    return compile_filter(view, "network", context.stats, context, compile_with)


def _waits_for_more(manager: HttpConnectionManagerConfig) -> bool:
    """Whether something in it comes by discovery, too."""
    upgrades = (spec for upgrade in manager.upgrades.values() for spec in upgrade.filters or ())
    return manager.routes.source is not None or any(
        spec.slot is not None for spec in (*manager.http_filters, *upgrades)
    )


def _compile_match(view: ConfigView) -> FilterChainMatch:
    names = []
    for name in view.texts("server_names"):
        if "*" in name and not (name.startswith("*.") and "*" not in name[1:]):
            view.fail(f"partial wildcards are not supported in server_names: '{name}'", "server_names")
        names.append(name.lower())
    port = view.integer("destination_port", 0) if view.has("destination_port") else None
    return FilterChainMatch(
        destination_port=port,
        prefix_ranges=compile_ranges(view, "prefix_ranges"),
        server_names=tuple(names),
        transport_protocol=view.text("transport_protocol"),
        application_protocols=tuple(view.texts("application_protocols")),
        direct_source_prefix_ranges=compile_ranges(view, "direct_source_prefix_ranges"),
        source_type=SourceType[view.enum("source_type")],
        source_prefix_ranges=compile_ranges(view, "source_prefix_ranges"),
        source_ports=tuple(view.integers("source_ports")),
    )


def check_distinct(chains: Sequence[tuple[ConfigView, FilterChain]], listener: str, context: CompileContext) -> None:
    """Note a problem for every chain that would never be chosen, because another one has the same match.

    As in Envoy the other one may be itself, with a criterion that is given twice.
    """
    seen: dict[tuple[Any, ...], FilterChain] = {}
    for view, chain in chains:
        for key in _keys(chain.match):
            other = seen.get(key)
            seen[key] = chain
            if other is not None:
                what = "the same" if other is not chain and other.match == chain.match else "overlapping"
                message = f"listener '{listener}': multiple filter chains with {what} matching rules are defined"
                context.problems.append(view.error(message, "filter_chain_match"))
                break


def _keys(match: FilterChainMatch) -> Iterator[tuple[Any, ...]]:
    """Every single combination that a match selects."""
    return itertools.product(
        (match.destination_port,),
        match.prefix_ranges or (None,),
        match.server_names or (None,),
        (match.transport_protocol,),
        match.application_protocols or (None,),
        match.direct_source_prefix_ranges or (None,),
        (match.source_type,),
        match.source_prefix_ranges or (None,),
        match.source_ports or (None,),
    )
