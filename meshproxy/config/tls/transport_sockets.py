"""Transport sockets: raw is built in, every other kind (TLS) is compiled by its own code, found by message name."""

from __future__ import annotations

from typing import Literal, NamedTuple

from meshproxy.config.values.context import CompileContext
from meshproxy.config.values.proxy_header import compile_proxy_header
from meshproxy.model.cluster import Passing, TransportSocketMatch
from meshproxy.model.listener import TransportSocket
from meshproxy.model.proxy_header import ProxyHeaderOptions
from meshproxy.plugin.view import ConfigView

_PROXY = "envoy.extensions.transport_sockets.proxy_protocol.v3.ProxyProtocolUpstreamTransport"
_INTERNAL = "envoy.extensions.transport_sockets.internal_upstream.v3.InternalUpstreamTransport"
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


class UpstreamSocket(NamedTuple):
    """socket: what connections are wrapped in, None: raw. header: of the PROXY protocol, with which they begin.

    passing: what internal listeners are told.
    """

    socket: TransportSocket | None = None
    header: ProxyHeaderOptions | None = None
    passing: Passing | None = None


def compile_upstream_socket(view: ConfigView | None, context: CompileContext) -> UpstreamSocket:
    """A cluster's `core.v3.TransportSocket` with those within it. Raises ConfigError."""
    typed = view.any("typed_config") if view is not None else None
    if view is None or typed is None or typed.view is None or typed.full_name not in (_PROXY, _INTERNAL):
        return UpstreamSocket(compile_transport_socket(view, context))
    view.text("name")
    outer = typed.view
    inner = compile_upstream_socket(outer.required("transport_socket"), context)
    if typed.full_name == _INTERNAL:
        return inner._replace(passing=_compile_passing(outer))
    options = compile_proxy_header(outer.view("config"), context)
    header = ProxyHeaderOptions(
        options.version,
        options.passed,
        options.added,
        unspecified=outer.boolean("allow_unspecified_address"),
        entries_part_pools=outer.boolean("tlv_as_pool_key"),
    )
    return inner._replace(header=header)


def _compile_passing(view: ConfigView) -> Passing:
    entries: list[tuple[Literal["host", "cluster"], str]] = []
    for entry in view.views("passthrough_metadata"):
        kind = entry.required("kind")
        match kind.which("kind"):
            case "host":
                entries.append(("host", entry.text("name")))
            case "cluster":
                entries.append(("cluster", entry.text("name")))
            case other:
                kind.fail(f"metadata type is not supported: {other}")
        kind.raw()
    return Passing(tuple(entries))


def compile_transport_socket_matches(view: ConfigView, context: CompileContext) -> tuple[TransportSocketMatch, ...]:
    """`Cluster.transport_socket_matches`, in order. Raises ConfigError."""
    matches: list[TransportSocketMatch] = []
    for entry in view.views("transport_socket_matches"):
        name = entry.text("name")
        wanted = entry.struct("match")
        upstream = compile_upstream_socket(entry.required("transport_socket"), context)
        matches.append(TransportSocketMatch(name, wanted.value if wanted is not None else {}, *upstream))
    return tuple(matches)
