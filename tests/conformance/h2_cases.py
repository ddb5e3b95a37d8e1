"""What a server owes to frames: the rules of RFC 9113 and RFC 7541 as bytes and expectations, section by section.

An expectation is the level at which a server has to react, and the codes it may name. As in h2spec, who closes the
connection where it may end the stream alone is right too. `refused` is for messages that must not go on to a next hop:
any end of the stream, the connection's end, or a 4xx will do; a 2xx never.
"""

from __future__ import annotations

from dataclasses import dataclass

from .h2_wire import (
    ACK,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    PADDED,
    PING,
    PREFACE,
    PRIORITY,
    PUSH_PROMISE,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    block,
    data,
    frame,
    get,
    headers,
    ping,
    post,
    priority,
    request,
    rst,
    settings,
    window_update,
)


@dataclass(frozen=True)
class Expect:
    """level: connection, stream, refused, answer or alive. codes: which may be named; sid: the stream; body: bytes."""

    level: str
    codes: tuple[str, ...] = ()
    sid: int = 1
    status: str = "200"
    body: int | None = None


@dataclass(frozen=True)
class Case:
    name: str
    what: str
    send: bytes
    expect: Expect
    handshake: bool = True


CASES: list[Case] = []


def case(name: str, what: str, send: bytes, expect: Expect, handshake: bool = True) -> None:
    CASES.append(Case(name, what, send, expect, handshake))


def connection(*codes: str) -> Expect:
    return Expect("connection", codes)


def stream(*codes: str, sid: int = 1) -> Expect:
    return Expect("stream", codes, sid)


def answer(sid: int = 1, status: str = "200", body: int | None = None) -> Expect:
    return Expect("answer", (), sid, status, body)


ALIVE = Expect("alive")
REFUSED = Expect("refused")
PROTOCOL, SIZE, FLOW = "PROTOCOL_ERROR", "FRAME_SIZE_ERROR", "FLOW_CONTROL_ERROR"
CLOSED, COMPRESSION = "STREAM_CLOSED", "COMPRESSION_ERROR"
OPEN = END_HEADERS
HALF = frame(HEADERS, END_STREAM, 1, block(request())[:20])
REST = block(request())[20:]

# -- generic: what must work
case("g.1", "the preface and SETTINGS", b"", ALIVE)
case("g.2.get", "a GET", get(), answer())
case("g.2.head", "a HEAD", headers(1, request("HEAD")), answer())
case("g.2.post", "a POST with a body", post() + data(1, b"test"), answer())
case("g.2.post2", "a body in two frames", post() + data(1, b"te", 0) + data(1, b"st"), answer())
case("g.2.trailers", "trailers", post() + data(1, b"t", 0) + headers(1, [("x-end", "1")]), answer())
case("g.2.length", "a content-length that is right", post(extra=[("content-length", "4")]) + data(1, b"test"), answer())
case("g.3.data.padded", "padded DATA", post() + frame(DATA, END_STREAM | PADDED, 1, b"\3test\0\0\0"), answer())
case("g.3.headers.padded", "padded HEADERS", frame(HEADERS, 13, 1, b"\4" + block(request()) + b"\0" * 4), answer())
case("g.3.headers.prio", "HEADERS with priority", frame(HEADERS, 37, 1, b"\0\0\0\0\xff" + block(request())), answer())
case(
    "g.3.headers.both",
    "HEADERS padded and with priority",
    frame(HEADERS, 45, 1, b"\2\0\0\0\0\xff" + block(request()) + b"\0\0"),
    answer(),
)
case("g.3.priority", "PRIORITY", priority(1), ALIVE)
case("g.3.priority.idle", "PRIORITY ahead of the stream's HEADERS", priority(1) + get(), answer())
case("g.3.rst", "RST_STREAM", post() + rst(1), ALIVE)
case("g.3.settings", "SETTINGS", settings((3, 100)), ALIVE)
case("g.3.settings.many", "each known setting", settings((1, 1000), (2, 0), (3, 9), (4, 70000), (5, 20000)), ALIVE)
case("g.3.ping", "PING", ping(b"12345678"), ALIVE)
case("g.3.ping.ack", "an answer to no PING", ping(b"12345678", ACK), ALIVE)
case("g.3.goaway", "GOAWAY", frame(GOAWAY, 0, 0, b"\0" * 8), ALIVE)
case("g.3.window", "WINDOW_UPDATE of the connection", window_update(0, 1), ALIVE)
case("g.3.window.stream", "WINDOW_UPDATE of a stream", post() + window_update(1, 1) + data(1, b"t"), answer())
case(
    "g.3.continuation",
    "CONTINUATION",
    headers(1, block(request())[:9], 1) + frame(9, 4, 1, block(request())[9:]),
    answer(),
)
case(
    "g.3.continuation.many",
    "one byte in each CONTINUATION",
    headers(1, block(request())[:1], 1)
    + b"".join(frame(9, 0, 1, bytes((byte,))) for byte in block(request())[1:-1])
    + frame(9, 4, 1, block(request())[-1:]),
    answer(),
)
case("g.4.many", "three streams at once", post(1) + post(3) + get(5) + data(3) + data(1), answer(3))
case("g.4.skip", "numbers that leave some out", get(101), answer(101))
case(
    "g.4.window.zero", "an answer without any window", settings((4, 0)) + get() + window_update(1, 2), answer(1, body=2)
)
case("g.4.push.off", "ENABLE_PUSH 0", settings((2, 0)) + get(), answer())
case("g.4.expect", "Expect: 100-continue", post(extra=[("expect", "100-continue")]) + data(1, b"t"), answer())

# -- 3.4 preface
case("h.3.4.1", "no preface", b"INVALID CONNECTION PREFACE\r\n\r\n", connection(), handshake=False)
case("h.3.4.2", "HTTP/1 instead", b"GET / HTTP/1.1\r\nhost: a\r\n\r\n" * 2, connection(), handshake=False)
case("h.3.4.3", "the first frame is no SETTINGS", PREFACE + get(), connection(PROTOCOL), handshake=False)
case(
    "h.3.4.4", "the first frame acknowledges", PREFACE + frame(SETTINGS, ACK, 0), connection(PROTOCOL), handshake=False
)
case("h.3.4.5", "the first frame is PING", PREFACE + ping(), connection(PROTOCOL), handshake=False)

# -- 4.1 frame format, 4.2 sizes, 4.3 blocks
case("h.4.1.1", "an unknown type", frame(0x16, 0, 0, b"\0" * 8), ALIVE)
case("h.4.1.2", "unknown flags", frame(PING, 0x16, 0, b"the-mark"), ALIVE)
case("h.4.1.3", "the reserved bit", frame(PING, 0, 1 << 31, b"the-mark"), ALIVE)
case("h.4.1.4", "an unknown type on an idle stream", frame(0x42, 0xFF, 77, b"x"), ALIVE)
case("h.4.2.1", "DATA of 2^14 bytes", post() + data(1, b"x" * 16384), answer())
case("h.4.2.2", "DATA of 2^14 + 1", post() + data(1, b"x" * 16385), stream(SIZE))
case("h.4.2.3", "HEADERS of 2^14 + 1", headers(1, block(request()) + b"\0" * 17000), connection(SIZE))
case("h.4.2.4", "SETTINGS of 2^14 + 1", frame(SETTINGS, 0, 0, b"\0" * 16386), connection(SIZE, "ENHANCE_YOUR_CALM"))
case("h.4.2.5", "an unknown type of 2^14 + 1", frame(0x16, 0, 0, b"\0" * 16385), connection(SIZE))
case("h.4.2.6", "a head that promises 2^24 - 1 bytes", frame(DATA, 0, 1, b"", 2**24 - 1), connection(SIZE))
case("h.4.3.1", "a block that is no HPACK", headers(1, b"\xff\xff\xff\xff\xff\xff\xff\xff"), connection(COMPRESSION))
case("h.4.3.2", "PRIORITY within a block", HALF + priority(1) + frame(9, 4, 1, REST), connection(PROTOCOL))
case("h.4.3.3", "HEADERS of another stream within a block", HALF + get(3), connection(PROTOCOL))
case(
    "h.4.3.4",
    "an unknown type within a block",
    HALF + frame(0x16, 0, 0, b"") + frame(9, 4, 1, REST),
    connection(PROTOCOL),
)
case("h.4.3.5", "PING within a block", HALF + ping(), connection(PROTOCOL))

# -- 5.1 states: idle, half-closed (remote), closed
case("h.5.1.1", "DATA on an idle stream", data(1, b"x"), connection(PROTOCOL, CLOSED))
case("h.5.1.2", "RST_STREAM on an idle stream", rst(1), connection(PROTOCOL))
case("h.5.1.3", "WINDOW_UPDATE on an idle stream", window_update(1, 100), connection(PROTOCOL))
case("h.5.1.4", "CONTINUATION on an idle stream", frame(9, 4, 1, block(request())), connection(PROTOCOL))
case("h.5.1.5", "DATA after the end, answer unfinished", settings((4, 0)) + get() + data(1, b"x"), stream(CLOSED))
case("h.5.1.6", "HEADERS after the end, answer unfinished", settings((4, 0)) + get() + get(), stream(CLOSED))
case("h.5.1.7", "CONTINUATION after the end", get() + frame(9, 4, 1, block(request())), connection(PROTOCOL, CLOSED))
case("h.5.1.8", "WINDOW_UPDATE after the end", settings((4, 1)) + get() + window_update(1, 100), answer())
case("h.5.1.9", "RST_STREAM after the end", settings((4, 0)) + get() + rst(1), ALIVE)
case("h.5.1.10", "PRIORITY after the end", get() + priority(1), answer())
case("h.5.1.11", "DATA after RST_STREAM", post() + rst(1) + data(1, b"x"), Expect("stream-or-alive", (CLOSED,)))
case("h.5.1.12", "HEADERS after RST_STREAM", post() + rst(1) + get(), Expect("stream-or-alive", (CLOSED, PROTOCOL)))
case("h.5.1.13", "WINDOW_UPDATE after RST_STREAM", post() + rst(1) + window_update(1, 9), ALIVE)
case("h.5.1.14", "PRIORITY after RST_STREAM", post() + rst(1) + priority(1), ALIVE)
case("h.5.1.15", "RST_STREAM twice", post() + rst(1) + rst(1), ALIVE)
case("h.5.1.1.1", "an even number", get(2), connection(PROTOCOL))
case("h.5.1.1.2", "a lower number", get(5) + get(3), Expect("stream-or-alive", (PROTOCOL, CLOSED), sid=3))
case("h.5.1.1.3", "an even number for DATA", data(2, b"x"), connection(PROTOCOL, CLOSED))
case(
    "h.5.1.2.1",
    "too many streams",
    b"".join(post(sid) for sid in range(1, 2 * 1025 + 1, 2)),
    stream("REFUSED_STREAM", PROTOCOL, sid=2049),
)
case(
    "h.5.3.1.1",
    "HEADERS that depend on themselves",
    frame(HEADERS, 37, 1, b"\0\0\0\1\xff" + block(request())),
    stream(PROTOCOL),
)
case("h.5.3.1.2", "PRIORITY that depends on itself", post() + priority(1, 1), stream(PROTOCOL))
case("h.5.4.1.1", "a broken frame, then GOAWAY and the end", frame(PING, 0, 3, b"the-mark"), connection(PROTOCOL))
case("h.5.5.1", "an unknown setting", settings((0xFF, 1)), ALIVE)
case("h.5.5.2", "an unknown frame between DATA", post() + data(1, b"t", 0) + frame(0x16, 0, 1) + data(1), answer())

# -- 6.1 DATA
case("h.6.1.1", "DATA on stream 0", data(0, b"x"), connection(PROTOCOL))
case("h.6.1.2", "padding as long as the payload", post() + frame(DATA, 9, 1, b"\5test"), connection(PROTOCOL))
case("h.6.1.3", "padding longer than the payload", post() + frame(DATA, 9, 1, b"\xfftest"), connection(PROTOCOL))
case("h.6.1.4", "no room for the length of the padding", post() + frame(DATA, 9, 1, b""), connection(SIZE, PROTOCOL))
case("h.6.1.5", "nothing but padding", post() + frame(DATA, 9, 1, b"\3\0\0\0"), answer())
# -- 6.2 HEADERS
case("h.6.2.1", "HEADERS on stream 0", headers(0, request()), connection(PROTOCOL))
case("h.6.2.2", "too much padding", frame(HEADERS, 13, 1, b"\xff" + block(request())), connection(PROTOCOL))
case("h.6.2.3", "no room for the priority", frame(HEADERS, 37, 1, b"\0\0\0"), connection(SIZE, PROTOCOL))
case("h.6.2.4", "no room for the padding", frame(HEADERS, 13, 1, b""), connection(SIZE, PROTOCOL))
case("h.6.2.5", "an empty block", headers(1, b""), REFUSED)
# -- 6.3 PRIORITY
case("h.6.3.1", "PRIORITY on stream 0", priority(0), connection(PROTOCOL))
case("h.6.3.2", "PRIORITY of 4 bytes", post() + frame(PRIORITY, 0, 1, b"\0" * 4), stream(SIZE))
# -- 6.4 RST_STREAM
case("h.6.4.1", "RST_STREAM on stream 0", rst(0), connection(PROTOCOL))
case("h.6.4.2", "RST_STREAM of 3 bytes", post() + frame(RST_STREAM, 0, 1, b"\0" * 3), connection(SIZE))
case("h.6.4.3", "RST_STREAM of 5 bytes", post() + frame(RST_STREAM, 0, 1, b"\0" * 5), connection(SIZE))
case("h.6.4.4", "RST_STREAM with an unknown code", post() + rst(1, 0xFFFF), ALIVE)
# -- 6.5 SETTINGS
case("h.6.5.1", "an acknowledgement with a payload", frame(SETTINGS, ACK, 0, b"\0" * 6), connection(SIZE))
case("h.6.5.2", "SETTINGS on a stream", frame(SETTINGS, 0, 1, b""), connection(PROTOCOL))
case("h.6.5.3", "SETTINGS of 3 bytes", frame(SETTINGS, 0, 0, b"\0\3\0"), connection(SIZE))
case("h.6.5.4", "acknowledgements of nothing", frame(SETTINGS, ACK, 0) * 2, Expect("connection-or-alive"))
case("h.6.5.2.1", "ENABLE_PUSH 2", settings((2, 2)), connection(PROTOCOL))
case("h.6.5.2.2", "INITIAL_WINDOW_SIZE 2^31", settings((4, 2**31)), connection(FLOW))
case("h.6.5.2.3", "MAX_FRAME_SIZE 2^14 - 1", settings((5, 2**14 - 1)), connection(PROTOCOL))
case("h.6.5.2.4", "MAX_FRAME_SIZE 2^24", settings((5, 2**24)), connection(PROTOCOL))
case("h.6.5.2.5", "ENABLE_CONNECT_PROTOCOL 2", settings((8, 2)), connection(PROTOCOL))
case("h.6.5.3.1", "the same setting twice, in order", settings((4, 0), (4, 1)) + get(), answer(body=1))
case("h.6.5.3.2", "33 settings", settings(*[(99, 0)] * 33), Expect("connection-or-alive"))
# -- 6.6 PUSH_PROMISE
case(
    "h.6.6.1",
    "PUSH_PROMISE of a client",
    post() + frame(PUSH_PROMISE, 4, 1, b"\0\0\0\2" + block(request())),
    connection(PROTOCOL),
)
# -- 6.7 PING
case("h.6.7.1", "PING on a stream", frame(PING, 0, 1, b"the-mark"), connection(PROTOCOL))
case("h.6.7.2", "PING of 6 bytes", frame(PING, 0, 0, b"\0" * 6), connection(SIZE))
case("h.6.7.3", "PING of 9 bytes", frame(PING, 0, 0, b"\0" * 9), connection(SIZE))
# -- 6.8 GOAWAY
case("h.6.8.1", "GOAWAY on a stream", frame(GOAWAY, 0, 1, b"\0" * 8), connection(PROTOCOL))
case("h.6.8.2", "GOAWAY of 7 bytes", frame(GOAWAY, 0, 0, b"\0" * 7), connection(SIZE))
case("h.6.8.3", "GOAWAY with words", frame(GOAWAY, 0, 0, b"\0" * 8 + b"farewell"), ALIVE)
# -- 6.9 WINDOW_UPDATE
case("h.6.9.1", "by 0 on the connection", window_update(0, 0), connection(PROTOCOL))
case("h.6.9.2", "by 0 on a stream", post() + window_update(1, 0), stream(PROTOCOL))
case("h.6.9.3", "of 3 bytes", frame(WINDOW_UPDATE, 0, 0, b"\0" * 3), connection(SIZE))
case("h.6.9.4", "of 5 bytes on a stream", post() + frame(WINDOW_UPDATE, 0, 1, b"\0\0\0\1\0"), connection(SIZE))
case("h.6.9.1.1", "no more than the window", settings((4, 1)) + get(), answer(body=1))
case("h.6.9.1.2", "a window of the connection beyond 2^31 - 1", window_update(0, 2**31 - 1) * 2, connection(FLOW))
case("h.6.9.1.3", "a window of a stream beyond 2^31 - 1", post() + window_update(1, 2**31 - 1) * 2, stream(FLOW))
case("h.6.9.2.1", "INITIAL_WINDOW_SIZE after the head", settings((4, 0)) + get() + settings((4, 1)), answer(body=1))
case(
    "h.6.9.2.2",
    "a window below zero",
    settings((4, 2)) + get() + settings((4, 0)) + window_update(1, 3),
    answer(body=2),
)
case(
    "h.6.9.2.3",
    "INITIAL_WINDOW_SIZE that makes a window too large",
    post() + window_update(1, 2**31 - 1 - 65535) + settings((4, 65536)),
    stream(FLOW),
)
# -- 6.10 CONTINUATION
case(
    "h.6.10.1",
    "several",
    headers(1, block(request())[:5], 1) + frame(9, 0, 1, block(request())[5:9]) + frame(9, 4, 1, block(request())[9:]),
    answer(),
)
case("h.6.10.2", "DATA ahead of the rest", HALF + data(1, b"x"), connection(PROTOCOL))
case("h.6.10.3", "on stream 0", HALF + frame(9, 4, 0, REST), connection(PROTOCOL))
case("h.6.10.4", "after END_HEADERS", post() + frame(9, 4, 1, block([("x", "1")])), connection(PROTOCOL))
case("h.6.10.5", "after DATA", post() + data(1, b"x", 0) + frame(9, 4, 1, block([("x", "1")])), connection(PROTOCOL))
case("h.6.10.6", "on another stream", HALF + frame(9, 4, 3, REST), connection(PROTOCOL))
# -- 7 codes
case("h.7.1", "GOAWAY with an unknown code", frame(GOAWAY, 0, 0, b"\0\0\0\0\0\0\0\xff"), ALIVE)
case("h.7.2", "RST_STREAM with an unknown code", post() + rst(1, 0xFF), ALIVE)

# -- 8 messages
case("h.8.1.1", "a second head without the end", post() + headers(1, [("x", "1")], END_HEADERS), REFUSED)
case(
    "h.8.1.2",
    "DATA after trailers",
    post() + headers(1, [("x", "1")]) + data(1, b"x"),
    Expect("stream-or-alive", (CLOSED, PROTOCOL)),
)
case("h.8.1.3", "a pseudo-field in trailers", post() + data(1, b"t", 0) + headers(1, [(":method", "GET")]), REFUSED)
case("h.8.1.4", "a forbidden field in trailers", post() + headers(1, [("connection", "close")]), REFUSED)
for number, (what, name, value) in enumerate(
    [
        ("an upper-case name", "X-Test", "1"),
        ("a space in a name", "x test", "1"),
        ("a colon in a name", "x:test", "1"),
        ("an empty name", "", "1"),
        ("a NUL in a name", "x\0y", "1"),
        ("a newline in a name", "x\ny", "1"),
        ("obs-text in a name", "x\xe9", "1"),
        ("a NUL in a value", "x-test", "a\0b"),
        ("CR in a value", "x-test", "a\rb"),
        ("LF in a value", "x-test", "a\nb"),
        ("CR LF and a field in a value", "x-test", "a\r\nx-smuggled: 1"),
        ("connection", "connection", "keep-alive"),
        ("keep-alive", "keep-alive", "timeout=5"),
        ("proxy-connection", "proxy-connection", "keep-alive"),
        ("transfer-encoding", "transfer-encoding", "chunked"),
        ("upgrade", "upgrade", "h2c"),
        ("te other than trailers", "te", "gzip"),
        ("te with more than trailers", "te", "trailers, deflate;q=0.5"),
        ("an unknown pseudo-field", ":test", "1"),
        ("a pseudo-field of responses", ":status", "200"),
        ("protocol without leave", ":protocol", "websocket"),
    ],
    1,
):
    case(
        f"h.8.2.{number}",
        what,
        headers(
            1, [*request()[:2], (name, value), *request()[2:]] if name[:1] == ":" else request(extra=[(name, value)])
        ),
        REFUSED,
    )
case("h.8.2.30", "te: trailers", get(extra=[("te", "trailers")]), answer())
case("h.8.2.31", "crumbs of a cookie", get(extra=[("cookie", "a=1"), ("cookie", "b=2")]), answer())
case("h.8.2.32", "a TAB and obs-text in a value", get(extra=[("x-test", "a\tb\xe9")]), answer())
case("h.8.2.33", "a pseudo-field behind a field", headers(1, [*request()[:3], ("x", "1"), request()[3]]), REFUSED)
for number, (what, fields) in enumerate(
    [
        ("no method", request()[1:]),
        ("no scheme", [request()[0], *request()[2:]]),
        ("no path", [*request()[:2], request()[3]]),
        ("an empty path", request(path="")),
        ("two methods", [request()[0], *request()]),
        ("two schemes", [request()[1], *request()]),
        ("two paths", [request()[2], *request()]),
        ("two authorities", [request()[3], *request()]),
        ("neither authority nor Host", request()[:3]),
        ("two Hosts and no authority", [*request()[:3], ("host", "a"), ("host", "b")]),
        ("no field at all but an empty path", [(":path", "")]),
    ],
    1,
):
    case(f"h.8.3.1.{number}", what, headers(1, fields), REFUSED)
case("h.8.3.1.20", "Host instead of an authority", headers(1, [*request()[:3], ("host", "a.example")]), answer())
case("h.8.3.1.21", "OPTIONS *", headers(1, request("OPTIONS", "*")), Expect("answer-any"))
case("h.8.3.1.22", "CONNECT with a path", headers(1, request("CONNECT")), REFUSED)
case("h.8.3.1.23", "CONNECT without an authority", headers(1, [(":method", "CONNECT")]), REFUSED)

# -- extra: what would become another message in HTTP/1
for number, (what, fields) in enumerate(
    [
        ("a space in the method", request("GET /x")),
        ("CR LF in the method", request("GET / HTTP/1.1\r\nx: y\r\n\r\nGET")),
        ("an empty method", request("")),
        ("a colon in the method", request("GE:T")),
        ("a space in the path", request(path="/a b")),
        ("a space and a version in the path", request(path="/ HTTP/1.1")),
        ("CR LF in the path", request(path="/\r\nx: y")),
        ("a NUL in the path", request(path="/\0")),
        ("a TAB in the path", request(path="/\t")),
        ("DEL in the path", request(path="/\x7f")),
        ("a path without a slash", request(path="index.html")),
        ("an absolute path", request(path="http://evil.example/")),
        ("a star that is no OPTIONS", request(path="*")),
        ("a space in the authority", [*request()[:3], (":authority", "a b")]),
        ("CR LF in the authority", [*request()[:3], (":authority", "a\r\nx: y")]),
        ("a path in the authority", [*request()[:3], (":authority", "a/b")]),
        ("userinfo in the authority", [*request()[:3], (":authority", "u@a.example")]),
        ("a question mark in the authority", [*request()[:3], (":authority", "a?b")]),
        ("a NUL in the authority", [*request()[:3], (":authority", "a\0")]),
        ("a space in the scheme", [request()[0], (":scheme", "ht tp"), *request()[2:]]),
        ("CR LF in the scheme", [request()[0], (":scheme", "http\r\n"), *request()[2:]]),
        ("a scheme that begins with a digit", [request()[0], (":scheme", "1http"), *request()[2:]]),
        ("an empty scheme", [request()[0], (":scheme", ""), *request()[2:]]),
    ],
    1,
):
    case(f"x.req.{number}", what, headers(1, fields), REFUSED)
LENGTH = "content-length"
case("x.length.1", "more than it says", post(extra=[(LENGTH, "3")]) + data(1, b"test"), REFUSED)
case("x.length.2", "less than it says", post(extra=[(LENGTH, "5")]) + data(1, b"test"), REFUSED)
case("x.length.3", "more, in two frames", post(extra=[(LENGTH, "3")]) + data(1, b"te", 0) + data(1, b"st"), REFUSED)
case("x.length.4", "a length and no body", get(extra=[(LENGTH, "5")]), REFUSED)
case("x.length.5", "two that are equal", post(extra=[(LENGTH, "4"), (LENGTH, "4")]) + data(1, b"test"), REFUSED)
case("x.length.6", "two that differ", post(extra=[(LENGTH, "4"), (LENGTH, "5")]) + data(1, b"test"), REFUSED)
case("x.length.7", "a list", post(extra=[(LENGTH, "4, 4")]) + data(1, b"test"), REFUSED)
case("x.length.8", "a sign", post(extra=[(LENGTH, "+4")]) + data(1, b"test"), REFUSED)
case("x.length.9", "a number below zero", post(extra=[(LENGTH, "-4")]) + data(1, b"test"), REFUSED)
case("x.length.10", "too large a number", post(extra=[(LENGTH, "9" * 30)]) + data(1, b"test"), REFUSED)
case("x.length.11", "hexadecimal", post(extra=[(LENGTH, "0x4")]) + data(1, b"test"), REFUSED)
case(
    "x.length.12",
    "short before trailers",
    post(extra=[(LENGTH, "5")]) + data(1, b"test", 0) + headers(1, [("x", "1")]),
    REFUSED,
)
case("x.length.13", "0 and no body", get(extra=[(LENGTH, "0")]), answer())
case(
    "x.length.14",
    "0 and a body",
    post(extra=[(LENGTH, "0")]) + data(1, b"GET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n"),
    REFUSED,
)
case("x.length.15", "empty", post(extra=[(LENGTH, "")]) + data(1, b"test"), REFUSED)
case("x.many.1", "100 fields", get(extra=[(f"x-{n}", "1") for n in range(96)]), answer())
case("x.many.2", "101 fields", get(extra=[(f"x-{n}", "1") for n in range(97)]), REFUSED)
case("x.many.3", "101 trailers", post() + headers(1, [(f"x-{n}", "1") for n in range(101)]), REFUSED)
BIG = block(request(extra=[(f"x-{n}", "v" * 1000) for n in range(62)]))
case(
    "x.big.1",
    "a list of 62 KB",
    headers(1, BIG[:16000], 1)
    + b"".join(frame(9, 0, 1, BIG[n : n + 16000]) for n in range(16000, 48000, 16000))
    + frame(9, 4, 1, BIG[48000:]),
    REFUSED,
)

# -- HPACK
REQ = b"\x82\x86\x84\x01\x09a.example"
case("k.2.3.3.1", "an index out of the tables", headers(1, REQ + b"\xc5"), connection(COMPRESSION))
case("k.2.3.3.2", "a name's index out of the tables", headers(1, REQ + b"\x7f\x00\x01x"), connection(COMPRESSION))
case("k.4.2.1", "a change of the size at the end of a block", headers(1, REQ + b"\x20"), connection(COMPRESSION))
case("k.4.2.2", "a change of the size in front", headers(1, b"\x20" + REQ), answer())
case("k.4.2.3", "two changes in front", headers(1, b"\x20\x3f\xe1\x1f" + REQ), answer())
case("k.5.2.1", "padding of more than 7 bits", headers(1, REQ + b"\x00\x01a\x82\xf8\xff"), connection(COMPRESSION))
case("k.5.2.2", "padding of zeros", headers(1, REQ + b"\x00\x01a\x81\x18"), connection(COMPRESSION))
case("k.5.2.3", "EOS in a string", headers(1, REQ + b"\x00\x01a\x84\xff\xff\xff\xff"), connection(COMPRESSION))
case("k.6.1.1", "the index 0", headers(1, REQ + b"\x80"), connection(COMPRESSION))
case("k.6.3.1", "a size beyond our SETTINGS", headers(1, b"\x3f\xe2\x1f" + REQ), connection(COMPRESSION))
case("k.5.1.1", "an integer without an end", headers(1, REQ + b"\xff" + b"\x80" * 20), connection(COMPRESSION))
case("k.5.2.4", "a string longer than its block", headers(1, REQ + b"\x00\x01a\x7fx"), connection(COMPRESSION))
case("k.5.2.5", "a string that is cut", headers(1, REQ + b"\x00\x01a\x05ab"), connection(COMPRESSION))
case(
    "k.6.2.1",
    "the dynamic table across messages",
    headers(1, REQ + b"\x40\x01a\x01b") + headers(3, REQ + b"\xbe"),
    answer(3),
)
case("k.6.2.2", "never indexed", headers(1, REQ + b"\x10\x01a\x01b"), answer())
case("k.6.2.3", "Huffman-coded", headers(1, REQ + b"\x00\x81\x1f\x81\x8f"), answer())
case(
    "k.4.4.1",
    "a field larger than the table empties it",
    headers(1, REQ + b"\x40\x01a\x01b\x40\x01c\x7f\xa1\x1f" + b"x" * 4128) + headers(3, REQ + b"\xbe"),
    connection(COMPRESSION),
)

# -- Found by random frames (tests/fuzz/frames_differential).
case("x.late.1", "a pseudo-field behind a cookie", headers(1, [("cookie", "a=b"), *request()]), REFUSED)
case("x.late.2", "one between others", headers(1, [*request()[:3], ("x", "1"), request()[3]]), REFUSED)
case("x.host.1", "an empty Host beside the authority", get(extra=[("host", "")]), REFUSED)
case("x.host.2", "two Hosts", get(extra=[("host", "a.example"), ("host", "a.example")]), REFUSED)
case(
    "x.host.3",
    "an empty Host of CONNECT",
    headers(1, [(":method", "CONNECT"), (":authority", "a:1"), ("host", "")]),
    REFUSED,
)
case("x.trailer.1", "a malformed Host in trailers", post() + headers(1, [("host", "a b")]), REFUSED)
case("x.trailer.2", "a wrong length in trailers", post() + headers(1, [(LENGTH, "5")]), REFUSED)
case("x.trailer.3", "a field of HTTP/1 in trailers", post() + headers(1, [("transfer-encoding", "chunked")]), REFUSED)
LONG = headers(1, REQ + b"\x00\x01a\x7f" + b"\x82\xff\x03" + b"v" * 15_000, 1)
case(
    "k.5.2.6",
    "a string of more than 64 KiB",
    LONG + b"".join(frame(9, 0, 1, b"v" * 16_000) for _ in range(3)) + frame(9, 4, 1, b"v" * 2_537),
    connection(COMPRESSION),
)
case(
    "h.6.8.4",
    "GOAWAY that names the sender's stream",
    get() + frame(GOAWAY, 0, 0, bytes((0, 0, 0, 1)) + bytes(4)),
    connection(PROTOCOL),
)
case("h.6.8.5", "GOAWAY that names nothing", frame(GOAWAY, 0, 0, bytes(8)), Expect("alive"))
case(
    "h.6.8.6",
    "GOAWAY that names more than the one before",
    frame(GOAWAY, 0, 0, bytes(8)) + frame(GOAWAY, 0, 0, bytes((0, 0, 0, 2)) + bytes(4)),
    connection(PROTOCOL),
)
case("h.6.5.2.10", "NO_RFC7540_PRIORITIES after the first SETTINGS (RFC 9218)", settings((9, 1)), connection(PROTOCOL))
case("h.6.5.2.9", "NO_RFC7540_PRIORITIES of 2 (RFC 9218)", settings((9, 2)), connection(PROTOCOL))
case("h.6.6.2", "the beginning of a PUSH_PROMISE", frame(PUSH_PROMISE, 4, 1, b"", 100), connection(PROTOCOL))
