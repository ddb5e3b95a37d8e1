"""An upstream that speaks HTTP/2, made of frames and the `hpack` library: it plays its scripts and forgives nothing.

It keeps no state machine of its own, so that a script can say whatever a real peer might, also what it mustn't. Credit
for received data is given back at once, unless the script says otherwise; what is sent counts on wide windows.
"""

from __future__ import annotations

import asyncio
import contextlib
import struct
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import hpack

from .case import Act, Op
from .wire import H2Wire, Message

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = 0, 1, 3, 4, 6, 7, 8, 9
END_STREAM, END_HEADERS, ACK = 1, 4, 1
MAX_FRAME = 16384


@dataclass(frozen=True, slots=True)
class Head:
    """A response head, or trailers (status None)."""

    status: int | None = 200
    fields: tuple[tuple[str, str], ...] = ()
    end: bool = False


@dataclass(frozen=True, slots=True)
class Data:
    data: bytes = b""
    end: bool = False


@dataclass(frozen=True, slots=True)
class Reset:
    """RST_STREAM."""

    code: int


@dataclass(frozen=True, slots=True)
class Goaway:
    """last: the last stream that counts, as a distance from the request's own (0: it counts, -2: it doesn't)."""

    code: int = 0
    last: int = 0


@dataclass(frozen=True, slots=True)
class Frame:
    """Any frame. stream None: the request's own."""

    kind: int
    payload: bytes = b""
    flags: int = 0
    stream: int | None = 0


@dataclass(frozen=True, slots=True)
class Until:
    """Wait until so many bytes of body have come, or (0) until the request is complete; or `note` stands in it."""

    body: int = 0
    note: str = ""
    seconds: float = 5.0


@dataclass(frozen=True, slots=True)
class Play:
    """What no list can say: `play` gets the connection and the stream's number."""

    play: Callable[[H2Peer, int], Awaitable[None]]


H2Op = Op | Head | Data | Reset | Goaway | Frame | Until | Play
OK = (Head(200, (("content-length", "2"),)), Data(b"ok", True))


def settings(**values: int) -> Frame:
    """SETTINGS by their names in lower case."""
    names = {"header_table_size": 1, "max_concurrent_streams": 3, "initial_window_size": 4, "connect_protocol": 8}
    return Frame(SETTINGS, b"".join(struct.pack(">HL", names[name], value) for name, value in values.items()))


class H2Peer:
    """One connection. on_request: called with a stream's number once its head has come."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        wire: H2Wire,
        on_request: Callable[[H2Peer, int], None],
        first: Sequence[H2Op],
    ) -> None:
        self.wire = wire
        self.writer = writer
        self.left = False
        self.end = ""
        self.credit = True
        self.changed = asyncio.Event()
        self.streams: dict[int, Message] = {}
        self._reader = reader
        self._on_request = on_request
        self._encoder = hpack.Encoder()
        self._decoder = hpack.Decoder()
        self._block = b""
        self._out = bytearray()
        self._first = first
        self.pump = asyncio.create_task(self._pump())

    async def _pump(self) -> None:
        try:
            preface = await self._reader.readexactly(len(PREFACE))
            if preface != PREFACE:
                self.wire.anomalies.append(f"preface: {preface!r}")
            for op in self._first or (Frame(SETTINGS),):
                await self.act(op, 0)
            self._frame(WINDOW_UPDATE, struct.pack(">L", 1 << 28))
            while True:
                head = await self._reader.readexactly(9)
                length, kind, flags = int.from_bytes(head[:3], "big"), head[3], head[4]
                stream = int.from_bytes(head[5:], "big")
                self._received(kind, flags, stream, await self._reader.readexactly(length))
                self._change()
        except asyncio.IncompleteReadError:
            self.end = self.end or "fin"
        except OSError:
            self.end = self.end or "rst"
        self._change()

    def _change(self) -> None:
        self.changed.set()
        self.changed = asyncio.Event()

    def _received(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if kind in (HEADERS, CONTINUATION):
            self._block += payload
            if kind == HEADERS and flags & END_STREAM:
                self._ends = stream
            if flags & END_HEADERS:
                block, self._block = self._block, b""
                self._head(stream, list(self._decoder.decode(block, raw=True)))
        elif kind == DATA:
            message = self.streams[stream]
            message.body += payload
            if payload and self.credit:
                for each in (0, stream):
                    self._frame(WINDOW_UPDATE, struct.pack(">L", len(payload)), stream=each)
            message.complete = message.complete or bool(flags & END_STREAM)
        elif kind == RST_STREAM:
            if stream in self.streams:
                self.streams[stream].notes.append(f"reset {int.from_bytes(payload, 'big')}")
        elif kind == SETTINGS and not flags & ACK:
            self._frame(SETTINGS, flags=ACK)
        elif kind == PING and not flags & ACK:
            self._frame(PING, payload, ACK)
        elif kind == GOAWAY:
            self.wire.anomalies.append(f"goaway {int.from_bytes(payload[4:8], 'big')}")

    _ends = 0

    def _head(self, stream: int, fields: Sequence[tuple[bytes, bytes]]) -> None:
        lines = [f"{name.decode('latin-1')}: {value.decode('latin-1')}" for name, value in fields]
        if stream in self.streams:
            message = self.streams[stream]
            message.trailers += lines
        else:
            given = dict(fields)
            method, path = given.get(b":method", b"-"), given.get(b":path", b"-")
            lines.sort(key=lambda line: (0, line) if line.startswith(":") else (1, ""))  # their order says nothing
            message = Message(f"{method.decode('latin-1')} {path.decode('latin-1')} HTTP/2", lines, framing="h2")
            self.streams[stream] = message
            self.wire.messages.append(message)
        message.complete = message.complete or self._ends == stream
        if len(self.wire.messages) and self.wire.messages[-1] is message and not message.trailers:
            self._on_request(self, stream)

    def _frame(self, kind: int, payload: bytes = b"", flags: int = 0, stream: int = 0) -> None:
        if not self._out:
            asyncio.get_running_loop().call_soon(self._flush)
        self._out += struct.pack(">L", len(payload))[1:] + struct.pack(">BBL", kind, flags, stream) + payload

    def _flush(self) -> None:
        """What a script says without a pause leaves in one piece: how much of it was read must not be chance."""
        out, self._out = self._out, bytearray()
        if out and not self.writer.is_closing():
            self.writer.write(out)

    async def until(self, true: Callable[[], bool], seconds: float = 10.0) -> bool:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not true() and not self.end:
                    await self.changed.wait()
        return true()

    async def act(self, op: H2Op, stream: int) -> None:
        message = self.streams.get(stream)
        match op:
            case Head(status, fields, end):
                pseudo = [(":status", str(status))] if status is not None else []
                block = self._encoder.encode([*pseudo, *fields])
                self._frame(HEADERS, block, END_HEADERS | (END_STREAM if end else 0), stream)
            case Data(data, end):
                pieces = [data[i : i + MAX_FRAME] for i in range(0, len(data), MAX_FRAME)] or [b""]
                for piece in pieces:
                    self._frame(DATA, piece, END_STREAM if end and piece is pieces[-1] else 0, stream)
            case Reset(code):
                self._frame(RST_STREAM, struct.pack(">L", code), stream=stream)
            case Goaway(code, last):
                self._frame(GOAWAY, struct.pack(">LL", max(stream + last, 0), code))
            case Frame(kind, payload, flags, where):
                self._frame(kind, payload, flags, stream if where is None else where)
            case Until(body, note, seconds):
                assert message is not None
                if note:
                    await self.until(lambda: note in message.notes, seconds)
                elif body:
                    await self.until(lambda: len(message.body) >= body, seconds)
                else:
                    await self.until(lambda: message.complete, seconds)
            case Play(play):
                await play(self, stream)
            case Act.STOP_READING:
                self.credit = False
            case Act.CLOSE:
                self._flush()
                self.left = True
                self.writer.close()
            case float() | int():
                await asyncio.sleep(op)
            case bytes():
                self._flush()
                self.writer.write(op)
            case _:
                raise TypeError(f"not an operation of an HTTP/2 upstream: {op!r}")
