"""Pools that open connections before requests need them (`preconnect_policy`), and who opens them to the next host.

Apart from the plain ones, because the plain ones have nothing to ask on the path of a request.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

from meshproxy.balance.host import Host
from meshproxy.headers import RequestHeaders
from meshproxy.plugin.upstream import HttpUpstream, HttpUpstreamSink
from meshproxy.runtime.http1_pool import Http1Pool
from meshproxy.runtime.http2_pool import Http2Pool

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

    pools: all of the cluster. pool_of: the pool of a host, made if need be.
    """

    def __init__(
        self, ratio: float, pools: Callable[[], Iterable[Any]], pool_of: Callable[[Host], Http1Pool | Http2Pool]
    ) -> None:
        self._ratio = ratio
        self._pools = pools
        self._pool_of = pool_of
        self._hosts: deque[Host] = deque()

    def take(self) -> Host | None:
        """The host that was chosen for this pick before, if one was."""
        return self._hosts.popleft() if self._hosts else None

    def forget(self) -> None:
        """The hosts have changed."""
        self._hosts.clear()

    def provide(self, pick: Callable[[], Host | None], most: int) -> None:
        """Before a request is sent: choose the next hosts as long as there is too little room. most: how many ahead."""
        for _ in range(_MOST_AT_ONCE):
            waiting = active = room = 0
            for pool in self._pools():
                own = pool.load()
                waiting, active, room = waiting + own[0], active + own[1], room + own[2]
            if (waiting + active + 1) * self._ratio <= room + active or len(self._hosts) >= most:
                return
            host = pick()
            if host is None:
                return
            self._hosts.append(host)
            if not self._pool_of(host).provision(self._ratio, ahead=True):
                return
