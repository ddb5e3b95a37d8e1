"""The backend for a machine without nginx: `python -m bench.backend_server PORT...` answers every request alike."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import uvloop

from bench.backend import BODY

ANSWER = (
    f"HTTP/1.1 200 OK\r\nserver: bench\r\ncontent-type: application/json\r\ncontent-length: {len(BODY)}\r\n\r\n{BODY}"
).encode()


class Backend(asyncio.Protocol):
    """Every empty line ends a request: the load has no bodies."""

    def __init__(self) -> None:
        self._rest = b""

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        *heads, self._rest = (self._rest + data).split(b"\r\n\r\n")
        if heads:
            self._transport.write(ANSWER * len(heads))


async def serve(ports: list[int]) -> None:
    loop = asyncio.get_running_loop()
    for port in ports:
        await loop.create_server(Backend, "127.0.0.1", port, backlog=4096)
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(serve([int(port) for port in sys.argv[1:]]))
