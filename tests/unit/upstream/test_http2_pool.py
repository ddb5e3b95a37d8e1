"""The pool for HTTP/2 on transports that are not there, with a server's codec at the other end: what goes where, what a
host's frames lead to, and that all that is counted comes to nothing."""

from __future__ import annotations

import asyncio
import gc
import random
import weakref
from collections.abc import Callable
from typing import Any

import pytest

from meshproxy.address import SocketAddress
from meshproxy.balance.breaker import CircuitBreaker
from meshproxy.balance.host import Host
from meshproxy.codec.h2_server import Http2ServerCodec
from meshproxy.errors import ProtocolError
from meshproxy.headers import Headers, RequestHeaders, ResponseHeaders
from meshproxy.model.cluster import CircuitBreakerThresholds, ClusterConfig
from meshproxy.model.codec import Http2Options, Keepalive
from meshproxy.model.endpoint import Endpoint
from meshproxy.plugin.replies import ResetReason
from meshproxy.runtime.upstream.cluster_stats import LiveClusterStats
from meshproxy.runtime.upstream.connections import http_pool
from meshproxy.runtime.upstream.connections.http2_pool import Http2Pool
from meshproxy.runtime.upstream.connections.http2_upstream import Http2Upstream
from meshproxy.telemetry.stats import StatsStore


class HostSide:
    """The transport of a connection, and the host behind it. Heads and bodies of requests stand by stream number."""

    def __init__(self, options: Http2Options) -> None:
        self.heads: dict[int, RequestHeaders] = {}
        self.bodies: dict[int, bytes] = {}
        self.ended: set[int] = set()
        self.resets: dict[int, int] = {}
        self.closing = False
        self.aborted = False
        self.answers_pings = True
        self.consumes = True
        self.connection: Any = None
        self.codec = Http2ServerCodec(self, options, lambda: 0.0)

    # As a transport.

    def write(self, data: bytes) -> None:
        self.codec.receive(data)

    def is_closing(self) -> bool:
        return self.closing

    def abort(self) -> None:
        self.closing = self.aborted = True

    close = abort

    def set_write_buffer_limits(self, high: int) -> None: ...

    def get_write_buffer_size(self) -> int:
        return 0

    def get_extra_info(self, name: str) -> Any:
        return ("127.0.0.1", 1)

    # As a host.

    def say(self) -> None:
        """Let what the host has to say arrive."""
        data = self.codec.take()
        if data:
            self.connection.data_received(data)

    def answer(self, sid: int, body: bytes = b"ok", status: int = 200) -> None:
        self.codec.send_response(sid, ResponseHeaders(status), not body)
        if body:
            self.codec.send_data(sid, body, True)
        self.say()

    def on_output(self) -> None: ...

    def on_stream_request(self, sid: int, request: RequestHeaders, end: bool) -> None:
        self.heads[sid] = request
        self.bodies[sid] = b""
        if end:
            self.ended.add(sid)

    def on_stream_data(self, sid: int, data: bytes, end: bool) -> None:
        self.bodies[sid] += data
        if self.consumes and not end:
            self.codec.consumed(sid, len(data))
        if end:
            self.ended.add(sid)

    def on_stream_trailers(self, sid: int, trailers: Headers) -> None:
        self.ended.add(sid)

    def on_stream_reset(self, sid: int, code: int) -> None:
        self.resets[sid] = code

    def on_stream_error(self, sid: int, error: ProtocolError) -> None: ...
    def on_stream_blocked(self, sid: int, blocked: bool) -> None: ...
    def on_goaway(self, last_sid: int, code: int) -> None: ...
    def on_settings(self) -> None: ...
    def on_ping_ack(self, payload: bytes) -> None: ...
    def on_count(self, name: str) -> None: ...
    def on_connection_error(self, error: ProtocolError) -> None: ...


class Sink:
    """Keeps what it hears."""

    def __init__(self) -> None:
        self.heard: list[object] = []
        self.blocked: list[bool] = []
        self.upstream: Any = None

    def on_upstream_ready(self, upstream: object) -> None:
        self.upstream = upstream

    def on_upstream_read_done(self) -> None: ...
    def on_upstream_informational(self, response: ResponseHeaders) -> None:
        self.heard.append(response.status)

    def on_upstream_blocked(self, blocked: bool) -> None:
        self.blocked.append(blocked)

    def on_upstream_response(self, response: ResponseHeaders, end: bool) -> None:
        self.heard.append(response.status)

    def on_upstream_body(self, data: bytes, end: bool) -> None:
        if data:
            self.heard.append(data)
        if end:
            self.heard.append("end")

    def on_upstream_trailers(self, trailers: Headers) -> None:
        self.heard.append(dict(trailers.items()))

    def on_upstream_reset(self, reason: ResetReason, detail: str) -> None:
        self.heard.append(reason)


class Timer:
    def __init__(self, delay: float, callback: Callable[[], None]) -> None:
        self.delay = delay
        self.callback = callback
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True
        self.callback = lambda: None


class Lab:
    """A pool whose connections open, and whose timers go off, when the test says so."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, host: Http2Options = Http2Options(), **config: Any) -> None:  # noqa: B008  # it is frozen
        self.opening: list[tuple[Any, asyncio.Future[None]]] = []
        monkeypatch.setattr(http_pool, "open_connection", self._open)
        self.options = host
        self.timers: list[Timer] = []
        self.config = ClusterConfig("c", protocol="HTTP2", **config)
        self.breaker = CircuitBreaker(self.config.thresholds)
        self.stats = LiveClusterStats(StatsStore().scope("cluster.c."))
        self.host = Host(Endpoint(SocketAddress("127.0.0.1", 1)))
        self.worker = self
        self.loop = asyncio.get_running_loop()
        self.rng = random.Random(1)
        self.tls = None
        self.dropped = 0
        self.measures = lambda: False
        self.pool = Http2Pool(self, self.host, "DEFAULT")  # type: ignore[arg-type]  # the parts that a pool asks for

    def limits(self, priority: str) -> CircuitBreaker:
        return self.breaker

    def next_connection_id(self) -> int:
        return 1

    def schedule(self, delay: float, callback: Callable[[], None]) -> Timer:
        timer = Timer(delay, callback)
        self.timers.append(timer)
        return timer

    def fire(self) -> None:
        """Let every timer go off that has been set so far."""
        timers, self.timers = self.timers, []
        for timer in timers:
            if not timer.cancelled:
                timer.callback()

    async def _open(self, cluster: object, host: object, protocol: Any, name: object) -> None:
        future = self.loop.create_future()
        self.opening.append((protocol, future))
        await future

    async def settle(self) -> None:
        for _ in range(4):
            await asyncio.sleep(0)

    async def connect(self) -> tuple[Http2Upstream, HostSide]:
        """Let the oldest connection that is being opened be open, and SETTINGS be exchanged."""
        await self.settle()
        protocol, future = self.opening.pop(0)
        connection: Http2Upstream = protocol()
        side = HostSide(self.options)
        side.connection = connection
        connection.connection_made(side)
        future.set_result(None)
        await self.settle()
        side.say()
        await self.settle()
        return connection, side

    def ask(self, path: str = "/", *, end: bool = True, **fields: str) -> tuple[Any, Sink]:
        sink = Sink()
        request = RequestHeaders("GET" if end else "POST", path, "h", "http", fields.items())
        return self.pool.request(request, end, sink), sink

    def counts(self) -> tuple[int, int, int, int]:
        return (
            self.breaker.connections.active,
            self.breaker.pending_requests.active,
            self.breaker.requests.active,
            self.host.rq_active,
        )


async def test_a_burst_shares_the_one_connection_that_it_opens(monkeypatch: pytest.MonkeyPatch) -> None:
    lab = Lab(monkeypatch)
    sinks = [lab.ask(f"/{n}")[1] for n in range(5)]
    assert lab.counts() == (1, 5, 0, 0)
    _, side = await lab.connect()
    assert not lab.opening
    assert [side.heads[sid].path for sid in sorted(side.heads)] == ["/0", "/1", "/2", "/3", "/4"]
    assert lab.counts() == (1, 0, 5, 5)
    for sid in sorted(side.heads, reverse=True):
        side.answer(sid)
    assert all(sink.heard == [200, b"ok", "end"] for sink in sinks)
    assert lab.counts() == (1, 0, 0, 0)


async def test_beyond_the_hosts_limit_another_connection_is_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    lab = Lab(monkeypatch, Http2Options(max_concurrent_streams=2))
    lab.ask("/0")
    _, first = await lab.connect()
    lab.ask("/1")
    _, waiting = lab.ask("/2")
    await lab.settle()
    assert len(first.heads) == 2
    first.answer(1)  # there is room before the second connection is there
    await lab.settle()
    assert first.heads[5].path == "/2"
    first.answer(5)
    assert waiting.heard == [200, b"ok", "end"]
    _, second = await lab.connect()
    assert not second.heads
    assert lab.counts() == (2, 0, 1, 1)


async def test_a_host_that_goes_away_gets_no_new_requests_and_its_last_answer_ends_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lab = Lab(monkeypatch)
    _, kept = lab.ask("/kept")
    _, refused = lab.ask("/refused")
    connection, side = await lab.connect()
    side.codec.goaway(1)
    side.say()
    assert refused.heard == [ResetReason.REMOTE_REFUSED_STREAM]
    _, later = lab.ask("/later")
    await lab.settle()
    assert len(side.heads) == 2
    side.answer(1)
    assert kept.heard == [200, b"ok", "end"]
    assert connection.closed
    _, other = await lab.connect()
    other.answer(1)
    assert later.heard == [200, b"ok", "end"]
    assert lab.stats.upstream_cx_close_notify.value == 1
    assert lab.counts() == (1, 0, 0, 0)


async def test_going_away_and_allowing_nothing_leads_to_no_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """CVE-2021-32780."""
    lab = Lab(
        monkeypatch, Http2Options(max_concurrent_streams=0), thresholds=CircuitBreakerThresholds(max_connections=2)
    )
    _, sink = lab.ask()
    connection, side = await lab.connect()
    side.codec.goaway(0)
    side.say()
    assert sink.heard == [ResetReason.REMOTE_REFUSED_STREAM]
    assert connection.closed
    await lab.settle()
    assert not lab.opening
    assert lab.counts() == (0, 0, 0, 0)


async def test_resets_and_going_away_at_once_leave_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    """CVE-2023-35945."""
    lab = Lab(monkeypatch)
    sinks = [lab.ask()[1] for _ in range(200)]
    connection, side = await lab.connect()
    for sid in list(side.heads):
        side.codec.reset_stream(sid, 7)
    side.codec.goaway(0)
    side.say()
    assert all(sink.heard == [ResetReason.REMOTE_REFUSED_STREAM] for sink in sinks)
    assert connection.closed
    assert not connection.requests
    assert connection.codec.open_streams == 0
    assert lab.counts() == (0, 0, 0, 0)


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (0, ResetReason.REMOTE_RESET),
        (1, ResetReason.PROTOCOL_ERROR),
        (7, ResetReason.REMOTE_REFUSED_STREAM),
        (8, ResetReason.REMOTE_RESET),
        (10, ResetReason.CONNECT_ERROR),
    ],
)
async def test_what_a_reset_is_called(monkeypatch: pytest.MonkeyPatch, code: int, reason: ResetReason) -> None:
    lab = Lab(monkeypatch)
    _, sink = lab.ask()
    _, side = await lab.connect()
    side.codec.reset_stream(1, code)
    side.say()
    assert sink.heard == [reason]
    assert lab.counts() == (1, 0, 0, 0)


async def test_what_is_given_up_is_reset_and_counted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    lab = Lab(monkeypatch)
    _, sink = lab.ask()
    _, side = await lab.connect()
    sink.upstream.reset()
    sink.upstream.reset()
    await lab.settle()
    assert side.resets == {1: 2}
    assert sink.heard == []
    assert lab.counts() == (1, 0, 0, 0)
    assert lab.stats.upstream_rq_tx_reset.value == 1


async def test_a_response_before_the_end_of_the_request_takes_its_rest_away(monkeypatch: pytest.MonkeyPatch) -> None:
    lab = Lab(monkeypatch)
    _, sink = lab.ask(end=False)
    _, side = await lab.connect()
    sink.upstream.send_body(b"abc", False)
    await lab.settle()
    side.answer(1, b"no")
    await lab.settle()
    assert sink.heard == [200, b"no", "end"]
    assert side.resets == {1: 2}
    sink.upstream.send_body(b"more", True)
    await lab.settle()
    assert side.bodies[1] == b"abc"
    assert lab.counts() == (1, 0, 0, 0)


async def test_a_lost_connection_fails_all_its_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    lab = Lab(monkeypatch)
    sinks = [lab.ask()[1] for _ in range(3)]
    connection, _ = await lab.connect()
    connection.connection_lost(ConnectionResetError())
    connection.connection_lost(None)
    assert all(sink.heard == [ResetReason.CONNECTION_TERMINATION] for sink in sinks)
    assert lab.counts() == (0, 0, 0, 0)
    assert lab.stats.upstream_cx_destroy_remote_with_active_rq.value == 1
    assert lab.stats.upstream_rq_pending_failure_eject.value == 3


async def test_a_host_that_breaks_the_protocol_loses_its_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    lab = Lab(monkeypatch)
    _, sink = lab.ask()
    connection, _ = await lab.connect()
    connection.data_received(b"\x00\x00\x03\x00\x00\x00\x00\x00\x00abc")  # DATA on stream 0
    assert sink.heard == [ResetReason.PROTOCOL_ERROR]
    assert connection.closed
    assert lab.stats.upstream_cx_protocol_error.value == 1
    assert lab.counts() == (0, 0, 0, 0)


async def test_a_paused_response_waits_whole_and_stops_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    options = Http2Options(initial_stream_window_size=65535, initial_connection_window_size=1 << 20)
    lab = Lab(monkeypatch, http2=options)
    _, sink = lab.ask()
    connection, side = await lab.connect()
    sink.upstream.read_disable(True)
    side.codec.send_response(1, ResponseHeaders(200), False)
    side.codec.send_data(1, bytes(200_000), True)
    for _ in range(5):
        side.say()
        await lab.settle()
    assert sink.heard == [200]  # and 65535 bytes are here, no more
    sink.upstream.read_disable(False)
    for _ in range(20):
        await lab.settle()
        side.say()
    assert sum(len(piece) for piece in sink.heard if isinstance(piece, bytes)) == 200_000
    assert sink.heard[-1] == "end"
    assert not connection.requests
    assert lab.counts() == (1, 0, 0, 0)


async def test_a_host_that_does_not_read_stops_the_sender(monkeypatch: pytest.MonkeyPatch) -> None:
    lab = Lab(monkeypatch, Http2Options(initial_stream_window_size=65535), per_connection_buffer_limit=10_000)
    _, sink = lab.ask(end=False)
    _, side = await lab.connect()
    side.consumes = False
    sink.upstream.send_body(bytes(80_000), False)
    await lab.settle()
    assert len(side.bodies[1]) == 65535
    assert sink.blocked == [True]
    side.codec.consumed(1, 65535)
    side.say()
    await lab.settle()
    assert len(side.bodies[1]) == 80_000
    assert sink.blocked == [True, False]


async def test_a_full_transport_stops_every_sender(monkeypatch: pytest.MonkeyPatch) -> None:
    lab = Lab(monkeypatch)
    _, first = lab.ask(end=False)
    _, whole = lab.ask()
    connection, side = await lab.connect()
    connection.pause_writing()
    _, second = lab.ask(end=False)
    assert (first.blocked, whole.blocked, second.blocked) == ([True], [], [True])
    connection.resume_writing()
    await lab.settle()
    assert (first.blocked, second.blocked) == ([True, False], [True, False])
    assert len(side.heads) == 3


async def test_most_requests_and_most_time_of_a_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    lab = Lab(monkeypatch, max_requests_per_connection=2, max_connection_duration=5.0)
    lab.ask()
    lab.ask()
    lab.ask()
    first, side = await lab.connect()
    assert len(side.heads) == 2
    side.answer(1)
    assert not first.closed
    side.answer(3)
    assert first.closed
    assert lab.stats.upstream_cx_max_requests.value == 1
    second, other = await lab.connect()
    lab.fire()
    assert lab.stats.upstream_cx_max_duration_reached.value == 1
    assert not second.closed
    other.answer(1)
    assert second.closed
    assert lab.counts() == (0, 0, 0, 0)


async def test_breakers_at_the_door(monkeypatch: pytest.MonkeyPatch) -> None:
    lab = Lab(monkeypatch, thresholds=CircuitBreakerThresholds(max_pending_requests=1, max_requests=1))
    _, first = lab.ask()
    assert lab.ask()[1].heard == [ResetReason.QUEUE_OVERFLOW]
    _, side = await lab.connect()
    assert lab.ask()[1].heard == [ResetReason.OVERFLOW]
    assert lab.dropped == 2
    side.answer(1)
    assert first.heard == [200, b"ok", "end"]
    assert lab.counts() == (1, 0, 0, 0)


async def test_a_refused_connection_fails_all_that_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    lab = Lab(monkeypatch)
    sinks = [lab.ask()[1] for _ in range(3)]
    await lab.settle()
    lab.opening.pop(0)[1].set_exception(ConnectionRefusedError(111, "refused"))
    await lab.settle()
    assert all(sink.heard == [ResetReason.CONNECT_FAILURE] for sink in sinks)
    assert lab.counts() == (0, 0, 0, 0)


async def test_draining_waits_for_what_waits_and_what_is_busy(monkeypatch: pytest.MonkeyPatch) -> None:
    lab = Lab(monkeypatch, Http2Options(max_concurrent_streams=1))
    lab.ask()
    _, side = await lab.connect()
    _, waiting = lab.ask()
    drained: list[bool] = []
    lab.pool.drain(lambda: drained.append(True))
    side.answer(1)
    assert not drained
    _, other = await lab.connect()
    other.answer(1)
    assert waiting.heard == [200, b"ok", "end"]
    assert drained == [True]
    assert lab.counts() == (0, 0, 0, 0)


async def test_pings_find_a_dead_host(monkeypatch: pytest.MonkeyPatch) -> None:
    lab = Lab(monkeypatch, http2=Http2Options(keepalive=Keepalive(10.0, 0.0)))
    _, sink = lab.ask()
    connection, side = await lab.connect()
    lab.fire()  # the interval
    await lab.settle()
    side.say()  # the answer
    assert not connection.closed
    lab.fire()
    await lab.settle()
    lab.fire()  # and none
    assert connection.closed
    assert sink.heard == [ResetReason.CONNECTION_TERMINATION]
    assert lab.counts() == (0, 0, 0, 0)


async def test_a_websocket_goes_as_extended_connect_and_ends_only_with_the_tunnel(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lab = Lab(monkeypatch, Http2Options(allow_connect=True))
    sink = Sink()
    request = RequestHeaders("GET", "/ws", "h", "http", (("connection", "Upgrade"), ("upgrade", "websocket")))
    lab.pool.request(request, True, sink)
    _, side = await lab.connect()
    assert side.heads[1].method == "GET"  # as the server's codec reads it back
    assert side.heads[1]["upgrade"] == "websocket"
    assert 1 not in side.ended
    side.codec.send_response(1, ResponseHeaders(101, (("upgrade", "websocket"), ("connection", "upgrade"))), False)
    side.say()
    assert sink.heard == [101]
    sink.upstream.send_body(b"ping", False)
    sink.upstream.send_body(b"", True)
    await lab.settle()
    assert side.bodies[1] == b"ping"
    assert 1 in side.ended


@pytest.mark.parametrize("how", ["closed", "lost", "broken"])
async def test_a_connection_that_is_over_is_freed_at_once(monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    lab = Lab(monkeypatch, http2=Http2Options(keepalive=Keepalive(1.0, 1.0)), max_connection_duration=9.0)
    lab.ask("/0")
    gc.disable()
    try:
        connection, side = await lab.connect()
        side.answer(1)
        lab.ask("/1", end=False)
        if how == "closed":
            connection.close()
        elif how == "lost":
            connection.connection_lost(None)
        else:
            connection.data_received(b"\0\0\0\7\0\0\0\0\0")  # a GOAWAY that is too short
        left = weakref.ref(connection)
        del connection, side.connection  # which a transport lets go, too
        await lab.settle()
        assert left() is None
        assert lab.counts() == (0, 0, 0, 0)
    finally:
        gc.enable()
