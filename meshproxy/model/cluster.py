"""Clusters (envoy.config.cluster.v3): where a request can be sent, and within which limits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field, replace
from typing import Any, Literal

from meshproxy.matching import FractionalPercent
from meshproxy.model.cluster_policies import NO_POLICIES, ClusterPolicies
from meshproxy.model.codec import Http1Options, Http2Options
from meshproxy.model.discovery import EndpointDiscovery
from meshproxy.model.dns import DnsOptions
from meshproxy.model.endpoint import NO_DROPS, Assignment, DropOverload, Endpoint, HealthStatus, Locality
from meshproxy.model.forwarding import ForwardOptions
from meshproxy.model.health_check import HealthCheck
from meshproxy.model.listener import TransportSocket
from meshproxy.model.outlier import OutlierDetection
from meshproxy.model.proxy_header import ProxyHeaderOptions
from meshproxy.model.subset import SubsetOptions
from meshproxy.records import dataclass
from meshproxy.runtime_values import Live, Share, constant

_HTTP1 = Http1Options()
_HTTP2 = Http2Options()
_DNS = DnsOptions()
_ONE = constant(1.0)
_HALF = constant(50.0)
_SIX = constant(6)
_ALL = FractionalPercent(100)
_STICKY = frozenset((HealthStatus.UNKNOWN, HealthStatus.HEALTHY, HealthStatus.DEGRADED))

UpstreamProtocol = Literal["HTTP1", "HTTP2", "DOWNSTREAM", "AUTO"]


@dataclass(frozen=True, slots=True)
class CircuitBreakerThresholds:
    """Limits of one routing priority; `track_remaining` publishes what is left as gauges."""

    max_connections: int = 1024
    max_pending_requests: int = 1024
    max_requests: int = 1024
    max_retries: int = 3
    max_connection_pools: int = 2**64 - 1
    max_connections_per_host: int = 2**64 - 1
    track_remaining: bool = False
    retry_budget_percent: float | None = None
    retry_budget_min_concurrency: int = 3


@dataclass(frozen=True, slots=True)
class OriginalDstOptions:
    """ORIGINAL_DST: where the address comes from when not from the connection, and how long a host is kept.

    metadata_key: namespace and path in the request's or else the connection's dynamic metadata.
    """

    use_http_header: bool = False
    http_header_name: str = "x-envoy-original-dst-host"
    metadata_key: tuple[str, tuple[str, ...]] | None = None
    port_override: int = 0
    cleanup_interval: float = 5.0


SocketOption = tuple[int, int, int | bytes]
"""level, name, value"""


@dataclass(frozen=True, slots=True)
class SourceAddress:
    """Where connections start, ip and port (0: any), None for anywhere; options: set on their sockets before that."""

    address: tuple[str, int] | None = None
    options: tuple[SocketOption, ...] = ()


@dataclass(frozen=True, slots=True)
class UpstreamBind:
    """`upstream_bind_config`, by the family of a host's address."""

    ipv4: SourceAddress = SourceAddress()
    ipv6: SourceAddress = SourceAddress()


@dataclass(frozen=True, slots=True)
class Passing:
    """Beside shared filter state internal listeners get metadata: these namespaces, of the host or the cluster."""

    metadata: tuple[tuple[Literal["host", "cluster"], str], ...] = ()


@dataclass(frozen=True, slots=True)
class HappyEyeballs:
    """In which order the addresses of an endpoint are tried. first_v6: begin with IPv6, or not, None: as the first one.

    first_count: of that family, before one of the other.
    """

    first_v6: bool | None = None
    first_count: int = 1


@dataclass(frozen=True, slots=True)
class PreconnectOptions:
    """Connections for so many times the requests there are: per_host, and ahead: to the hosts that come next."""

    per_host: float = 1.0
    ahead: float = 0.0


@dataclass(frozen=True, slots=True)
class SlowStartOptions:
    """window: seconds. aggression: above 1 a host gets its share sooner. minimum: share of the weight, 0 to 1."""

    window: float
    aggression: Live[float] = _ONE
    minimum: float = 0.1


@dataclass(frozen=True, slots=True)
class ZoneOptions:
    """Routing by zone. local_cluster: the cluster that we are a host of; here: the locality we run in.

    routing_enabled: share of the requests. minimum_size: healthy hosts below which zones aren't looked at.
    force_from: with so many healthy hosts in our locality everything stays there, None for what is fair.
    by_weight: localities are as large as their hosts' weights, and not as their number.
    """

    local_cluster: str
    here: Locality
    routing_enabled: Share = _ALL
    minimum_size: Live[int] = _SIX
    force_from: int | None = None
    by_weight: bool = False


@dataclass(frozen=True, slots=True)
class OverrideSource:
    """Where a request names its hosts: a field, or a path in its dynamic metadata."""

    header: str = ""
    namespace: str = ""
    path: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ClientWeightOptions:
    """Weights by load reports. blackout: seconds of reports before a weight counts. expiration: seconds that it counts
    for. update: seconds between two looks. error_penalty: what errors add to utilization. metrics: names of what tells
    the utilization, where hosts say nothing of the application's."""

    blackout: float = 10.0
    expiration: float = 180.0
    update: float = 1.0
    error_penalty: float = 0.0
    metrics: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class LbOptions:
    """Load-balancing settings that several policies share; percentages 0-100. slow_start: None for none.

    zone: None where there is no local cluster. hash_balance: per cent of its fair share that a host may have under way
    before a hashing policy passes it over, 0 for any. full_scan: LEAST_REQUEST looks at all hosts and not at some.
    murmur_ring: RING_HASH places hosts by MurmurHash2.
    override_sources: where a request may name hosts, () for nowhere. override_statuses: of hosts that a session may
    stick to. client_weights: where hosts have their weights from their own reports, None for nowhere.
    """

    panic_threshold: Live[float] = _HALF
    choice_count: int = 2
    active_request_bias: Live[float] = _ONE
    locality_weighted: bool = False
    fail_traffic_on_panic: bool = False
    minimum_ring_size: int = 1024
    maximum_ring_size: int = 1 << 23
    table_size: int = 65537
    hash_by_hostname: bool = False
    murmur_ring: bool = False
    slow_start: SlowStartOptions | None = None
    zone: ZoneOptions | None = None
    hash_balance: int = 0
    full_scan: bool = False
    override_sources: tuple[OverrideSource, ...] = ()
    override_statuses: frozenset[HealthStatus] = _STICKY
    client_weights: ClientWeightOptions | None = None


@dataclass(frozen=True, slots=True, eq=False)
class TransportSocketMatch:
    """One `transport_socket_matches` entry: the socket (None: raw) for hosts whose metadata under
    `envoy.transport_socket_match` has all of `match`. proxy_header, passing: as of `ClusterConfig`."""

    name: str
    match: Mapping[str, Any]
    socket: TransportSocket | None
    proxy_header: ProxyHeaderOptions | None = None
    passing: Passing | None = None

    def selects(self, metadata: Mapping[str, Any]) -> bool:
        """Whether it is for the host with this metadata."""
        given = metadata.get("envoy.transport_socket_match", {})
        return all(name in given and given[name] == value for name, value in self.match.items())


@dataclass(frozen=True, slots=True)
class AutoSni:
    """The server name for TLS comes from the request: from `header`, "" for the authority. Ports and IPs don't count.

    sni: send it; san_validation: the host's certificate must be for it.
    """

    header: str = ""
    sni: bool = False
    san_validation: bool = False


@dataclass(frozen=True, slots=True)
class PeerExchange:
    """See `plugin.peer_exchange`. protocol: which ALPN agrees on it. own: what is said of ourselves. labels: further
    ones of the peer that are kept."""

    protocol: str
    own: bytes
    labels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class ClusterConfig:
    """One cluster. Times in seconds.

    type: STATIC, EDS, STRICT_DNS, LOGICAL_DNS, ORIGINAL_DST, AGGREGATE or DYNAMIC_FORWARD_PROXY.
    aggregate: for AGGREGATE, the clusters that it stands for. forward: for DYNAMIC_FORWARD_PROXY.
    eds: for EDS, where its endpoints come from; `endpoints` are those that it begins with.
    endpoints: for the DNS types their addresses are names still to be resolved.
    idle_timeout: of a pooled upstream connection, 0 for none.
    protocol: what is spoken to hosts; DOWNSTREAM: as the client does, AUTO: as is agreed on by ALPN.
    max_stream_duration: of one request to a host, 0 for none. max_connection_duration_jitter: as a part of it.
    pool_per_connection: connections to hosts are each a downstream connection's own.
    outlier_log: the file that ejections are written to, "" for none.
    ignore_health_on_host_removal: a host that discovery takes away goes at once, though health checks find it well.
    ignore_new_hosts: until their first health check they don't count in the share of hosts that has to be healthy.
    close_on_health_failure: raw connections end when their host is found ill. close_on_change: connections are no
    longer used once the set of hosts has changed.
    proxy_header: of the PROXY protocol, with which connections begin; None for none.
    passing: what internal listeners are told of what stands before them; None for nothing.
    peer_exchange: how Istio's sidecars say first who they are; None if they don't.
    load_metrics: what of its hosts' own reports is told in load reports.
    tcp_keepalive: seconds idle before the first probe, seconds between probes, probes; 0: as the kernel has it.
    """

    name: str
    type: str = "STATIC"
    lb_policy: str = "ROUND_ROBIN"
    endpoints: tuple[Endpoint, ...] = ()
    connect_timeout: float = 5.0
    alt_stat_name: str = ""
    overprovisioning_factor: int = 140
    lb: LbOptions = LbOptions()
    drop_overload: DropOverload = NO_DROPS
    load_metrics: tuple[str, ...] = ()
    subsets: SubsetOptions | None = None
    dns: DnsOptions = _DNS
    original_dst: OriginalDstOptions = OriginalDstOptions()
    thresholds: CircuitBreakerThresholds = CircuitBreakerThresholds()
    thresholds_high: CircuitBreakerThresholds = CircuitBreakerThresholds()
    http1: Http1Options = _HTTP1
    http2: Http2Options = _HTTP2
    protocol: UpstreamProtocol = "HTTP1"
    idle_timeout: float = 3600.0
    max_connection_duration: float = 0.0
    max_connection_duration_jitter: float = 0.0
    max_stream_duration: float = 0.0
    max_requests_per_connection: int = 0
    per_connection_buffer_limit: int = 1 << 20
    bind: UpstreamBind | None = None
    tcp_keepalive: tuple[int, int, int] | None = None
    outlier: OutlierDetection | None = None
    health_check: HealthCheck | None = None
    ignore_health_on_host_removal: bool = False
    ignore_new_hosts: bool = False
    close_on_health_failure: bool = False
    close_on_change: bool = False
    outlier_log: str = ""
    peer_exchange: PeerExchange | None = None
    eds: EndpointDiscovery | None = None
    transport_socket: TransportSocket | None = None
    proxy_header: ProxyHeaderOptions | None = None
    passing: Passing | None = None
    transport_socket_matches: tuple[TransportSocketMatch, ...] = ()
    auto_sni: AutoSni | None = None
    aggregate: tuple[str, ...] = ()
    forward: ForwardOptions | None = None
    preconnect: PreconnectOptions | None = None
    pool_per_connection: bool = False
    happy_eyeballs: HappyEyeballs = HappyEyeballs()
    policies: ClusterPolicies = NO_POLICIES
    metadata: Mapping[str, Any] = field(default_factory=dict)

    def with_endpoints(self, assignment: Assignment) -> ClusterConfig:
        """The same with what discovery says of its endpoints."""
        return replace(
            self,
            endpoints=assignment.endpoints,
            overprovisioning_factor=assignment.overprovisioning_factor,
            drop_overload=assignment.drop_overload,
        )
