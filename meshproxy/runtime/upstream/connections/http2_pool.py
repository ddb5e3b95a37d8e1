"""The HTTP/2 connections to one host, each shared by many requests.

A request goes on the first connection that has room: one connection carries everything until the host's
MAX_CONCURRENT_STREAMS (or the configured number, if that is smaller) is reached; then another is opened. What happens
while there is none with room, `http_pool` says; a burst at the start leads to one connection and not to one each
(Envoy: HttpConnPoolImplBase).

A connection leaves `_ready` when it has no room, and comes back at the end when it has some again; one that is draining
(GOAWAY, most requests, age) never does, and ends with its last request.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from meshproxy.codec.h2_connection import Http2Codec
from meshproxy.headers import RequestHeaders
from meshproxy.plugin.replies import ResetReason
from meshproxy.plugin.upstream import HttpUpstream, HttpUpstreamSink
from meshproxy.runtime.upstream.connections.auto_sni import NO_NAME, ServerName
from meshproxy.runtime.upstream.connections.http2_measuring import MeteredHttp2Upstream
from meshproxy.runtime.upstream.connections.http2_upstream import Http2Upstream
from meshproxy.runtime.upstream.connections.http_pool import HttpPool

if TYPE_CHECKING:
    from meshproxy.balance.host import Host
    from meshproxy.runtime.upstream.cluster import ActiveCluster


class Http2Pool(HttpPool[Http2Upstream]):
    """See the module."""

    def __init__(self, cluster: ActiveCluster, host: Host, priority: str, name: ServerName = NO_NAME) -> None:
        super().__init__(cluster, host, priority, name)
        self.stats.show_http2()
        self.most_streams = cluster.config.http2.max_concurrent_streams
        self._ready: list[Http2Upstream] = []
        self._room_of_new = min(self.most_streams, cluster.config.max_requests_per_connection or self.most_streams)

    @property
    def codecs(self) -> Iterable[Http2Codec]:
        """Those of the connections that are open."""
        return (connection.codec for connection in self.connections)

    def request(self, request: RequestHeaders, end: bool, sink: HttpUpstreamSink) -> HttpUpstream:
        """Send a request, now or as soon as a connection has room. Failures are told to `sink`."""
        while self._ready:
            connection = self._ready[0]
            if connection.transport.is_closing():
                del self._ready[0]  # its end is on the way to `forget`
                continue
            if not self._requests.try_acquire():
                self.stats.upstream_rq_active_overflow.value += 1
                return self._refuse(request, end, sink, ResetReason.OVERFLOW)
            host = self.host
            host.rq_total += 1
            host.rq_active += 1
            self._take(connection)
            upstream = connection.make_request(connection)
            try:
                upstream.start(request, end, sink)
            except ValueError as error:  # what filters have made of the head can't be written
                sink.on_upstream_reset(ResetReason.LOCAL_RESET, str(error))
            if not connection.ready:
                self.check(connection)
            return upstream
        return self._wait(request, end, sink)

    def load(self) -> tuple[int, int, int]:
        """See `HttpPool`."""
        active = sum(len(connection.requests) for connection in self.connections)
        room = len(self._opening) * self._room_of_new
        room += sum(max(self.most_streams - len(connection.requests), 0) for connection in self._ready)
        return len(self._pending), active, room

    def _take(self, connection: Http2Upstream) -> None:
        """One more request goes on it."""
        connection.started += 1
        if connection.started == connection.allowed:
            self.stats.upstream_cx_max_requests.value += 1
            connection.draining = True  # with this request

    # The connections' room.

    def check(self, connection: Http2Upstream) -> None:
        """A connection may have got room, or have lost it."""
        ready = connection.ready
        listed = connection in self._ready
        if ready and not listed and connection in self.connections:
            self._ready.append(connection)
            self._serve()
        elif listed and not ready:
            self._ready.remove(connection)

    def ended(self, connection: Http2Upstream) -> None:
        """One of its requests is over."""
        self._requests.active -= 1
        self.host.rq_active -= 1
        if connection not in self._ready:  # what is there has only got more room
            self.check(connection)
        if not connection.requests:
            self._plan_idle()

    def _serve(self) -> None:
        """Let those go that wait, as far as there is room."""
        while self._pending and self._ready:
            waiting = self._next_waiting()
            if waiting is None:
                continue
            connection = self._ready[0]
            self._take(connection)
            upstream = waiting.upstream = connection.make_request(connection)
            waiting.attach(upstream)
            self.check(connection)

    def _make(self) -> Http2Upstream:
        self.stats.upstream_cx_http2_total.value += 1
        return self._make_uncounted()

    def _make_uncounted(self) -> Http2Upstream:
        return self._connection_type()(self)

    def _connection_type(self) -> type[Http2Upstream]:
        return MeteredHttp2Upstream if self.cluster.worker.measures() else Http2Upstream

    def _admit(self, connection: Http2Upstream) -> None:
        self.check(connection)
        if self._closed:
            connection.drain()
        elif not connection.requests:
            self._plan_idle()

    # The end of connections.

    def _idle_connections(self) -> Iterable[Http2Upstream]:
        return (connection for connection in self.connections if not connection.requests)

    def forget(self, connection: Http2Upstream, *, active: bool, remote: bool) -> None:
        """A connection is gone; its requests hear of it next, then it is `forgotten`."""
        if self._remove(connection, active=active, remote=remote) and connection in self._ready:
            self._ready.remove(connection)

    def _wind_down(self) -> None:
        for connection in list(self.connections):
            connection.drain()
