"""Backends for loads of messages: `python -m bench.stream_server PORT ...`, a port for each of `PEERS`.

WebSocket frames and gRPC messages are sent back as they are; nobody here looks into them.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import uvloop

from bench.backend_server import ANSWER
from bench.h2_peer import DATA, END_HEADERS, END_STREAM, HEADERS, Http2Peer, block, frame

MESSAGES = 100
MESSAGE = b"\0\0\0\0\x40" + b"m" * 64
_HEAD = block([(":status", "200"), ("content-type", "application/grpc")])
_TRAILERS = block([("grpc-status", "0")])
_SWITCHED = b"HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\n"


class WebSocketEcho(asyncio.Protocol):
    """After the head of the upgrade, what comes goes back."""

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self._switched = False

    def data_received(self, data: bytes) -> None:
        if self._switched:
            self._transport.write(data)
        else:
            self._switched = b"pgrade" in data
            self._transport.write(_SWITCHED if self._switched else ANSWER)


class Echo(Http2Peer):
    """Each message of a call comes back at once."""

    def on_fields(self, stream: int, end: bool) -> None:
        self.transport.write(frame(HEADERS, END_HEADERS, stream, _HEAD))
        if end:
            self._end(stream)

    def on_body(self, stream: int, data: bytes, end: bool) -> None:
        if data:
            self.transport.write(frame(DATA, 0, stream, data))
        if end:
            self._end(stream)

    def _end(self, stream: int) -> None:
        self.transport.write(frame(HEADERS, END_HEADERS | END_STREAM, stream, _TRAILERS))


class Sink(Echo):
    """A call is answered when it has come whole."""

    def on_fields(self, stream: int, end: bool) -> None:
        if end:
            self._answer(stream)

    def on_body(self, stream: int, data: bytes, end: bool) -> None:
        if end:
            self._answer(stream)

    def _answer(self, stream: int) -> None:
        self.transport.write(frame(HEADERS, END_HEADERS, stream, _HEAD))
        self._end(stream)


class Source(Sink):
    """A call is answered with `MESSAGES` messages, each with a write and a turn of the loop of its own."""

    def _answer(self, stream: int) -> None:
        self.transport.write(frame(HEADERS, END_HEADERS, stream, _HEAD))
        self._send(stream, MESSAGES)

    def _send(self, stream: int, left: int) -> None:
        if not left:
            self._end(stream)
            return
        self.transport.write(frame(DATA, 0, stream, MESSAGE))
        asyncio.get_running_loop().call_soon(self._send, stream, left - 1)


class Processor(Echo):
    """ext_proc: whatever is asked about may go on as it is.

    An answer's field in ProcessingResponse has the number before that of the question's in ProcessingRequest.
    """

    def on_body(self, stream: int, data: bytes, end: bool) -> None:
        if data:
            self.transport.write(frame(DATA, 0, stream, b"\0\0\0\0\2" + bytes((data[5] - 8, 0))))
        if end:
            self._end(stream)


PEERS = (WebSocketEcho, Echo, Source, Sink, Processor)


async def serve(ports: list[int]) -> None:
    loop = asyncio.get_running_loop()
    for peer, port in zip(PEERS, ports, strict=True):
        await loop.create_server(peer, "127.0.0.1", port, backlog=4096)
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(serve(list(map(int, sys.argv[1:]))))
