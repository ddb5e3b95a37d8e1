"""gRPC for the agent: a server on a Unix socket, from which the proxy gets its secrets."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import Awaitable, Callable, Mapping

from meshproxy.agent.grpc.grpc_call import INTERNAL, UNIMPLEMENTED, Call, CallConnection, GrpcError
from meshproxy.codec.h2_server import Http2ServerCodec
from meshproxy.headers import Headers, RequestHeaders, ResponseHeaders
from meshproxy.model.codec import Http2Options

Handler = Callable[[Call], Awaitable[None]]


class _ServerConnection(CallConnection):
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

    async def listen(self, path: str, mode: int) -> None:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        before = os.umask(0o777 & ~mode)
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


async def serve_grpc(path: str, handlers: Mapping[str, Handler], mode: int = 0o600) -> GrpcServer:
    """Serve methods on a Unix socket; `mode` says who may connect. Raises OSError."""
    server = GrpcServer(handlers)
    await server.listen(path, mode)
    return server
