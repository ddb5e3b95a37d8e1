"""Calls of our own to gRPC services: what is sent, what is understood, and how a call ends."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from meshproxy.codec.grpc_messages import MessageReader, frame_message
from meshproxy.errors import ProtocolError
from meshproxy.headers import Headers, RequestHeaders, ResponseHeaders
from meshproxy.model.grpc_service import GrpcService
from meshproxy.plugin.context import GrpcError
from meshproxy.plugin.replies import ResetReason
from meshproxy.runtime.grpc_client import call, open_stream
from meshproxy.telemetry.stats import Counter

SERVICE = GrpcService("up", "service.test", (("x-token", "t"),))


class FakeCluster:
    """A cluster of one host, and the request that was made of it. fails: with a reset, before `request` returns."""

    def __init__(self, *, has_host: bool = True, fails: bool = False) -> None:
        self.has_host = has_host
        self.fails = fails
        self.tls = None
        self.counted: list[int] = []
        self.timed_out = Counter("upstream_rq_timeout")
        self.stats = SimpleNamespace(
            count_response=lambda status, internal: self.counted.append(status), upstream_rq_timeout=self.timed_out
        )
        self.sink: Any = None
        self.head: Any = None
        self.body = b""
        self.ended = False
        self.was_reset = False

    def pick(self, info: Any) -> object | None:
        return object() if self.has_host else None

    def request(self, host: object, request: RequestHeaders, end: bool, sink: Any, *, protocol: str) -> FakeCluster:
        assert protocol == "HTTP/2"
        self.head, self.sink = request, sink
        if self.fails:
            sink.on_upstream_reset(ResetReason.CONNECT_FAILURE, "refused")
        return self

    def send_body(self, data: bytes, end: bool) -> None:
        self.body += data
        self.ended = end

    def flush(self) -> None: ...

    def reset(self) -> None:
        self.was_reset = True


class Sink:
    def __init__(self) -> None:
        self.told: list[Any] = []

    def on_message(self, data: bytes) -> None:
        self.told.append(data)

    def on_closed(self, status: int, message: str) -> None:
        self.told.append((status, message))


def host_of(cluster: FakeCluster) -> Any:
    return SimpleNamespace(loop=asyncio.get_running_loop(), clusters={"up": cluster})


def opened(**options: bool) -> tuple[FakeCluster, Sink, Any]:
    cluster, sink = FakeCluster(**options), Sink()
    return cluster, sink, open_stream(host_of(cluster), SERVICE, "/a.B/C", sink)


def test_messages_come_in_any_pieces() -> None:
    body = frame_message(b"") + frame_message(b"one") + frame_message(b"x" * 70_000)
    for size in (1, 2, 5, 7, 4096, len(body)):
        reader = MessageReader()
        found = [one for at in range(0, len(body), size) for one in reader.receive(body[at : at + size])]
        assert found == [b"", b"one", b"x" * 70_000]
        assert reader.is_between
    reader.receive(b"\0\0\0")
    assert not reader.is_between


def test_compressed_and_overlong_messages_are_refused() -> None:
    with pytest.raises(ProtocolError, match="compressed"):
        MessageReader().receive(b"\1\0\0\0\1x")
    with pytest.raises(ProtocolError, match="more than 10"):
        MessageReader(10).receive(b"\0\0\0\0\x0b")
    assert MessageReader(10).receive(frame_message(b"0123456789")) == [b"0123456789"]


async def test_request_is_grpc() -> None:
    cluster, _, stream = opened()
    head = cluster.head
    assert (head.method, head.path, head.authority, head.scheme) == ("POST", "/a.B/C", "service.test", "http")
    assert head["te"] == "trailers"
    assert head["content-type"] == "application/grpc"
    assert head["x-token"] == "t"
    assert head["x-envoy-internal"] == "true"
    stream.send(b"hi")
    stream.end()
    assert (cluster.body, cluster.ended) == (b"\0\0\0\0\2hi", True)


async def test_stream_of_messages_and_its_end() -> None:
    cluster, sink, stream = opened()
    up = cluster.sink
    up.on_upstream_response(ResponseHeaders(200), False)
    up.on_upstream_body(frame_message(b"one") + b"\0\0\0", False)
    up.on_upstream_body(b"\0\2hi", False)
    up.on_upstream_trailers(Headers([("grpc-status", "7"), ("grpc-message", "not%20you")]))
    assert sink.told == [b"one", b"hi", (7, "not you")]
    assert cluster.counted == [200]
    stream.send(b"late")
    assert cluster.body == b""


@pytest.mark.parametrize(
    ("status", "fields", "end", "told"),
    [
        (200, [("grpc-status", "0")], True, (0, "")),
        (200, [("grpc-status", "12"), ("grpc-message", "no")], True, (12, "no")),
        (200, [("grpc-status", "x")], True, (2, "")),
        (200, [], True, (2, "")),
        (503, [], True, (14, "HTTP status 503")),
        (404, [], False, (12, "HTTP status 404")),
        (302, [], True, (2, "HTTP status 302")),
        (503, [("grpc-status", "8")], True, (8, "")),
    ],
)
async def test_head_that_ends_the_call(status: int, fields: Any, end: bool, told: object) -> None:
    cluster, sink, _ = opened()
    cluster.sink.on_upstream_response(ResponseHeaders(status, fields), end)
    assert sink.told == [told]
    assert cluster.was_reset is not end


async def test_other_ends() -> None:
    for act, told in (
        (lambda up: up.on_upstream_body(b"", True), (2, "the response ended without a status")),
        (lambda up: up.on_upstream_reset(ResetReason.REMOTE_RESET, ""), (14, ResetReason.REMOTE_RESET.text)),
        (lambda up: up.on_upstream_body(b"\1\0\0\0\0", False), (13, "a message is compressed, which wasn't asked for")),
    ):
        cluster, sink, _ = opened()
        cluster.sink.on_upstream_response(ResponseHeaders(200), False)
        act(cluster.sink)
        assert sink.told == [told]


async def test_truncated_message_is_an_error() -> None:
    cluster, sink, _ = opened()
    cluster.sink.on_upstream_response(ResponseHeaders(200), False)
    cluster.sink.on_upstream_body(b"\0\0", False)
    cluster.sink.on_upstream_trailers(Headers([("grpc-status", "0")]))
    assert sink.told == [(13, "")]


async def test_nothing_is_told_before_there_is_a_stream_or_after_it_was_given_up() -> None:
    _, sink, stream = opened(fails=True)
    assert stream is not None
    assert sink.told == []
    await asyncio.sleep(0)
    [(status, message)] = sink.told
    assert status == 14
    assert "refused" in message
    cluster, sink, stream = opened()
    stream.reset()
    assert cluster.was_reset
    cluster.sink.on_upstream_reset(ResetReason.REMOTE_RESET, "")
    assert sink.told == []


async def test_no_way_to_the_service() -> None:
    cluster, _, stream = opened(has_host=False)
    assert stream is None
    assert cluster.counted == [503]
    missing = SimpleNamespace(loop=asyncio.get_running_loop(), clusters={})
    assert open_stream(missing, SERVICE, "/a.B/C", Sink()) is None
    with pytest.raises(GrpcError, match="Cluster not available"):
        await call(missing, SERVICE, "/a.B/C", b"")
    with pytest.raises(GrpcError, match="no healthy upstream"):
        await call(host_of(cluster), SERVICE, "/a.B/C", b"")


async def test_single_call() -> None:
    cluster = FakeCluster()
    calling = asyncio.ensure_future(call(host_of(cluster), SERVICE, "/a.B/C", b"q"))
    await asyncio.sleep(0)
    assert (cluster.body, cluster.ended) == (b"\0\0\0\0\1q", True)
    cluster.sink.on_upstream_response(ResponseHeaders(200), False)
    cluster.sink.on_upstream_body(frame_message(b"a"), False)
    cluster.sink.on_upstream_trailers(Headers([("grpc-status", "0")]))
    assert await calling == b"a"


async def test_single_call_that_is_late_is_cut() -> None:
    cluster = FakeCluster()
    late = GrpcService("up", "up", timeout=0.01)
    with pytest.raises(GrpcError, match="in time"):
        await call(host_of(cluster), late, "/a.B/C", b"q")
    assert cluster.was_reset
    assert (cluster.counted, cluster.timed_out.value) == ([504], 1)
    assert cluster.head["grpc-timeout"] == "10m"
