"""Transport sockets: raw is built in, every other kind (TLS) is compiled by its own code, found by message name."""

from __future__ import annotations

from meshproxy.config.context import CompileContext
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
