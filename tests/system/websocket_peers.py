"""Clients and hosts that speak WebSocket, made of libraries that aren't ours: `websockets` over HTTP/1, and over HTTP/2
`wsproto` for the messages with `h2` below it (RFC 8441).

All hosts do the same: they echo messages, but for those of `Orders`, and note with which code each connection ended.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import os
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import h2.config
import h2.connection
import h2.events
import h2.exceptions
import h2.settings
import websockets
import wsproto.events as ws
from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.server import ServerConnection, serve
from wsproto.connection import Connection, ConnectionState, ConnectionType

from .h2_client import Exchange, H2Client

CLOSE_CODE, CLOSE_REASON = 4001, "as ordered"
ABNORMAL = 1006
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


class Orders:
    """What a host is told by a message instead of echoing it."""

    CLOSE = "close"
    PING = "ping"
    LEAVE = "leave"


@dataclass
class Record:
    """What a host has seen. codes: how its connections ended; heads: the fields of the requests."""

    codes: list[int] = field(default_factory=list)
    heads: list[dict[str, str]] = field(default_factory=list)

    async def code(self, number: int) -> int:
        async with asyncio.timeout(10):
            while len(self.codes) <= number:
                await asyncio.sleep(0.01)
        return self.codes[number]


@contextlib.asynccontextmanager
async def http1_host(record: Record) -> AsyncIterator[int]:
    async def talk(connection: ServerConnection) -> None:
        assert connection.request is not None
        record.heads.append({name.lower(): value for name, value in connection.request.headers.raw_items()})
        try:
            async for message in connection:
                if message == Orders.CLOSE:
                    await connection.close(CLOSE_CODE, CLOSE_REASON)
                elif message == Orders.PING:
                    await (await connection.ping(b"are you there"))
                    await connection.send("ponged")
                elif message == Orders.LEAVE:
                    connection.transport.abort()
                else:
                    await connection.send(message)
        except websockets.ConnectionClosed:
            pass
        record.codes.append(connection.close_code or ABNORMAL)

    async with serve(talk, "127.0.0.1", 0, max_size=None, ping_interval=None) as server:
        yield server.sockets[0].getsockname()[1]


class _Http2Host:
    """One connection from the proxy."""

    def __init__(self, record: Record, writer: asyncio.StreamWriter) -> None:
        self._record, self._writer = record, writer
        self._wire = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False, header_encoding="latin-1"))
        self._wire.local_settings = h2.settings.Settings(
            client=False, initial_values={h2.settings.SettingCodes.ENABLE_CONNECT_PROTOCOL: 1}
        )
        self._wire.initiate_connection()
        self._sockets: dict[int, Connection] = {}
        self._queues: dict[int, deque[bytes]] = {}
        self._parts: dict[int, list[str | bytes]] = {}

    async def run(self, reader: asyncio.StreamReader) -> None:
        self._writer.write(self._wire.data_to_send())
        while data := await reader.read(65536):
            for event in self._wire.receive_data(data):
                self._take(event)
            self._writer.write(self._wire.data_to_send())
            await self._writer.drain()

    def _take(self, event: h2.events.Event) -> None:
        match event:
            case h2.events.RequestReceived(stream_id=int(sid)):
                fields = {str(name): str(value) for name, value in event.headers or ()}
                self._record.heads.append(fields)
                answer = [(":status", "200")]
                if "sec-websocket-key" in fields:
                    digest = hashlib.sha1(fields["sec-websocket-key"].encode() + _GUID, usedforsecurity=False).digest()
                    answer.append(("sec-websocket-accept", base64.b64encode(digest).decode()))
                self._wire.send_headers(sid, answer)
                self._sockets[sid] = Connection(ConnectionType.SERVER)
                self._queues[sid], self._parts[sid] = deque(), []
            case h2.events.DataReceived(stream_id=int(sid)):
                self._wire.acknowledge_received_data(event.flow_controlled_length or 0, sid)
                if sid in self._sockets:
                    self._sockets[sid].receive_data(event.data or b"")
                    self._answer(sid)
            case h2.events.StreamReset(stream_id=int(sid)) | h2.events.StreamEnded(stream_id=int(sid)):
                if self._sockets.pop(sid, None) is not None:
                    self._record.codes.append(ABNORMAL)
            case h2.events.WindowUpdated():
                for sid in tuple(self._queues):
                    self._flush(sid)

    def _answer(self, sid: int) -> None:
        socket = self._sockets[sid]
        for event in socket.events():
            match event:
                case ws.Ping():
                    self._say(sid, event.response())
                case ws.Pong():
                    self._say(sid, ws.TextMessage("ponged"))
                case ws.CloseConnection():
                    self._record.codes.append(event.code)
                    self._say(sid, event.response())
                    self._end(sid)
                    return
                case ws.TextMessage(data=Orders.CLOSE):
                    self._record.codes.append(CLOSE_CODE)
                    self._say(sid, ws.CloseConnection(CLOSE_CODE, CLOSE_REASON))
                    self._end(sid)
                    return
                case ws.TextMessage(data=Orders.PING):
                    self._say(sid, ws.Ping(b"are you there"))
                case ws.TextMessage(data=Orders.LEAVE):
                    self._record.codes.append(ABNORMAL)
                    del self._sockets[sid]
                    self._wire.reset_stream(sid, 2)
                    return
                case ws.Message():
                    self._parts[sid].append(event.data)
                    if event.message_finished:
                        parts, self._parts[sid] = self._parts[sid], []
                        whole = parts[0][:0].join(parts)  # type: ignore[arg-type]  # all of one kind
                        self._say(sid, ws.TextMessage(whole) if isinstance(whole, str) else ws.BytesMessage(whole))

    def _say(self, sid: int, event: ws.Event) -> None:
        self._queues[sid].append(self._sockets[sid].send(event))
        self._flush(sid)

    def _end(self, sid: int) -> None:
        del self._sockets[sid]
        self._queues[sid].append(b"")
        self._flush(sid)

    def _flush(self, sid: int) -> None:
        queue = self._queues[sid]
        while queue:
            data = queue[0]
            if not data:
                self._wire.end_stream(sid)
                del self._queues[sid]
                return
            room = min(self._wire.local_flow_control_window(sid), self._wire.max_outbound_frame_size)
            if room <= 0:
                return
            self._wire.send_data(sid, data[:room])
            queue[0] = data[room:]
            if not queue[0]:
                queue.popleft()


@contextlib.asynccontextmanager
async def http2_host(record: Record) -> AsyncIterator[int]:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            await _Http2Host(record, writer).run(reader)
        writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


HOSTS = {"http1": http1_host, "http2": http2_host}


class Socket(ABC):
    """A client's WebSocket."""

    @abstractmethod
    async def send(self, message: str | bytes | list[str]) -> None:
        """A list is sent as one message of several frames."""

    @abstractmethod
    async def receive(self) -> str | bytes: ...
    @abstractmethod
    async def ping(self) -> None:
        """Until it's answered."""

    @abstractmethod
    async def close(self, code: int, reason: str) -> None:
        """Until the host has closed, too."""

    @abstractmethod
    async def ended(self) -> int:
        """Wait for the end; with which code it came."""

    @abstractmethod
    async def leave(self) -> None:
        """Without a word."""


class Http1Socket(Socket):
    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection

    async def send(self, message: str | bytes | list[str]) -> None:
        await self.connection.send(message)

    async def receive(self) -> str | bytes:
        return await self.connection.recv()

    async def ping(self) -> None:
        await (await self.connection.ping())

    async def close(self, code: int, reason: str) -> None:
        await self.connection.close(code, reason)

    async def ended(self) -> int:
        await self.connection.wait_closed()
        return self.connection.close_code or ABNORMAL

    async def leave(self) -> None:
        self.connection.transport.abort()


class Http2Socket(Socket):
    def __init__(self, client: H2Client, sid: int) -> None:
        self.client, self.sid = client, sid
        self._stream = client.streams[sid]
        self._socket = Connection(ConnectionType.CLIENT)
        self._events: deque[ws.Event] = deque()

    async def _say(self, event: ws.Event, *, end: bool = False) -> None:
        await self.client.send(self.sid, self._socket.send(event), end=end)

    async def _next(self) -> ws.Event | None:
        """The next event of the host's; None at the end of the stream."""
        stream = self._stream
        while not self._events:
            await self.client.until(lambda: bool(stream.body) or stream.ended or stream.reset >= 0 or self.client.ended)
            if not stream.body:
                return None
            self._socket.receive_data(bytes(stream.body))
            stream.body.clear()
            self._events.extend(self._socket.events())
        event = self._events.popleft()
        if isinstance(event, ws.Ping):
            await self._say(event.response())
        return event

    async def send(self, message: str | bytes | list[str]) -> None:
        if isinstance(message, bytes):
            await self._say(ws.BytesMessage(message))
            return
        parts = [message] if isinstance(message, str) else message
        for number, part in enumerate(parts, 1):
            await self._say(ws.TextMessage(part, message_finished=number == len(parts)))

    async def receive(self) -> str | bytes:
        parts: list[str | bytes] = []
        while (event := await self._next()) is not None:
            if isinstance(event, ws.Message):
                parts.append(event.data)
                if event.message_finished:
                    return parts[0][:0].join(parts)  # type: ignore[arg-type]  # all of one kind
        raise EOFError

    async def ping(self) -> None:
        await self._say(ws.Ping(b"hello"))
        while not isinstance(await self._next(), ws.Pong):
            pass

    async def close(self, code: int, reason: str) -> None:
        await self._say(ws.CloseConnection(code, reason), end=True)
        await self.ended()

    async def ended(self) -> int:
        code = ABNORMAL
        while (event := await self._next()) is not None:
            if isinstance(event, ws.CloseConnection):
                code = event.code
                if self._socket.state is ConnectionState.REMOTE_CLOSING:
                    with contextlib.suppress(h2.exceptions.StreamClosedError):  # the host wants no answer
                        await self._say(event.response(), end=True)
        return code

    async def leave(self) -> None:
        self.client.writer.transport.abort()


@contextlib.asynccontextmanager
async def http1_client(port: int, path: str = "/chat") -> AsyncIterator[Socket]:
    uri = f"ws://127.0.0.1:{port}{path}"
    connection = await connect(uri, max_size=None, ping_interval=None, compression=None, close_timeout=3)
    try:
        yield Http1Socket(connection)
    finally:
        connection.transport.abort()


@contextlib.asynccontextmanager
async def http2_client(port: int, path: str = "/chat") -> AsyncIterator[Socket]:
    client = await H2Client.open(port)
    sid = client.wire.get_next_available_stream_id()
    client.streams[sid] = stream = Exchange()
    pseudo = [(":method", "CONNECT"), (":scheme", "http"), (":authority", "server.test"), (":path", path)]
    # A host of HTTP/1 asks for the key, which clients of HTTP/2 leave out.
    key = base64.b64encode(os.urandom(16)).decode()
    fields = [(":protocol", "websocket"), ("sec-websocket-version", "13"), ("sec-websocket-key", key)]
    client.wire.send_headers(sid, [*pseudo, *fields])
    client.flush()
    await client.until(lambda: bool(stream.headers))
    assert stream.status == 200
    try:
        yield Http2Socket(client, sid)
    finally:
        await client.close()


CLIENTS = {"http1": http1_client, "http2": http2_client}
