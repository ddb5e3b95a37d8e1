"""The bookkeeping of a pool, on transports that are not there: whatever happens, what is counted comes to nothing."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest

from meshproxy.address import SocketAddress
from meshproxy.balance.breaker import CircuitBreaker
from meshproxy.balance.host import Host
from meshproxy.headers import Headers, RequestHeaders, ResponseHeaders
from meshproxy.model.cluster import CircuitBreakerThresholds, ClusterConfig
from meshproxy.model.endpoint import Endpoint
from meshproxy.plugin.replies import ResetReason
from meshproxy.runtime.upstream.cluster_stats import LiveClusterStats
from meshproxy.runtime.upstream.connections import http_pool
from meshproxy.runtime.upstream.connections.http1_pool import Http1Pool
from meshproxy.runtime.upstream.connections.http1_upstream import Http1Upstream
from meshproxy.telemetry.stats import StatsStore

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


class Transport:
    """Keeps what is written; says that it is closing when told to."""

    def __init__(self) -> None:
        self.written = b""
        self.closing = False
        self.aborted = False
        self.readable = False

    def write(self, data: bytes) -> None:
        self.written += data

    def is_closing(self) -> bool:
        return self.closing

    def abort(self) -> None:
        self.closing = self.aborted = True

    def set_write_buffer_limits(self, high: int) -> None: ...
    def pause_reading(self) -> None: ...
    def resume_reading(self) -> None: ...

    def get_extra_info(self, name: str) -> Any:
        return ("127.0.0.1", 1)


class Sink:
    """Keeps what it hears."""

    def __init__(self) -> None:
        self.heard: list[object] = []

    def on_upstream_ready(self, upstream: object) -> None: ...
    def on_upstream_read_done(self) -> None: ...
    def on_upstream_blocked(self, blocked: bool) -> None: ...
    def on_upstream_informational(self, response: ResponseHeaders) -> None: ...

    def on_upstream_response(self, response: ResponseHeaders, end: bool) -> None:
        self.heard.append(response.status)

    def on_upstream_body(self, data: bytes, end: bool) -> None:
        self.heard.append(data)

    def on_upstream_trailers(self, trailers: Headers) -> None: ...

    def on_upstream_reset(self, reason: ResetReason, detail: str) -> None:
        self.heard.append(reason)


class Lab:
    """A pool whose connections open when the test says so."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **config: Any) -> None:
        self.opening: list[tuple[Any, asyncio.Future[None]]] = []
        self.timers: list[asyncio.TimerHandle] = []
        monkeypatch.setattr(http_pool, "open_connection", self._open)
        monkeypatch.setattr(Http1Upstream, "has_input", lambda upstream: upstream.transport.readable)
        loop = asyncio.get_running_loop()
        self.config = ClusterConfig("c", **config)
        self.breaker = CircuitBreaker(self.config.thresholds)
        self.stats = LiveClusterStats(StatsStore().scope("cluster.c."))
        self.host = Host(Endpoint(SocketAddress("127.0.0.1", 1)))
        self.worker = self
        self.loop = loop
        self.rng = random.Random(1)
        self.tls = None
        self.measures = lambda: False
        self.pool = Http1Pool(self, self.host, "DEFAULT")  # type: ignore[arg-type]  # the parts that a pool asks for

    def limits(self, priority: str) -> CircuitBreaker:
        return self.breaker

    def next_connection_id(self) -> int:
        return 1

    def schedule(self, delay: float, callback: Any) -> Any:
        self.timers.append(self.loop.call_later(3600, callback))
        return self.timers[-1]

    async def _open(self, cluster: object, host: object, protocol: Any, name: object) -> None:
        future = self.loop.create_future()
        self.opening.append((protocol, future))
        await future

    async def settle(self) -> None:
        for _ in range(3):
            await asyncio.sleep(0)

    async def connect(self) -> Http1Upstream:
        """Let the oldest connection that is being opened be open."""
        await self.settle()
        protocol, future = self.opening.pop(0)
        upstream: Http1Upstream = protocol()
        upstream.connection_made(Transport())
        future.set_result(None)
        await self.settle()
        return upstream

    async def refuse(self) -> None:
        await self.settle()
        _, future = self.opening.pop(0)
        future.set_exception(ConnectionRefusedError(111, "refused"))
        await self.settle()

    def ask(self, path: str = "/") -> tuple[Any, Sink]:
        sink = Sink()
        return self.pool.request(RequestHeaders("GET", path, "h"), True, sink), sink

    def counts(self) -> tuple[int, int, int, int]:
        return (
            self.breaker.connections.active,
            self.breaker.pending_requests.active,
            self.breaker.requests.active,
            self.host.rq_active,
        )


async def test_a_response_gives_the_connection_back(monkeypatch: pytest.MonkeyPatch) -> None:
    lab = Lab(monkeypatch)
    _, sink = lab.ask()
    assert lab.counts() == (1, 1, 0, 0)
    upstream = await lab.connect()
    assert lab.counts() == (1, 0, 1, 1)
    upstream.data_received(OK)
    assert sink.heard == [200, b"ok"]
    assert lab.counts() == (1, 0, 0, 0)
    again, _ = lab.ask()
    assert again is upstream


async def test_an_idle_connection_about_to_end_is_passed_over_and_counted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    lab = Lab(monkeypatch)
    lab.ask()
    upstream = await lab.connect()
    upstream.data_received(OK)
    upstream.transport.closing = True
    _, sink = lab.ask()
    upstream.connection_lost(None)
    assert sink.heard == []
    assert lab.counts() == (1, 1, 0, 0)
    other = await lab.connect()
    other.data_received(OK)
    assert sink.heard == [200, b"ok"]
    assert lab.counts() == (1, 0, 0, 0)


async def test_only_a_host_that_ended_one_at_once_is_looked_at_before_use(monkeypatch: pytest.MonkeyPatch) -> None:
    lab = Lab(monkeypatch)
    lab.ask()
    first = await lab.connect()
    first.data_received(OK)
    first.transport.readable = True
    assert lab.ask()[0] is first  # nothing is known against the host: no look, as it costs a system call
    first.connection_lost(None)
    lab.ask()
    second = await lab.connect()
    second.data_received(OK)
    second.transport.readable = True
    _, sink = lab.ask()
    second.connection_lost(None)
    third = await lab.connect()
    third.data_received(OK)
    assert sink.heard == [200, b"ok"]
    assert lab.counts() == (1, 0, 0, 0)


async def test_a_refused_connection_fails_all_that_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    lab = Lab(monkeypatch, thresholds=CircuitBreakerThresholds(max_connections=1))
    sinks = [lab.ask()[1] for _ in range(3)]
    await lab.refuse()
    assert [sink.heard for sink in sinks] == [[ResetReason.CONNECT_FAILURE]] * 3
    assert lab.counts() == (0, 0, 0, 0)


async def test_a_request_given_up_while_waiting_leaves_its_connection_for_the_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lab = Lab(monkeypatch)
    waiting, sink = lab.ask()
    waiting.reset()
    waiting.reset()
    assert lab.counts() == (1, 0, 0, 0)
    upstream = await lab.connect()
    assert sink.heard == []
    assert lab.ask()[0] is upstream


async def test_a_reset_closes_and_counts_once(monkeypatch: pytest.MonkeyPatch) -> None:
    lab = Lab(monkeypatch)
    _, sink = lab.ask()
    upstream = await lab.connect()
    upstream.reset()
    upstream.reset()
    upstream.connection_lost(None)
    assert sink.heard == []
    assert lab.counts() == (0, 0, 0, 0)
    assert lab.stats.upstream_cx_destroy_local_with_active_rq.value == 1
    assert lab.stats.upstream_cx_destroy.value == 1


async def test_a_lost_connection_tells_its_request_and_serves_the_next_by_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lab = Lab(monkeypatch, thresholds=CircuitBreakerThresholds(max_connections=1))
    _, first = lab.ask()
    upstream = await lab.connect()
    _, second = lab.ask()
    upstream.connection_lost(ConnectionResetError())
    assert first.heard == [ResetReason.CONNECTION_TERMINATION]
    other = await lab.connect()
    other.data_received(OK)
    assert second.heard == [200, b"ok"]
    assert lab.counts() == (1, 0, 0, 0)


async def test_a_request_that_can_not_be_written_costs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    lab = Lab(monkeypatch)
    _, sink = lab.ask("/a b")
    upstream = await lab.connect()
    assert sink.heard == [ResetReason.LOCAL_RESET]
    assert lab.counts() == (1, 0, 0, 0)
    assert upstream.transport.written == b""
    _, again = lab.ask("/a b")
    assert again.heard == [ResetReason.LOCAL_RESET]
    assert lab.counts() == (1, 0, 0, 0)
    assert lab.ask()[0] is upstream


async def test_a_drained_pool_is_held_by_no_timer(monkeypatch: pytest.MonkeyPatch) -> None:
    lab = Lab(monkeypatch)
    lab.ask()
    upstream = await lab.connect()
    upstream.data_received(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
    (timer,) = lab.timers
    assert not timer.cancelled()
    lab.pool.drain(lambda: None)
    assert timer.cancelled()


async def test_draining_waits_for_what_waits_and_what_is_busy(monkeypatch: pytest.MonkeyPatch) -> None:
    lab = Lab(monkeypatch)
    lab.ask()
    busy = await lab.connect()
    _, waiting = lab.ask()
    drained: list[bool] = []
    lab.pool.drain(lambda: drained.append(True))
    busy.data_received(OK)  # it serves the one that waits, too
    assert not drained
    busy.data_received(OK)
    assert waiting.heard == [200, b"ok"]
    assert not drained  # the connection that was opened for it is still to come
    other = await lab.connect()
    assert other.transport.aborted
    assert drained == [True]
    assert lab.counts() == (0, 0, 0, 0)


@pytest.mark.parametrize("ends", [False, True], ids=["the-host-is-gone", "the-process-ends"])
async def test_many_idle_connections_are_closed_in_several_turns_if_there_are_any(
    ends: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab = Lab(monkeypatch)
    for _ in range(50):
        lab.ask()
    upstreams = [await lab.connect() for _ in range(50)]
    for upstream in upstreams:
        upstream.data_received(OK)
    drained: list[bool] = []
    if ends:
        lab.pool.close()
    else:
        lab.pool.drain(lambda: drained.append(True))
        assert 0 < sum(upstream.transport.aborted for upstream in upstreams) < 50
        await lab.settle()
        assert drained == [True]
    assert all(upstream.transport.aborted for upstream in upstreams)
    assert lab.counts() == (0, 0, 0, 0)


async def test_the_end_of_the_process_takes_back_what_is_being_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    lab = Lab(monkeypatch)
    _, sink = lab.ask()
    await lab.settle()
    lab.pool.close()
    await lab.settle()
    assert sink.heard == [ResetReason.CONNECT_FAILURE]
    assert lab.counts() == (0, 0, 0, 0)
    protocol, _ = lab.opening.pop()
    late = protocol()
    late.connection_made(Transport())
    assert late.transport.aborted
    assert lab.counts() == (0, 0, 0, 0)


async def test_a_body_without_a_connection_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    lab = Lab(monkeypatch, per_connection_buffer_limit=1000)
    blocked: list[bool] = []
    sink = Sink()
    sink.on_upstream_blocked = blocked.append  # type: ignore[method-assign, assignment]  # the one call that is looked at
    request = RequestHeaders("POST", "/", "h", "http", (("content-length", "1500"),))
    waiting = lab.pool.request(request, False, sink)
    waiting.send_body(bytes(999), False)
    assert blocked == []
    waiting.send_body(bytes(501), True)
    assert blocked == [True]
    upstream = await lab.connect()
    assert blocked == [True, False]
    assert len(upstream.transport.written.partition(b"\r\n\r\n")[2]) == 1500
