"""Transport sockets: raw is built in, every other kind (TLS) is compiled by its own code, found by message name."""

from __future__ import annotations

from meshproxy.config.context import CompileContext
from meshproxy.model.cluster import TransportSocketMatch
from meshproxy.model.listener import TransportSocket
from meshproxy.plugin.view import ConfigView

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


def compile_transport_socket_matches(view: ConfigView, context: CompileContext) -> tuple[TransportSocketMatch, ...]:
    """`Cluster.transport_socket_matches`, in order. Raises ConfigError."""
    matches: dict[str, TransportSocketMatch] = {}
    for entry in view.views("transport_socket_matches"):
        name = entry.text("name")
        if name in matches:
            entry.fail(f"transport socket match name '{name}' is given twice", "name")
        wanted = entry.struct("match")
        socket = compile_transport_socket(entry.view("transport_socket"), context)
        matches[name] = TransportSocketMatch(name, wanted.value if wanted is not None else {}, socket)
    return tuple(matches.values())
