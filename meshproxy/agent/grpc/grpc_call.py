"""gRPC for the agent: a call, and the connection that carries calls, on either side.

Framing and statuses are those of "gRPC over HTTP/2"; the bytes of HTTP/2 are the proxy's own codec, carried by
asyncio's streams. None of it lies in the path of the application's traffic. Messages are bytes here; whoever calls
knows the types.

    call = channel.call(path)            send(message), end(); async for message in call      (grpc_channel)
    serve_grpc(socket, {path: handler})  handler(call) is a coroutine that reads and sends messages   (grpc_server)

Invariant: a call is in `calls` of its connection until the peer's stream has ended, whatever way; then it has an end
for whoever iterates.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from urllib.parse import quote, unquote

from meshproxy.codec.grpc_messages import MessageReader, frame_message
from meshproxy.codec.h2_connection import Http2Codec
from meshproxy.errors import ProtocolError
from meshproxy.headers import Headers

OK, UNKNOWN, DEADLINE_EXCEEDED, UNIMPLEMENTED, INTERNAL, UNAVAILABLE = 0, 2, 4, 12, 13, 14
_CANCEL = 8
_READ = 65536
_MOST = (1 << 31) - 1
"""Bytes of one message; a control plane sends the whole mesh in one, and Istio's own agent takes as much."""


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

    def __init__(self, connection: CallConnection, sid: int, path: str = "") -> None:
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


class CallConnection:
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
