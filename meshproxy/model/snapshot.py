"""One generation of the whole configuration, cross-checked and immutable."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import field
from typing import Any

from meshproxy.address import BoundAddress
from meshproxy.model.cluster import ClusterConfig, UpstreamBind
from meshproxy.model.discovery import ConfigSource
from meshproxy.model.grpc_service import GrpcService
from meshproxy.model.listener import AccessLog, Listener
from meshproxy.model.overload import OverloadConfig
from meshproxy.model.runtime_layer import RuntimeLayer
from meshproxy.model.stats_sink import StatsSink
from meshproxy.model.watchdog import Watchdog
from meshproxy.records import dataclass
from meshproxy.runtime_values import Live, RuntimeValues


@dataclass(frozen=True, slots=True)
class Node:
    """Who this proxy is (envoy.config.core.v3.Node)."""

    id: str = ""
    cluster: str = ""
    region: str = ""
    zone: str = ""
    sub_zone: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class AdminConfig:
    """The admin interface; `address` None switches it off.

    socket_options: see `Listener`. ignore_global_conn_limit: its connections don't count among those of the process.
    allowed: whether a path with its query is served; None: all are.
    """

    address: BoundAddress | None = None
    access_logs: tuple[AccessLog, ...] = ()
    socket_options: tuple[tuple[int, int, int | bytes], ...] = ()
    ignore_global_conn_limit: bool = False
    allowed: Callable[[str], bool] | None = None


@dataclass(frozen=True, slots=True)
class StatsTag:
    """`stats_config.stats_tags`: a fixed value, or a regular expression that finds it in the name."""

    name: str
    fixed_value: str | None = None
    regex: str | None = None


@dataclass(frozen=True, slots=True)
class StatsConfig:
    """Which statistics are kept and how their names are taken apart.

    inclusion, exclusion: predicates on the full name; at most one is set.
    buckets: (predicate on the name, upper bounds) for `histogram_bucket_settings`.
    flush_interval: seconds between two flushes of histograms.
    server_version: what `server.version` shows; None: the program's own.
    """

    tags: tuple[StatsTag, ...] = ()
    use_all_default_tags: bool = True
    inclusion: Any = None
    exclusion: Any = None
    buckets: tuple[tuple[Any, tuple[float, ...]], ...] = ()
    flush_interval: float = 5.0
    server_version: int | None = None


@dataclass(frozen=True, slots=True)
class ClusterManagerConfig:
    """`cluster_manager`: what holds for all clusters.

    local_cluster_name: the cluster that this proxy is a member of, for routing by zone; "" for none.
    outlier_event_log_path: where ejections are logged, a JSON line each; "" for nowhere.
    bind: the source address of clusters that have no `upstream_bind_config` of their own.
    load_reports: the service that is told of the load on clusters, None for none.
    """

    local_cluster_name: str = ""
    outlier_event_log_path: str = ""
    bind: UpstreamBind | None = None
    load_reports: GrpcService | None = None


@dataclass(frozen=True, slots=True)
class DynamicConfig:
    """`dynamic_resources`: where listeners and clusters come from, beside those of the bootstrap; None: from nowhere.

    ads: the aggregated source, as compiled by whoever speaks to it.
    """

    listeners: ConfigSource | None = None
    clusters: ConfigSource | None = None
    ads: Any = None


@dataclass(frozen=True, slots=True, eq=False)
class Snapshot:
    """The configuration in force. `source` is the bootstrap message, kept for `/config_dump`.

    connection_limit: of connections from clients, by the runtime; None for none ever.
    own_clusters: of gRPC services that are named by their address (`google_grpc`).
    layers: of the runtime. runtime: the values in force, which everything that was compiled follows.
    """

    node: Node
    admin: AdminConfig
    listeners: tuple[Listener, ...]
    clusters: Mapping[str, ClusterConfig]
    stats: StatsConfig = StatsConfig()
    layers: tuple[RuntimeLayer, ...] = ()
    runtime: RuntimeValues = field(default_factory=lambda: RuntimeValues(fixed=True))
    flags_path: str = ""
    dynamic: DynamicConfig = DynamicConfig()
    cluster_manager: ClusterManagerConfig = ClusterManagerConfig()
    overload: OverloadConfig | None = None
    connection_limit: Live[int] | None = None
    stats_sinks: tuple[StatsSink, ...] = ()
    own_clusters: Mapping[str, ClusterConfig] = field(default_factory=dict)
    main_watchdog: Watchdog = Watchdog()
    worker_watchdog: Watchdog = Watchdog()
    source: Any = None
