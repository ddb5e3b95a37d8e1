"""gRPC for the agent: calls to a certificate authority and a control plane, and a server for the proxy's secrets.

Framing and statuses are those of "gRPC over HTTP/2"; the bytes of HTTP/2 are the proxy's own codec, carried by
asyncio's streams. None of it lies in the path of the application's traffic. Messages are bytes here; whoever calls
knows the types.

    call = channel.call(path)            send(message), end(); async for message in call
    serve_grpc(socket, {path: handler})  handler(call) is a coroutine that reads and sends messages
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from urllib.parse import quote, unquote

from meshproxy.codec.grpc_messages import MessageReader, frame_message
from meshproxy.codec.h2_client import Http2ClientCodec
from meshproxy.codec.h2_connection import Http2Codec
from meshproxy.codec.h2_server import Http2ServerCodec
from meshproxy.errors import ProtocolError
from meshproxy.headers import Headers, RequestHeaders, ResponseHeaders
from meshproxy.model.codec import Http2Options

OK, UNKNOWN, DEADLINE_EXCEEDED, UNIMPLEMENTED, INTERNAL, UNAVAILABLE = 0, 2, 4, 12, 13, 14
_CANCEL = 8
_READ = 65536
_MOST = 64 << 20
"""Bytes of one message; a control plane sends the whole mesh in one."""


class GrpcError(Exception):
    """A call ended with another status than OK. code: of gRPC; UNAVAILABLE too when there is no connection."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(f"gRPC status {code}: {message}")
        self.code = code
        self.message = message


class Call:
    """One call, on either side. Messages of the peer come by iterating; it ends with the peer's stream.

    headers: of the request on a server, of the response on a client (once the first message is there).
    """

    def __init__(self, connection: _Connection, sid: int, path: str = "") -> None:
        self.path = path
        self.headers = Headers()
        self.error: GrpcError | None = None
        self._connection = connection
        self._sid = sid
        self._reader = MessageReader(_MOST)
        self._messages: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._headed = False

    def send(self, message: bytes) -> None:
        """Queue a message."""
        self._connection.head(self)
        self._connection.codec.send_data(self._sid, frame_message(message), False)

    def end(self) -> None:
        """A client says that it sends no more."""
        self._connection.codec.send_data(self._sid, b"", True)

    def finish(self, code: int = OK, message: str = "") -> None:
        """A server ends the call."""
        self._connection.head(self)
        fields = [("grpc-status", str(code))]
        if message:
            fields.append(("grpc-message", quote(message, safe=" !#$&'()*+,/:;=?@[]")))
        self._connection.codec.send_trailers(self._sid, Headers(fields))

    def cancel(self, error: GrpcError | None = None) -> None:
        """Give the call up. error: why, unless it is just not wanted any more."""
        self._connection.calls.pop(self._sid, None)
        self._connection.codec.reset_stream(self._sid, _CANCEL)
        self._close(error or GrpcError(UNKNOWN, "cancelled"))

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Raises GrpcError when the call ends otherwise than with OK."""
        while True:
            message = await self._messages.get()
            if message is None:
                self._messages.put_nowait(None)
                if self.error is not None:
                    raise self.error
                return
            yield message

    def receive(self, data: bytes) -> None:
        self._connection.codec.consumed(self._sid, len(data))
        try:
            messages = self._reader.receive(data)
        except ProtocolError as error:
            self.cancel(GrpcError(INTERNAL, str(error)))
            return
        for message in messages:
            self._messages.put_nowait(message)

    def ended(self, trailers: Headers) -> None:
        """The peer's stream has ended, with these trailers."""
        text = trailers.get("grpc-status", "")
        if text is None or not text.isascii() or not text.isdigit() or len(text) > 3:
            self._close(GrpcError(UNKNOWN, "the answer has no grpc-status"))
        elif int(text) == OK:
            self._close(None)
        else:
            self._close(GrpcError(int(text), unquote(trailers.get("grpc-message", "") or "")))

    def _close(self, error: GrpcError | None) -> None:
        if self.error is None:
            self.error = error
        self._messages.put_nowait(None)

    def fail(self, error: GrpcError) -> None:
        self._close(error)

    def half_closed(self) -> None:
        """A client sends no more."""
        self._close(None)


class _Connection:
    """What both sides share: the sink of the codec and the pump between it and the socket."""

    codec: Http2Codec

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self.calls: dict[int, Call] = {}
        self.closed = False
        self._writer = writer
        self._flush_due = False

    def head(self, call: Call) -> None:
        """Send the head of an answer, once; a client's has been sent."""

    async def pump(self, reader: asyncio.StreamReader) -> None:
        """Read until the connection ends; every call that is left fails."""
        self.flush()
        with contextlib.suppress(OSError):
            while not self.closed and (data := await reader.read(_READ)):
                self.codec.receive(data)
                self.flush()
        self.close()

    def close(self, reason: str = "the connection has ended") -> None:
        if not self.closed:
            self.closed = True
            self.flush()
            self._writer.close()
        calls, self.calls = self.calls, {}
        for call in calls.values():
            call.fail(GrpcError(UNAVAILABLE, reason))

    def flush(self) -> None:
        self._flush_due = False
        data = self.codec.take()
        if data and not self._writer.is_closing():
            self._writer.write(data)

    # What the codec calls.

    def on_output(self) -> None:
        if not self._flush_due:
            self._flush_due = True
            asyncio.get_running_loop().call_soon(self.flush)

    def on_stream_data(self, sid: int, data: bytes, end: bool) -> None:
        call = self.calls.get(sid)
        if call is None:
            self.codec.consumed(sid, len(data))
            return
        call.receive(data)
        if end:
            self._ended(sid, Headers())

    def on_stream_trailers(self, sid: int, trailers: Headers) -> None:
        self._ended(sid, trailers)

    def _ended(self, sid: int, trailers: Headers) -> None:
        call = self.calls.pop(sid, None)
        if call is not None:
            call.ended(trailers)

    def on_stream_reset(self, sid: int, code: int) -> None:
        call = self.calls.pop(sid, None)
        if call is not None:
            call.fail(GrpcError(UNAVAILABLE, f"the stream was reset with code {code}"))

    def on_stream_error(self, sid: int, error: ProtocolError) -> None:
        call = self.calls.pop(sid, None)
        if call is not None:
            call.fail(GrpcError(INTERNAL, str(error)))

    def on_stream_blocked(self, sid: int, blocked: bool) -> None:
        """What the agent sends is small."""

    def on_goaway(self, last_sid: int, code: int) -> None:
        """No new call can be begun; `can_open` says so."""

    def on_settings(self) -> None: ...

    def on_ping_ack(self, payload: bytes) -> None: ...

    def on_count(self, name: str) -> None: ...

    def on_connection_error(self, error: ProtocolError) -> None:
        self.flush()
        self.close(str(error))


class Channel(_Connection):
    """A connection to a server. Made by `connect`."""

    codec: Http2ClientCodec

    def __init__(self, writer: asyncio.StreamWriter, authority: str, *, secure: bool) -> None:
        super().__init__(writer)
        self._authority = authority
        self._scheme = "https" if secure else "http"
        self._task: asyncio.Task[None] | None = None
        self.codec = Http2ClientCodec(self, Http2Options(), time.monotonic)

    @classmethod
    async def connect(
        cls, host: str, port: int, *, tls: ssl.SSLContext | None = None, server_name: str = "", timeout: float = 5.0
    ) -> Channel:
        """Connect; a `host` with "/" in it is the path of a Unix socket. Raises GrpcError(UNAVAILABLE)."""
        try:
            async with asyncio.timeout(timeout):
                if "/" in host:
                    reader, writer = await asyncio.open_unix_connection(host)
                else:
                    name = (server_name or host) if tls else None
                    reader, writer = await asyncio.open_connection(host, port, ssl=tls, server_hostname=name)
        except (OSError, TimeoutError) as error:
            raise GrpcError(UNAVAILABLE, f"{host}:{port}: {error or 'no connection in time'}") from None
        authority = "localhost" if "/" in host else f"{server_name or host}:{port}"
        channel = cls(writer, authority, secure=tls is not None)
        channel._task = asyncio.ensure_future(channel.pump(reader))
        return channel

    def call(self, path: str, metadata: Sequence[tuple[str, str]] = ()) -> Call:
        """Begin a call of a method. Raises GrpcError(UNAVAILABLE)."""
        if self.closed or not self.codec.can_open:
            raise GrpcError(UNAVAILABLE, "the connection takes no more calls")
        fields = [("content-type", "application/grpc"), ("te", "trailers"), *metadata]
        request = RequestHeaders("POST", path, self._authority, self._scheme, fields)
        sid = self.codec.send_request(request, False)
        call = self.calls[sid] = Call(self, sid, path)
        return call

    async def unary(
        self, path: str, message: bytes, *, metadata: Sequence[tuple[str, str]] = (), timeout: float = 10.0
    ) -> bytes:
        """One message there, one back. timeout: seconds. Raises GrpcError."""
        call = self.call(path, metadata)
        call.send(message)
        call.end()
        try:
            async with asyncio.timeout(timeout):
                answers = [answer async for answer in call]
        except TimeoutError:
            call.cancel()
            raise GrpcError(DEADLINE_EXCEEDED, f"no answer within {timeout:g} s") from None
        if len(answers) != 1:
            raise GrpcError(INTERNAL, f"{len(answers)} messages instead of one")
        return answers[0]

    def on_stream_response(self, sid: int, response: ResponseHeaders, end: bool) -> None:
        call = self.calls.get(sid)
        if call is None:
            return
        call.headers = response
        if response.status != 200:
            self.calls.pop(sid)
            call.fail(GrpcError(UNAVAILABLE, f"HTTP status {response.status}"))
        elif end:
            self._ended(sid, response)  # "trailers only"

    def on_stream_informational(self, sid: int, response: ResponseHeaders) -> None: ...


Handler = Callable[[Call], Awaitable[None]]


class _ServerConnection(_Connection):
    codec: Http2ServerCodec

    def __init__(self, writer: asyncio.StreamWriter, handlers: Mapping[str, Handler]) -> None:
        super().__init__(writer)
        self._handlers = handlers
        self._tasks: set[asyncio.Task[None]] = set()
        self._headed: set[int] = set()
        self.codec = Http2ServerCodec(self, Http2Options(), time.monotonic)

    def head(self, call: Call) -> None:
        if not call._headed:
            call._headed = True
            self.codec.send_response(call._sid, ResponseHeaders(200, [("content-type", "application/grpc")]), False)

    def on_stream_request(self, sid: int, request: RequestHeaders, end: bool) -> None:
        call = Call(self, sid, request.path)
        call.headers = request
        handler = self._handlers.get(request.path)
        if handler is None or not (request.get("content-type") or "").startswith("application/grpc"):
            call.finish(UNIMPLEMENTED, f"there is no method {request.path}")
            return
        self.calls[sid] = call
        task = asyncio.ensure_future(self._serve(handler, call))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        if end:
            self._ended(sid, Headers())

    def _ended(self, sid: int, trailers: Headers) -> None:
        call = self.calls.pop(sid, None)
        if call is not None:
            call.half_closed()

    async def _serve(self, handler: Handler, call: Call) -> None:
        try:
            await handler(call)
        except GrpcError as error:
            call.finish(error.code, error.message)
        except Exception as error:  # a handler's fault is its call's alone
            call.finish(INTERNAL, f"{type(error).__name__}: {error}")
        else:
            call.finish()

    def close(self, reason: str = "the connection has ended") -> None:
        super().close(reason)
        for task in self._tasks:
            task.cancel()


class GrpcServer:
    """Methods served on a Unix socket. Made by `serve_grpc`."""

    def __init__(self, handlers: Mapping[str, Handler]) -> None:
        self._handlers = handlers
        self._connections: set[_ServerConnection] = set()
        self._server: asyncio.Server | None = None

    async def listen(self, path: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        before = os.umask(0o177)
        try:
            self._server = await asyncio.start_unix_server(self._converse, path)
        finally:
            os.umask(before)

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = _ServerConnection(writer, self._handlers)
        self._connections.add(connection)
        try:
            await connection.pump(reader)
        finally:
            self._connections.discard(connection)

    def close(self) -> None:
        """Stop, and end every connection."""
        if self._server is not None:
            self._server.close()
        for connection in tuple(self._connections):
            connection.close("the server has ended")


async def serve_grpc(path: str, handlers: Mapping[str, Handler]) -> GrpcServer:
    """Serve methods on a Unix socket that only this user may connect to (mode 0600). Raises OSError."""
    server = GrpcServer(handlers)
    await server.listen(path)
    return server
