"""`envoy.filters.listener.original_dst`: where a redirected connection was going.

The runtime asks the kernel (SO_ORIGINAL_DST, or the socket's own name under TPROXY); this filter decides whether the
answer counts. It doesn't for a connection that was made to the proxy's own port: the kernel then names the very address
that the socket is bound to, and forwarding to it would be the proxy dialling itself for ever.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from meshproxy.plugin.context import FactoryContext
from meshproxy.plugin.listener import ListenerFilter, Socket

if TYPE_CHECKING:
    from meshproxy.plugin.view import ConfigView


class OriginalDst(ListenerFilter[None]):
    """Takes the kernel's word for the destination as the connection's local address."""

    @classmethod
    def compile(cls, view: ConfigView, context: FactoryContext) -> None:
        """It has no fields."""

    def on_accept(self, socket: Socket) -> None:
        destination = socket.kernel_destination
        if destination is None:
            return
        if destination == socket.direct_local and destination[1] == socket.listening_port:
            return
        socket.local = destination
        socket.local_restored = True
