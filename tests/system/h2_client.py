"""A client that speaks HTTP/2, made of the `h2` library: strict about what it's sent, and slow if told so."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import h2.config
import h2.connection
import h2.events
import h2.exceptions


@dataclass
class Exchange:
    """One stream as it stands. reset: the code of an RST_STREAM, -1 for none."""

    headers: dict[str, str] = field(default_factory=dict)
    body: bytearray = field(default_factory=bytearray)
    trailers: dict[str, str] = field(default_factory=dict)
    informational: list[str] = field(default_factory=list)
    ended: bool = False
    reset: int = -1

    @property
    def status(self) -> int:
        return int(self.headers[":status"])


def _texts(fields: Any) -> dict[str, str]:
    """fields: texts, by `header_encoding`, which h2's types don't know of."""
    return dict(fields or ())


class H2Client:
    """A connection. goaways: last stream and code of each. reads: whether received bytes are given back at once."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.wire = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True, header_encoding="latin-1"))
        self.streams: dict[int, Exchange] = {}
        self.goaways: list[tuple[int, int]] = []
        self.reads = True
        self.ended = False
        self._changed = asyncio.Event()
        self.wire.initiate_connection()
        self.flush()
        self._pump = asyncio.create_task(self._run())

    @classmethod
    async def open(cls, port: int, context: ssl.SSLContext | None = None) -> H2Client:
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", port, ssl=context, server_hostname="server.test" if context is not None else None
        )
        client = cls(reader, writer)
        await client.until(lambda: bool(client.wire.remote_settings.max_concurrent_streams < 2**31))
        return client

    def flush(self) -> None:
        if not self.writer.is_closing():
            self.writer.write(self.wire.data_to_send())

    async def _run(self) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while True:
                head = await self.reader.readexactly(9)
                frame = head + await self.reader.readexactly(int.from_bytes(head[:3], "big"))
                for event in self.wire.receive_data(frame):
                    self._take(event)
                self.flush()
                self._change()
        self.ended = True
        self._change()

    def _change(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    def _take(self, event: h2.events.Event) -> None:
        if isinstance(event, h2.events.ConnectionTerminated):
            self.goaways.append((event.last_stream_id or 0, int(event.error_code or 0)))
            # The library takes GOAWAY for the end, but streams that are open go on (RFC 9113 section 6.8).
            self.wire.state_machine.state = h2.connection.ConnectionState.CLIENT_OPEN
            return
        sid = getattr(event, "stream_id", 0)
        if not sid:
            return
        stream = self.streams.setdefault(sid, Exchange())
        match event:
            case h2.events.ResponseReceived():
                stream.headers = _texts(event.headers)
            case h2.events.InformationalResponseReceived():
                fields: dict[Any, Any] = _texts(event.headers)
                stream.informational.append(fields[":status"])
            case h2.events.DataReceived():
                stream.body += event.data or b""
                if self.reads and event.flow_controlled_length:
                    self.wire.acknowledge_received_data(event.flow_controlled_length, sid)
            case h2.events.TrailersReceived():
                stream.trailers = _texts(event.headers)
            case h2.events.StreamEnded():
                stream.ended = True
            case h2.events.StreamReset():
                stream.reset = int(event.error_code or 0)

    async def until(self, true: Callable[[], bool], seconds: float = 10.0) -> None:
        async with asyncio.timeout(seconds):
            while not true() and not self.ended:
                await self._changed.wait()
        assert true(), "the connection ended"

    def start(self, path: str, fields: Sequence[tuple[str, str]] = (), *, method: str = "GET", end: bool = True) -> int:
        """Send a head; returns the stream's number."""
        sid = self.wire.get_next_available_stream_id()
        pseudo = [(":method", method), (":scheme", "http"), (":authority", "server.test"), (":path", path)]
        self.streams[sid] = Exchange()
        self.wire.send_headers(sid, [*pseudo, *fields], end_stream=end)
        self.flush()
        return sid

    async def send(self, sid: int, data: bytes, *, end: bool = True) -> None:
        """Send body as the windows allow."""
        view = memoryview(data)
        while view:
            room = min(self.wire.local_flow_control_window(sid), self.wire.max_outbound_frame_size, len(view))
            if not room:
                await self.until(lambda: self.wire.local_flow_control_window(sid) > 0, 30)
                continue
            self.wire.send_data(sid, bytes(view[:room]))
            self.flush()
            await self.writer.drain()
            view = view[room:]
        if end:
            self.wire.end_stream(sid)
            self.flush()

    def give_back(self, sid: int, size: int) -> None:
        """Let the server send `size` bytes more on the stream and the connection."""
        self.wire.increment_flow_control_window(size, sid)
        self.wire.increment_flow_control_window(size)
        self.flush()

    async def answer(self, sid: int, seconds: float = 10.0) -> Exchange:
        """Wait for the end of a stream."""
        stream = self.streams[sid]
        await self.until(lambda: stream.ended or stream.reset >= 0, seconds)
        return stream

    async def get(self, path: str, *fields: tuple[str, str]) -> Exchange:
        return await self.answer(self.start(path, fields))

    async def close(self) -> None:
        self._pump.cancel()
        await asyncio.gather(self._pump, return_exceptions=True)
        self.writer.close()
