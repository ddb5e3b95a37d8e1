"""Both roles of an HTTP/2 connection against each other and against raw frames."""

from __future__ import annotations

from typing import Any

import pytest

from meshproxy.codec import h2_frames as h2
from meshproxy.codec.h2_client import Http2ClientCodec
from meshproxy.codec.h2_connection import Http2Codec
from meshproxy.codec.h2_server import Http2ServerCodec
from meshproxy.headers import Headers, RequestHeaders, ResponseHeaders
from meshproxy.model.codec import Http2Options
from tests.conformance import h2_wire as wire


class Recorder:
    """Notes every hook as (name without on_, arguments)."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("on_"):
            raise AttributeError(name)
        return lambda *args: self.calls.append((name[3:].removeprefix("stream_"), *args))

    def named(self, *names: str) -> list[tuple[Any, ...]]:
        return [call for call in self.calls if call[0] in names]

    def counts(self) -> list[object]:
        return [call[1] for call in self.named("count")]


class Pair:
    """A client and a server, and the wire between them."""

    def __init__(
        self, server: Http2Options | None = None, client: Http2Options | None = None, limit: int = 1000
    ) -> None:
        self.time = 1.0
        self.up, self.down = Recorder(), Recorder()
        self.server = Http2ServerCodec(self.down, server or Http2Options(), lambda: self.time, limit)
        self.client = Http2ClientCodec(self.up, client or Http2Options(), lambda: self.time, limit)
        self.run()

    def run(self) -> None:
        """Carry bytes until both are silent."""
        while (up := self.client.take()) + (down := self.server.take()):
            if up:
                self.server.receive(up)
                while self.server.unfinished:
                    self.server.resume()
            if down:
                self.client.receive(down)

    def request(self, method: str = "GET", end: bool = True, fields: list[tuple[str, str]] | None = None) -> int:
        sid = self.client.send_request(RequestHeaders(method, "/x", "a.example", "http", fields or []), end)
        self.run()
        return sid


def raw_server(**options: Any) -> tuple[Http2ServerCodec, Recorder]:
    """A server that has seen a preface, its output taken."""
    sink = Recorder()
    codec = Http2ServerCodec(sink, Http2Options(**options), lambda: 1.0, 1000)
    codec.receive(wire.PREFACE + wire.settings())
    codec.take()
    return codec, sink


def seen(codec: Http2Codec) -> wire.Seen:
    what = wire.Seen()
    what.feed(codec.take())
    return what


def test_settings_are_envoys() -> None:
    sink = Recorder()
    first = Http2ServerCodec(sink, Http2Options(), lambda: 1.0).take()
    assert first == wire.settings((1, 4096), (8, 0), (3, 1024), (4, 16 * 1024 * 1024)) + wire.window_update(0, 25100289)
    first = Http2ClientCodec(sink, Http2Options(), lambda: 1.0).take()
    assert first.startswith(wire.PREFACE + wire.frame(4, 0, 0, b"\0\2\0\0\0\0", 30)[:15])


def test_a_request_and_its_response() -> None:
    pair = Pair()
    sid = pair.request("POST", False, [("x-a", "1"), ("x-a", "2"), ("connection", "close"), ("te", "gzip")])
    (head,) = pair.down.named("request")
    assert head[2] == RequestHeaders("POST", "/x", "a.example", "http", [("x-a", "1"), ("x-a", "2")])
    assert (head[1], head[3]) == (sid, False)
    pair.client.send_data(sid, b"body", False)
    pair.client.send_trailers(sid, Headers([("x-end", "1")]))
    pair.run()
    assert pair.down.named("data", "trailers") == [
        ("data", sid, b"body", False),
        ("trailers", sid, Headers([("x-end", "1")])),
    ]
    pair.server.send_informational(sid, ResponseHeaders(103, [("link", "x")]))
    pair.server.send_response(sid, ResponseHeaders(418, [("x-b", "3"), ("transfer-encoding", "chunked")]), False)
    pair.server.send_data(sid, b"tea", True)
    pair.run()
    assert pair.up.named("informational", "response", "data") == [
        ("informational", sid, ResponseHeaders(103, [("link", "x")])),
        ("response", sid, ResponseHeaders(418, [("x-b", "3")]), False),
        ("data", sid, b"tea", True),
    ]
    assert pair.client.open_streams == pair.server.open_streams == 0


def test_a_head_larger_than_a_frame() -> None:
    pair = Pair()
    fields = [(f"x-{n}", "v" * 1000) for n in range(40)]
    pair.request(fields=fields)
    assert list(pair.down.named("request")[0][2].items()) == fields


def test_cookies_are_joined() -> None:
    codec, sink = raw_server()
    codec.receive(wire.get(extra=[("cookie", "a=1"), ("x", "y"), ("cookie", "b=2")]))
    assert list(sink.named("request")[0][2].items()) == [("x", "y"), ("cookie", "a=1; b=2")]


@pytest.mark.parametrize(
    ("authority", "hosts", "expected"),
    [("a.example", ["b.example"], "a.example"), (None, ["b.example"], "b.example"), ("a", [], "a")],
)
def test_host_and_authority(authority: str | None, hosts: list[str], expected: str) -> None:
    codec, sink = raw_server()
    fields = [*wire.request()[:3], *((":authority", a) for a in [authority] if a), *(("host", host) for host in hosts)]
    codec.receive(wire.headers(1, fields))
    request = sink.named("request")[0][2]
    assert isinstance(request, RequestHeaders)
    assert (request.authority, "host" in request) == (expected, False)


def test_extended_connect_is_an_upgrade() -> None:
    options = Http2Options(allow_connect=True)
    pair = Pair(options, options)
    assert pair.client.peer_allows_connect
    sid = pair.request(end=False, fields=[("connection", "Upgrade"), ("upgrade", "websocket"), ("x", "1")])
    request = pair.down.named("request")[0][2]
    assert isinstance(request, RequestHeaders)
    assert (request.method, request["upgrade"], request["connection"], request["x"]) == (
        "GET",
        "websocket",
        "upgrade",
        "1",
    )
    pair.server.send_response(sid, ResponseHeaders(101, [("upgrade", "websocket"), ("connection", "upgrade")]), False)
    pair.run()
    (answer,) = pair.up.named("response")
    assert answer[2] == ResponseHeaders(101, [("upgrade", "websocket"), ("connection", "upgrade")])
    pair.client.send_data(sid, b"ping", False)
    pair.run()
    assert pair.down.named("data") == [("data", sid, b"ping", False)]


def test_plain_connect_has_neither_path_nor_scheme() -> None:
    pair = Pair()
    pair.request("CONNECT", False)
    request = pair.down.named("request")[0][2]
    assert isinstance(request, RequestHeaders)
    assert (request.method, request.authority, request.path, request.scheme) == ("CONNECT", "a.example", "", "")


# -- windows


def test_what_the_window_does_not_allow_waits() -> None:
    codec, _ = raw_server()
    codec.receive(wire.settings((4, 10)) + wire.get(1) + wire.get(3))
    for sid in (1, 3):
        codec.send_response(sid, ResponseHeaders(), False)
        codec.send_data(sid, b"x" * 25, False)
        codec.send_trailers(sid, Headers([("t", "1")]))
    first = seen(codec)
    assert first.bodies == {1: 10, 3: 10}
    assert not first.ended
    codec.receive(wire.window_update(1, 15))
    second = seen(codec)
    assert second.bodies == {1: 15}
    assert second.ended == {1}
    codec.receive(wire.settings((4, 5)) + wire.window_update(3, 5))
    assert seen(codec).bodies == {}, "a window below zero first has to be filled"
    codec.receive(wire.window_update(3, 1))
    assert seen(codec).bodies == {3: 1}
    codec.receive(wire.settings((4, 100)))
    assert seen(codec).ended == {3}
    assert codec.open_streams == 0


def test_the_connections_window_is_shared_in_turn() -> None:
    codec, _ = raw_server()
    codec.receive(wire.settings((4, 2**20)) + wire.get(1) + wire.get(3))
    for sid in (1, 3):
        codec.send_response(sid, ResponseHeaders(), False)
        codec.send_data(sid, b"x" * 200_000, True)
    assert sum(seen(codec).bodies.values()) == 65535
    codec.receive(wire.window_update(0, 4 * 16384))
    assert seen(codec).bodies == {1: 2 * 16384, 3: 2 * 16384}


def test_the_owner_is_told_to_pause_and_to_go_on() -> None:
    codec, sink = raw_server()
    codec.receive(wire.settings((4, 0)) + wire.get())
    codec.send_response(1, ResponseHeaders(), False)
    codec.send_data(1, b"x" * 1000, False)
    assert sink.named("blocked") == []
    codec.send_data(1, b"x", False)
    assert sink.named("blocked") == [("blocked", 1, True)]
    codec.receive(wire.window_update(1, 500))
    assert len(sink.named("blocked")) == 1
    codec.receive(wire.window_update(1, 1))
    assert sink.named("blocked")[1:] == [("blocked", 1, False)]


def test_while_held_only_control_frames_leave() -> None:
    codec, _ = raw_server()
    codec.receive(wire.get())
    codec.hold(True)
    codec.send_response(1, ResponseHeaders(), False)
    codec.send_data(1, b"x" * 100, True)
    codec.receive(wire.ping())
    first = seen(codec)
    assert (first.bodies, first.pongs, first.statuses) == ({}, [wire.MARK], {1: ["200"]})
    codec.hold(False)
    assert seen(codec).ended == {1}


def test_bytes_that_are_not_consumed_are_not_given_back() -> None:
    codec, sink = raw_server(initial_stream_window_size=65535, initial_connection_window_size=65535)
    codec.receive(wire.post())
    for _ in range(3):
        codec.receive(wire.data(1, b"x" * 16384, 0))
    assert seen(codec).windows == {}
    codec.consumed(1, 32766)
    assert seen(codec).windows == {}
    codec.consumed(1, 1)
    assert seen(codec).windows == {0: 32767, 1: 32767}
    codec.receive(wire.data(1, b"x" * 16384, 0) * 4)
    assert sink.named("connection_error"), "the window is enforced"


@pytest.mark.parametrize("end", ["rst", "reset", "error", "answered"])
def test_a_stream_that_goes_gives_its_bytes_back(end: str) -> None:
    codec, sink = raw_server(initial_connection_window_size=65535, override_stream_error_on_invalid_http_message=True)
    for sid in range(1, 41, 2):
        codec.receive(wire.post(sid) + wire.data(sid, b"x" * 16384, 0))
        if end == "rst":
            codec.receive(wire.rst(sid))
        elif end == "reset":
            codec.reset_stream(sid, h2.CANCEL)
        elif end == "error":
            codec.receive(wire.headers(sid, [("x", "1")], 4))
        else:
            codec.send_response(sid, ResponseHeaders(), True)
            codec.receive(wire.data(sid))
        codec.take()
    assert not sink.named("connection_error")
    assert codec.open_streams == 0


def test_data_for_streams_that_are_gone_is_given_back() -> None:
    codec, sink = raw_server(initial_connection_window_size=65535)
    codec.receive(wire.post())
    codec.reset_stream(1, h2.CANCEL)
    given = 0
    for _ in range(20):
        codec.receive(wire.data(1, b"x" * 16384, 0))
        given += seen(codec).windows.get(0, 0)
    assert given >= 19 * 16384 - 32768
    assert not sink.named("connection_error", "data")


def test_padding_needs_nobody_to_consume_it() -> None:
    codec, sink = raw_server(initial_stream_window_size=65535, initial_connection_window_size=65535)
    codec.receive(wire.post())
    for _ in range(1000):
        codec.receive(wire.frame(wire.DATA, wire.PADDED, 1, b"\xc8x" + bytes(200)))
        codec.consumed(1, 1)
        codec.take()
    assert not sink.named("connection_error", "error")


# -- ends


def test_a_reset_of_an_answer_that_is_queued_waits_for_it() -> None:
    codec, sink = raw_server()
    codec.receive(wire.settings((4, 5)) + wire.post())
    codec.send_response(1, ResponseHeaders(), False)
    codec.send_data(1, b"x" * 10, True)
    codec.reset_stream(1, h2.NO_ERROR)
    codec.receive(wire.data(1, b"late", 0) + wire.headers(1, [("x", "1")]))
    assert seen(codec).resets == {}
    codec.receive(wire.window_update(1, 5))
    last = seen(codec)
    assert (last.bodies, last.ended, last.resets) == ({1: 5}, {1}, {1: "NO_ERROR"})
    assert [call for call in sink.calls if call[0] in ("data", "trailers", "error", "reset")] == []
    assert codec.open_streams == 0


def test_a_flush_has_its_time() -> None:
    codec, sink = raw_server()
    codec.receive(wire.settings((4, 5)) + wire.get())
    codec.send_response(1, ResponseHeaders(), False)
    codec.send_data(1, b"x" * 10, False)
    assert not codec.is_flushing(1)
    codec.send_data(1, b"", True)
    assert codec.is_flushing(1)
    codec.take()
    codec.end_flush(1)
    assert seen(codec).resets == {1: "INTERNAL_ERROR"}
    assert codec.open_streams == 0
    assert "tx_flush_timeout" in sink.counts()
    codec.end_flush(1)
    assert codec.take() == b""


def test_resets_both_ways() -> None:
    pair = Pair()
    first, second = pair.request("POST", False), pair.request("POST", False)
    pair.client.reset_stream(first, h2.CANCEL)
    pair.server.reset_stream(second, h2.INTERNAL_ERROR)
    pair.run()
    assert pair.down.named("reset") == [("reset", first, h2.CANCEL)]
    assert pair.up.named("reset") == [("reset", second, h2.INTERNAL_ERROR)]
    assert ("rx_reset" in pair.down.counts(), "tx_reset" in pair.down.counts()) == (True, True)
    pair.client.send_data(second, b"late", True)
    pair.client.consumed(second, 3)
    assert pair.client.take() == b""


def test_a_drain_in_two_steps() -> None:
    pair = Pair()
    first = pair.request("POST", False)
    pair.server.goaway()
    pair.run()
    assert pair.up.named("goaway") == [("goaway", 2**31 - 1, 0)]
    assert not pair.client.can_open
    crossing = pair.client.send_request(RequestHeaders("GET", "/", "a", "http"), True)
    pair.server.goaway(pair.server.last_peer_sid)
    pair.run()
    assert pair.up.named("reset") == [("reset", crossing, h2.REFUSED_STREAM)]
    assert len(pair.down.named("request")) == 1
    pair.server.send_response(first, ResponseHeaders(), True)
    pair.run()
    assert pair.up.named("response") == [("response", first, ResponseHeaders(), True)]


def test_the_peers_limit_of_streams() -> None:
    pair = Pair(Http2Options(max_concurrent_streams=2))
    assert pair.client.max_streams == 2
    first = pair.request()
    assert pair.client.can_open
    pair.request()
    assert not pair.client.can_open
    pair.server.send_response(first, ResponseHeaders(), True)
    pair.run()
    assert pair.client.can_open


def test_ping_comes_back() -> None:
    pair = Pair()
    pair.client.ping(b"12345678")
    pair.run()
    assert pair.up.named("ping_ack") == [("ping_ack", b"12345678")]


def test_output_is_announced_once() -> None:
    codec, sink = raw_server()
    sink.calls.clear()
    codec.receive(wire.get() + wire.ping())
    codec.send_response(1, ResponseHeaders(), True)
    assert len(sink.named("output")) == 1
    codec.take()
    codec.ping(b"12345678")
    assert len(sink.named("output")) == 2


# -- messages


def test_a_malformed_message_ends_the_connection_without_goaway() -> None:
    codec, sink = raw_server()
    codec.receive(wire.get(extra=[("connection", "close")]))
    (error,) = sink.named("connection_error")
    assert error[1].details == "http2.invalid.header.field"
    assert codec.take() == b""
    assert "rx_messaging_error" in sink.counts()


def test_a_malformed_message_ends_only_its_stream_if_told_so() -> None:
    codec, sink = raw_server(override_stream_error_on_invalid_http_message=True)
    codec.receive(wire.get(1, [("connection", "close")]) + wire.get(3))
    assert seen(codec).resets == {1: "PROTOCOL_ERROR"}
    assert [call[1] for call in sink.named("error", "request")] == [1, 3]
    assert not codec.failed


@pytest.mark.parametrize(
    ("action", "left"), [("ALLOW", ["x_a", "x"]), ("DROP_HEADER", ["x"]), ("REJECT_REQUEST", None)]
)
def test_underscores(action: str, left: list[str] | None) -> None:
    codec, sink = raw_server(underscores=action)
    codec.receive(wire.get(1, [("x_a", "1"), ("x", "2")]) + wire.get(3))
    requests = {call[1]: call[2] for call in sink.named("request")}
    assert 3 in requests
    if left is None:
        assert seen(codec).resets == {1: "INTERNAL_ERROR"}
        assert "requests_rejected_with_underscores_in_headers" in sink.counts()
    else:
        assert list(requests[1]) == left
        assert ("dropped_headers_with_underscores" in sink.counts()) == (action == "DROP_HEADER")


def test_a_list_that_is_too_large_ends_only_its_stream() -> None:
    codec, sink = raw_server(max_headers_kb=1)
    codec.receive(wire.get(1, [("x", "v" * 2000)]) + wire.get(3))
    assert seen(codec).resets == {1: "INTERNAL_ERROR"}
    assert sink.counts().count("header_list_size_too_large") == 1
    assert [call[1] for call in sink.named("request")] == [3]


def test_a_small_block_can_be_a_large_list() -> None:
    """An HPACK bomb: a long field in the table, named many times."""
    codec, sink = raw_server()
    bomb = b"\x82\x86\x84\x41\x01a\x40\x01x\x7f\x81\x17" + b"v" * 3072 + b"\xbe" * 30
    codec.receive(wire.headers(1, bomb))
    assert seen(codec).resets == {1: "INTERNAL_ERROR"}
    assert "header_list_size_too_large" in sink.counts()


def answer(frames: bytes, method: str = "GET") -> tuple[Pair, int]:
    """What a client makes of these frames, sent on its first stream."""
    pair = Pair()
    sid = pair.request(method)
    pair.client.receive(frames)
    return pair, sid


@pytest.mark.parametrize(
    ("method", "fields", "body", "right"),
    [
        ("GET", [("content-length", "2")], b"ok", True),
        ("GET", [("content-length", "3")], b"ok", False),
        ("GET", [("content-length", "1")], b"ok", False),
        ("GET", [("content-length", "x")], b"ok", False),
        ("GET", [("connection", "close")], b"ok", False),
        ("GET", [(":path", "/")], b"ok", False),
        ("GET", [], b"ok", True),
        ("HEAD", [("content-length", "7")], b"", True),
        ("HEAD", [("content-length", "2")], b"ok", False),
    ],
)
def test_responses(method: str, fields: list[tuple[str, str]], body: bytes, right: bool) -> None:
    fields = [(":status", "200"), *fields]
    frames = wire.headers(1, fields, 4 if body else 5) + (wire.data(1, body) if body else b"")
    pair, _ = answer(frames, method)
    assert bool(pair.up.named("connection_error", "error")) != right
    assert bool(pair.up.named("response")) or not right


@pytest.mark.parametrize(
    "frames",
    [
        wire.headers(1, [(":status", "101")], 4),
        wire.headers(1, [(":status", "100")]),
        wire.headers(1, [(":status", "20")]),
        wire.headers(1, [("x", "1")]),
        wire.headers(1, [("x", "1"), (":status", "200")]),
        wire.headers(1, [(":status", "200"), (":status", "200")]),
        wire.headers(1, [(":status", "204"), ("content-length", "5")]),
        wire.data(1, b"early"),
        wire.headers(1, [(":status", "200")], 4) + wire.headers(1, [(":status", "200")]),
        wire.frame(wire.PUSH_PROMISE, 4, 1, b"\0\0\0\2"),
        wire.settings((2, 1)),
        wire.get(2),
    ],
)
def test_what_no_server_may_send(frames: bytes) -> None:
    pair, _ = answer(frames)
    assert pair.up.named("connection_error")


@pytest.mark.parametrize("status", [204, 304])
def test_statuses_without_a_body(status: int) -> None:
    pair, sid = answer(wire.headers(1, [(":status", str(status))]))
    assert pair.up.named("response") == [("response", sid, ResponseHeaders(status), True)]
    pair, _ = answer(wire.headers(1, [(":status", str(status))], 4) + wire.data(1, b"x"))
    assert pair.up.named("error")
