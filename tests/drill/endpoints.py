"""Endpoints of a fault drill: each serves well, or misbehaves in one way, and changes when it is told to."""

from __future__ import annotations

import asyncio
import contextlib
import enum
import socket
import struct

DAWDLING = 0.3
_ON_ITS_WAY = 0.02
_HEAD = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n"


class Mood(enum.Enum):
    """What an endpoint does with a request."""

    GOOD = "answers 200"
    ERRORS = "answers 503"
    HANGS = "takes the request and says nothing"
    RESETS = "resets the connection"
    REFUSES = "doesn't listen"
    DAWDLES = "answers after 0.3 s"
    CUTS = "closes in the middle of its answer"
    BREAKS_OFF = "resets behind the head of its answer"
    HALF_CLOSES = "answers and sends FIN, and reads on"


class Endpoint:
    """One endpoint. served: how many requests it has answered with 200."""

    def __init__(self) -> None:
        self.mood = Mood.GOOD
        self.served = 0
        self.port = 0
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def listen(self) -> None:
        """Listen, on the same port as before if there was one."""
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", self.port))
        self.port = listener.getsockname()[1]
        self._server = await asyncio.start_server(self._accept, sock=listener, backlog=256)

    async def turn(self, mood: Mood) -> None:
        """From now on do this; what is connected is cut where nobody listens any more."""
        before, self.mood = self.mood, mood
        if mood is Mood.REFUSES:
            await self.stop()
        elif before is Mood.REFUSES:
            await self.listen()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                while True:
                    await reader.readuntil(b"\r\n\r\n")
                    if not await self._answer(writer):
                        return
                    if self.mood is Mood.HALF_CLOSES:
                        writer.write_eof()
                        await reader.read()
                        return
        finally:
            self._writers.discard(writer)
            writer.close()

    async def _answer(self, writer: asyncio.StreamWriter) -> bool:
        if self.mood is Mood.HANGS:
            while self.mood is Mood.HANGS:
                await asyncio.sleep(0.05)
            return False
        mood = self.mood
        if mood is Mood.RESETS:
            _reset(writer)
            return False
        if mood is Mood.ERRORS:
            writer.write(b"HTTP/1.1 503 X\r\ncontent-length: 0\r\n\r\n")
        elif mood in (Mood.CUTS, Mood.BREAKS_OFF):
            writer.write(_HEAD + (b"o" if mood is Mood.CUTS else b""))
            await asyncio.sleep(_ON_ITS_WAY)
            if mood is Mood.BREAKS_OFF:
                _reset(writer)
            return False
        else:
            if mood is Mood.DAWDLES:
                await asyncio.sleep(DAWDLING)
            self.served += 1
            writer.write(_HEAD + b"ok")
        await writer.drain()
        return True

    async def stop(self) -> None:
        """Stop listening and cut what is connected."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for writer in tuple(self._writers):
            writer.transport.abort()
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _reset(writer: asyncio.StreamWriter) -> None:
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
