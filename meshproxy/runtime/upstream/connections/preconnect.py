"""Pools that open connections before requests need them (`preconnect_policy`), and who opens them to the next host.

Apart from the plain ones, because the plain ones have nothing to ask on the path of a request.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from meshproxy.balance.host import Host
from meshproxy.headers import RequestHeaders
from meshproxy.plugin.stream_info import StreamInfo
from meshproxy.plugin.upstream import HostChoice, HttpUpstream, HttpUpstreamSink
from meshproxy.runtime.upstream.connections.http1_pool import Http1Pool
from meshproxy.runtime.upstream.connections.http2_pool import Http2Pool

if TYPE_CHECKING:
    from meshproxy.runtime.upstream.cluster import ActiveCluster
    from meshproxy.runtime.upstream.cluster_balancing import Pick

_MOST_AT_ONCE = 3


class PreconnectingHttp1Pool(Http1Pool):
    """`per_upstream_preconnect_ratio` for HTTP/1."""

    def request(self, request: RequestHeaders, end: bool, sink: HttpUpstreamSink) -> HttpUpstream:
        """See `Http1Pool`."""
        upstream = super().request(request, end, sink)
        _provide(self)
        return upstream


class PreconnectingHttp2Pool(Http2Pool):
    """`per_upstream_preconnect_ratio` for HTTP/2."""

    def request(self, request: RequestHeaders, end: bool, sink: HttpUpstreamSink) -> HttpUpstream:
        """See `Http2Pool`."""
        upstream = super().request(request, end, sink)
        _provide(self)
        return upstream


def preconnecting(protocol: str) -> type[PreconnectingHttp1Pool] | type[PreconnectingHttp2Pool]:
    """The pools for hosts that speak HTTP1 or HTTP2."""
    return PreconnectingHttp2Pool if protocol == "HTTP2" else PreconnectingHttp1Pool


def _provide(pool: Http1Pool | Http2Pool) -> None:
    options = pool.cluster.config.preconnect
    if options is not None and options.per_host > 1.0:
        pool.provision(options.per_host)


class NextHosts:
    """`predictive_preconnect_ratio`: the hosts that the next picks will get, and connections to them already.

    pick_now: how the cluster picks without it.
    """

    def __init__(self, cluster: ActiveCluster, ratio: float, pick_now: Pick) -> None:
        self._cluster = cluster
        self._ratio = ratio
        self._pick_now = pick_now
        self._hosts: deque[Host] = deque()

    def forget(self) -> None:
        """The hosts have changed."""
        self._hosts.clear()

    def pick(self, stream: StreamInfo, choice: HostChoice | None = None) -> Host | None:
        """The host that was chosen for this pick before, if one was; connections to the next ones are opened."""
        if choice is not None or stream.lb_hash is not None or stream.lb_metadata:
            return self._pick_now(stream, choice)
        host = (self._hosts.popleft() if self._hosts else None) or self._pick_now(stream)
        self._provide(stream)
        return host

    def _provide(self, stream: StreamInfo) -> None:
        """Before a request is sent: choose the next hosts as long as there is too little room."""
        cluster = self._cluster
        most = len(cluster.priorities.hosts)
        for _ in range(_MOST_AT_ONCE):
            waiting = active = room = 0
            for pool in cluster.pools.by_key.values():
                own = pool.load()  # type: ignore[union-attr]  # never with ALPN, see the configuration
                waiting, active, room = waiting + own[0], active + own[1], room + own[2]
            if (waiting + active + 1) * self._ratio <= room + active or len(self._hosts) >= most:
                return
            host = cluster.balancer.pick(stream)
            if host is None:
                return
            self._hosts.append(host)
            if not cluster.pools.plain(cluster, host).provision(self._ratio, ahead=True):
                return
