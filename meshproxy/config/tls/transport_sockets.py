"""Transport sockets: raw is built in, every other kind (TLS) is compiled by its own code, found by message name."""

from __future__ import annotations

from meshproxy.config.values.context import CompileContext
from meshproxy.config.values.proxy_header import compile_proxy_header
from meshproxy.model.cluster import TransportSocketMatch
from meshproxy.model.listener import TransportSocket
from meshproxy.model.proxy_header import ProxyHeaderOptions
from meshproxy.plugin.view import ConfigView

_PROXY = "envoy.extensions.transport_sockets.proxy_protocol.v3.ProxyProtocolUpstreamTransport"
_RAW = "envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer"


def compile_transport_socket(view: ConfigView | None, context: CompileContext) -> TransportSocket | None:
    """`core.v3.TransportSocket`; None stands for raw. Raises ConfigError."""
    if view is None:
        return None
    typed = view.any("typed_config")
    if typed is None:
        view.fail("'typed_config' is required: a transport socket is found by the type of its configuration")
    if typed.full_name == _RAW:
        return None
    compile_socket = context.transport_sockets.get(typed.full_name)
    if compile_socket is None or typed.view is None:
        # No nearest name is proposed: that of `RawBuffer` would take the encryption away.
        typed.fail(f"transport socket '{typed.full_name}' isn't supported by meshproxy")
    return compile_socket(typed.view, context)


def compile_upstream_socket(
    view: ConfigView | None, context: CompileContext
) -> tuple[TransportSocket | None, ProxyHeaderOptions | None]:
    """A cluster's `core.v3.TransportSocket`: what connections are wrapped in (None: raw), and what they begin with.

    Raises ConfigError.
    """
    typed = view.any("typed_config") if view is not None else None
    if view is None or typed is None or typed.full_name != _PROXY or typed.view is None:
        return compile_transport_socket(view, context), None
    view.text("name")
    proxy = typed.view
    inner = compile_transport_socket(proxy.required("transport_socket"), context)
    options = compile_proxy_header(proxy.view("config"), context)
    return inner, ProxyHeaderOptions(
        options.version,
        options.passed,
        options.added,
        unspecified=proxy.boolean("allow_unspecified_address"),
        entries_part_pools=proxy.boolean("tlv_as_pool_key"),
    )


def compile_transport_socket_matches(view: ConfigView, context: CompileContext) -> tuple[TransportSocketMatch, ...]:
    """`Cluster.transport_socket_matches`, in order. Raises ConfigError."""
    matches: list[TransportSocketMatch] = []
    for entry in view.views("transport_socket_matches"):
        name = entry.text("name")
        wanted = entry.struct("match")
        socket, header = compile_upstream_socket(entry.required("transport_socket"), context)
        matches.append(TransportSocketMatch(name, wanted.value if wanted is not None else {}, socket, header))
    return tuple(matches)
