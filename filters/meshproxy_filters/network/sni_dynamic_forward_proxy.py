"""`envoy.filters.network.sni_dynamic_forward_proxy`: lets a TLS connection that is passed through unopened wait until
the address of the server it asks for is known; `tcp_proxy` with a cluster that forwards then finds it.

A connection that asks for none goes on, and finds no host. One that names a host without an address does so too.
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TYPE_CHECKING

from meshproxy.model.forwarding import DnsCacheOptions
from meshproxy.plugin.context import Connection, FactoryContext
from meshproxy.plugin.network import NetworkFilter
from meshproxy.plugin.replies import LocalReply
from meshproxy.plugin.upstream import DYNAMIC_HOST, DYNAMIC_PORT
from meshproxy.records import dataclass

if TYPE_CHECKING:
    from meshproxy.plugin.view import ConfigView


@dataclass(frozen=True, slots=True)
class SniForwardConfig:
    """port: of the hosts."""

    cache: DnsCacheOptions
    port: int


class SniDynamicForwardProxy(NetworkFilter[SniForwardConfig]):
    """See the module."""

    @classmethod
    def compile(cls, view: ConfigView, context: FactoryContext) -> SniForwardConfig:
        if view.boolean("save_upstream_address"):
            view.fail("it isn't supported by meshproxy", "save_upstream_address")
        cache = context.compile_dns_cache(view.required("dns_cache_config"))
        return SniForwardConfig(cache, view.integer("port_value"))

    def on_new_connection(self, connection: Connection) -> Awaitable[None] | None:
        info = connection.stream
        state = info.filter_state or {}
        host = str(state.get(DYNAMIC_HOST) or connection.info.requested_server_name)
        if not host:
            return None
        if DYNAMIC_PORT not in state:
            info.set_filter_state(DYNAMIC_PORT, str(self.config.port))
        port = int(str((info.filter_state or {})[DYNAMIC_PORT]))
        found = connection.clusters.name_cache(self.config.cache).prepare(host, port)
        if isinstance(found, LocalReply):
            connection.close()  # too many wait, or are known
            return None
        return self._wait(found) if found is not None else None

    async def _wait(self, found: Awaitable[LocalReply | None]) -> None:
        await found
