"""What `tcp_proxy` is configured with (envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy), and its statistics."""

from __future__ import annotations

import random
from bisect import bisect_right
from collections.abc import Mapping
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from meshproxy.model.listener import AccessLog
from meshproxy.plugin.context import FactoryContext
from meshproxy.plugin.stats import StatsScope
from meshproxy.records import dataclass
from meshproxy_filters.network.tcp_proxy_choice import HashOf, read_hash_policy, read_metadata_match
from meshproxy_filters.network.tcp_proxy_early import EarlyReading
from meshproxy_filters.network.tcp_proxy_tlvs import OwnTlvs, read_own_tlvs
from meshproxy_filters.network.tcp_tunnel import TunnelConfig, read_tunneling

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
        self.drain_close = scope.counter("downstream_cx_drain_close")
        self.early_data = scope.counter("early_data_received_count_total")
        for name in ("downstream_cx_overload_close", "route_delayed_total", "upstream_flush_total"):
            scope.counter(name)
        for name in ("downstream_cx_rx_bytes_buffered", "downstream_cx_tx_bytes_buffered", "upstream_flush_active"):
            scope.gauge(name)


@dataclass(frozen=True, slots=True, eq=False)
class TcpProxyConfig:
    """Times in seconds; 0 switches a limit off.

    clusters: names, and for more than one `bounds`: the running sums of their weights. wanted: of each, what hosts must
    have in their metadata, None for nothing. tunnel: the connection goes through an HTTP proxy.
    duration_jitter: the most by which max_duration grows, as a part of it.
    back_off: seconds before a second connect, doubled for each further one, and the most; a random part is waited.
    own_tlvs: entries for the PROXY protocol header to the upstream.
    early: the client is read before there is an upstream. check_drain: while the proxy goes away, a connection closes
    with its next data.
    log_interval: a row in the log this often while the connection lives; log_on_start, log_on_connected: one when it
    begins and when it is connected.
    """

    clusters: tuple[str, ...]
    bounds: tuple[int, ...]
    wanted: tuple[Mapping[str, Any] | None, ...]
    stats: TcpProxyStats
    access_logs: tuple[AccessLog, ...] = ()
    idle_timeout: float = _IDLE_TIMEOUT
    max_duration: float = 0.0
    max_connect_attempts: int = 1
    duration_jitter: float = 0.0
    back_off: tuple[float, float] | None = None
    log_interval: float = 0.0
    log_on_start: bool = False
    log_on_connected: bool = False
    hash_of: HashOf | None = None
    own_tlvs: OwnTlvs | None = None
    early: EarlyReading | None = None
    check_drain: bool = False
    tunnel: TunnelConfig | None = None

    def choose_cluster(self, rng: random.Random) -> tuple[str, Mapping[str, Any] | None]:
        """The cluster for one attempt, by weight, and what its hosts must have in their metadata."""
        index = 0
        if len(self.clusters) > 1:
            index = bisect_right(self.bounds, rng.randrange(self.bounds[-1]))
        return self.clusters[index], self.wanted[index]

    @classmethod
    def compile(cls, view: ConfigView, context: FactoryContext) -> TcpProxyConfig:
        """Read the message. Raises ConfigError."""
        prefix = view.text("stat_prefix")
        clusters, weights, wanted = _read_clusters(view)
        view.view("on_demand")  # without a source of clusters it asks for nothing; its fields are refused
        log_interval, log_on_start, log_on_connected = _read_log_options(view)
        return cls(
            clusters=clusters,
            bounds=tuple(accumulate(weights)),
            wanted=wanted,
            hash_of=read_hash_policy(view.views("hash_policy")),
            stats=TcpProxyStats(context.stats.scope(f"tcp.{prefix}.")),
            access_logs=context.compile_access_logs(view.views("access_log")),
            idle_timeout=view.seconds("idle_timeout", _IDLE_TIMEOUT),
            max_duration=view.seconds("max_downstream_connection_duration", 0.0),
            duration_jitter=view.number("max_downstream_connection_duration_jitter_percentage") / 100,
            back_off=_read_back_off(view.view("backoff_options")),
            max_connect_attempts=view.integer("max_connect_attempts", 1),
            log_interval=log_interval,
            log_on_start=log_on_start,
            log_on_connected=log_on_connected,
            tunnel=read_tunneling(view.view("tunneling_config"), prefix, context),
            own_tlvs=read_own_tlvs(view, context),
            early=_read_early(view),
            check_drain=view.boolean("check_drain_close"),
        )


def _read_back_off(view: ConfigView | None) -> tuple[float, float] | None:
    """`core.v3.BackoffStrategy`."""
    if view is None:
        return None
    base = view.seconds("base_interval", 0.0)
    longest = view.seconds("max_interval", base * 10)
    if longest < base:
        view.fail("max_interval must be greater than or equal to the base_interval", "max_interval")
    return base, longest


def _read_early(view: ConfigView) -> EarlyReading | None:
    """ON_DOWNSTREAM_TLS_HANDSHAKE asks for nothing: filters never meet a connection before its handshake is over."""
    mode = view.enum("upstream_connect_mode")
    if view.has("max_early_data_bytes"):
        return EarlyReading(view.integer("max_early_data_bytes"), starts=mode == "ON_DOWNSTREAM_DATA")
    if mode != "IMMEDIATE":
        view.fail("max_early_data_bytes must be set with it", "upstream_connect_mode")
    return None


def _read_clusters(
    view: ConfigView,
) -> tuple[tuple[str, ...], tuple[int, ...], tuple[Mapping[str, Any] | None, ...]]:
    common = read_metadata_match(view)
    kind = view.which("cluster_specifier")
    if kind is None:
        view.fail("one of 'cluster' and 'weighted_clusters' is required")
    if kind == "cluster":
        return (view.text("cluster"),), (1,), (common,)
    entries = view.required("weighted_clusters").views("clusters")
    wanted = []
    for entry in entries:
        own = read_metadata_match(entry)
        wanted.append({**(common or {}), **own} if own is not None else common)
    names, weights = zip(*((entry.text("name"), entry.integer("weight")) for entry in entries), strict=True)
    return names, weights, tuple(wanted)


def _read_log_options(view: ConfigView) -> tuple[float, bool, bool]:
    """Seconds between rows; whether there is one at the start, and one when the upstream is connected."""
    options = view.view("access_log_options")
    if options is None:
        interval = view.seconds("access_log_flush_interval", 0.0)
        shortest = max(interval, _SHORTEST_LOG_INTERVAL) if interval else 0.0
        return shortest, False, view.boolean("flush_access_log_on_connected")
    for old in ("access_log_flush_interval", "flush_access_log_on_connected"):
        if view.has(old):
            view.fail("it can't be set together with 'access_log_options'", old)
    interval = options.seconds("access_log_flush_interval", 0.0)
    on_start, on_connected = (options.boolean(f"flush_access_log_on_{when}") for when in ("start", "connected"))
    return interval, on_start, on_connected
