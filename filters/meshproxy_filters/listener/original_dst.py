"""`envoy.filters.listener.original_dst`: where a redirected connection was going.

The runtime asks the kernel (SO_ORIGINAL_DST, or the socket's own name under TPROXY); this filter decides whether the
answer counts. It doesn't for a connection that was made to the proxy's own port: the kernel then names the very address
that the socket is bound to, and forwarding to it would be the proxy dialling itself for ever.

A connection within the program has no kernel to ask. It brings the addresses along: the destination in the metadata of
its endpoint, or both in the filter state that the connection before it shares.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from meshproxy.address import parse_address
from meshproxy.plugin.context import FactoryContext
from meshproxy.plugin.listener import ListenerFilter, Socket
from meshproxy_filters.filter_state_values import RESTORED_LOCAL, RESTORED_REMOTE

if TYPE_CHECKING:
    from meshproxy.plugin.view import ConfigView


class OriginalDst(ListenerFilter[None]):
    """Takes the kernel's word for the destination as the connection's local address."""

    @classmethod
    def compile(cls, view: ConfigView, context: FactoryContext) -> None:
        """It has no fields."""

    def on_accept(self, socket: Socket) -> None:
        if socket.internal:
            _restore(socket)
            return
        destination = socket.kernel_destination
        if destination is None:
            return
        if destination == socket.direct_local and destination[1] == socket.listening_port:
            return
        socket.local = destination
        socket.local_restored = True


def _restore(socket: Socket) -> None:
    state = socket.filter_state or {}
    told = (socket.metadata or {}).get(_METADATA, {}).get("local")
    local = _address(told) or _address(state.get(RESTORED_LOCAL))
    if local is not None:
        socket.local = local
        socket.local_restored = True
    socket.remote = _address(state.get(RESTORED_REMOTE)) or socket.remote


def _address(text: object) -> tuple[str, int] | None:
    if not isinstance(text, str):
        return None
    try:
        address = parse_address(text)
    except ValueError:
        return None
    return address.ip, address.port


_METADATA = "envoy.filters.listener.original_dst"
