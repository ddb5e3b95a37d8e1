"""The HTTP/1 connections to one host: each carries one request at a time, and waits for the next.

A request takes the idle connection that was used last (the one least likely to be about to be closed by the host). What
happens if there is none, `http_pool` says.

The loop reads a socket once in a turn, so a host that ends a connection right behind a response, unannounced, is found
out a turn late, and a request that takes the connection meanwhile is lost. Looking into each socket before it is used
would cost every request a system call; so only pools look whose host has done such a thing.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from meshproxy.headers import RequestHeaders
from meshproxy.plugin.replies import ResetReason
from meshproxy.plugin.upstream import HttpUpstream, HttpUpstreamSink
from meshproxy.runtime.upstream.connections.auto_sni import NO_NAME, ServerName
from meshproxy.runtime.upstream.connections.http1_upstream import Http1Upstream
from meshproxy.runtime.upstream.connections.http_pool import HttpPool

if TYPE_CHECKING:
    from meshproxy.balance.host import Host
    from meshproxy.runtime.upstream.cluster import ActiveCluster


_AT_ONCE = 0.1
"""Seconds; a host that ends a connection within them after a response, or with a request on it, is watched."""
_CLOSED_IN_A_TURN = 20
"""Idle connections to a host that is gone: all of thousands would hold the loop up."""


class Http1Pool(HttpPool[Http1Upstream]):
    """See the module."""

    def __init__(self, cluster: ActiveCluster, host: Host, priority: str, name: ServerName = NO_NAME) -> None:
        super().__init__(cluster, host, priority, name)
        self.stats.show_http1()
        self._idle: list[Http1Upstream] = []
        self._wary = False

    def request(self, request: RequestHeaders, end: bool, sink: HttpUpstreamSink) -> HttpUpstream:
        """Send a request, now or as soon as there is a connection. Failures are told to `sink`."""
        while self._idle:
            upstream = self._idle.pop()
            if upstream.transport.is_closing() or (self._wary and upstream.has_input()):
                upstream.unusable = True  # its end is on the way to `forget`
                continue
            if not self._requests.try_acquire():
                self._idle.append(upstream)
                self.stats.upstream_rq_active_overflow.value += 1
                return self._refuse(request, end, sink, ResetReason.OVERFLOW)
            host = self.host
            host.rq_total += 1
            host.rq_active += 1
            try:
                upstream.start(request, end, sink)
            except ValueError as error:  # what filters have made of the head can't be written
                sink.on_upstream_reset(ResetReason.LOCAL_RESET, str(error))
            return upstream
        return self._wait(request, end, sink)

    def load(self) -> tuple[int, int, int]:
        """See `HttpPool`."""
        idle = len(self._idle)
        return len(self._pending), len(self.connections) - idle, len(self._opening) + idle

    def _make(self) -> Http1Upstream:
        self.stats.upstream_cx_http1_total.value += 1
        return self._make_uncounted()

    def _make_uncounted(self) -> Http1Upstream:
        if not self.cluster.worker.measures():
            return Http1Upstream(self)
        from meshproxy.runtime.upstream.connections.http1_measuring import MeteredHttp1Upstream  # which imports HTTP/2

        return MeteredHttp1Upstream(self)

    def _admit(self, connection: Http1Upstream) -> None:
        self._serve_or_keep(connection)

    def _serve_or_keep(self, upstream: Http1Upstream) -> None:
        while self._pending:
            if self._wary and upstream.has_input():
                upstream.unusable = True
                return
            waiting = self._next_waiting()
            if waiting is not None:
                waiting.upstream = upstream
                waiting.attach(upstream)
                return
        upstream.idle_since = self._loop.time()
        self._idle.append(upstream)
        if self._closed:
            upstream.close()
        else:
            self._plan_idle()

    # Connections that have served.

    def release(self, upstream: Http1Upstream) -> None:
        """A connection has served its request and can serve another."""
        self._requests.active -= 1
        self.host.rq_active -= 1
        if self._idle_timer is None or self._pending:
            self._serve_or_keep(upstream)
        else:  # nobody waits, and what is idle is looked after: nearly always
            upstream.idle_since = self._loop.time()
            self._idle.append(upstream)

    def is_idle(self, upstream: Http1Upstream) -> bool:
        """Whether it waits for a request."""
        return upstream in self._idle

    def _idle_connections(self) -> Iterable[Http1Upstream]:
        return self._idle

    def forget(self, upstream: Http1Upstream, *, active: bool, remote: bool) -> None:
        """A connection is gone; called again it does nothing. See `LiveClusterStats.count_destroy`."""
        if not self._remove(upstream, active=active, remote=remote):
            return
        if remote and not self._wary and self._loop.time() - upstream.idle_since < _AT_ONCE:
            self._wary = True
        if upstream in self._idle:
            self._idle.remove(upstream)
        elif not upstream.unusable:
            self.count_end()
        self.forgotten()

    def _wind_down(self) -> None:
        ends = self._when_drained is None  # the process does: there may be no other turn of the loop
        for upstream in self._idle[: None if ends else _CLOSED_IN_A_TURN]:
            upstream.close()
        if self._idle:
            self._loop.call_soon(self._wind_down)
