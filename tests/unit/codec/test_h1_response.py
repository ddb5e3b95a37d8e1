"""What the response parser promises its owner, case by case."""

from __future__ import annotations

import pytest

from meshproxy.headers import ResponseHeaders
from meshproxy.model.codec import HeaderKeyFormat, Http1Options
from tests.unit.codec.recording import CUTS, ResponseRecorder

OK = b"HTTP/1.1 200 OK\r\n"
FIVE = OK + b"Content-Length: 5\r\n\r\nhello"


def parse(
    data: bytes, method: str = "GET", *, upgrade: bool = False, eof: bool = False, options: Http1Options | None = None
) -> ResponseRecorder:
    """Parse, and insist on the same messages however the bytes are cut."""
    got = ResponseRecorder(method, upgrade, options).feed([data], eof)
    if len(data) < 2000:
        for cut in CUTS.values():
            other = ResponseRecorder(method, upgrade, options).feed(cut(data), eof)
            assert (other.bodies, other.ended, other.informational) == (got.bodies, got.ended, got.informational)
            assert [repr(head) for head in other.heads] == [repr(head) for head in got.heads]
            assert other.parser.keep_alive == got.parser.keep_alive
    return got


def test_plain_response() -> None:
    got = parse(OK + b"Server: x\r\nSet-Cookie: a\r\nSet-Cookie: b\r\nContent-Length: 5\r\n\r\nhello")
    assert isinstance(got.heads[0], ResponseHeaders)
    assert got.heads[0].status == 200
    assert list(got.heads[0].items()) == [
        ("server", "x"), ("set-cookie", "a"), ("set-cookie", "b"), ("content-length", "5"),
    ]  # fmt: skip
    assert got.bodies == [b"hello"]
    assert got.parser.idle()
    assert got.parser.head_bytes > 60


@pytest.mark.parametrize(
    ("data", "method", "body", "ended", "keep_alive"),
    [
        (OK + b"Content-Length: 0\r\n\r\n", "GET", b"", True, True),
        (OK + b"Transfer-Encoding: CHUNKED\r\n\r\n3\r\nabc\r\n0\r\n\r\n", "GET", b"abc", True, True),
        (OK + b"\r\nabc", "GET", b"abc", False, False),
        (OK + b"Content-Length: 7\r\n\r\n", "HEAD", b"", True, True),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n", "HEAD", b"", True, True),
        (OK + b"\r\n", "HEAD", b"", True, True),
        (b"HTTP/1.1 204 No Content\r\n\r\n", "GET", b"", True, True),
        (b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n", "GET", b"", True, True),
        (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\n\r\n", "GET", b"", True, True),
        (b"HTTP/1.1 304 Not Modified\r\nTransfer-Encoding: chunked\r\n\r\n", "GET", b"", True, True),
        (OK + b"\r\nraw", "CONNECT", b"raw", False, False),
        (OK + b"Content-Length: 3\r\n\r\nraw", "CONNECT", b"raw", False, False),
        (b"HTTP/1.1 404 No\r\nContent-Length: 3\r\n\r\nabc", "CONNECT", b"abc", True, True),
        (OK + b"Connection: close\r\nContent-Length: 0\r\n\r\n", "GET", b"", True, False),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n", "GET", b"", True, False),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\nConnection: keep-alive\r\n\r\n", "GET", b"", True, True),
        (b"HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", "GET", b"", True, True),
        (b"HTTP/1.1 200 \r\nContent-Length: 0\r\n\r\n", "GET", b"", True, True),
        (b"HTTP/1.1 999 \xe9t\xe9\r\nContent-Length: 0\r\n\r\n", "GET", b"", True, True),
    ],
)
def test_framing(data: bytes, method: str, body: bytes, ended: bool, keep_alive: bool) -> None:
    got = parse(data, method)
    assert got.error is None, got.error
    assert (got.bodies, got.ended, got.parser.keep_alive) == ([body], [ended], keep_alive)


def test_a_body_that_the_connection_ends() -> None:
    got = parse(OK + b"\r\nhello", eof=True)
    assert (got.bodies, got.ended, got.error, got.parser.keep_alive) == ([b"hello"], [True], None, False)


@pytest.mark.parametrize(
    "data",
    [
        OK + b"Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
        OK + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 204 No\r\nContent-Length: 5\r\n\r\nhello",
        b"HTTP/1.1 204 No\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 100 C\r\nContent-Length: 5\r\n\r\n",
        b"HTTP/1.1 101 S\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n",
        OK + b"X: a\x00b\r\n\r\n",
        OK + b"X: a\x1bb\r\n\r\n",
        OK + b"X: a\rb\r\n\r\n",
        OK + b"X : a\r\n\r\n",
        OK + b" X: a\r\n\r\n",
        OK + b"a: b\r\n" * 101 + b"\r\n",
        OK + b"a: " + b"b" * 90_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\n\n",
        b"HTTP/1.1 099 OK\r\n\r\n",
        b"HTTP/1.1 2000 OK\r\n\r\n",
        b"HTTP/1.1 20\xb2 OK\r\n\r\n",
        b"HTTP/1.1 200 O\x00K\r\n\r\n",
        b"HTTP/2.0 200 OK\r\n\r\n",
        b"HTTX",
        b"\x15\x03\x01\x00\x02\x02(",
        b"\r\nHTTP/1.1 200 OK\r\n\r\n",
    ],
)
def test_malformed(data: bytes) -> None:
    got = parse(data)
    assert got.heads == []
    assert got.error is not None
    assert (got.error.status, got.error.details) == (502, "upstream_reset_before_response_started{protocol_error}")
    assert not got.parser.idle()
    assert not got.parser.keep_alive


@pytest.mark.parametrize("end", [b"", b"5\r\nhel", b"5\r\nhello\r\n", b"0\r\n", b"zz\r\n", b"5\nhello", b"0\n\n"])
def test_broken_chunks_never_end_cleanly(end: bytes) -> None:
    got = parse(OK + b"Transfer-Encoding: chunked\r\n\r\n" + end, eof=True)
    assert got.ended == [False]
    assert got.error is not None
    assert (got.error.status, got.error.details) == (502, "upstream_reset_after_response_started{protocol_error}")


def test_truncated_body_and_head_and_nothing_at_all() -> None:
    body, head = parse(FIVE[:-1], eof=True).error, parse(OK, eof=True).error
    assert body is not None
    assert body.details == "upstream_reset_after_response_started{protocol_error}"
    assert head is not None
    assert head.status == 502
    nothing = parse(b"", eof=True).error
    only_100 = parse(b"HTTP/1.1 100 Continue\r\n\r\n", eof=True).error
    for error in (nothing, only_100):
        assert error is not None
        assert error.status == 503
        assert error.details == "upstream_reset_before_response_started{connection_termination}"


def test_folded_lines_become_one() -> None:
    got = parse(OK + b"X-A: a \r\n\t b\r\n c\r\nContent-Length: 5\r\n\r\nhello")
    assert got.error is None, got.error
    assert list(got.heads[0].items()) == [("x-a", "a b c"), ("content-length", "5")]


def test_many_blanks_in_a_folded_head_take_no_time_of_their_own() -> None:
    blanks = b" " * 50_000  # half a minute, were each of them tried as the beginning of a fold
    got = parse(OK + b"x: a" + blanks + b"b \r\n\t c\r\ncontent-length: 0\r\n\r\n")
    assert got.heads[0]["x"] == f"a{blanks.decode()}b c"


def test_informational_responses() -> None:
    got = parse(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: <a>\r\n\r\n" + FIVE)
    assert got.informational == [100, 103]
    assert got.bodies == [b"hello"]
    assert got.parser.idle()
    assert len(ResponseRecorder().feed([b"HTTP/1.1 100 C\r\n\r\n" * 100 + FIVE]).informational) == 100
    assert ResponseRecorder().feed([b"HTTP/1.1 100 C\r\n\r\n" * 101 + FIVE]).error is not None


def test_upgrade_is_raw_until_the_connection_ends() -> None:
    data = b"HTTP/1.1 101 S\r\nUpgrade: WebSocket\r\nConnection: upgrade\r\n\r\nframes"
    got = parse(data, upgrade=True, eof=True)
    assert (got.bodies, got.ended, got.error) == ([b"frames"], [True], None)
    assert got.parser.upgrade == "websocket"
    assert not got.parser.keep_alive


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_bytes_behind_a_response_spoil_the_connection(method: str) -> None:
    seen: list[bool] = []

    class Watch(ResponseRecorder):
        def on_response(self, response: ResponseHeaders, end: bool) -> None:
            super().on_response(response, end)
            if end:
                seen.append(self.parser.keep_alive)

        def on_response_body(self, data: bytes, end: bool) -> None:
            super()._body(data, end)
            if end:
                seen.append(self.parser.keep_alive)

    body = b"hello" if method == "GET" else b""
    Watch(method).feed([OK + b"Content-Length: 5\r\n\r\n" + body + FIVE])
    assert seen == [False]  # known already when the owner learns of the end


def test_bytes_that_come_while_idle_are_an_error() -> None:
    got = ResponseRecorder().feed([FIVE])
    assert got.parser.idle()
    got.feed([b"H"])
    assert got.error is not None
    assert not got.parser.idle()


def test_the_end_of_an_idle_connection_is_no_error() -> None:
    assert ResponseRecorder().feed([FIVE], eof=True).error is None


def test_a_connection_serves_many_requests() -> None:
    got = ResponseRecorder()
    for _ in range(3):
        got.feed([FIVE[:20], FIVE[20:]])
        got.parser.expect("HEAD")
        got.feed([OK + b"Content-Length: 5\r\n\r\n"])
        got.parser.expect("GET")
    assert got.bodies == [b"hello", b""] * 3
    assert got.error is None


def test_trailers() -> None:
    data = OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\ngrpc-status: 0\r\n\r\n"
    assert parse(data).trailers == [[]]
    got = parse(data, options=Http1Options(enable_trailers=True))
    assert got.trailers == [[("grpc-status", "0")]]
    assert got.ended == [True]


def test_preserve_case() -> None:
    options = Http1Options(header_key_format=HeaderKeyFormat(preserve=True, proper=True, reason=True))
    got = parse(OK + b"X-FOO: 1\r\nContent-LENGTH: 0\r\n\r\n", options=options)
    written = got.heads[0].written
    assert written is not None
    assert [written.line(name, "a") for name in ("x-foo", "content-length", "x-own")] == [
        "X-FOO: a\r\n",
        "Content-LENGTH: a\r\n",
        "X-Own: a\r\n",
    ]
