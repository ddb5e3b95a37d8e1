"""A live cluster: its hosts, what becomes of them, and the way of requests and connections to them.

    discovery -> `update` -> hosts -> health checks, outlier detection -> `ClusterBalancing` -> `pick`
    router -> `request` -> the host's pool (`ClusterPools`), within the limits (`ClusterLimits`)

Whoever holds the object may go on using it after `retire`: a request under way ends with the cluster it began with.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from meshproxy.balance.breaker import CircuitBreaker
from meshproxy.balance.host import Health, HealthFlag, Host
from meshproxy.balance.host_set import PrioritySet
from meshproxy.headers import RequestHeaders
from meshproxy.matching import FractionalPercent
from meshproxy.model.cluster import CircuitBreakerThresholds, ClusterConfig, TransportSocketMatch
from meshproxy.model.cluster_policies import NO_POLICIES
from meshproxy.model.endpoint import DropOverload, Endpoint
from meshproxy.model.proxy_header import ProxyHeaderOptions
from meshproxy.plugin.measures import ClusterMeasures
from meshproxy.plugin.stream_info import StreamInfo
from meshproxy.plugin.upstream import (
    NO_MAINTENANCE,
    Cluster,
    CopySpan,
    HostChoice,
    HttpUpstream,
    HttpUpstreamSink,
    TcpUpstream,
    TcpUpstreamSink,
)
from meshproxy.plugin.upstream import Host as PluginHost
from meshproxy.runtime.upstream.cluster_balancing import ClusterBalancing
from meshproxy.runtime.upstream.cluster_limits import ClusterLimits
from meshproxy.runtime.upstream.cluster_pools import ClusterPools
from meshproxy.runtime.upstream.cluster_stats import LiveClusterStats
from meshproxy.runtime.upstream.connections.tcp_upstream import RawUpstream
from meshproxy.runtime.upstream.health.cluster_events import OutlierEvents
from meshproxy.runtime.upstream.health.outlier_monitor import OutlierMonitor
from meshproxy.runtime.upstream.mirrored import MirroredRequest
from meshproxy.runtime.worker import Worker
from meshproxy.runtime_values import as_integer

if TYPE_CHECKING:
    from meshproxy.balance.load_window import LoadMetrics
    from meshproxy.runtime.upstream.cluster_pools import HttpPool
    from meshproxy.runtime.upstream.endpoint_stats import EndpointStats
    from meshproxy.runtime.upstream.health.health_checker import HealthChecker
    from meshproxy.runtime.upstream.load_weights import LoadWeights


class ActiveCluster(Cluster):
    """STATIC, and the base of those that find their hosts elsewhere."""

    stats: LiveClusterStats
    unique_hosts = False
    has_localities = True

    def __init__(self, worker: Worker, config: ClusterConfig, tls: Any = None) -> None:
        self.worker = worker
        self.name = config.name
        self.config = config
        self.tls = tls
        self.retired = False
        scope = worker.stats.scope(f"cluster.{config.alt_stat_name or config.name}.")
        self.stats = LiveClusterStats(scope)
        policies = config.policies
        self.measures = ClusterMeasures.of(self.stats.scope, budgets=policies.timeout_budgets, sizes=policies.sizes)
        self._endpoint_stats: EndpointStats | None = None
        if policies.endpoints:
            from meshproxy.runtime.upstream.endpoint_stats import EndpointStats  # few ask for it

            self._endpoint_stats = EndpointStats(scope, self.hosts)
        self.set_drop_overload(config.drop_overload)
        worker.runtime.follow(self)
        matches = config.transport_socket_matches
        self.proxies = any(header is not None for header in (config.proxy_header, *(m.proxy_header for m in matches)))
        self.passes_state = any(passing is not None for passing in (config.passing, *(m.passing for m in matches)))
        self._limits = ClusterLimits(config, self.stats, worker.runtime)
        varies = self.proxies or self.passes_state
        self.pools = ClusterPools(config, self._limits, encrypted=tls is not None, varies=varies)
        self.priorities = PrioritySet(unique=self.unique_hosts)
        self._balancing = ClusterBalancing(worker, config, self.priorities, self._limits.active_requests)
        self.balancer = self._balancing.balancer
        if self._balancing.tables is not None:
            self.stats.scope.declare(self._balancing.tables)
        self._raw: dict[Host, set[RawUpstream]] = {}
        self._folded_requests = 0
        self.outlier = self._make_outlier_monitor()
        self.health: HealthChecker | None = None
        if config.health_check is not None and config.type != "ORIGINAL_DST":
            from meshproxy.runtime.upstream.health.health_checker import (
                HealthChecker,  # sidecars don't check; gateways do
            )

            self.health = HealthChecker(self, config.health_check)
        self._weights: LoadWeights | None = None
        if config.lb.client_weights is not None:
            from meshproxy.runtime.upstream.load_weights import LoadWeights  # few ask for it

            self._weights = LoadWeights(worker, config.lb.client_weights, self.priorities, self._balancing.refresh)
        self.load_metrics: LoadMetrics | None = None
        if config.load_metrics:
            from meshproxy.balance.load_window import LoadMetrics

            self.load_metrics = LoadMetrics(config.load_metrics)
        self.stats.scope.before_read(self.fold)
        pick = self._balancing.uncommon_pick(self)
        if pick is not None:  # in place of the common one, which then pays nothing for them
            self.pick = pick  # type: ignore[method-assign]  # mypy takes a method for constant
        self.start()

    def _make_outlier_monitor(self) -> OutlierMonitor | None:
        config, worker = self.config, self.worker
        if config.outlier is None or config.type == "ORIGINAL_DST":
            return None
        events = None
        if config.outlier_log:
            events = OutlierEvents(config.name, config.outlier_log, worker.access_logs.write, worker.clock.wall)
        scope = self.stats.scope.scope("outlier_detection.")
        judges_error = config.policies.judges_error
        return OutlierMonitor(worker, config.outlier, scope, self.on_health_change, events, judges_error)

    def fold(self) -> None:
        """Bring the statistics up to date that are counted elsewhere on the path of a request."""
        total = self.pools.requests_sent(self.hosts() if not self.retired else ())  # the pools have them all then
        if total != self._folded_requests:
            self.stats.upstream_rq_total.value += total - self._folded_requests
            self._folded_requests = total
        self._limits.fold()
        self.stats.fold()
        if self.config.protocol != "HTTP1":
            self.stats.note_http2(self.pools.codecs())
        if self.outlier is not None:
            self.outlier.fold()
        if self.health is not None:
            self.health.fold()
        self._balancing.fold(self.stats)
        if self._endpoint_stats is not None:
            self._endpoint_stats.fold()

    def start(self) -> None:
        """Find the hosts; those of a STATIC cluster are in the configuration."""
        self.update(self.config.endpoints)

    def warm(self, when_warm: Callable[[], None]) -> None:
        """Call back, maybe at once, when this cluster knows its hosts as well as it can before there is traffic."""
        if self.health is not None:
            self.health.when_checked(when_warm)
        else:
            when_warm()

    def update(self, endpoints: Sequence[Endpoint]) -> bool:
        """Replace the hosts; those that stay keep their connections and counters. Returns whether these are others."""
        before = set(self.hosts())
        keeps = None
        if self.unique_hosts and self.health is not None and not self.config.ignore_health_on_host_removal:
            keeps = _stays_for_now
        added, removed = self.priorities.update(endpoints, keeps)
        for host in added:
            host.cluster = self
        if self.outlier is not None:
            self.outlier.update(added, removed)
        if self.health is not None:
            self.health.update(added, removed)
        self._hear_reports(added, removed)
        self._balancing.refresh()
        after = set(self.hosts())
        self.drop(before - after)
        if before != after:
            if self.config.close_on_change:
                self._drain(after)
            self.stats.membership_change.add(len({host.priority for host in before ^ after}))  # as Envoy counts
            self.stats.count_new_hosts(len(after - before))
        if self.unique_hosts:
            self.stats.max_host_weight.set(max((host.weight for host in after), default=1))
        self._count_members()
        return before != after

    def _hear_reports(self, added: Sequence[Host], removed: Sequence[Host]) -> None:
        """What hosts say of their load matters where they are new, and no more where they are gone."""
        if self._weights is not None:
            self._weights.watch(added, removed)
        if self.load_metrics is not None:
            self.load_metrics.watch(added, removed)

    def on_health_change(self, host: Host) -> None:
        """A host was found ill, or well again, or counts again."""
        if host.flags & HealthFlag.PENDING_DYNAMIC_REMOVAL and host.flags & HealthFlag.FAILED_ACTIVE_HC:
            self._remove_ill(host)
        if host.health is Health.UNHEALTHY:
            for upstream in list(self._raw.get(host, ())):
                upstream.end()
            self._drain((host,))
        self._balancing.refresh()
        self._count_members()

    def _remove_ill(self, host: Host) -> None:
        """A host that discovery took away some time ago isn't well any more."""
        self.priorities.discard(host)
        if self.outlier is not None:
            self.outlier.update((), (host,))
        if self.health is not None:
            self.health.update((), (host,))
        self._hear_reports((), (host,))
        self.drop((host,))
        self.stats.membership_change.inc()

    def _count_members(self) -> None:
        hosts = self.hosts()
        self.stats.membership_total.set(len(hosts))
        self.stats.membership_healthy.set(sum(host.health is Health.HEALTHY for host in hosts))
        self.stats.membership_degraded.set(sum(host.health is Health.DEGRADED for host in hosts))
        self.stats.membership_excluded.set(sum(host.excluded for host in hosts))

    @property
    def service_name(self) -> str:
        """The name that its endpoints are discovered by, if that isn't its own."""
        eds = self.config.eds
        return eds.name if eds is not None and eds.name != self.name else ""

    def hosts(self) -> list[Host]:
        """Every host, by priority."""
        return [host for host_set in self.priorities.sets for host in host_set.hosts]

    def drop(self, hosts: Collection[Host]) -> None:
        """Hosts are gone: their connections end with what they have under way."""
        self.pools.drop(hosts, self._let_go_if_done)

    def _drain(self, hosts: Collection[Host]) -> None:
        """Close what is idle of these hosts' connections, and the others after what they have under way."""
        self.pools.drain(hosts, self._let_go_if_done)

    def _let_go_if_done(self) -> None:
        if self.retired and self.pools.is_idle:
            self.worker.loop.call_soon(self._let_go)

    def set_drop_overload(self, drop: DropOverload) -> None:
        """So many of the requests are refused from now on."""
        self.drop_overload = drop.percent
        self.drop_category = drop.category
        self._note_special()

    def settle(self, values: Mapping[str, Any]) -> None:
        """Take what the runtime says of the cluster itself (`Follower`)."""
        percent = as_integer(values.get(f"upstream.maintenance_mode.{self.name}"), 0)
        self.maintenance = FractionalPercent(percent) if percent else NO_MAINTENANCE
        self._note_special()

    def _note_special(self) -> None:
        config = self.config
        refuses = self.drop_overload > 0 or self.maintenance.possible
        said = (refuses, config.alt_stat_name, config.subsets, config.metadata, config.policies is not NO_POLICIES)
        self.is_special = any(said)

    def thresholds(self, priority: str) -> CircuitBreakerThresholds:
        """What the breakers of a routing priority hold to now."""
        return self._limits.thresholds[priority]

    def limits(self, priority: str = "DEFAULT") -> CircuitBreaker:
        """The circuit breaker of a routing priority."""
        return self._limits.by_priority[priority]

    def pick(self, stream: StreamInfo, choice: HostChoice | None = None) -> Host | None:
        host = self.balancer.pick(stream) if choice is None else self.balancer.pick_choosy(choice, stream)
        if host is None:
            self.stats.upstream_cx_none_healthy.inc()
        return host

    def encrypts(self, host: PluginHost) -> bool:
        for match in self.config.transport_socket_matches:
            if match.selects(host.metadata):
                return match.socket is not None
        return self.config.transport_socket is not None

    def find_host(self, address: str) -> Host | None:
        for host_set in self.priorities.sets:
            for host in host_set.hosts:
                if host.text == address:
                    return host if host.status in self.config.lb.override_statuses else None
        return None

    def request(
        self,
        host: PluginHost,
        request: RequestHeaders,
        end: bool,
        sink: HttpUpstreamSink,
        *,
        priority: str = "DEFAULT",
        protocol: str = "",
        alpn: str = "",
    ) -> HttpUpstream:
        assert isinstance(host, Host)
        pool: HttpPool | None = host.pool
        if pool is not None and priority == "DEFAULT" and not (alpn and self.tls is not None):
            return pool.request(request, end, sink)
        return self.pools.request(self, host, request, end, sink, priority, protocol, alpn)

    def wrapping(self, host: Host) -> ClusterConfig | TransportSocketMatch:
        """What has a say about the transport socket of this host: the first match for it, else the cluster."""
        for match in self.config.transport_socket_matches:
            if match.selects(host.metadata):
                return match
        return self.config

    def proxy_header(self, host: Host) -> ProxyHeaderOptions | None:
        """What connections to this host begin with, None for nothing: as its transport socket has it."""
        return self.wrapping(host).proxy_header

    def mirror(
        self, request: RequestHeaders, end: bool, *, timeout: float, span: CopySpan | None = None
    ) -> HttpUpstream | None:
        mirrored = MirroredRequest(self, timeout, span)
        return mirrored if mirrored.start(request, end) else None

    def connect(
        self, host: PluginHost, sink: TcpUpstreamSink, *, header: ProxyHeaderOptions | None = None
    ) -> TcpUpstream:
        assert isinstance(host, Host)
        upstream = RawUpstream(self, host, sink, header)
        if self.config.close_on_health_failure:
            self._raw.setdefault(host, set()).add(upstream)
        return upstream

    def forget_raw(self, upstream: RawUpstream) -> None:
        """A raw connection has ended."""
        raw = self._raw.get(upstream.host)
        if raw is not None:
            raw.discard(upstream)
            if not raw:
                del self._raw[upstream.host]

    def membership(self) -> tuple[int, int, int]:
        stats = self.stats
        return stats.membership_total.value, stats.membership_healthy.value, stats.membership_degraded.value

    def try_retry(self, priority: str = "DEFAULT") -> bool:
        return self._limits.by_priority[priority].retries.try_acquire()

    def end_retry(self, priority: str = "DEFAULT") -> None:
        self._limits.by_priority[priority].retries.release()

    def stop(self) -> None:
        """Look for hosts, and after them, no more."""
        if self.outlier is not None:
            self.outlier.close()
        if self.health is not None:
            self.health.close()
        if self._weights is not None:
            self._weights.close()

    def retire(self) -> None:
        """The cluster was removed or replaced: close what is idle; what it has under way may finish.

        A request that is about to be retried still finds its hosts; the connections made for it are closed after it.
        """
        self.stop()
        self.drop(self.hosts())
        self.retired = True
        if self.pools.is_idle:
            self._let_go()

    def _let_go(self) -> None:
        """Nothing is under way any more: the statistics go with the cluster, unless its successor has them too."""
        self.stats.scope.close()
        if self.tls is not None:
            self.tls.close()

    def close(self) -> None:
        """The process ends: nothing new is begun, what is idle closed."""
        self.stop()
        self.pools.close()


_ILL = HealthFlag.FAILED_ACTIVE_HC | HealthFlag.FAILED_EDS_HEALTH | HealthFlag.EDS_STATUS_DRAINING


def _stays_for_now(host: Host) -> bool:
    """Whether a host that discovery took away is kept because health checks find it well; then it is marked."""
    stays = not host.flags & _ILL
    if stays:
        host.set_flag(HealthFlag.PENDING_DYNAMIC_REMOVAL, True)
    return stays


class EdsCluster(ActiveCluster):
    """Endpoints come by discovery: `update` is called whenever there is news of them.

    An address that an assignment names twice is one host, as in Envoy.
    """

    unique_hosts = True
