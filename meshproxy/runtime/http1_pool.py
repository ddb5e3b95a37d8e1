"""The HTTP/1 connections to one host: idle ones, busy ones, ones being opened, and requests that wait for one.

A request takes the idle connection that was used last (the one least likely to be about to be closed by the host). If
there is none it waits, and a connection is opened for it; whichever connection becomes free first serves the request
that waits longest. When opening fails, everything that waits fails with it, so that the router can decide about each
(Envoy: ConnPoolImplBase).

The loop reads a socket once in a turn, so a host that ends a connection right behind a response, unannounced, is found
out a turn late, and a request that takes the connection meanwhile is lost. Looking into each socket before it is used
would cost every request a system call; so only pools look whose host has done such a thing.

Circuit breakers (`max_connections`, `max_pending_requests`, `max_requests`) are asked at the door.
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
from meshproxy.runtime.http1_upstream import Http1Upstream
from meshproxy.runtime.measuring import MeteredHttp1Upstream
from meshproxy.runtime.pending_request import PendingRequest

if TYPE_CHECKING:
    from meshproxy.balance.host import Host
    from meshproxy.runtime.cluster import ActiveCluster


_AT_ONCE = 0.1
"""Seconds; a host that ends a connection within them after a response, or with a request on it, is watched."""


class Http1Pool:
    """See the module. One pool for each host, routing priority and server name that the requests ask for."""

    def __init__(self, cluster: ActiveCluster, host: Host, priority: str, name: ServerName = NO_NAME) -> None:
        self.cluster = cluster
        self._name = name
        self.host = host
        self.stats = cluster.stats
        self.stats.show_http1()
        self.limits = cluster.limits(priority)
        self.priority = priority
        self.connections: set[Http1Upstream] = set()
        self._idle: list[Http1Upstream] = []
        self._pending: deque[PendingRequest] = deque()
        self._opening: dict[Http1Upstream, asyncio.Task[None]] = {}
        self._idle_timer: Timer | None = None
        self._loop = cluster.worker.loop
        self._closed = False
        self._wary = False
        self._when_drained: Callable[[], None] | None = None
        self._requests = self.limits.requests
        self._max_duration = cluster.config.max_connection_duration
        self._idle_timeout = cluster.config.idle_timeout

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
            upstream.start(request, end, sink)
            return upstream
        pending = PendingRequest(self, request, end, sink)
        if not self.limits.pending_requests.try_acquire():
            self.stats.upstream_rq_pending_overflow.value += 1
            return self._refuse(request, end, sink, ResetReason.QUEUE_OVERFLOW)
        self._pending.append(pending)
        self.stats.upstream_rq_pending_total.value += 1
        self.stats.upstream_rq_pending_active.value += 1
        self._open_if_needed()
        return pending.upstream or pending

    def _refuse(self, request: RequestHeaders, end: bool, sink: HttpUpstreamSink, reason: ResetReason) -> HttpUpstream:
        sink.on_upstream_reset(reason, "")
        return PendingRequest(self, request, end, sink)

    def _count_end(self) -> None:
        self._requests.active -= 1
        self.host.rq_active -= 1

    # Opening.

    def _open_if_needed(self) -> None:
        if len(self._opening) >= len(self._pending):
            return
        if not self.limits.connections.try_acquire():
            self.stats.upstream_cx_overflow.value += 1
            # A first connection to a host is opened all the same, or its requests would wait for ever.
            if self.connections or self._opening:
                return
            self.limits.connections.acquire()
        self.stats.upstream_cx_total.value += 1
        self.host.cx_total += 1
        upstream = self._make()
        self._opening[upstream] = self._loop.create_task(self._open(upstream))

    def _make(self) -> Http1Upstream:
        self.stats.upstream_cx_http1_total.value += 1
        return self._make_upstream()

    def _make_upstream(self) -> Http1Upstream:
        return MeteredHttp1Upstream(self) if self.cluster.worker.measures() else Http1Upstream(self)

    async def _open(self, upstream: Http1Upstream) -> None:
        began = self._loop.time()
        try:
            async with asyncio.timeout(self.cluster.config.connect_timeout):
                await open_connection(self.cluster, self.host, lambda: upstream, self._name)
        except TimeoutError:
            self.stats.upstream_cx_connect_timeout.value += 1
            self._failed(upstream, ResetReason.CONNECT_TIMEOUT, "")
        except OSError as error:
            self._failed(upstream, ResetReason.CONNECT_FAILURE, describe_failure(error))
        else:
            self.stats.upstream_cx_connect_ms.record(int((self._loop.time() - began) * 1000))

    def _failed(self, upstream: Http1Upstream, reason: ResetReason, detail: str) -> None:
        if self._opening.pop(upstream, None) is None:
            return  # it was connected, or given up, before this came
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

    def connected(self, upstream: Http1Upstream) -> None:
        """A connection is open."""
        if self._opening.pop(upstream, None) is None and self._closed:
            upstream.transport.abort()  # it was given up meanwhile
            return
        self.connections.add(upstream)
        upstream.opened = self._loop.time()
        upstream.local_address = local_text(upstream.transport)
        upstream.connection_id = self.cluster.worker.next_connection_id()
        self.stats.upstream_cx_active.value += 1
        self.host.cx_active += 1
        if self._max_duration:
            upstream.expire(self._max_duration)
        self._serve_or_keep(upstream)

    # Waiting.

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

    def _serve_or_keep(self, upstream: Http1Upstream) -> None:
        while self._pending:
            if self._wary and upstream.has_input():
                upstream.unusable = True
                return
            if not self.limits.requests.try_acquire():
                waiting = self._pending.popleft()
                self._leave_queue()
                self.stats.upstream_rq_active_overflow.value += 1
                waiting.sink.on_upstream_reset(ResetReason.OVERFLOW, "")
                continue
            waiting = self._pending.popleft()
            self._leave_queue()
            self.host.rq_total += 1
            self.host.rq_active += 1
            waiting.upstream = upstream
            waiting.attach(upstream)
            return
        upstream.idle_since = self._loop.time()
        self._idle.append(upstream)
        if self._closed:
            upstream.close()
            return
        if self._idle_timer is None and self._idle_timeout > 0:
            self._idle_timer = self.cluster.worker.schedule(self._idle_timeout, self._close_idle)

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
        upstream = self._make_upstream()
        upstream.tls = tls
        self._opening[upstream] = task
        transport.set_protocol(upstream)
        upstream.connection_made(transport)
        for _ in range(len(self._pending)):
            self._open_if_needed()

    # Connections that have served.

    def release(self, upstream: Http1Upstream) -> None:
        """A connection has served its request and can serve another."""
        self._requests.active -= 1
        self.host.rq_active -= 1
        self._serve_or_keep(upstream)

    def is_idle(self, upstream: Http1Upstream) -> bool:
        """Whether it waits for a request."""
        return upstream in self._idle

    def forget(self, upstream: Http1Upstream, *, active: bool, remote: bool) -> None:
        """A connection is gone; called again it does nothing. See `LiveClusterStats.count_destroy`."""
        if upstream not in self.connections:
            return
        self.connections.discard(upstream)
        if remote and not self._wary and self._loop.time() - upstream.idle_since < _AT_ONCE:
            self._wary = True
        if upstream in self._idle:
            self._idle.remove(upstream)
        elif not upstream.unusable:
            self._count_end()
        self.limits.connections.release()
        self.host.cx_active -= 1
        stats = self.stats
        stats.upstream_cx_active.value -= 1
        stats.count_destroy(remote=remote, active=active)
        stats.upstream_cx_length_ms.record(int((self._loop.time() - upstream.opened) * 1000))
        stats.upstream_rq_per_cx.record(upstream.requests)
        if self._pending:
            self._open_if_needed()
        self._check_drained()

    def _close_idle(self) -> None:
        self._idle_timer = None
        timeout = self.cluster.config.idle_timeout
        now = self._loop.time()
        for upstream in [u for u in self._idle if now - u.idle_since >= timeout - 0.1]:
            self.stats.upstream_cx_idle_timeout.value += 1
            upstream.close()
        if self._idle:
            oldest = min(upstream.idle_since for upstream in self._idle)
            self._idle_timer = self.cluster.worker.schedule(max(oldest + timeout - now, 1.0), self._close_idle)

    def drain(self, when_drained: Callable[[], None]) -> None:
        """The host is gone: close what is idle, let what waits and what is busy finish, and say when that is done."""
        self._closed = True
        self._when_drained = when_drained
        for upstream in list(self._idle):
            upstream.close()
        self._check_drained()

    def _check_drained(self) -> None:
        if self._when_drained is not None and not (self.connections or self._opening or self._pending):
            when_drained, self._when_drained = self._when_drained, None
            when_drained()

    def close(self) -> None:
        """The process ends: nothing is opened any more, and nothing waits."""
        self._closed = True
        for upstream in list(self._idle):
            upstream.close()
        for waiting in list(self._pending):
            self.abandon(waiting)
            waiting.sink.on_upstream_reset(ResetReason.CONNECT_FAILURE, "")
        opening, self._opening = self._opening, {}
        for task in opening.values():
            self.limits.connections.release()
            task.cancel()
