"""Listeners (envoy.config.listener.v3.Listener)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from meshproxy.address import Address, InternalAddress, SocketAddress
from meshproxy.config.listeners.filter_chains import check_distinct, compile_filter_chain
from meshproxy.config.listeners.listener_filters import compile_listener_filters
from meshproxy.config.matching.matcher_inputs import CHAIN_INPUTS
from meshproxy.config.matching.matcher_tree import Match, compile_matcher
from meshproxy.config.reporting.access_logs import compile_access_logs
from meshproxy.config.values.addresses import compile_address
from meshproxy.config.values.context import CompileContext, resource_context
from meshproxy.config.values.listener_sockets import compile_internal_address, compile_listening_sockets
from meshproxy.config.values.metadata import compile_metadata
from meshproxy.model.listener import FilterChain, Listener
from meshproxy.plugin.view import ConfigView, TypedView
from meshproxy.runtime_values import Live
from meshproxy.steps import Steps, finish

_MEBIBYTE = 1 << 20


def compile_listeners(views: Sequence[ConfigView], context: CompileContext) -> tuple[Listener, ...]:
    """All static listeners. Problems are noted in the context."""
    listeners: list[Listener] = []
    names: set[str] = set()
    addresses: set[Address] = set()
    for view in views:
        with view.collect(context.problems):
            listener = _compile_static(view, context)
            if listener.name in names:
                view.fail(f"duplicate listener name '{listener.name}'", "name")
            names.add(listener.name)
            for address in (listener.address, *listener.additional_addresses):
                if address in addresses and not (isinstance(address, SocketAddress) and address.port == 0):
                    view.fail(f"listener '{listener.name}' has duplicate address '{address.text}'", "address")
                addresses.add(address)
            listeners.append(listener)
    return tuple(listeners)


def _compile_static(view: ConfigView, context: CompileContext) -> Listener:
    own = resource_context(context)
    try:
        return finish(compile_listener(view, own))
    finally:
        context.problems += own.problems
        context.warnings += own.warnings
        context.log_files.update(own.log_files)


def compile_listener(view: ConfigView, context: CompileContext) -> Steps[Listener]:
    """One listener, a filter chain with each step.

    context: its own (`resource_context`). Problems are noted in it; some raise ConfigError.
    """
    internal = view.view("internal_listener")
    if internal is not None:
        address: Address = compile_internal_address(view, context)
    elif not view.has("address"):
        view.fail("field 'address' of Listener is required")
    else:
        address = compile_address(view.required("address"))
    name = view.text("name") or address.text
    if isinstance(address, InternalAddress) and internal is None:
        view.fail(
            f"error adding listener named '{name}': use internal_listener field instead of address for internal "
            "listeners",
            "address",
        )
    context.traffic_direction = view.enum("traffic_direction")
    chains = yield from _compile_chains(view, name, context)
    default_view = view.view("default_filter_chain")
    default = None
    if default_view is not None:
        with default_view.collect(context.problems):
            default = compile_filter_chain(default_view, context)
    if not view.views("filter_chains") and default_view is None:
        view.fail(f"error adding listener '{name}': no filter chains specified")
    return Listener(
        name=name,
        address=address,
        filter_chains=chains,
        default_filter_chain=default,
        listener_filters=compile_listener_filters(view, context),
        ipv4_compat=internal is None and _ipv4_compat(view.required("address"), context),
        access_logs=compile_access_logs(view.views("access_log"), context),
        metadata=compile_metadata(view, "metadata"),
        scope=context.stats,
        connection_limit=_connection_limit(name, context),
        chain_tree=_compile_chain_tree(view, context),
        internal_buffer=context.internal_buffer or 0,
        **(compile_listening_sockets(view) if internal is None else {"bind_to_port": False}),
        **_compile_behaviour(view),
    )


def _compile_chains(view: ConfigView, name: str, context: CompileContext) -> Steps[tuple[FilterChain, ...]]:
    chains: list[tuple[ConfigView, FilterChain]] = []
    for entry in view.views("filter_chains"):
        with entry.collect(context.problems):
            chains.append((entry, compile_filter_chain(entry, context)))
        yield
    if view.has("filter_chain_matcher"):
        _check_names(chains, name, context)
    else:
        check_distinct(chains, name, context)
    return tuple(chain for _, chain in chains)


def _connection_limit(name: str, context: CompileContext) -> Live[int] | None:
    """Said by the runtime, as Envoy has it ("Configuring per-listener limits"); None: never."""
    key = f"envoy.resource_limits.listener.{name}.connection_limit"
    return context.runtime.integer(key, 1 << 62) if key in context.runtime or not context.runtime.fixed else None


def _check_names(chains: list[tuple[ConfigView, FilterChain]], listener: str, context: CompileContext) -> None:
    """A tree finds chains by their names, so each has one of its own."""
    seen: set[str] = set()
    for view, chain in chains:
        what = "required when using a listener matcher" if not chain.name else f"duplicated with value '{chain.name}'"
        if not chain.name or chain.name in seen:
            context.problems.append(view.error(f"error adding listener '{listener}': \"name\" field is {what}", "name"))
        seen.add(chain.name)


def _compile_chain_tree(view: ConfigView, context: CompileContext) -> Match[str] | None:
    matcher = view.view("filter_chain_matcher")
    if matcher is None:
        return None

    def compile_name(typed: TypedView) -> str:
        return typed.message("google.protobuf.StringValue").text("value")

    return compile_matcher(matcher, compile_name, CHAIN_INPUTS, context)


def _ipv4_compat(address: ConfigView, context: CompileContext) -> bool:
    socket_address = address.view("socket_address")
    if socket_address is None or not socket_address.boolean("ipv4_compat"):
        return False
    text = socket_address.text("address")
    if text != "::" and not text.lower().startswith("::ffff:"):
        message = "only the IPv6 address '::' or an IPv4-mapped one can set ipv4_compat"
        context.problems.append(socket_address.error(message, "ipv4_compat"))
    return True


def _compile_behaviour(view: ConfigView) -> dict[str, Any]:
    return {
        "listener_filters_timeout": view.seconds("listener_filters_timeout", 15.0),
        "continue_on_listener_filters_timeout": view.boolean("continue_on_listener_filters_timeout"),
        "use_original_dst": view.boolean("use_original_dst"),
        "per_connection_buffer_limit": view.integer("per_connection_buffer_limit_bytes", _MEBIBYTE),
        "traffic_direction": view.enum("traffic_direction"),
        "stat_prefix": view.text("stat_prefix"),
        "ignore_global_conn_limit": view.boolean("ignore_global_conn_limit"),
        "drains_only_when_changed": view.enum("drain_type") == "MODIFY_ONLY",
        "bypass_overload_manager": view.boolean("bypass_overload_manager"),
    }
