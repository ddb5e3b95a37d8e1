"""Random sequences of HTTP/2 frames, most of them nearly right: what a client may send, and what a host may answer.

A sequence is a list of bytes, one for each frame, so that it can be cut down frame by frame. Fields are literals that
no table remembers, unless the case is about the table. Everything depends on the generator of random numbers alone.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Callable

from ..conformance.h2_wire import (
    ACK,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    PADDED,
    PING,
    PRIO,
    PRIORITY,
    PUSH_PROMISE,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    Fields,
    block,
    frame,
    settings,
)

Frames = list[bytes]

_NUMBERS = (0, 1, 2, 5, 100, 65_535, 65_536, 2**31 - 1, 2**31, 2**32 - 1)
_SETTINGS = {1: (0, 1, 4096, 65_536, 2**32 - 1), 2: (0, 1, 2), 3: (0, 1, 100), 4: (0, 1, 65_535, 2**31 - 1, 2**31)}
_SETTINGS |= {5: (0, 16_383, 16_384, 2**24 - 1, 2**24), 6: (0, 100, 65_536), 8: (0, 1, 2), 9: (7,), 0x4242: (1,)}
_METHODS = ("GET", "POST", "HEAD", "PUT", "OPTIONS", "CONNECT", "get", "", "G T", "PRI", "TRACE", "X-\x7f", "A" * 300)
_PATHS: tuple[str, ...] = (
    "/",
    "/a",
    "/a?b=c",
    "/direct",
    "*",
    "",
    "a",
    "/a b",
    "/a#b",
    "http://x/",
    "/\x01",
    "/%00",
    "//a",
    "/../a",
)
_PATHS += ("/a\r\nx: y", "/é", "?a", "/" + "p" * 5000)
_SCHEMES = ("http", "https", "HTTP", "ftp", "", "ht tp", "http:")
_AUTHORITIES = (
    "a.example",
    "a.example:80",
    "",
    "u@a.example",
    "a b",
    "a.example/x",
    "[::1]:80",
    "a,b",
    "a.example:99999",
)
_ODD: Fields = [
    ("connection", "keep-alive"),
    ("connection", "close"),
    ("connection", "upgrade"),
    ("keep-alive", "5"),
    ("proxy-connection", "close"),
    ("transfer-encoding", "chunked"),
    ("transfer-encoding", "identity"),
    ("upgrade", "websocket"),
    ("upgrade", "h2c"),
    ("http2-settings", "AAMAAABk"),
    ("te", "trailers"),
    ("te", "gzip"),
    ("te", "trailers, deflate"),
    ("host", "a.example"),
    ("host", "b.example"),
    ("host", ""),
    ("host", "a b"),
    ("content-length", "0"),
    ("content-length", "5"),
    ("content-length", "05"),
    ("content-length", "+5"),
    ("content-length", "5, 5"),
    ("content-length", "-1"),
    ("content-length", ""),
    ("content-length", "99999999999999999999"),
    ("cookie", "a=b"),
    ("cookie", "c=d; e=f"),
    ("cookie", ""),
    ("expect", "100-continue"),
    ("expect", "200-ok"),
    ("X-Upper", "1"),
    ("x_under", "1"),
    ("", "empty name"),
    (" x", "1"),
    ("x ", "1"),
    ("x:y", "1"),
    ("x\x00", "1"),
    ("x\x7f", "1"),
    ("x\xe9", "1"),
    ("x(", "1"),
    ("x-v", " lead"),
    ("x-v", "trail "),
    ("x-v", "\ttab"),
    ("x-v", "a\x00b"),
    ("x-v", "a\rb"),
    ("x-v", "a\nb"),
    ("x-v", "a\x01b"),
    ("x-v", "a\x7fb"),
    ("x-v", "a\xe9b"),
    ("x-v", ""),
    (":path", "/b"),
    (":method", "GET"),
    (":authority", "b.example"),
    (":scheme", "https"),
    (":status", "200"),
    (":protocol", "websocket"),
    (":protocol", ""),
    (":unknown", "1"),
    (":", "1"),
    ("content-type", "application/grpc"),
    ("content-type", "application/grpc-web"),
    ("grpc-timeout", "1S"),
    ("grpc-timeout", "99999999999H"),
    ("grpc-timeout", "x"),
    ("grpc-timeout", "0n"),
    ("x-forwarded-for", "1.2.3.4"),
    ("x-envoy-upstream-rq-timeout-ms", "5000"),
    ("x-big", "v" * 20_000),
    ("x-huge", "v" * 70_000),
]
_STATUSES = (
    "200",
    "204",
    "304",
    "404",
    "100",
    "103",
    "101",
    "199",
    "99",
    "0",
    "1000",
    "2xx",
    "",
    "200 ",
    "+200",
    "500",
)


def _flip(rng: random.Random, chance: float) -> bool:
    return rng.random() < chance


def _request_fields(rng: random.Random) -> tuple[Fields, bool]:
    """Fields of a head, and whether a body is likely to be right."""
    body = _flip(rng, 0.4)
    pseudo: Fields = [
        (":method", "POST" if body else "GET"),
        (":scheme", "http"),
        (":path", rng.choice(("/", "/a", "/direct", "/b?c"))),
        (":authority", "a.example"),
    ]
    if _flip(rng, 0.15):
        pseudo[0] = (":method", rng.choice(_METHODS))
    if _flip(rng, 0.1):
        pseudo[1] = (":scheme", rng.choice(_SCHEMES))
    if _flip(rng, 0.15):
        pseudo[2] = (":path", rng.choice(_PATHS))
    if _flip(rng, 0.1):
        pseudo[3] = (":authority", rng.choice(_AUTHORITIES))
    if _flip(rng, 0.08):
        method = rng.choice(("GET", "CONNECT", "CONNECT"))
        pseudo = [(":method", method), *pseudo[1:], (":protocol", rng.choice(("websocket", "x", "")))]
    if _flip(rng, 0.05):
        pseudo = [(":method", "CONNECT"), (":authority", rng.choice(("a.example:80", "a.example", "")))]
    if _flip(rng, 0.1):
        pseudo.pop(rng.randrange(len(pseudo)))
    if _flip(rng, 0.1):
        rng.shuffle(pseudo)
    if _flip(rng, 0.05) and pseudo:
        pseudo.append(rng.choice(pseudo))
    fields = _with_odd(rng, pseudo)
    if _flip(rng, 0.02):
        fields += [(f"x-{number}", "v") for number in range(rng.choice((80, 95, 101, 200)))]
    if _flip(rng, 0.02):
        fields += [("cookie", f"c{number}=v") for number in range(rng.choice((50, 99, 150)))]
    return fields, body


def _with_odd(rng: random.Random, fields: Fields) -> Fields:
    fields = list(fields)
    for _ in range(rng.choice((0, 0, 0, 1, 1, 1, 2, 3))):
        where = len(fields) if _flip(rng, 0.9) else rng.randrange(len(fields) + 1)
        fields.insert(where, rng.choice(_ODD))
    return fields


def _trailer_fields(rng: random.Random) -> Fields:
    return _with_odd(rng, [("grpc-status", "0")] if _flip(rng, 0.5) else [("x-t", "1")])


def _spoil_block(rng: random.Random, payload: bytes) -> bytes:
    """HPACK that is wrong, or right in an unusual way."""
    return rng.choice(
        (
            payload + b"\x80",  # index 0
            payload + b"\xff\xff\xff\xff\xff\xff",
            payload + b"\xbe",  # an entry that isn't there
            payload + b"\x40\x01a\x83\xff\xff\xff",  # Huffman: EOS
            payload + b"\x00\x01a\x81\x00",
            b"\x20" + payload,
            b"\x3f\xe1\x1f" + payload,
            b"\x3f\xe2\x1f" + payload,  # larger than allowed
            payload + b"\x20",  # an update at the end
            b"\x20\x20\x20" + payload,
            payload[: rng.randrange(len(payload) + 1)],
            payload + b"\x10\x01n\x01v" + b"\x40\x01i\x01v\xbe",
            b"\x82\x86\x84\x41\x09a.example" + payload[:0],
        )
    )


def _block_frames(rng: random.Random, sid: int, fields: Fields, *, end: bool) -> Frames:
    payload = block(fields)
    if _flip(rng, 0.06):
        payload = _spoil_block(rng, payload)
    flags = END_STREAM if end else 0
    pieces = [payload[start : start + 16_000] for start in range(0, len(payload), 16_000)] or [b""]
    if _flip(rng, 0.1):
        cut = rng.randrange(len(pieces[-1]) + 1)
        pieces[-1:] = [pieces[-1][:cut], pieces[-1][cut:]]
    first, *rest = pieces
    if not rest:
        flags |= END_HEADERS
    if _flip(rng, 0.05):
        padding = rng.choice((0, 1, 200, 255))
        flags |= PADDED
        first = bytes([padding]) + first + bytes(padding if _flip(rng, 0.8) else 0)
    elif _flip(rng, 0.05):
        flags |= PRIO
        first = struct.pack(">IB", rng.choice((0, 0, 7, 9, sid)), 7) + first
    frames = [frame(HEADERS, flags, sid, first)]
    for number, piece in enumerate(rest):
        last = END_HEADERS if number == len(rest) - 1 else 0
        frames.append(frame(CONTINUATION, last, sid if _flip(rng, 0.95) else sid + 2, piece))
        if _flip(rng, 0.03):
            frames.append(_other(rng, [sid]))
    return frames


def _body(rng: random.Random, sid: int, *, end: bool) -> Frames:
    count = rng.choice((1, 1, 1, 2, 3))
    frames = []
    for number in range(count):
        payload = b"x" * rng.choice((0, 1, 5, 5, 100, 16_384))
        flags = END_STREAM if end and number == count - 1 else 0
        if _flip(rng, 0.1):
            padding = rng.choice((0, 1, 255))
            flags |= PADDED
            payload = bytes([padding]) + payload[:16_000] + bytes(padding if _flip(rng, 0.8) else 0)
        frames.append(frame(DATA, flags, sid, payload))
    return frames


def _message(rng: random.Random, sid: int, head: Fields, *, body: bool) -> Frames:
    """A whole message: head, body, trailers, as it should be in most cases."""
    trailers = _flip(rng, 0.2)
    ends = not body and not trailers
    if _flip(rng, 0.08):
        ends = not ends
    frames = _block_frames(rng, sid, head, end=ends)
    if body:
        frames += _body(rng, sid, end=not trailers and _flip(rng, 0.92))
    if trailers:
        frames += _block_frames(rng, sid, _trailer_fields(rng), end=_flip(rng, 0.9))
    return frames


def _other(rng: random.Random, sids: list[int]) -> bytes:
    """Any other frame, right or wrong."""
    sid = rng.choice((*sids, *sids, 0, 2, 99))
    kind = rng.choice((WINDOW_UPDATE, WINDOW_UPDATE, RST_STREAM, PRIORITY, SETTINGS, SETTINGS, PING, GOAWAY, DATA, 42))
    kind = rng.choice((kind, kind, kind, kind, PUSH_PROMISE, CONTINUATION, HEADERS)) if _flip(rng, 0.3) else kind
    flags = 0 if _flip(rng, 0.7) else rng.choice((ACK, END_HEADERS, PADDED, PRIO, 255, END_STREAM | END_HEADERS))
    number = struct.pack(">I", rng.choice(_NUMBERS))
    if kind == SETTINGS:
        sid = 0 if _flip(rng, 0.95) else sid
        names = [rng.choice(tuple(_SETTINGS)) for _ in range(rng.choice((0, 1, 1, 2, 3)))]
        payload = settings(*((name, rng.choice(_SETTINGS[name])) for name in names))[9:]
        flags = flags if _flip(rng, 0.2) else 0
    elif kind == PING:
        sid, payload = (0 if _flip(rng, 0.9) else sid), b"pingpong"
    elif kind == GOAWAY:
        sid, payload = (0 if _flip(rng, 0.9) else sid), number + struct.pack(">I", rng.choice((0, 0, 1, 2, 11, 99)))
    elif kind == PRIORITY:
        payload = struct.pack(">IB", rng.choice((0, 0, 7, 9, sid)), 1)
    elif kind in (WINDOW_UPDATE, RST_STREAM):
        payload = number if kind == WINDOW_UPDATE else struct.pack(">I", rng.choice((0, 1, 2, 5, 7, 8, 99)))
    elif kind == PUSH_PROMISE:
        payload = struct.pack(">I", 2) + b"\x82\x86\x84"
    else:
        payload = rng.choice((b"", b"x", b"\x00", b"\x82\x86\x84\x41\x01a", b"x" * 100))
    if _flip(rng, 0.08):
        payload = rng.choice((payload[:-1], payload + b"\0", b""))
    return frame(kind, flags, sid, payload)


def _spoil(rng: random.Random, frames: Frames, others: Callable[[], bytes]) -> Frames:
    """The sequence with a few further changes, frame by frame or byte by byte."""
    frames = list(frames)
    for _ in range(rng.choice((0, 0, 0, 1, 1, 2))):
        where = rng.randrange(len(frames) + 1)
        change = rng.randrange(7)
        if change < 3 or where == len(frames):
            frames.insert(where, others())
        elif change == 3:
            frames.insert(where, frames[where])
        elif change == 4:
            del frames[where]
        elif change == 5 and where:
            frames[where - 1], frames[where] = frames[where], frames[where - 1]
        else:
            spoilt = bytearray(frames[where])
            spoilt[rng.randrange(min(len(spoilt), 60))] ^= 1 << rng.randrange(8)
            frames[where] = bytes(spoilt)
    return frames


def client_frames(rng: random.Random) -> Frames:
    """What a client sends behind its preface and SETTINGS."""
    sids = [1, 3, 5][: rng.choice((1, 1, 2, 3))]
    messages = []
    for sid in sids:
        fields, body = _request_fields(rng)
        messages.append(_message(rng, sid, fields, body=body))
    frames = []
    if _flip(rng, 0.3):  # interleaved
        while any(messages):
            chosen = rng.choice([message for message in messages if message])
            frames.append(chosen.pop(0))
    else:
        frames = [each for message in messages for each in message]
    return _spoil(rng, frames, lambda: _other(rng, sids))


def host_frames(rng: random.Random, sid: int) -> Frames:
    """What a host answers to the request on `sid`, behind its SETTINGS."""
    body = _flip(rng, 0.6)
    frames: Frames = []
    if _flip(rng, 0.1):
        early = rng.choice(("100", "103", "102", "101"))
        frames += _block_frames(rng, sid, [(":status", early)], end=_flip(rng, 0.1))
    status = "200" if _flip(rng, 0.7) else rng.choice(_STATUSES)
    head = _with_odd(rng, [(":status", status)])
    if _flip(rng, 0.05):
        head = [field for field in head if field[0] != ":status"]
    if _flip(rng, 0.02):
        head += [(f"x-{number}", "v") for number in range(rng.choice((95, 101, 200)))]
    frames += _message(rng, sid, head, body=body)
    return _spoil(rng, frames, lambda: _other(rng, [sid]))
