"""Seeds and mutations of raw HTTP/1 messages: what a hostile or broken peer may send, from one seeded generator."""

from __future__ import annotations

import random
from pathlib import Path

from ..conformance import corpus

assert Path(corpus.DATA).is_dir()

_HOST = b"Host: a.example\r\n"
_OWN_REQUESTS = (
    b"GET /q HTTP/1.1\r\n" + _HOST + b"\r\n",
    b"GET /a/../q?x=%2e HTTP/1.1\r\n" + _HOST + b"Accept: */*\r\nX-A: 1\r\nX-A: 2\r\n\r\n",
    b"HEAD /q HTTP/1.1\r\n" + _HOST + b"\r\n",
    b"POST /q HTTP/1.1\r\n" + _HOST + b"Content-Length: 5\r\n\r\nhello",
    b"POST /q HTTP/1.1\r\n" + _HOST + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n3;x=y\r\nabc\r\n0\r\n\r\n",
    b"PUT /q HTTP/1.1\r\n" + _HOST + b"Transfer-Encoding: chunked\r\nTrailer: x-t\r\n\r\n1\r\nh\r\n0\r\nX-T: 1\r\n\r\n",
    b"POST /q HTTP/1.1\r\n" + _HOST + b"Expect: 100-continue\r\nContent-Length: 3\r\n\r\nabc",
    b"GET http://b.example/q HTTP/1.1\r\n" + _HOST + b"\r\n",
    b"OPTIONS * HTTP/1.1\r\n" + _HOST + b"\r\n",
    b"CONNECT a.example:80 HTTP/1.1\r\n" + _HOST + b"\r\n",
    b"GET /ws HTTP/1.1\r\n" + _HOST + b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x\r\n\r\nraw",
    b"POST /ws HTTP/1.1\r\n"
    + _HOST
    + b"Connection: Upgrade\r\nUpgrade: websocket\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nGET \r\n0\r\n\r\n",
    b"POST /ws HTTP/1.1\r\n" + _HOST + b"Connection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 5\r\n\r\nhello",
    b"GET /q HTTP/1.1\r\n"
    + _HOST
    + b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: A\r\n\r\n",
    b"GET /q HTTP/1.1\r\n" + _HOST + b"Connection: close, X-A\r\nX-A: 1\r\nTE: trailers\r\nKeep-Alive: 5\r\n\r\n",
    b"GET /q HTTP/1.0\r\n" + _HOST + b"\r\n",
    b"PATCH /q HTTP/1.1\r\n" + _HOST + b"Content-Length: 0\r\n\r\n",
    b"DELETE /q HTTP/1.1\r\n" + _HOST + b"Content-Length: 2\r\n\r\nxy",
)
_OWN_RESPONSES = (
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-T: 1\r\n\r\n",
    b"HTTP/1.1 204 No Content\r\n\r\n",
    b"HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\nETag: x\r\n\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\nraw bytes",
    b"HTTP/1.0 200 OK\r\n\r\nuntil the end",
    b"HTTP/1.1 500 Oops\r\nConnection: close\r\nContent-Length: 2\r\n\r\nno",
    b"HTTP/1.1 200 OK\r\nSet-Cookie: a=b\r\nSet-Cookie: c=d\r\nKeep-Alive: timeout=5\r\nContent-Length: 1\r\n\r\nx",
    b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison",
)
NASTY = (
    b"\x00", b"\x01", b"\x07", b"\x08", b"\t", b"\n", b"\x0b", b"\x0c", b"\r", b"\x1b", b"\x1f", b" ", b'"', b"#",
    b"%", b"&", b"'", b"(", b",", b"-", b"/", b"0", b":", b";", b"<", b"=", b">", b"?", b"@", b"[", b"\\", b"]",
    b"_", b"`", b"{", b"|", b"}", b"\x7f", b"\x80", b"\x85", b"\xa0", b"\xb2", b"\xe9", b"\xff", b"\r\n", b"\r\n\r\n",
    b"\r\n ", b"+", b"*", b"..", b"//", b"%00", b"%2f", b"%5c", b"0x",
)  # fmt: skip
_LINES = (
    b"Content-Length: 0", b"Content-Length: 5", b"Content-Length: 6", b"Content-Length: +5", b"Content-Length: 5, 5",
    b"Content-Length:", b"Content-Length: 05", b"Content-Length: 99999999999999999999", b"Content-Length : 5",
    b"Transfer-Encoding: chunked", b"Transfer-Encoding: Chunked", b"Transfer-Encoding: gzip, chunked",
    b"Transfer-Encoding: identity", b"Transfer-Encoding:", b"Transfer-Encoding: chunked, chunked",
    b"Transfer-Encoding\t: chunked", b"X-A: b", b"x_a: b", b": empty", b"X-Empty:", b" X-Folded: b", b"\tfold",
    b"Host: b.example", b"Host:", b"Host: a.example:99999", b"Host: u@a.example", b"Connection: close",
    b"Connection: keep-alive", b"Connection: upgrade", b"Connection: content-length", b"Connection: transfer-encoding",
    b"Connection: host", b"Connection: te, x-a", b"Connection: ,", b"Upgrade: websocket", b"Upgrade: h2c",
    b"Upgrade: foo", b"Expect: 100-continue", b"Expect: 200-ok", b"TE: trailers", b"TE: gzip", b"Trailer: x",
    b"Proxy-Connection: close", b"Keep-Alive: timeout=1", b"X-Forwarded-For: 1.2.3.4", b"X-Request-Id: a b",
    b"X-Envoy-Internal: true", b"X-Envoy-Upstream-Rq-Timeout-Ms: 0", b"X-Envoy-Retry-On: 5xx", b"Via: 1.1 x",
    b"X-Forwarded-Proto: https", b"Content-Type: application/grpc", b"Cookie: a=b", b":path: /x", b":authority: x",
)  # fmt: skip
_METHODS = (b"GET", b"HEAD", b"POST", b"CONNECT", b"OPTIONS", b"TRACE", b"get", b"FOO", b"PRI", b"M-SEARCH", b"PURGE")
_VERSIONS = (
    b"HTTP/1.1",
    b"HTTP/1.0",
    b"HTTP/0.9",
    b"HTTP/1.2",
    b"HTTP/2.0",
    b"http/1.1",
    b"HTTP/1.1 ",
    b"",
    b"HTTP/11",
)
_TARGETS = (
    b"/", b"*", b"/%2e%2e/q", b"//q", b"/q#f", b"/q?#", b"http://a.example", b"http://a.example:80/q", b"https://x/q",
    b"ftp://a/q", b"http:///q", b"http://u@a/q", b"a.example:80", b"q", b"?q", b"/q\\..", b"/\xe9", b"/q/.",
    b"/./q/../..",
    b"http://a.example?x", b"/%", b"/%zz", b"/%7e",
)  # fmt: skip
_STATUSES = (
    b"100",
    b"101",
    b"103",
    b"199",
    b"200",
    b"204",
    b"205",
    b"206",
    b"302",
    b"304",
    b"404",
    b"503",
    b"999",
    b"099",
    b"2000",
    b"20",
)
_CHUNKS = (
    b"0\r\n\r\n", b"5\r\nhello\r\n", b"5;a=b\r\nhello\r\n", b"05\r\nhello\r\n", b"5 \r\nhello\r\n", b"5\nhello\r\n",
    b"0x5\r\nhello\r\n", b"-1\r\n", b"5\r\nhello", b"ffffffffffffffff\r\n", b"0\r\nX-T: 1\r\n\r\n", b"\r\n",
    b"0;\r\n\r\n",
    b"0\r\nContent-Length: 5\r\n\r\n", b"0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a.example\r\n\r\n",
)  # fmt: skip


def request_seeds() -> list[bytes]:
    """Own seeds and the corpus, but for what is longer than a few reads."""
    raws = [entry.raw for entry in corpus.load("requests").values()]
    return [*_OWN_REQUESTS * 4, *(raw for raw in raws if len(raw) < 4000)]


def response_seeds() -> list[bytes]:
    raws = [entry.raw for entry in corpus.load("responses").values()]
    return [*_OWN_RESPONSES * 3, *(raw for raw in raws if len(raw) < 4000)]


def mutate(rng: random.Random, data: bytes, kind: str) -> bytes:
    """`data` spoilt in one to four ways; now and then left alone."""
    for _ in range(rng.choice((0, 1, 1, 1, 2, 2, 3, 4))):
        data = rng.choice(_MUTATIONS)(rng, data, kind)
    return data


def segments(rng: random.Random, data: bytes) -> list[bytes]:
    """`data` in one piece, mostly; else cut in up to four places."""
    if len(data) < 2 or rng.random() < 0.6:
        return [data]
    cuts = sorted({rng.randrange(1, len(data)) for _ in range(rng.randrange(1, 5))})
    return [data[start:end] for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True)]


def _split(data: bytes) -> tuple[list[bytes], bytes]:
    head, blank, body = data.partition(b"\r\n\r\n")
    return head.split(b"\r\n"), blank + body


def _insert_bytes(rng: random.Random, data: bytes, _: str) -> bytes:
    at = rng.randrange(len(data) + 1)
    return data[:at] + rng.choice(NASTY) + data[at:]


def _replace_byte(rng: random.Random, data: bytes, _: str) -> bytes:
    at = rng.randrange(len(data) + 1)
    return data[:at] + rng.choice(NASTY) + data[at + 1 :]


def _delete(rng: random.Random, data: bytes, _: str) -> bytes:
    at = rng.randrange(len(data) + 1)
    return data[:at] + data[at + rng.randrange(1, 9) :]


def _truncate(rng: random.Random, data: bytes, _: str) -> bytes:
    return data[: rng.randrange(1, len(data) + 1)] if data else data


def _line(rng: random.Random, data: bytes, _: str) -> bytes:
    lines, rest = _split(data)
    lines.insert(rng.randrange(1, len(lines) + 1), rng.choice(_LINES))
    return b"\r\n".join(lines) + rest


def _duplicate(rng: random.Random, data: bytes, _: str) -> bytes:
    lines, rest = _split(data)
    lines.insert(rng.randrange(len(lines) + 1), rng.choice(lines))
    return b"\r\n".join(lines) + rest


def _swap(rng: random.Random, data: bytes, _: str) -> bytes:
    lines, rest = _split(data)
    one, other = rng.randrange(len(lines)), rng.randrange(len(lines))
    lines[one], lines[other] = lines[other], lines[one]
    return b"\r\n".join(lines) + rest


def _remove_line(rng: random.Random, data: bytes, _: str) -> bytes:
    lines, rest = _split(data)
    del lines[rng.randrange(len(lines))]
    return b"\r\n".join(lines) + rest


def _start_line(rng: random.Random, data: bytes, kind: str) -> bytes:
    lines, rest = _split(data)
    words = lines[0].split(b" ")
    choices = (_METHODS, _TARGETS, _VERSIONS) if kind == "request" else (_VERSIONS, _STATUSES, (b"OK", b"", b"\xff"))
    at = rng.randrange(3)
    if at < len(words):
        words[at] = rng.choice(choices[at])
    lines[0] = b" ".join(words)
    return b"\r\n".join(lines) + rest


def _chunk(rng: random.Random, data: bytes, _: str) -> bytes:
    head, blank, body = data.partition(b"\r\n\r\n")
    return head + blank + (rng.choice(_CHUNKS) + body if rng.random() < 0.5 else body + rng.choice(_CHUNKS))


def _append(rng: random.Random, data: bytes, kind: str) -> bytes:
    return data + rng.choice(_OWN_REQUESTS if kind == "request" else _OWN_RESPONSES)


_MUTATIONS = (
    _insert_bytes, _insert_bytes, _replace_byte, _delete, _truncate, _line, _line, _line, _duplicate, _swap,
    _remove_line, _start_line, _start_line, _chunk, _append,
)  # fmt: skip

RESPONSE_REQUESTS = (
    b"GET /r HTTP/1.1\r\nHost: a.example\r\n\r\n",
    b"GET /r HTTP/1.1\r\nHost: a.example\r\n\r\n",
    b"HEAD /r HTTP/1.1\r\nHost: a.example\r\n\r\n",
    b"POST /r HTTP/1.1\r\nHost: a.example\r\nContent-Length: 2\r\n\r\nhi",
    b"GET /r HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n",
    b"GET /r HTTP/1.1\r\nHost: a.example\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
)
