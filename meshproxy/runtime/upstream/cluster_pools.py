"""The connection pools of a cluster, made when a request first needs them, and the hosts that are leaving it.

Nearly all requests to a host share one pool, which the host itself holds (`host.pool`): the cluster finds it without a
look-up. The others have a pool for each routing priority, protocol and `ServerName`: what the connection says before
its first request (server name, ALPN, PROXY header), or whose it is.

Invariants:
- a pool of `by_key` holds one of `connection_pools` of its priority; one that drains does not;
- `host.pool` is one of `by_key`, or None;
- a host that is gone is in `_leaving` until its last pool has drained; then what it counted is in `retired_requests`.

The cluster is passed in rather than kept: the two would keep each other in memory.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from functools import cache, partial
from typing import TYPE_CHECKING

from meshproxy.balance.host import Host
from meshproxy.headers import RequestHeaders
from meshproxy.model.cluster import ClusterConfig
from meshproxy.plugin.replies import ResetReason
from meshproxy.plugin.upstream import HttpUpstream, HttpUpstreamSink
from meshproxy.runtime.upstream.cluster_limits import ClusterLimits
from meshproxy.runtime.upstream.connections.auto_sni import NO_NAME, ServerName, server_name, upstream_source
from meshproxy.runtime.upstream.connections.http1_pool import Http1Pool
from meshproxy.runtime.upstream.connections.internal_connection import shared_state
from meshproxy.runtime.upstream.connections.pending_request import RefusedRequest
from meshproxy.runtime.upstream.connections.proxy_header import proxy_header

if TYPE_CHECKING:
    from meshproxy.codec.h2_connection import Http2Codec
    from meshproxy.runtime.upstream.cluster import ActiveCluster
    from meshproxy.runtime.upstream.connections.alpn_pool import AlpnPool
    from meshproxy.runtime.upstream.connections.http2_pool import Http2Pool

    HttpPool = Http1Pool | Http2Pool | AlpnPool
    PoolMaker = type[Http1Pool] | type[Http2Pool] | type[AlpnPool]
    PoolKey = tuple[Host, str, ServerName, PoolMaker]

_MANY_POOLS = 64


@cache
def _pool_maker(protocol: str) -> PoolMaker:
    """What is about HTTP/2 is loaded when a cluster speaks it."""
    match protocol:
        case "HTTP2":
            from meshproxy.runtime.upstream.connections.http2_pool import Http2Pool

            return Http2Pool
        case "AUTO":
            from meshproxy.runtime.upstream.connections.alpn_pool import AlpnPool

            return AlpnPool
    return Http1Pool


class ClusterPools:
    """See the module. encrypted: over TLS. varies: whether connections may begin with a PROXY header or bring something
    of the client along.

    when_gone, where it is passed, is called whenever a pool that drained or a host that was leaving is gone.
    """

    def __init__(self, config: ClusterConfig, limits: ClusterLimits, *, encrypted: bool, varies: bool) -> None:
        self.by_key: dict[PoolKey, HttpPool] = {}
        self.retired_requests = 0
        self._config = config
        self._breakers = limits.by_priority
        self._encrypted = encrypted
        self._varies = varies
        # None: as the client's protocol asks for.
        self._make: PoolMaker | None = None if config.protocol == "DOWNSTREAM" else _pool_maker(config.protocol)
        if config.preconnect is not None:
            from meshproxy.runtime.upstream.connections.preconnect import preconnecting  # few ask for it

            self._make = preconnecting(config.protocol)
        self._auto_sni = config.auto_sni if encrypted else None
        names_vary = varies or self._auto_sni is not None or config.pool_per_connection
        self._one_for_most = self._make is not None and not names_vary
        self._sweep_at = _MANY_POOLS
        self._leaving: dict[Host, int] = {}
        self._draining = 0  # of hosts that stay

    @property
    def is_idle(self) -> bool:
        """Whether nothing is under way any more at hosts that are gone and in pools that drain."""
        return not self._leaving and not self._draining

    def requests_sent(self, hosts: Collection[Host]) -> int:
        """How many requests the cluster has ever sent. hosts: those it has now."""
        return self.retired_requests + sum(host.rq_total for host in (*hosts, *self._leaving))

    def codecs(self) -> Iterator[Http2Codec]:
        """Those of all connections that speak HTTP/2."""
        for pool in self.by_key.values():
            if not isinstance(pool, Http1Pool):
                yield from pool.codecs

    def request(
        self,
        cluster: ActiveCluster,
        host: Host,
        request: RequestHeaders,
        end: bool,
        sink: HttpUpstreamSink,
        priority: str,
        protocol: str,
        alpn: str,
    ) -> HttpUpstream:
        """Send a request through the pool that is right for it; see `Cluster.request`."""
        name = NO_NAME if self._auto_sni is None else server_name(self._auto_sni, request)
        if alpn and self._encrypted:
            name = name._replace(alpn=alpn)
        if self._varies:
            info = getattr(sink, "stream_info", None)
            options = cluster.proxy_header(host)
            if options is not None:
                name = name._replace(proxy=proxy_header(options, info))
            if cluster.passes_state:
                name = name._replace(shared=shared_state(info))
        if self._config.pool_per_connection:
            info = getattr(sink, "stream_info", None)
            name = name._replace(owner=info.connection.connection_id if info is not None else -1)
        varies = cluster.worker.sources_vary
        if varies:
            source = upstream_source(sink)
            if source is not None:
                name = name._replace(source=source)
        make = self._make
        if make is None:
            make = _pool_maker("HTTP2" if protocol == "HTTP/2" else "HTTP1")
        key = (host, priority, name, make)
        pool = self.by_key.get(key)
        if pool is None:
            if not self._has_room(host, priority):
                cluster.stats.upstream_cx_pool_overflow.inc()
                sink.on_upstream_reset(ResetReason.NO_POOL, "")
                return RefusedRequest(host)
            if len(self.by_key) >= self._sweep_at:
                self._forget_empty()
            pool = self._add(cluster, key)
            if cluster.retired:
                upstream = pool.request(request, end, sink)
                pool.drain(partial(self._late_drained, key))
                return upstream
            if self._one_for_most and priority == "DEFAULT" and name is NO_NAME and not varies:
                host.pool = pool
        return pool.request(request, end, sink)

    def plain(self, cluster: ActiveCluster, host: Host) -> Http1Pool | Http2Pool:
        """The pool that nearly all requests to a host share; made if need be, whatever the limit."""
        make = self._make
        assert make is not None
        key = (host, "DEFAULT", NO_NAME, make)
        pool = self.by_key.get(key)
        if pool is None:
            pool = self._add(cluster, key)
            if not cluster.worker.sources_vary:
                host.pool = pool
        return pool  # type: ignore[return-value]  # never with ALPN, see the configuration

    def _add(self, cluster: ActiveCluster, key: PoolKey) -> HttpPool:
        host, priority, name, make = key
        pool = self.by_key[key] = make(cluster, host, priority, name)
        self._breakers[priority].connection_pools.acquire()
        return pool

    def _has_room(self, host: Host, priority: str) -> bool:
        """Whether the breaker lets another pool be; one of this host that nobody uses makes way for it."""
        if not self._breakers[priority].connection_pools.is_open:
            return True
        for key, pool in self.by_key.items():
            if key[0] is host and key[1] == priority and pool.is_empty():
                self._forget(key)
                return True
        return False

    def _forget_empty(self) -> None:
        """Clients choose server names, and each of their connections has a PROXY header. What no connection uses any
        more goes, so that there are at most about twice as many pools as are in use."""
        for key, pool in list(self.by_key.items()):
            if key[2] is not NO_NAME and pool.is_empty():
                self._forget(key)
        self._sweep_at = max(_MANY_POOLS, 2 * len(self.by_key))

    def _forget(self, key: PoolKey) -> None:
        pool = self.by_key.pop(key)
        if key[0].pool is pool:
            key[0].pool = None
        self._breakers[key[1]].connection_pools.release()

    def drain(self, hosts: Collection[Host], when_gone: Callable[[], None]) -> None:
        """Close what is idle of these hosts' connections, and the others after what they have under way."""
        for key in [key for key in self.by_key if key[0] in hosts]:
            key[0].pool = None
            self._draining += 1
            self._breakers[key[1]].connection_pools.release()
            self.by_key.pop(key).drain(partial(self._drained, when_gone))

    def _drained(self, when_gone: Callable[[], None]) -> None:
        self._draining -= 1
        when_gone()

    def drop(self, hosts: Collection[Host], when_gone: Callable[[], None]) -> None:
        """Hosts are gone. Each is counted on until its last request has ended."""
        keys: dict[Host, list[PoolKey]] = {host: [] for host in hosts}
        for key in self.by_key if hosts else ():
            if key[0] in keys:
                keys[key[0]].append(key)
        for host, own in keys.items():
            host.pool = None
            self._leaving[host] = len(own)
            for key in own:
                self.by_key.pop(key).drain(partial(self._left, host, when_gone))
                self._breakers[key[1]].connection_pools.release()
            if not own:
                self._retire(host, when_gone)

    def _left(self, host: Host, when_gone: Callable[[], None]) -> None:
        self._leaving[host] -= 1
        if not self._leaving[host]:
            self._retire(host, when_gone)

    def _retire(self, host: Host, when_gone: Callable[[], None]) -> None:
        del self._leaving[host]
        host.cluster = None  # or the two would keep each other
        self.retired_requests += host.rq_total
        when_gone()

    def _late_drained(self, key: PoolKey) -> None:
        self.by_key.pop(key, None)
        self._breakers[key[1]].connection_pools.release()

    def close(self) -> None:
        """The process ends: nothing new is begun, what is idle closed."""
        for pool in self.by_key.values():
            pool.close()
