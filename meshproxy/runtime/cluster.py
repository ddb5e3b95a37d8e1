"""A live cluster: its hosts, the balancer over them, a connection pool for each host, its limits."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from functools import cache, partial
from typing import TYPE_CHECKING, Any

from meshproxy.address import SocketAddress, parse_address
from meshproxy.balance.balancer import LoadBalancer
from meshproxy.balance.breaker import CircuitBreaker
from meshproxy.balance.hashing_policies import HASHING, hash_picker_factory
from meshproxy.balance.host import Health, HealthFlag, Host
from meshproxy.balance.host_set import HostGroups, HostSet, PrioritySet
from meshproxy.balance.policies import PickerFactory, picker_factory
from meshproxy.balance.slow_start import SlowStart
from meshproxy.balance.subset import SubsetBalancer
from meshproxy.balance.zone_aware import ZoneRouting
from meshproxy.headers import RequestHeaders
from meshproxy.model.cluster import ClusterConfig
from meshproxy.model.endpoint import Endpoint
from meshproxy.model.proxy_header import ProxyHeaderOptions
from meshproxy.plugin.context import Timer
from meshproxy.plugin.replies import ResetReason
from meshproxy.plugin.stream_info import StreamInfo
from meshproxy.plugin.upstream import (
    ORIGINAL_DST_ADDRESS,
    Cluster,
    HostChoice,
    HttpUpstream,
    HttpUpstreamSink,
    TcpUpstream,
    TcpUpstreamSink,
)
from meshproxy.plugin.upstream import Host as PluginHost
from meshproxy.runtime.auto_sni import NO_NAME, ServerName, server_name
from meshproxy.runtime.breaker_stats import BreakerStats
from meshproxy.runtime.cluster_events import OutlierEvents
from meshproxy.runtime.cluster_stats import LiveClusterStats
from meshproxy.runtime.http1_pool import Http1Pool
from meshproxy.runtime.mirrored import MirroredRequest
from meshproxy.runtime.outlier_monitor import OutlierMonitor
from meshproxy.runtime.pending_request import RefusedRequest
from meshproxy.runtime.proxy_header import proxy_header
from meshproxy.runtime.tcp_upstream import RawUpstream
from meshproxy.runtime.worker import Worker

if TYPE_CHECKING:
    from meshproxy.runtime.alpn_pool import AlpnPool
    from meshproxy.runtime.health_checker import HealthChecker
    from meshproxy.runtime.http2_pool import Http2Pool
    from meshproxy.runtime.preconnect import NextHosts

    HttpPool = Http1Pool | Http2Pool | AlpnPool
    PoolMaker = type[Http1Pool] | type[Http2Pool] | type[AlpnPool]
    PoolKey = tuple[Host, str, ServerName, PoolMaker]


@cache
def _pool_maker(protocol: str) -> PoolMaker:
    """What is about HTTP/2 is loaded when a cluster speaks it."""
    match protocol:
        case "HTTP2":
            from meshproxy.runtime.http2_pool import Http2Pool

            return Http2Pool
        case "AUTO":
            from meshproxy.runtime.alpn_pool import AlpnPool

            return AlpnPool
    return Http1Pool


class ActiveCluster(Cluster):
    """STATIC, and the base of those that find their hosts elsewhere."""

    stats: LiveClusterStats
    unique_hosts = False

    def __init__(self, worker: Worker, config: ClusterConfig, tls: Any = None) -> None:
        self.worker = worker
        self.name = config.name
        self.config = config
        self.tls = tls
        self.stats = LiveClusterStats(worker.stats.scope(f"cluster.{config.alt_stat_name or config.name}."))
        self._breakers = {
            "DEFAULT": CircuitBreaker(config.thresholds),
            "HIGH": CircuitBreaker(config.thresholds_high),
        }
        self._pools: dict[PoolKey, HttpPool] = {}
        # None: as the client's protocol asks for.
        self._make_pool = None if config.protocol == "DOWNSTREAM" else _pool_maker(config.protocol)
        self.proxies = config.proxy_header is not None or any(
            match.proxy_header is not None for match in config.transport_socket_matches
        )
        self._sweep_at = _MANY_POOLS
        self._auto_sni = config.auto_sni if tls is not None else None
        self._names_vary = self.proxies or self._auto_sni is not None or config.pool_per_connection
        self.priorities = PrioritySet(unique=self.unique_hosts)
        self._zones: list[ZoneRouting] = []
        self.balancer = self._make_balancer()
        self._breaker_stats = self._make_breaker_stats()
        self._leaving: dict[Host, int] = {}
        self._draining_pools = 0  # of hosts that stay
        self._raw: dict[Host, set[RawUpstream]] = {}
        self._retired_requests = 0
        self._folded_requests = 0
        self.outlier = None
        if config.outlier is not None and config.type != "ORIGINAL_DST":
            scope = self.stats.scope.scope("outlier_detection.")
            events = None
            if config.outlier_log:
                events = OutlierEvents(config.name, config.outlier_log, worker.access_logs.write, worker.clock.wall)
            self.outlier = OutlierMonitor(worker, config.outlier, scope, self.on_health_change, events)
        self.health: HealthChecker | None = None
        if config.health_check is not None and config.type != "ORIGINAL_DST":
            from meshproxy.runtime.health_checker import HealthChecker  # sidecars don't check; gateways do

            self.health = HealthChecker(self, config.health_check)
        self._retired = False
        self._active_folded = 0
        self.stats.scope.before_read(self.fold)
        self._next: NextHosts | None = None
        if config.preconnect is not None:
            from meshproxy.runtime.preconnect import NextHosts, preconnecting  # few ask for it

            self._make_pool = preconnecting(config.protocol)
            if config.preconnect.ahead > 1.0:
                self._next = NextHosts(config.preconnect.ahead, self._pools.values, self._pool_of)
                self.pick = self._pick_ahead  # type: ignore[method-assign]  # costs others nothing
        if config.lb.override_sources:
            from meshproxy.balance.override import NamedHosts  # few ask for it

            self._names = NamedHosts(config.lb.override_sources, lambda: self.priorities.sets)
            self._pick_unnamed = self.pick
            self.pick = self._pick_named  # type: ignore[method-assign]  # as above
        self.start()

    def fold(self) -> None:
        """Bring the statistics up to date that are counted elsewhere on the path of a request."""
        total = self._retired_requests + sum(host.rq_total for host in (*self.hosts(), *self._leaving))
        if total != self._folded_requests:
            self.stats.upstream_rq_total.value += total - self._folded_requests
            self._folded_requests = total
        active = sum(breaker.requests.active for breaker in self._breakers.values())
        if active != self._active_folded:
            # By how much it changed: while a cluster is replaced the old one and the new one share the gauge.
            self.stats.upstream_rq_active.add(active - self._active_folded)
            self._active_folded = active
        for breaker_stats in self._breaker_stats:
            breaker_stats.fold()
        self.stats.fold()
        if self.config.protocol != "HTTP1":
            pools = [pool for pool in self._pools.values() if not isinstance(pool, Http1Pool)]
            self.stats.note_http2(codec for pool in pools for codec in pool.codecs)
        if self.outlier is not None:
            self.outlier.fold()
        if self.health is not None:
            self.health.fold()
        for zones in self._zones:
            counts, zones.counts = zones.counts, {}
            for name, count in counts.items():
                self.stats.scope.counter(name).add(count)
        if isinstance(self.balancer, SubsetBalancer):
            balancer = self.balancer
            self.stats.count_subsets(balancer.active, balancer.duplicates, balancer.take_counts())
        panicking = self.balancer.healthy_panic
        if panicking:
            self.balancer.healthy_panic = 0
            self.stats.lb_healthy_panic.add(panicking)

    def _make_balancer(self) -> LoadBalancer | SubsetBalancer:
        config, worker = self.config, self.worker
        pickers = _pickers(config, worker.loop.time, self._active_requests)

        def make(hosts: HostGroups, locality_weighted: bool) -> LoadBalancer:
            options = config.lb
            if options.locality_weighted and not locality_weighted:
                options = replace(options, locality_weighted=False)
            zones = None
            if options.zone is not None and config.lb_policy not in HASHING:
                zones = ZoneRouting(options.zone, partial(self._local_sets, options.zone.local_cluster), worker.rng)
                self._zones.append(zones)
            return LoadBalancer(hosts, pickers, options, worker.rng, config.overprovisioning_factor, zones)

        if config.subsets is not None:
            return SubsetBalancer(self.priorities, config.subsets, make)
        return make(self.priorities, True)

    def _local_sets(self, name: str) -> tuple[HostSet, ...] | None:
        cluster = self.worker.clusters.get(name)
        return cluster.priorities.sets if cluster is not None else None

    def _active_requests(self) -> int:
        return sum(breaker.requests.active for breaker in self._breakers.values())

    def _make_breaker_stats(self) -> list[BreakerStats]:
        config = self.config
        scope = self.stats.scope.scope("circuit_breakers.")
        return [
            BreakerStats(scope.scope("default."), self._breakers["DEFAULT"], config.thresholds),
            BreakerStats(scope.scope("high."), self._breakers["HIGH"], config.thresholds_high),
        ]

    def start(self) -> None:
        """Find the hosts; those of a STATIC cluster are in the configuration."""
        self.update(self.config.endpoints)

    def warm(self, when_warm: Callable[[], None]) -> None:
        """Call back, maybe at once, when this cluster knows its hosts as well as it can before there is traffic."""
        if self.health is not None:
            self.health.when_checked(when_warm)
        else:
            when_warm()

    def update(self, endpoints: Sequence[Endpoint]) -> None:
        """Replace the hosts; those that stay keep their connections and counters."""
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
        self._refresh()
        after = set(self.hosts())
        self._drop(before - after)
        if before != after:
            if self.config.close_on_change:
                self.drain_connections(after)
            self.stats.membership_change.inc()
            self.stats.count_new_hosts(len(after - before))
        self._count_members()

    def on_health_change(self, host: Host) -> None:
        """A host was found ill, or well again, or counts again."""
        if host.flags & HealthFlag.PENDING_DYNAMIC_REMOVAL and host.flags & HealthFlag.FAILED_ACTIVE_HC:
            self._remove_ill(host)
        if host.health is Health.UNHEALTHY:
            for upstream in list(self._raw.get(host, ())):
                upstream.end()
            self.drain_connections((host,))
        self._refresh()
        self._count_members()

    def _refresh(self) -> None:
        self.balancer.refresh()
        if self._next is not None:
            self._next.forget()

    def _remove_ill(self, host: Host) -> None:
        """A host that discovery took away some time ago isn't well any more."""
        self.priorities.discard(host)
        if self.outlier is not None:
            self.outlier.update((), (host,))
        if self.health is not None:
            self.health.update((), (host,))
        self._drop((host,))
        self.stats.membership_change.inc()

    def drain_connections(self, hosts: Collection[Host]) -> None:
        """Close what is idle of these hosts' connections, and the others after what they have under way."""
        for key in [key for key in self._pools if key[0] in hosts]:
            key[0].pool = None
            self._draining_pools += 1
            self._breakers[key[1]].connection_pools.release()
            self._pools.pop(key).drain(self._pool_gave_way)

    def _pool_gave_way(self) -> None:
        self._draining_pools -= 1
        self._let_go_if_done()

    def _count_members(self) -> None:
        hosts = self.hosts()
        self.stats.membership_total.set(len(hosts))
        self.stats.membership_healthy.set(sum(host.health is Health.HEALTHY for host in hosts))
        self.stats.membership_degraded.set(sum(host.health is Health.DEGRADED for host in hosts))
        if self.health is not None:
            self.stats.membership_excluded.set(sum(host.excluded for host in hosts))

    def hosts(self) -> list[Host]:
        """Every host, by priority."""
        return [host for host_set in self.priorities.sets for host in host_set.hosts]

    def _drop(self, hosts: Collection[Host]) -> None:
        """Hosts are gone. Each is counted on until its last request has ended."""
        keys: dict[Host, list[PoolKey]] = {host: [] for host in hosts}
        for key in self._pools if hosts else ():
            if key[0] in keys:
                keys[key[0]].append(key)
        for host, own in keys.items():
            host.pool = None
            self._leaving[host] = len(own)
            for key in own:
                self._pools.pop(key).drain(partial(self._pool_drained, host))
                self._breakers[key[1]].connection_pools.release()
            if not own:
                self._retire(host)

    def _pool_drained(self, host: Host) -> None:
        self._leaving[host] -= 1
        if not self._leaving[host]:
            self._retire(host)

    def _retire(self, host: Host) -> None:
        del self._leaving[host]
        host.cluster = None  # or the two would keep each other
        self._retired_requests += host.rq_total
        self._let_go_if_done()

    def _let_go_if_done(self) -> None:
        if self._retired and not self._leaving and not self._draining_pools:
            self.worker.loop.call_soon(self._let_go)

    def limits(self, priority: str = "DEFAULT") -> CircuitBreaker:
        """The circuit breaker of a routing priority."""
        return self._breakers[priority]

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

    def _pick_named(self, stream: StreamInfo, choice: HostChoice | None = None) -> Host | None:
        """`pick` where a request may name its hosts."""
        return self._names.next(stream) or self._pick_unnamed(stream, choice)

    def _pick_ahead(self, stream: StreamInfo, choice: HostChoice | None = None) -> Host | None:
        """`pick` where connections are opened to the hosts that come next."""
        assert self._next is not None
        if choice is not None or stream.lb_hash is not None or stream.lb_metadata:
            return ActiveCluster.pick(self, stream, choice)
        host = self._next.take() or ActiveCluster.pick(self, stream)
        self._next.provide(partial(self.balancer.pick, stream), len(self.priorities.hosts))
        return host

    def _pool_of(self, host: Host) -> Http1Pool | Http2Pool:
        """The pool of the plain requests to a host."""
        make = self._make_pool
        assert make is not None
        pool = self._pools.get((host, "DEFAULT", NO_NAME, make))
        if pool is None:
            pool = self._pools[host, "DEFAULT", NO_NAME, make] = host.pool = make(self, host, "DEFAULT", NO_NAME)
            self._breakers["DEFAULT"].connection_pools.acquire()
        return pool  # type: ignore[return-value]  # never with ALPN, see the configuration

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
        if alpn and self.tls is None:
            alpn = ""
        pool: HttpPool | None = host.pool
        if pool is not None and priority == "DEFAULT" and not alpn:
            return pool.request(request, end, sink)
        name = NO_NAME if self._auto_sni is None else server_name(self._auto_sni, request)
        if alpn:
            name = name._replace(alpn=alpn)
        if self.proxies:
            options = self.proxy_header(host)
            if options is not None:
                name = name._replace(proxy=proxy_header(options, getattr(sink, "stream_info", None)))
        if self.config.pool_per_connection:
            info = getattr(sink, "stream_info", None)
            name = name._replace(owner=info.connection.connection_id if info is not None else -1)
        make = self._make_pool
        if make is None:
            make = _pool_maker("HTTP2" if protocol == "HTTP/2" else "HTTP1")
        pool = self._pools.get((host, priority, name, make))
        if pool is None:
            if not self._has_room_for_pool(host, priority):
                self.stats.upstream_cx_pool_overflow.inc()
                sink.on_upstream_reset(ResetReason.NO_POOL, "")
                return RefusedRequest(host)
            if len(self._pools) >= self._sweep_at:
                self._forget_empty_pools()
            pool = self._pools[host, priority, name, make] = make(self, host, priority, name)
            self._breakers[priority].connection_pools.acquire()
            if self._retired:
                upstream = pool.request(request, end, sink)
                pool.drain(partial(self._late_pool_drained, (host, priority, name, make)))
                return upstream
            if priority == "DEFAULT" and name is NO_NAME and self._make_pool is not None and not self._names_vary:
                host.pool = pool  # the only one for nearly all requests, found without a look-up
        return pool.request(request, end, sink)

    def _has_room_for_pool(self, host: Host, priority: str) -> bool:
        """Whether the breaker lets another pool be; one of this host that nobody uses makes way for it."""
        if not self._breakers[priority].connection_pools.is_open:
            return True
        for key, pool in self._pools.items():
            if key[0] is host and key[1] == priority and pool.is_empty():
                self._forget_pool(key)
                return True
        return False

    def _forget_empty_pools(self) -> None:
        """Clients choose server names, and each of their connections has a PROXY header. What no connection uses any
        more goes, so that there are at most about twice as many pools as are in use."""
        for key, pool in list(self._pools.items()):
            if key[2] is not NO_NAME and pool.is_empty():
                self._forget_pool(key)
        self._sweep_at = max(_MANY_POOLS, 2 * len(self._pools))

    def _forget_pool(self, key: PoolKey) -> None:
        pool = self._pools.pop(key)
        if key[0].pool is pool:
            key[0].pool = None
        self._breakers[key[1]].connection_pools.release()

    def proxy_header(self, host: Host) -> ProxyHeaderOptions | None:
        """What connections to this host begin with, None for nothing: as its transport socket has it."""
        for match in self.config.transport_socket_matches:
            if match.selects(host.metadata):
                return match.proxy_header
        return self.config.proxy_header

    def mirror(self, request: RequestHeaders, end: bool, *, timeout: float) -> HttpUpstream | None:
        mirrored = MirroredRequest(self, timeout)
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
        return self._breakers[priority].retries.try_acquire()

    def end_retry(self, priority: str = "DEFAULT") -> None:
        self._breakers[priority].retries.release()

    def stop(self) -> None:
        """Look for hosts, and after them, no more."""
        if self.outlier is not None:
            self.outlier.close()
        if self.health is not None:
            self.health.close()

    def retire(self) -> None:
        """The cluster was removed or replaced: close what is idle; what it has under way may finish.

        A request that is about to be retried still finds its hosts; the connections made for it are closed after it.
        """
        self.stop()
        self._drop(self.hosts())
        self._retired = True
        if not self._leaving and not self._draining_pools:
            self._let_go()

    def _let_go(self) -> None:
        """Nothing is under way any more: the statistics go with the cluster, unless its successor has them too."""
        self.stats.scope.close()
        if self.tls is not None:
            self.tls.close()

    def _late_pool_drained(self, key: PoolKey) -> None:
        self._pools.pop(key, None)
        self._breakers[key[1]].connection_pools.release()

    def close(self) -> None:
        """The process ends: nothing new is begun, what is idle closed."""
        self.stop()
        for pool in self._pools.values():
            pool.close()


_MANY_POOLS = 64
_ILL = HealthFlag.FAILED_ACTIVE_HC | HealthFlag.FAILED_EDS_HEALTH | HealthFlag.EDS_STATUS_DRAINING


def _stays_for_now(host: Host) -> bool:
    """Whether a host that discovery took away is kept because health checks find it well; then it is marked."""
    stays = not host.flags & _ILL
    if stays:
        host.set_flag(HealthFlag.PENDING_DYNAMIC_REMOVAL, True)
    return stays


def _pickers(config: ClusterConfig, now: Callable[[], float], active: Callable[[], int]) -> PickerFactory:
    """active: how many requests the cluster has under way."""
    if config.lb_policy == "CLUSTER_PROVIDED":
        return picker_factory("ROUND_ROBIN")  # never asked: the cluster itself finds the host
    hashing = hash_picker_factory(config.lb_policy, config.lb, active)
    if hashing is not None:
        return hashing
    options = config.lb.slow_start
    slow_start = SlowStart(now, options.window, options.aggression, options.minimum) if options is not None else None
    lb = config.lb
    return picker_factory(config.lb_policy, lb.choice_count, lb.active_request_bias, slow_start, lb.full_scan)


class EdsCluster(ActiveCluster):
    """Endpoints come by discovery: `update` is called whenever there is news of them.

    An address that an assignment names twice is one host, as in Envoy.
    """

    unique_hosts = True


class OriginalDstCluster(ActiveCluster):
    """Hosts are the addresses that connections were going to (`ORIGINAL_DST`), made when they are first needed.

    A host that nothing was sent to for `cleanup_interval` is forgotten with its connections.
    """

    def start(self) -> None:
        self._cleaning: Timer
        self._by_address: dict[SocketAddress, Host] = {}
        self._used: set[Host] = set()
        self._cleaning = self.worker.schedule(self.config.original_dst.cleanup_interval, self._clean_up)

    def hosts(self) -> list[Host]:
        return list(self._by_address.values())

    def pick(self, stream: StreamInfo, choice: HostChoice | None = None) -> Host | None:
        address = self._destination(stream)
        if address is None:
            self.stats.upstream_cx_none_healthy.inc()
            return None
        host = self._by_address.get(address)
        if host is None:
            host = self._by_address[address] = Host(Endpoint(address))
            host.cluster = self
            self.stats.membership_total.set(len(self._by_address))
            self.stats.membership_healthy.set(len(self._by_address))
            self.stats.membership_change.inc()
            self.stats.count_new_hosts(1)
        self._used.add(host)
        return host

    def _destination(self, stream: StreamInfo) -> SocketAddress | None:
        options = self.config.original_dst
        found = self._from_state(stream)
        if found is None and options.use_http_header and stream.request is not None:
            found = self._parse(stream.request.get(options.http_header_name))
        if found is None and options.metadata_key is not None:
            found = self._from_metadata(stream, options.metadata_key)
        if found is None and stream.connection.original_destination is not None:
            found = SocketAddress(*stream.connection.original_destination)
        if found is not None and options.port_override:
            found = SocketAddress(found.ip, options.port_override)
        return found

    def _from_metadata(self, stream: StreamInfo, key: tuple[str, tuple[str, ...]]) -> SocketAddress | None:
        namespace, path = key
        value: Any = (stream.dynamic_metadata or {}).get(namespace)
        for segment in path:
            value = value.get(segment) if isinstance(value, Mapping) else None
        return self._parse(value if isinstance(value, str) else None)

    def _from_state(self, stream: StreamInfo) -> SocketAddress | None:
        for state in (stream.filter_state, stream.connection.filter_state):
            if state and ORIGINAL_DST_ADDRESS in state:
                return self._parse(str(state[ORIGINAL_DST_ADDRESS]))
        return None

    def _parse(self, given: str | None) -> SocketAddress | None:
        if not given:
            return None
        try:
            return parse_address(given)
        except ValueError:
            self.stats.original_dst_host_invalid.inc()
            return None

    def _clean_up(self) -> None:
        used, self._used = self._used, set()
        for address, host in list(self._by_address.items()):
            if host not in used and not host.rq_active and not host.cx_active:
                del self._by_address[address]
                self._drop((host,))
        self.stats.membership_total.set(len(self._by_address))
        self.stats.membership_healthy.set(len(self._by_address))
        self._cleaning = self.worker.schedule(self.config.original_dst.cleanup_interval, self._clean_up)

    def stop(self) -> None:
        self._cleaning.cancel()
        super().stop()
