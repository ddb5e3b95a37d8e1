"""The HTTP/2 connections to one host, each shared by many requests.

A request goes on the first connection that has room: one connection carries everything until the host's
MAX_CONCURRENT_STREAMS (or the configured number, if that is smaller) is reached; then another is opened. While there is
none with room, requests wait; a connection being opened counts for as many of them as it may come to carry, so a burst
at the start leads to one connection and not to one each (Envoy: ConnPoolImplBase, HttpConnPoolImplBase).

A connection leaves `_ready` when it has no room, and comes back at the end when it has some again; one that is draining
(GOAWAY, most requests, age) never does, and ends with its last request.

Circuit breakers are asked at the door, as in the pool for HTTP/1.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from meshproxy.headers import RequestHeaders
from meshproxy.plugin.context import Timer
from meshproxy.plugin.replies import ResetReason
from meshproxy.plugin.stream_info import TlsInfo
from meshproxy.plugin.upstream import HttpUpstream, HttpUpstreamSink
from meshproxy.runtime.auto_sni import NO_NAME, ServerName
from meshproxy.runtime.connect import describe_failure, local_text, open_connection
from meshproxy.runtime.http2_upstream import Http2Request, Http2Upstream
from meshproxy.runtime.pending_request import PendingRequest

if TYPE_CHECKING:
    from meshproxy.balance.host import Host
    from meshproxy.runtime.cluster import ActiveCluster


class Http2Pool:
    """See the module. One pool for each host, routing priority and server name that the requests ask for."""

    def __init__(self, cluster: ActiveCluster, host: Host, priority: str, name: ServerName = NO_NAME) -> None:
        config = cluster.config
        self.cluster = cluster
        self.host = host
        self.stats = cluster.stats
        self.stats.show_http2()
        self.limits = cluster.limits(priority)
        self.most_streams = config.http2.max_concurrent_streams
        self.connections: set[Http2Upstream] = set()
        self._name = name
        self._ready: list[Http2Upstream] = []
        self._pending: deque[PendingRequest] = deque()
        self._opening: dict[Http2Upstream, asyncio.Task[None]] = {}
        self._room_of_new = min(self.most_streams, config.max_requests_per_connection or self.most_streams)
        self._idle_timer: Timer | None = None
        self._idle_timeout = config.idle_timeout
        self._max_duration = config.max_connection_duration
        self._loop = cluster.worker.loop
        self._closed = False
        self._when_drained: Callable[[], None] | None = None
        self._requests = self.limits.requests

    @property
    def streams(self) -> tuple[int, int]:
        """How many connections there are, and how many requests on them."""
        return len(self.connections), sum(len(connection.requests) for connection in self.connections)

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
            return self._start(connection, request, end, sink)
        if not self.limits.pending_requests.try_acquire():
            self.stats.upstream_rq_pending_overflow.value += 1
            return self._refuse(request, end, sink, ResetReason.QUEUE_OVERFLOW)
        pending = PendingRequest(self, request, end, sink)
        self._pending.append(pending)
        self.stats.upstream_rq_pending_total.value += 1
        self.stats.upstream_rq_pending_active.value += 1
        self._open_if_needed()
        return pending.upstream or pending

    def _refuse(self, request: RequestHeaders, end: bool, sink: HttpUpstreamSink, reason: ResetReason) -> HttpUpstream:
        sink.on_upstream_reset(reason, "")
        return PendingRequest(self, request, end, sink)

    def _start(
        self, connection: Http2Upstream, request: RequestHeaders, end: bool, sink: HttpUpstreamSink
    ) -> Http2Request:
        """Put a request that the breaker has let in on a connection with room."""
        self._take(connection)
        upstream = Http2Request(connection)
        upstream.start(request, end, sink)
        self.check(connection)
        return upstream

    def _take(self, connection: Http2Upstream) -> None:
        host = self.host
        host.rq_total += 1
        host.rq_active += 1
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
        self.count_end()
        self.check(connection)
        if not connection.requests:
            self._plan_idle()

    def count_end(self) -> None:
        """A request is over."""
        self._requests.active -= 1
        self.host.rq_active -= 1

    def _serve(self) -> None:
        """Let those go that wait, as far as there is room."""
        while self._pending and self._ready:
            waiting = self._pending.popleft()
            self._leave_queue()
            if not self._requests.try_acquire():
                self.stats.upstream_rq_active_overflow.value += 1
                waiting.sink.on_upstream_reset(ResetReason.OVERFLOW, "")
                continue
            connection = self._ready[0]
            self._take(connection)
            upstream = waiting.upstream = Http2Request(connection)
            waiting.attach(upstream)
            self.check(connection)

    def _leave_queue(self) -> None:
        self.limits.pending_requests.release()
        self.stats.upstream_rq_pending_active.value -= 1

    def abandon(self, pending: PendingRequest) -> None:
        """The sender gave a waiting request up."""
        try:
            self._pending.remove(pending)
        except ValueError:
            return
        self._leave_queue()
        self.stats.upstream_rq_cancelled.value += 1
        self._check_drained()

    # Opening.

    def _open_if_needed(self) -> None:
        if len(self._opening) * self._room_of_new >= len(self._pending):
            return
        if not self.limits.connections.try_acquire():
            self.stats.upstream_cx_overflow.value += 1
            # A first connection to a host is opened all the same, or its requests would wait for ever.
            if self.connections or self._opening:
                return
            self.limits.connections.acquire()
        self.stats.upstream_cx_total.value += 1
        self.host.cx_total += 1
        connection = self._make()
        self._opening[connection] = self._loop.create_task(self._open(connection))

    def _make(self) -> Http2Upstream:
        self.stats.upstream_cx_http2_total.value += 1
        return Http2Upstream(self)

    async def _open(self, connection: Http2Upstream) -> None:
        began = self._loop.time()
        try:
            async with asyncio.timeout(self.cluster.config.connect_timeout):
                await open_connection(self.cluster, self.host, lambda: connection, self._name)
        except TimeoutError:
            self.stats.upstream_cx_connect_timeout.value += 1
            self._failed(connection, ResetReason.CONNECT_TIMEOUT, "")
        except OSError as error:
            self._failed(connection, ResetReason.CONNECT_FAILURE, describe_failure(error))
        else:
            self.stats.upstream_cx_connect_ms.record(int((self._loop.time() - began) * 1000))

    def _failed(self, connection: Http2Upstream, reason: ResetReason, detail: str) -> None:
        if self._opening.pop(connection, None) is None:
            return  # it was connected, or given up, before this came
        connection.closed = True
        self.limits.connections.release()
        stats = self.stats
        stats.upstream_cx_connect_fail.value += 1
        stats.upstream_cx_destroy.value += 1
        remote = reason is ResetReason.CONNECT_FAILURE
        (stats.upstream_cx_destroy_remote if remote else stats.upstream_cx_destroy_local).value += 1
        self.host.cx_connect_fail += 1
        pending, self._pending = self._pending, deque()
        for _ in pending:
            self._leave_queue()
        for waiting in pending:
            stats.upstream_rq_pending_failure_eject.value += 1
            if self.host.monitor is not None:
                self.host.monitor.on_failure(connected=False, timeout=False)
            waiting.sink.on_upstream_reset(reason, detail)
        self._check_drained()

    def connected(self, connection: Http2Upstream) -> None:
        """A connection is open."""
        if self._opening.pop(connection, None) is None and self._closed:
            connection.closed = True
            connection.transport.abort()  # it was given up meanwhile
            return
        self.connections.add(connection)
        connection.opened = self._loop.time()
        connection.local_address = local_text(connection.transport)
        connection.connection_id = self.cluster.worker.next_connection_id()
        self.stats.upstream_cx_active.value += 1
        self.host.cx_active += 1
        if self._max_duration:
            connection.expire(self._max_duration)
        self.check(connection)
        if self._closed:
            connection.drain()
        elif not connection.requests:
            self._plan_idle()

    # Moving to a pool of another protocol (`alpn_pool`).

    def give_waiting(self) -> deque[PendingRequest]:
        """The requests that wait, from now on somebody else's."""
        waiting, self._pending = self._pending, deque()
        return waiting

    def take_waiting(self, waiting: deque[PendingRequest]) -> None:
        """Let requests wait here that have waited, and been counted, elsewhere."""
        for each in waiting:
            each.pool = self
        self._pending.extend(waiting)

    def adopt(self, transport: Any, tls: TlsInfo | None, task: asyncio.Task[None]) -> None:
        """Go on with a connection that was opened elsewhere, by `task`."""
        connection = Http2Upstream(self)
        connection.tls = tls
        self._opening[connection] = task
        transport.set_protocol(connection)
        connection.connection_made(transport)

    # The end of connections.

    def forget(self, connection: Http2Upstream, *, active: bool, remote: bool) -> None:
        """A connection is gone. See `LiveClusterStats.count_destroy`."""
        if connection not in self.connections:
            return
        self.connections.discard(connection)
        if connection in self._ready:
            self._ready.remove(connection)
        self.limits.connections.release()
        self.host.cx_active -= 1
        stats = self.stats
        stats.upstream_cx_active.value -= 1
        stats.count_destroy(remote=remote, active=active)
        stats.upstream_cx_length_ms.record(int((self._loop.time() - connection.opened) * 1000))
        stats.upstream_rq_per_cx.record(connection.started)

    def forgotten(self) -> None:
        """All about a connection that is gone has been said to its requests."""
        if self._pending:
            self._open_if_needed()
        self._check_drained()

    def _plan_idle(self) -> None:
        if self._idle_timer is None and self._idle_timeout > 0:
            self._idle_timer = self.cluster.worker.schedule(self._idle_timeout, self._close_idle)

    def _close_idle(self) -> None:
        self._idle_timer = None
        now = self._loop.time()
        timeout = self._idle_timeout
        idle = [connection for connection in self.connections if not connection.requests]
        for connection in idle:
            if now - connection.idle_since >= timeout - 0.1:
                self.stats.upstream_cx_idle_timeout.value += 1
                connection.close()
        left = [connection.idle_since for connection in idle if not connection.closed]
        if left:
            self._idle_timer = self.cluster.worker.schedule(max(min(left) + timeout - now, 0.05), self._close_idle)

    def drain(self, when_drained: Callable[[], None]) -> None:
        """The host is gone: close what is idle, let what waits and what is busy finish, and say when that is done."""
        self._closed = True
        self._when_drained = when_drained
        for connection in list(self.connections):
            connection.drain()
        if self._pending:
            self._open_if_needed()
        self._check_drained()

    def _check_drained(self) -> None:
        if self._when_drained is not None and not (self.connections or self._opening or self._pending):
            when_drained, self._when_drained = self._when_drained, None
            when_drained()

    def close(self) -> None:
        """The process ends: nothing is opened any more, and nothing waits."""
        self._closed = True
        for connection in list(self.connections):
            connection.drain()
        for waiting in list(self._pending):
            self.abandon(waiting)
            waiting.sink.on_upstream_reset(ResetReason.CONNECT_FAILURE, "")
        opening, self._opening = self._opening, {}
        for task in opening.values():
            self.limits.connections.release()
            task.cancel()
