"""One script for both programs: what the management server answers, and what the client must say then.

A script runs twice over real gRPC, against meshproxy and against Envoy, in either protocol. `says` gives the requests
that have to come, in this order and no others; so a script that passes for both is a proof that both say the same.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import ssl
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.discovery.ads_server import AdsServer, Stream, told
from tests.system.program import Program

_QUIET = 0.25
PATIENCE_S = 30.0
"""How long anything that has to happen may take on a busy machine."""


@dataclass
class Dialogue:
    """A program and its server. kind: of the program. ports: free ones for listeners; upstream: of a web server."""

    kind: str
    delta: bool
    server: AdsServer
    program: Program
    ports: Sequence[int]
    upstream: int
    stream: Stream = field(init=False)

    async def connected(self) -> None:
        """The client has opened a stream, on which all goes on."""
        self.stream = await self.server.stream()

    async def says(
        self, sotw: Sequence[str], delta: Sequence[str], *, ours: Sequence[str] = (), within: float = PATIENCE_S
    ) -> None:
        """These requests come, and then none. A line may end in "*".

        ours: what meshproxy says before that and Envoy doesn't.
        """
        expected = list(delta if self.delta else sotw)
        if self.kind == "meshproxy":
            expected = [*ours, *expected]
        heard: list[str] = []
        with contextlib.suppress(TimeoutError):
            while len(heard) < len(expected):
                heard.append(told(await self.stream.request(within)).rstrip())
        heard += [told(request).rstrip() for request in await self.stream.quiet(_QUIET)]
        assert len(heard) == len(expected), f"{heard} instead of {expected}\n{self.program.output()[-3000:]}"
        for one, other in zip(heard, expected, strict=True):
            fits = one.startswith(other[:-1]) if other.endswith("*") else one == other
            assert fits, f"{heard} instead of {expected}"

    async def is_silent(self, seconds: float = 0.6) -> None:
        """Nothing is said for a while."""
        heard = [told(request) for request in await self.stream.quiet(seconds)]
        assert not heard, heard

    def answer(self, label: str, version: str, nonce: str, *resources: Any, removed: Sequence[str] = ()) -> None:
        """The server sends resources."""
        self.stream.answer(label, version, nonce, resources, removed)

    async def ready(self) -> bool:
        """Whether the program says that it serves."""
        return (await self.program.ask("/ready"))[0] == 200

    async def becomes_ready(self) -> None:
        """It serves soon."""
        async with asyncio.timeout(PATIENCE_S):
            while not await self.ready():
                await asyncio.sleep(0.02)

    async def get(self, port: int, path: str = "/") -> tuple[int, str]:
        """A request to a listener: status and body. Raises EOFError if the connection ends before them.

        It doesn't wait for the end, which after an answer of the proxy's own is a second away.
        """
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            writer.write(f"GET {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n".encode())
            async with asyncio.timeout(10):
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
                length = re.search(rb"\r\ncontent-length: (\d+)", head)
                body = await (reader.readexactly(int(length[1])) if length else reader.read())
        finally:
            writer.close()
        return int(head.split()[1]), body.decode()

    async def gets(self, port: int, status: int, path: str = "/") -> None:
        """A request soon has this status."""
        last: object = None
        async with asyncio.timeout(PATIENCE_S):
            while True:
                try:
                    last = (await self.get(port, path))[0]
                    if last == status:
                        return
                except (OSError, EOFError) as error:
                    last = error
                await asyncio.sleep(0.02)

    async def shows_certificate(self, port: int, der: bytes) -> None:
        """A handshake soon shows this certificate."""
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        async with asyncio.timeout(PATIENCE_S):
            while True:
                with contextlib.suppress(OSError):
                    _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
                    found = writer.get_extra_info("ssl_object").getpeercert(True)
                    writer.close()
                    if found == der:
                        return
                await asyncio.sleep(0.02)

    async def refuses(self, port: int) -> None:
        """Soon nobody listens there."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", port)
                except OSError:
                    return
                writer.close()
                await asyncio.sleep(0.02)

    async def statistic(self, name: str) -> int:
        return await self.program.statistic(name)

    async def counts(self, name: str, value: int) -> None:
        """A statistic soon has this value."""
        async with asyncio.timeout(PATIENCE_S):
            while await self.statistic(name) != value:
                await asyncio.sleep(0.05)
