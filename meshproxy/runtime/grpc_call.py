"""A gRPC call with messages both ways, for filters: messages wait here until they are asked for."""

from __future__ import annotations

import asyncio
from collections import deque

from meshproxy.model.grpc_service import GrpcService
from meshproxy.plugin.calls import GrpcListener
from meshproxy.plugin.context import GrpcCall, GrpcError
from meshproxy.runtime.fetch import Fetcher
from meshproxy.runtime.grpc_client import OK, GrpcStream, open_stream, why_none
from meshproxy.runtime.timers import ShortTimer


class OpenCall(GrpcCall):
    """The sink of the call (`GrpcSink`)."""

    def __init__(self, host: Fetcher, service: GrpcService, path: str) -> None:
        """Raises GrpcError when there is no cluster, or no host in it."""
        self._loop = host.loop
        self._messages: deque[bytes] = deque()
        self._ignored = False
        self._listener: GrpcListener | None = None
        self._over: GrpcError | None = None
        self._waiter: asyncio.Future[None] | None = None
        stream = open_stream(host, service, path, self)
        if stream is None:
            raise why_none(host, service)
        self._stream: GrpcStream = stream

    def send(self, message: bytes) -> None:
        self._stream.send(message)

    async def receive(self, timeout: float | None = None) -> bytes | None:
        if not self._messages and self._over is None:
            self._waiter = self._loop.create_future()
            limit = None if timeout is None else ShortTimer(self._loop, max(timeout, 0.0), self._time_out)
            try:
                await self._waiter
            finally:
                if limit is not None:
                    limit.cancel()
        if self._messages:
            return self._messages.popleft()
        assert self._over is not None
        if self._over.status == OK:
            return None
        raise self._over

    def _time_out(self) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_exception(TimeoutError())

    def listen(self, listener: GrpcListener) -> None:
        self._listener = listener
        self._stream.on_blocked = listener.on_call_blocked

    def ignore(self) -> None:
        self._ignored = True
        self._listener = None
        self._stream.on_blocked = None
        self._messages.clear()

    def end(self, after: float = 0.0) -> None:
        """Give the call up: what the service still says nobody reads. Like Envoy, without a half-close before."""
        self.ignore()
        if after:
            self._loop.call_later(after, self._stream.reset)
        else:
            self._stream.reset()

    # What the call tells.

    def on_message(self, data: bytes) -> None:
        if self._ignored or (self._listener is not None and self._listener.on_call_message(data)):
            return
        self._messages.append(data)
        self._wake()

    def on_closed(self, status: int, message: str) -> None:
        self._over = error = GrpcError(status, message)
        if self._listener is not None:
            self._listener.on_call_end(None if status == OK else error)
        self._wake()

    def _wake(self) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)
