"""What the pools of one host have in common, whatever HTTP they speak: requests that wait, connections being opened,
limits, and the end.

A request goes on a connection with room at once; that is the protocol's own business (`http1_pool`, `http2_pool`). If
there is none it waits here, and a connection is opened for it; whichever connection first has room serves the request
that waits longest. A connection being opened counts for as many requests as it may come to carry. When opening fails,
everything that waits fails with it, so that the router can decide about each (Envoy: ConnPoolImplBase).

Circuit breakers (`max_connections`, `max_pending_requests`, `max_requests`) are asked at the door.

Invariants:
- a connection is in `_opening`, then in `connections`, then in neither; each step is counted once;
- a request in `_pending` holds one of `pending_requests`; one on a connection holds one of `requests`.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from meshproxy.balance.host import Health
from meshproxy.headers import RequestHeaders
from meshproxy.plugin.context import Timer
from meshproxy.plugin.replies import ResetReason
from meshproxy.plugin.stream_info import TlsInfo
from meshproxy.plugin.upstream import HttpUpstream, HttpUpstreamSink
from meshproxy.runtime.time_limit import TimeLimit
from meshproxy.runtime.upstream.connections.auto_sni import NO_NAME, ServerName
from meshproxy.runtime.upstream.connections.connect import describe_failure, local_text, open_connection
from meshproxy.runtime.upstream.connections.pending_request import PendingRequest

if TYPE_CHECKING:
    from meshproxy.balance.host import Host
    from meshproxy.runtime.upstream.cluster import ActiveCluster

_SLACK = 0.1
"""Seconds by which an idle connection may be closed early, so that timers needn't be exact."""
_MOST_AT_ONCE = 3
_BREATH = 0.05
"""Seconds between two looks for idle connections, at least."""


class Pooled(Protocol):
    """A connection, as far as its pool needs to know it.

    connect_began, handshake_began, opened, idle_since: the loop's time of each; without TLS there is no handshake.
    started: how many requests it was given.
    """

    tls: TlsInfo | None
    transport: Any
    connect_began: float
    handshake_began: float
    opened: float
    idle_since: float
    local_address: str
    connection_id: int

    @property
    def started(self) -> int: ...
    def connection_made(self, transport: Any) -> None: ...
    def expire(self, seconds: float) -> None: ...
    def close(self) -> None: ...
    def discard(self) -> None:
        """It wasn't connected, or nobody wants it any more: drop what there is, and count nothing."""


C = TypeVar("C", bound=Pooled)


class HttpPool(ABC, Generic[C]):
    """See the module. One pool for each host, routing priority and server name that the requests ask for."""

    _room_of_new = 1

    def __init__(self, cluster: ActiveCluster, host: Host, priority: str, name: ServerName = NO_NAME) -> None:
        config = cluster.config
        self.cluster = cluster
        self.host = host
        self.stats = cluster.stats
        self.limits = cluster.limits(priority)
        self.connections: set[C] = set()
        self._name = name
        self._pending: deque[PendingRequest] = deque()
        self._opening: dict[C, asyncio.Task[None]] = {}
        self._idle_timer: Timer | None = None
        self._idle_timeout = config.idle_timeout
        self._max_duration = config.max_connection_duration
        self._loop = cluster.worker.loop
        self._closed = False
        self._when_drained: Callable[[], None] | None = None
        self._requests = self.limits.requests

    # What the protocols do each in their way.

    @abstractmethod
    def _make(self) -> C:
        """A connection that is about to be opened, counted under its protocol."""

    @abstractmethod
    def _make_uncounted(self) -> C:
        """The same, which somebody else has counted."""

    @abstractmethod
    def _admit(self, connection: C) -> None:
        """It is open and has carried nothing yet."""

    @abstractmethod
    def _idle_connections(self) -> Iterable[C]:
        """Those without a request."""

    @abstractmethod
    def _wind_down(self) -> None:
        """No request comes any more: close what is idle, and the rest with its last request."""

    # Requests that wait.

    def _wait(self, request: RequestHeaders, end: bool, sink: HttpUpstreamSink) -> HttpUpstream:
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
        self.cluster.dropped += 1
        sink.on_upstream_reset(reason, "")
        return PendingRequest(self, request, end, sink)

    def _next_waiting(self) -> PendingRequest | None:
        """The request that waits longest, now one under way. None: the breaker refused it; ask again if more wait."""
        waiting = self._pending.popleft()
        self._leave_queue()
        if self._requests.try_acquire():
            self.host.rq_total += 1
            self.host.rq_active += 1
            return waiting
        self.stats.upstream_rq_active_overflow.value += 1
        self.cluster.dropped += 1
        waiting.sink.on_upstream_reset(ResetReason.OVERFLOW, "")
        return None

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

    def count_end(self) -> None:
        """A request that was under way is over."""
        self._requests.active -= 1
        self.host.rq_active -= 1

    # Opening.

    def _open_if_needed(self) -> None:
        if len(self._opening) * self._room_of_new >= len(self._pending):
            return
        self._open_one()

    def _open_one(self) -> bool:
        """Open a connection, if the breakers let us."""
        limits = self.limits
        full = limits.per_host is not None and self.host.cx_active + len(self._opening) >= limits.per_host
        if full or not limits.connections.try_acquire():
            self.stats.upstream_cx_overflow.value += 1
            # A first connection to a host is opened all the same, or its requests would wait for ever.
            if self.connections or self._opening:
                return False
            limits.connections.acquire()
        self.stats.upstream_cx_total.value += 1
        self.host.cx_total += 1
        connection = self._make()
        self._opening[connection] = self._loop.create_task(self._open(connection))
        return True

    # More connections than there are requests (`preconnect_policy`).

    @abstractmethod
    def load(self) -> tuple[int, int, int]:
        """How many requests wait, how many are under way, and for how many more there is or will be room."""

    def provision(self, ratio: float, *, ahead: bool = False) -> bool:
        """Open connections for `ratio` times the requests there are; at most three at a time.

        ahead: for one more request that is yet to come, and one connection only.

        Returns whether one was opened.
        """
        opened = False
        if self._closed or self.host.health is not Health.HEALTHY:
            return opened
        for _ in range(1 if ahead else _MOST_AT_ONCE):
            waiting, active, room = self.load()
            if (waiting + active + ahead) * ratio <= room + active or not self._open_one():
                break
            opened = True
        return opened

    async def _open(self, connection: C) -> None:
        began = connection.connect_began = self._loop.time()
        try:
            async with TimeLimit(self._loop, self.cluster.config.connect_timeout):
                await open_connection(self.cluster, self.host, lambda: connection, self._name)
        except TimeoutError:
            self.stats.upstream_cx_connect_timeout.value += 1
            self._failed(connection, ResetReason.CONNECT_TIMEOUT, "")
        except OSError as error:
            self._failed(connection, ResetReason.CONNECT_FAILURE, describe_failure(error, self.host.address))
        else:
            self.stats.upstream_cx_connect_ms.record(int((self._loop.time() - began) * 1000))

    def _failed(self, connection: C, reason: ResetReason, detail: str) -> None:
        if self._opening.pop(connection, None) is None:
            return  # it was connected, or given up, before this came
        connection.discard()
        self.limits.connections.release()
        stats = self.stats
        stats.upstream_cx_connect_fail.value += 1
        stats.upstream_cx_destroy.value += 1
        remote = reason is ResetReason.CONNECT_FAILURE
        (stats.upstream_cx_destroy_remote if remote else stats.upstream_cx_destroy_local).value += 1
        self.host.cx_connect_fail += 1
        pending = self.give_waiting()
        for _ in pending:
            self._leave_queue()
        for waiting in pending:
            stats.upstream_rq_pending_failure_eject.value += 1
            if self.host.monitor is not None:
                self.host.monitor.on_failure(connected=False, timeout=False)
            waiting.note_wait()
            waiting.sink.on_upstream_reset(reason, detail)
        self._check_drained()

    def connected(self, connection: C) -> None:
        """A connection is open."""
        if self._opening.pop(connection, None) is None and self._closed:
            connection.discard()  # it was given up meanwhile
            return
        self.connections.add(connection)
        connection.opened = self._loop.time()
        connection.local_address = local_text(connection.transport, self.host)
        connection.connection_id = self.cluster.worker.next_connection_id()
        self.stats.upstream_cx_active.value += 1
        self.host.cx_active += 1
        if self._max_duration:
            jitter = self.cluster.config.max_connection_duration_jitter * self.cluster.worker.rng.random()
            connection.expire(self._max_duration * (1 + jitter))
        self._admit(connection)

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

    def adopt(self, before: Pooled, task: asyncio.Task[None]) -> None:
        """Go on with what was opened elsewhere, by `task`, as `before`; open what else those need that wait."""
        connection = self._make_uncounted()
        connection.tls = before.tls
        connection.connect_began, connection.handshake_began = before.connect_began, before.handshake_began
        transport = before.transport
        self._opening[connection] = task
        transport.set_protocol(connection)
        connection.connection_made(transport)
        for _ in range(len(self._pending)):
            self._open_if_needed()

    # The end of connections.

    def _remove(self, connection: C, *, active: bool, remote: bool) -> bool:
        """A connection is gone; false: that was known. See `LiveClusterStats.count_destroy`."""
        if connection not in self.connections:
            return False
        self.connections.discard(connection)
        self.limits.connections.release()
        self.host.cx_active -= 1
        stats = self.stats
        stats.upstream_cx_active.value -= 1
        stats.count_destroy(remote=remote, active=active)
        stats.upstream_cx_length_ms.record(int((self._loop.time() - connection.opened) * 1000))
        stats.upstream_rq_per_cx.record(connection.started)
        return True

    def forgotten(self) -> None:
        """All about a connection that is gone has been said to its requests."""
        if self._pending:
            self._open_if_needed()
        self._check_drained()

    def _plan_idle(self) -> None:
        """There is an idle connection."""
        if self._idle_timer is None and self._idle_timeout > 0 and not self._closed:
            self._idle_timer = self.cluster.worker.schedule(self._idle_timeout, self._close_idle)

    def _forget_idle(self) -> None:
        """Nothing is kept idle any more. The timer would keep the pool, and with it its cluster, for an hour."""
        if self._idle_timer is not None:
            self._idle_timer.cancel()
            self._idle_timer = None

    def _close_idle(self) -> None:
        self._idle_timer = None
        now = self._loop.time()
        left = []
        for connection in list(self._idle_connections()):
            if now - connection.idle_since >= self._idle_timeout - _SLACK:
                self.stats.upstream_cx_idle_timeout.value += 1
                connection.close()
            else:
                left.append(connection.idle_since)
        if left:
            delay = max(min(left) + self._idle_timeout - now, _BREATH)
            self._idle_timer = self.cluster.worker.schedule(delay, self._close_idle)

    def drain(self, when_drained: Callable[[], None]) -> None:
        """The host is gone: close what is idle, let what waits and what is busy finish, and say when that is done."""
        self._closed = True
        self._forget_idle()
        self._when_drained = when_drained
        self._wind_down()
        self.forgotten()

    def is_empty(self) -> bool:
        """Whether it has neither connections nor requests."""
        return not (self.connections or self._opening or self._pending)

    def _check_drained(self) -> None:
        if self._when_drained is not None and self.is_empty():
            when_drained, self._when_drained = self._when_drained, None
            when_drained()

    def close(self) -> None:
        """The process ends: nothing is opened any more, and nothing waits."""
        self._closed = True
        self._forget_idle()
        self._wind_down()
        for waiting in list(self._pending):
            self.abandon(waiting)
            waiting.sink.on_upstream_reset(ResetReason.CONNECT_FAILURE, "")
        opening, self._opening = self._opening, {}
        for task in opening.values():
            self.limits.connections.release()
            task.cancel()
