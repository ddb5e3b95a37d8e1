"""`envoy.filters.network.sni_cluster`: the server name that a TLS client asked for is the cluster's name.

What a gateway does that passes TLS through unopened: `tcp_proxy` behind it takes the cluster from here, and closes the
connection where there is none of this name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from meshproxy.plugin.context import Connection, FactoryContext
from meshproxy.plugin.network import NetworkFilter
from meshproxy_filters.filter_state_values import TCP_CLUSTER

if TYPE_CHECKING:
    from meshproxy.plugin.view import ConfigView


class SniCluster(NetworkFilter[None]):
    """See the module; there is nothing to configure."""

    @classmethod
    def compile(cls, view: ConfigView, context: FactoryContext) -> None:
        return None

    def on_new_connection(self, connection: Connection) -> None:
        name = connection.info.requested_server_name
        if name:
            connection.stream.set_filter_state(TCP_CLUSTER, name)
