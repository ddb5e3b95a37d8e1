"""The upstream of a case: records exactly what it saw, and answers from its script."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from ..streams import read_on, stop_reading
from .case import Act, Op, Slow, Upstream, Wait
from .h2_peer import H2Peer
from .wire import H2Wire, WireReader


@dataclass(slots=True)
class Seen:
    """What one connection brought."""

    reader: WireReader | H2Wire
    end: str = "open"


class Peer:
    """One connection, seen by a script: what has arrived, and how to wait for more."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, on_data: Callable[[bytes], None]):
        self.reader, self.writer = reader, writer
        self.received = bytearray()
        self.end = ""
        self.changed = asyncio.Event()
        self.may_read = asyncio.Event()
        self.may_read.set()
        self._on_data = on_data
        self.pump = asyncio.create_task(self._pump())
        self.echo = False
        self.opaque_from = 0
        self.left = False  # closed by us; the transport also calls itself closing after the peer's RST

    async def _pump(self) -> None:
        while not self.end:
            await self.may_read.wait()
            try:
                data = await self.reader.read(65536)
            except OSError:
                self.end = "rst"
                data = b""
            if data:
                self.received += data
                self._on_data(data)
                if self.echo:
                    self.writer.write(data)
            else:
                self.end = self.end or "fin"
            self.changed.set()

    async def until(self, true: Callable[[], bool], seconds: float = 10.0) -> bool:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        while not true():
            if self.end or loop.time() > deadline:
                return False
            self.changed.clear()
            try:
                await asyncio.wait_for(self.changed.wait(), max(0.01, deadline - loop.time()))
            except TimeoutError:
                return true()
        return True

    async def send(self, data: bytes) -> None:
        if self.writer.is_closing():
            return
        self.writer.write(data)
        try:
            await asyncio.wait_for(self.writer.drain(), 10)
        except (OSError, TimeoutError):
            return

    def reset(self) -> None:
        sock = self.writer.get_extra_info("socket")
        if sock is not None and not self.writer.is_closing():
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.writer.transport.abort()

    async def act(self, op: Op, fill: Callable[[str], str]) -> None:
        """What clients and upstreams have in common."""
        match op:
            case bytes():
                await self.send(op)
            case str():
                await self.send(fill(op).encode("latin-1"))
            case float() | int():
                await asyncio.sleep(op)
            case Slow():
                for byte in fill(op.text).encode("latin-1"):
                    await self.send(bytes([byte]))
                    await asyncio.sleep(op.pause)
            case Wait():
                needle = fill(op.text).encode("latin-1")
                await self.until(lambda: self.received.count(needle) >= op.times, op.seconds)
            case Act.HALF_CLOSE:
                if not self.writer.is_closing():
                    with contextlib.suppress(OSError):  # the peer may have reset the connection already
                        self.writer.write_eof()
            case Act.CLOSE:
                self.left = True
                self.writer.close()
            case Act.RESET:
                self.left = True
                self.reset()
            case Act.WAIT_EOF:
                await self.until(lambda: bool(self.end))
            case Act.STOP_READING:
                self.may_read.clear()
                stop_reading(self.writer)
            case Act.READ_ON:
                read_on(self.writer)
                self.may_read.set()
            case Act.ECHO:
                self.echo = True
                await self.send(bytes(self.received[self.opaque_from :]))
                await self.until(lambda: False)
            case _:
                raise TypeError(f"not an operation here: {op!r}")


@dataclass(slots=True)
class Recorder:
    """A running upstream. `port` is where it listens; `seen` grows with every connection."""

    script: Upstream
    fill: Callable[[str], str]
    port: int = 0
    seen: list[Seen] = field(default_factory=list)
    _sockets: list[socket.socket] = field(default_factory=list)
    _server: asyncio.Server | None = None
    _played: int = 0
    _peers: list[Peer | H2Peer] = field(default_factory=list)
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)

    async def start(self) -> None:
        family = socket.AF_INET6 if ":" in self.script.host else socket.AF_INET
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.bind((self.script.host, 0))
        self.port = listener.getsockname()[1]
        if self.script.mode == "refuse":
            self._sockets.append(listener)  # bound and not listening: the port stays ours, and connects are refused
        elif self.script.mode == "unanswered":
            listener.listen(0)
            self._sockets.append(listener)
            for _ in range(2):  # the queue is full with these, so that further SYNs are dropped
                filler = socket.socket(family, socket.SOCK_STREAM)
                filler.setblocking(False)
                filler.connect_ex((self.script.host, self.port))
                self._sockets.append(filler)
        else:
            tls = self.script.tls() if self.script.tls is not None else None
            self._server = await asyncio.start_server(self._accept, sock=listener, backlog=512, ssl=tls)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # A task of our own: asyncio's would report its cancellation, the normal end of a case, as an error.
        serve = self._serve_h2 if self.script.mode == "h2" else self._serve
        self._tasks.append(asyncio.create_task(serve(reader, writer)))

    async def _serve_h2(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen = Seen(H2Wire())
        self.seen.append(seen)
        assert isinstance(seen.reader, H2Wire)
        peer = H2Peer(reader, writer, seen.reader, self._begin_h2, self.script.first)
        self._peers.append(peer)
        try:
            await peer.until(lambda: False, 60)
        finally:
            seen.end = peer.end or "open"
            writer.close()

    def _begin_h2(self, peer: H2Peer, stream: int) -> None:
        self._tasks.append(asyncio.create_task(self._play_h2(peer, stream)))

    async def _play_h2(self, peer: H2Peer, stream: int) -> None:
        message = peer.streams[stream]
        if self.script.at == "complete":
            await peer.until(lambda: message.complete, 60)
        turn, self._played = self._played, self._played + 1
        for op in self.script.answers[min(turn, len(self.script.answers) - 1)]:
            await peer.act(op, stream)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        wire = WireReader("request")
        seen = Seen(wire)
        self.seen.append(seen)
        if self.script.mode == "raw":
            wire.switch_to_raw()
        peer = Peer(reader, writer, wire.feed)
        self._peers.append(peer)
        try:
            if self.script.mode == "raw":
                await self._play(peer, wire, len(self.seen) - 1)
            else:
                await self._answer_requests(peer, wire)
            await peer.until(lambda: False, 60)
        finally:
            seen.end = peer.end or "open"
            peer.pump.cancel()
            writer.close()

    async def _answer_requests(self, peer: Peer, wire: WireReader) -> None:
        count = 0
        while True:
            ready = await peer.until(partial(self._may_answer, wire, count), 60)
            if not ready or peer.writer.is_closing():
                return
            count += 1
            turn, self._played = self._played, self._played + 1
            await self._play(peer, wire, turn)

    def _may_answer(self, wire: WireReader, number: int) -> bool:
        return len(wire.messages) > number and (self.script.at == "head" or wire.messages[number].complete)

    async def _play(self, peer: Peer, wire: WireReader, turn: int) -> None:
        script = self.script.answers[min(turn, len(self.script.answers) - 1)]
        if self.script.probe and " /probe " in wire.messages[-1].start:
            script = self.script.probe
        for op in script:
            if op is Act.RAW:
                wire.switch_to_raw()
                peer.opaque_from = len(peer.received) - len(wire.raw)
            elif op is Act.WAIT_REQUEST:
                await peer.until(lambda: wire.messages[-1].complete)
            else:
                await peer.act(op, self.fill)

    def freeze_ends(self) -> list[str]:
        """How each connection stands now."""
        return ["closed" if peer.left else peer.end or "open" for peer in self._peers]

    async def stop(self) -> None:
        for sock in self._sockets:
            sock.close()
        if self._server is not None:
            self._server.close()
        for peer in self._peers:
            with contextlib.suppress(AttributeError):  # before 3.11.4 asyncio can't abort a TLS transport closed twice
                peer.writer.transport.abort()
        tasks = [*self._tasks, *(peer.pump for peer in self._peers)]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
