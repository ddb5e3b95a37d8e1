"""Where connections to hosts start and what is set on their sockets (envoy.config.core.v3.BindConfig,
envoy.config.cluster.v3.UpstreamConnectionOptions).

With source addresses of both families each connection takes the one of its host's; with one of the other family alone
it has none, and Envoy's bind would fail.
"""

from __future__ import annotations

from meshproxy.config.values.addresses import compile_socket_address
from meshproxy.config.values.listener_sockets import compile_socket_options
from meshproxy.model.cluster import HappyEyeballs, SocketOption, SourceAddress, UpstreamBind
from meshproxy.plugin.view import ConfigView

_SELECTOR = "envoy.config.upstream.local_address_selector.v3.DefaultLocalAddressSelector"
_SOL_IP, _IP_FREEBIND = 0, 15
_SOL_IPV6, _IPV6_FREEBIND = 41, 78


def compile_bind(view: ConfigView | None) -> UpstreamBind | None:
    """`upstream_bind_config`. Raises ConfigError."""
    if view is None:
        return None
    selector = view.view("local_address_selector")
    if selector is not None:
        typed = selector.any("typed_config")
        if typed is None or typed.full_name != _SELECTOR:
            selector.fail(f"the only selector of local addresses is {_SELECTOR}", "typed_config")
    freebind = view.boolean("freebind")
    options = compile_socket_options(view, "socket_options")
    found: dict[bool, SourceAddress] = {}
    for source, own in _sources(view, options):
        address = compile_socket_address(source)
        if address.is_v6 in found:
            source.fail("only one source address of each family can be configured")
        found[address.is_v6] = SourceAddress((address.ip, address.port), own + _freebind(freebind, address.is_v6))
    return UpstreamBind(
        ipv4=found.get(False) or SourceAddress(None, options + _freebind(freebind, False)),
        ipv6=found.get(True) or SourceAddress(None, options + _freebind(freebind, True)),
    )


def _sources(view: ConfigView, options: tuple[SocketOption, ...]) -> list[tuple[ConfigView, tuple[SocketOption, ...]]]:
    """Each source address with the options of its sockets."""
    sources = []
    source = view.view("source_address")
    if source is not None:
        sources.append((source, options))
    extra = view.views("extra_source_addresses")
    for entry in extra:
        given = entry.view("socket_options")
        own = options if given is None else compile_socket_options(given, "socket_options")
        sources.append((entry.required("address"), own))
    sources += [(entry, options) for entry in view.views("additional_source_addresses")]
    if source is None and len(sources):
        view.fail("extra source addresses need a source_address")
    return sources


def _freebind(wanted: bool, v6: bool) -> tuple[SocketOption, ...]:
    if not wanted:
        return ()
    return ((_SOL_IPV6, _IPV6_FREEBIND, 1),) if v6 else ((_SOL_IP, _IP_FREEBIND, 1),)


def compile_keepalive(view: ConfigView | None) -> tuple[int, int, int] | None:
    """The `tcp_keepalive` of `upstream_connection_options`: time, interval and probes."""
    keepalive = view.view("tcp_keepalive") if view is not None else None
    if keepalive is None:
        return None
    return (
        keepalive.integer("keepalive_time"),
        keepalive.integer("keepalive_interval"),
        keepalive.integer("keepalive_probes"),
    )


def compile_happy_eyeballs(view: ConfigView | None) -> HappyEyeballs:
    """The `happy_eyeballs_config` of `upstream_connection_options`."""
    options = view.view("happy_eyeballs_config") if view is not None else None
    if options is None:
        return HappyEyeballs()
    family = options.enum("first_address_family_version")
    return HappyEyeballs(
        first_v6={"V4": False, "V6": True}.get(family), first_count=options.integer("first_address_family_count", 1)
    )
