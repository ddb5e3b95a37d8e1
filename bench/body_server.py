"""A backend for what nginx doesn't do alone: `python -m bench.body_server PORT`.

A GET is answered with `EVENTS` server-sent events, each in a chunk, a write and a turn of the loop of its own, so that
a proxy meets them one by one. An upload is answered when it has come whole.
"""

from __future__ import annotations

import asyncio
import re
import sys
from typing import Any

import uvloop

from bench.backend_server import ANSWER

EVENTS = 100
_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
_EVENT = b"data: " + b"e" * 92 + b"\n\n"
_CHUNK = b"%x\r\n%s\r\n" % (len(_EVENT), _EVENT)
_END = b"0\r\n\r\n"
_length = re.compile(rb"(?i)content-length: (\d+)").search


class Bodies(asyncio.Protocol):
    """One request after the other; a head comes in one piece."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._to_come = 0
        self._events = 0

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        if not self._to_come:
            head, _, data = data.partition(b"\r\n\r\n")
            length = _length(head)
            if length is None or length[1] == b"0":
                self._transport.write(_HEAD)
                self._events = EVENTS
                self._loop.call_soon(self._send)
                return
            self._to_come = int(length[1])
        self._to_come -= len(data)
        if not self._to_come:
            self._transport.write(ANSWER)

    def _send(self) -> None:
        if self._transport.is_closing():
            return
        self._events -= 1
        self._transport.write(_CHUNK if self._events else _CHUNK + _END)
        if self._events:
            self._loop.call_soon(self._send)


async def serve(port: int) -> None:
    loop = asyncio.get_running_loop()
    await loop.create_server(Bodies, "127.0.0.1", port, backlog=4096)
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1])))
