"""What `tcp_proxy` is configured with (envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy), and its statistics."""

from __future__ import annotations

import random
from bisect import bisect_right
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING

from meshproxy.model.listener import AccessLog
from meshproxy.plugin.context import FactoryContext
from meshproxy.plugin.stats import StatsScope

if TYPE_CHECKING:
    from meshproxy.plugin.view import ConfigView

_IDLE_TIMEOUT = 3600.0
_SHORTEST_LOG_INTERVAL = 0.001


class TcpProxyStats:
    """`tcp.<prefix>.` (Envoy: "TCP proxy statistics").

    Those that nothing here moves exist because dashboards name them: there is no buffer and no overload manager.
    """

    def __init__(self, scope: StatsScope) -> None:
        self.cx_total = scope.counter("downstream_cx_total")
        self.no_route = scope.counter("downstream_cx_no_route")
        self.rx_bytes_total = scope.counter("downstream_cx_rx_bytes_total")
        self.tx_bytes_total = scope.counter("downstream_cx_tx_bytes_total")
        self.paused_reading = scope.counter("downstream_flow_control_paused_reading_total")
        self.resumed_reading = scope.counter("downstream_flow_control_resumed_reading_total")
        self.idle_timeout = scope.counter("idle_timeout")
        self.max_duration = scope.counter("max_downstream_connection_duration")
        for name in (
            "downstream_cx_drain_close",
            "downstream_cx_overload_close",
            "early_data_received_count_total",
            "route_delayed_total",
            "upstream_flush_total",
        ):
            scope.counter(name)
        for name in ("downstream_cx_rx_bytes_buffered", "downstream_cx_tx_bytes_buffered", "upstream_flush_active"):
            scope.gauge(name)


@dataclass(frozen=True, slots=True, eq=False)
class TcpProxyConfig:
    """Times in seconds; 0 switches a limit off.

    clusters: names, and for more than one `bounds`: the running sums of their weights.
    log_interval: a row in the log this often while the connection lives; log_on_connected: one when it is connected.
    """

    clusters: tuple[str, ...]
    bounds: tuple[int, ...]
    stats: TcpProxyStats
    access_logs: tuple[AccessLog, ...] = ()
    idle_timeout: float = _IDLE_TIMEOUT
    max_duration: float = 0.0
    max_connect_attempts: int = 1
    log_interval: float = 0.0
    log_on_connected: bool = False

    def choose_cluster(self, rng: random.Random) -> str:
        """The cluster for one attempt, by weight."""
        if len(self.clusters) == 1:
            return self.clusters[0]
        return self.clusters[bisect_right(self.bounds, rng.randrange(self.bounds[-1]))]

    @classmethod
    def compile(cls, view: ConfigView, context: FactoryContext) -> TcpProxyConfig:
        """Read the message. Raises ConfigError."""
        prefix = view.text("stat_prefix")
        clusters, weights = _read_clusters(view)
        log_interval, log_on_connected = _read_log_options(view)
        return cls(
            clusters=clusters,
            bounds=tuple(accumulate(weights)),
            stats=TcpProxyStats(context.stats.scope(f"tcp.{prefix}.")),
            access_logs=context.compile_access_logs(view.views("access_log")),
            idle_timeout=view.seconds("idle_timeout", _IDLE_TIMEOUT),
            max_duration=view.seconds("max_downstream_connection_duration", 0.0),
            max_connect_attempts=view.integer("max_connect_attempts", 1),
            log_interval=log_interval,
            log_on_connected=log_on_connected,
        )


def _read_clusters(view: ConfigView) -> tuple[tuple[str, ...], tuple[int, ...]]:
    kind = view.which("cluster_specifier")
    if kind is None:
        view.fail("one of 'cluster' and 'weighted_clusters' is required")
    if kind == "cluster":
        return (view.text("cluster"),), (1,)
    entries = view.required("weighted_clusters").views("clusters")
    return tuple(entry.text("name") for entry in entries), tuple(entry.integer("weight") for entry in entries)


def _read_log_options(view: ConfigView) -> tuple[float, bool]:
    options = view.view("access_log_options")
    if options is None:
        interval = view.seconds("access_log_flush_interval", 0.0)
        return max(interval, _SHORTEST_LOG_INTERVAL) if interval else 0.0, view.boolean("flush_access_log_on_connected")
    for old in ("access_log_flush_interval", "flush_access_log_on_connected"):
        if view.has(old):
            view.fail("it can't be set together with 'access_log_options'", old)
    interval = options.seconds("access_log_flush_interval", 0.0)
    return interval, options.boolean("flush_access_log_on_connected")
