"""`istio.stats` for TCP: Istio's standard metrics of connections, counted when one is over.

`istio_tcp_connections_opened_total` and `_closed_total`, `istio_tcp_sent_bytes_total` and `_received_bytes_total`. As
in Istio without an exchange of metadata a connection is told of when it ends, for its labels are only whole then.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from meshproxy.plugin.context import Connection, FactoryContext
from meshproxy.plugin.network import NetworkFilter
from meshproxy_filters.istio_metrics import IstioStatsConfig, compile_stats

if TYPE_CHECKING:
    from meshproxy.plugin.view import ConfigView


class IstioTcpStats(NetworkFilter[IstioStatsConfig]):
    """See the module."""

    @classmethod
    def compile(cls, view: ConfigView, context: FactoryContext) -> IstioStatsConfig:
        return compile_stats(view, context)

    def on_close(self, connection: Connection) -> None:
        info = connection.stream
        labels = self.config.find(info, "tcp", None, "")
        labels.add("tcp_connections_opened_total")
        labels.add("tcp_sent_bytes_total", info.bytes_sent)
        labels.add("tcp_received_bytes_total", info.bytes_received)
        labels.add("tcp_connections_closed_total")
