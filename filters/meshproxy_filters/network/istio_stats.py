"""`istio.stats` for TCP: Istio's standard metrics of connections.

`istio_tcp_connections_opened_total` and `_closed_total`, `istio_tcp_sent_bytes_total` and `_received_bytes_total`. Once
it is known who the peer is, or that it won't say so, a connection is told of every `tcp_reporting_duration`, otherwise
when it ends: the labels stay what they were with its first report.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from meshproxy.plugin.context import Connection, FactoryContext
from meshproxy.plugin.network import NetworkFilter
from meshproxy_filters.istio_metrics import IstioStatsConfig, LabelSet, compile_stats

if TYPE_CHECKING:
    from meshproxy.plugin.view import ConfigView


class IstioTcpStats(NetworkFilter[IstioStatsConfig]):
    """See the module."""

    _labels: LabelSet | None = None
    _sent = _received = 0

    @classmethod
    def compile(cls, view: ConfigView, context: FactoryContext) -> IstioStatsConfig:
        return compile_stats(view, context)

    def on_new_connection(self, connection: Connection) -> None:
        self._wait(connection)

    def _wait(self, connection: Connection) -> None:
        if self.config.interval:
            connection.schedule(self.config.interval, partial(self._tick, connection))

    def _tick(self, connection: Connection) -> None:
        if self._labels is not None or self.config.peer_is_known(connection.stream):
            self._report(connection)
        self._wait(connection)

    def _report(self, connection: Connection) -> LabelSet:
        info = connection.stream
        labels = self._labels
        if labels is None:
            labels = self._labels = self.config.of_connection(info)
            labels.add("tcp_connections_opened_total")
        labels.add("tcp_sent_bytes_total", info.bytes_sent - self._sent)
        labels.add("tcp_received_bytes_total", info.bytes_received - self._received)
        self._sent, self._received = info.bytes_sent, info.bytes_received
        return labels

    def on_close(self, connection: Connection) -> None:
        labels = self._report(connection)
        labels.add("tcp_connections_closed_total")
        labels.add_custom()

    def on_refused(self, connection: Connection) -> None:
        self.on_close(connection)
