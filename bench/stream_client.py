"""Loads that wrk and h2load can't make: `python -m bench.stream_client KIND PORT CONNECTIONS SECONDS`.

Prints how many messages came back, how many connections failed, and the time of a message at two percentiles, as JSON.
"""

from __future__ import annotations

import asyncio
import json
import random
import socket
import sys
from time import perf_counter
from typing import Any

import uvloop

from bench.client import REQUEST
from bench.h2_peer import DATA, END_HEADERS, END_STREAM, HEADERS, Http2Client, block, frame
from bench.stream_server import MESSAGE

STREAMS = 8
_AUTHORITY = (":authority", "shop.default.svc.cluster.local")
GRPC = [(":method", "POST"), (":scheme", "http"), (":path", "/grpc.Shop/Watch"), _AUTHORITY]
GRPC += [("content-type", "application/grpc"), ("te", "trailers"), ("user-agent", "grpc-go/1.60")]
_WEBSOCKET = [(":method", "CONNECT"), (":scheme", "http"), (":path", "/ws"), _AUTHORITY, (":protocol", "websocket")]
_WEBSOCKET += [("sec-websocket-version", "13")]
_UPGRADE = (
    b"GET /ws HTTP/1.1\r\nhost: shop\r\nconnection: Upgrade\r\nupgrade: websocket\r\n"
    b"sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nsec-websocket-version: 13\r\n\r\n"
)
_FRAME = b"\x82\xc0mask" + b"w" * 64
_UPLOAD = 64 * 1024
_PIECE = 256


class Tally:
    """What all connections of the load have seen."""

    def __init__(self) -> None:
        self.messages = self.errors = 0
        self.times: list[float] = []
        self.over = False

    def count(self, began: float) -> None:
        self.messages += 1
        self.times.append(perf_counter() - began)

    def report(self) -> str:
        times = sorted(self.times) or [0.0]
        p50, p99 = (times[len(times) * percent // 100] * 1000 for percent in (50, 99))
        return json.dumps({"messages": self.messages, "errors": self.errors, "p50_ms": p50, "p99_ms": p99})


class _Client(asyncio.Protocol):
    def __init__(self, tally: Tally) -> None:
        self._tally = tally

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self._begin()

    def connection_lost(self, error: Exception | None) -> None:
        self._tally.errors += not self._tally.over

    def _begin(self) -> None:
        raise NotImplementedError  # each protocol gives its own


class WebSocket(_Client):
    """A frame of 64 bytes, and the next when it is back."""

    def _begin(self) -> None:
        self._left, self._began = 0, 0.0
        self._transport.write(_UPGRADE)

    def data_received(self, data: bytes) -> None:
        if not self._left:
            if not data.startswith(b"HTTP/1.1 101"):
                self._transport.close()
                return
        else:
            self._left -= len(data)
            if self._left > 0:
                return
            self._tally.count(self._began)
        self._left, self._began = len(_FRAME), perf_counter()
        self._transport.write(_FRAME)


class Trickle(_Client):
    """A request now and then: each connection has one in two seconds."""

    PAUSE_S = 2.0

    def _begin(self) -> None:
        asyncio.get_running_loop().call_later(random.random() * self.PAUSE_S, self._ask)

    def _ask(self) -> None:
        self._began = perf_counter()
        self._transport.write(REQUEST)

    def data_received(self, data: bytes) -> None:
        self._tally.count(self._began)
        asyncio.get_running_loop().call_later(self.PAUSE_S, self._ask)


class SlowReader(_Client):
    """Takes a mebibyte in sips of 64 KiB, with five milliseconds between two."""

    SIP, PAUSE_S, LENGTH = 65536, 0.005, 1 << 20

    def _begin(self) -> None:
        self._transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self.SIP)
        self._ask()

    def _ask(self) -> None:
        self._in_head, self._came, self._began = True, 0, perf_counter()
        self._transport.write(b"GET /large HTTP/1.1\r\nhost: a\r\n\r\n")

    def data_received(self, data: bytes) -> None:
        if self._in_head:
            self._in_head = False
            self._came -= data.index(b"\r\n\r\n") + 4
        before, self._came = self._came, self._came + len(data)
        if self._came >= self.LENGTH:
            self._tally.count(self._began)
            self._ask()
        elif before // self.SIP != self._came // self.SIP:
            self._transport.pause_reading()
            asyncio.get_running_loop().call_later(self.PAUSE_S, self._transport.resume_reading)


class _Streams(Http2Client):
    """`STREAMS` streams on a connection."""

    fields = GRPC
    count = STREAMS

    def __init__(self, tally: Tally) -> None:
        self._tally = tally
        self._began: dict[int, float] = {}
        self._next = 1

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        for _ in range(self.count):
            self._open()

    def connection_lost(self, error: Exception | None) -> None:
        self._tally.errors += not self._tally.over

    def on_reset(self, stream: int) -> None:
        self._tally.errors += 1

    def _open(self, *, end: bool = False) -> None:
        self._stream, self._next = self._next, self._next + 2
        self._began[self._stream] = perf_counter()
        flags = END_HEADERS | (END_STREAM if end else 0)
        self.transport.write(frame(HEADERS, flags, self._stream, block(self.fields)))


class Bidirectional(_Streams):
    """A message, and the next when it is back; calls never end."""

    message = MESSAGE

    def _say(self, stream: int) -> None:
        self._began[stream] = perf_counter()
        self.transport.write(frame(DATA, 0, stream, self.message))

    def _open(self, *, end: bool = False) -> None:
        super()._open(end=end)
        self._say(self._stream)

    def on_fields(self, stream: int, end: bool) -> None:
        self._tally.errors += end

    def on_body(self, stream: int, data: bytes, end: bool) -> None:
        self._tally.count(self._began[stream])
        self._say(stream)


class WebSocketStreams(Bidirectional):
    """The same over extended CONNECT (RFC 8441): frames follow the answer."""

    fields = _WEBSOCKET
    message = _FRAME

    def _open(self, *, end: bool = False) -> None:
        super(Bidirectional, self)._open(end=end)

    def on_fields(self, stream: int, end: bool) -> None:
        super().on_fields(stream, end)
        self._say(stream)


class ServerStreaming(_Streams):
    """A call for `MESSAGES` messages, and the next when they have come."""

    def _open(self, *, end: bool = True) -> None:
        super()._open(end=True)
        self.transport.write(b"")

    def on_fields(self, stream: int, end: bool) -> None:
        if end:
            self._open()

    def on_body(self, stream: int, data: bytes, end: bool) -> None:
        for _ in range(len(data) // len(MESSAGE)):  # a proxy may put several into a frame
            self._tally.count(self._began[stream])


class SmallFrames(_Streams):
    """Uploads of 64 KiB in frames of 256 bytes, sixteen a write."""

    count = 2
    _pieces = _UPLOAD // _PIECE

    def _open(self, *, end: bool = False) -> None:
        super()._open()
        self._send(self._stream, self._pieces)

    def _send(self, stream: int, left: int) -> None:
        piece = frame(DATA, 0, stream, b"u" * _PIECE)
        left -= 16
        if left:
            self.transport.write(piece * 16)
            asyncio.get_running_loop().call_soon(self._send, stream, left)
        else:
            self.transport.write(piece * 15 + frame(DATA, END_STREAM, stream, b"u" * _PIECE))

    def on_fields(self, stream: int, end: bool) -> None:
        if end:
            self._tally.count(self._began.pop(stream))
            if not self._tally.over:
                self._open()

    def on_body(self, stream: int, data: bytes, end: bool) -> None:
        pass


KINDS = {
    "websocket": WebSocket,
    "h2-websocket": WebSocketStreams,
    "bidi": Bidirectional,
    "server-stream": ServerStreaming,
    "h2-frames": SmallFrames,
    "trickle": Trickle,
    "slow": SlowReader,
}


async def load(kind: str, port: int, connections: int, seconds: float) -> Tally:
    loop, tally = asyncio.get_running_loop(), Tally()
    transports = [
        (await loop.create_connection(lambda: KINDS[kind](tally), "127.0.0.1", port))[0] for _ in range(connections)
    ]
    await asyncio.sleep(seconds)
    tally.over = True
    for transport in transports:
        transport.abort()
    return tally


if __name__ == "__main__":
    kind, port, connections, seconds = sys.argv[1], *map(int, sys.argv[2:])
    print(uvloop.run(load(kind, port, connections, seconds)).report())
