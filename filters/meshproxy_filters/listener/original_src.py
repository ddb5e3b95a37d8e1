"""`envoy.filters.listener.original_src`: upstreams are connected to from the client's own address.

The address is the one that the listener filters before this one have found (the PROXY protocol's, if there was such a
header); the port is not kept. Binding to an address that isn't the machine's takes CAP_NET_ADMIN, and answers must be
led back to the proxy: by the mark on its packets, and a route for it ("Original source" in Envoy's documentation).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from meshproxy.plugin.context import FactoryContext
from meshproxy.plugin.listener import ListenerFilter, Socket

if TYPE_CHECKING:
    from meshproxy.plugin.view import ConfigView


class OriginalSrc(ListenerFilter[int]):
    """Its configuration is the mark (SO_MARK), 0 for none."""

    @classmethod
    def compile(cls, view: ConfigView, context: FactoryContext) -> int:
        if view.boolean("bind_port"):
            view.fail("keeping the client's port isn't supported, in Envoy neither", "bind_port")
        return view.integer("mark")

    def on_accept(self, socket: Socket) -> None:
        ip = socket.remote[0]
        if ip:
            socket.upstream_source = ip, self.config
