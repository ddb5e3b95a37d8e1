"""gRPC for the agent: calls to a certificate authority, a control plane, an application that is probed."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Sequence

from meshproxy.agent.grpc.grpc_call import DEADLINE_EXCEEDED, INTERNAL, UNAVAILABLE, Call, CallConnection, GrpcError
from meshproxy.codec.h2_client import Http2ClientCodec
from meshproxy.headers import RequestHeaders, ResponseHeaders
from meshproxy.model.codec import Http2Options

_PING = b"meshprox"
_FAREWELL = 1.0
"""Seconds that a peer has to answer the end of TLS. Many never do, and each is held with a third of a megabyte."""


class Channel(CallConnection):
    """A connection to a server. Made by `connect`."""

    codec: Http2ClientCodec

    def __init__(self, writer: asyncio.StreamWriter, authority: str, *, secure: bool) -> None:
        super().__init__(writer)
        self._authority = authority
        self._scheme = "https" if secure else "http"
        self._task: asyncio.Task[None] | None = None
        self._pinging: asyncio.Task[None] | None = None
        self._answered = True
        self.codec = Http2ClientCodec(self, Http2Options(), time.monotonic)

    @classmethod
    async def connect(
        cls,
        host: str,
        port: int,
        *,
        tls: ssl.SSLContext | None = None,
        server_name: str = "",
        timeout: float = 5.0,
        keep_alive: tuple[float, float] | None = None,
    ) -> Channel:
        """Connect; a `host` with "/" in it is the path of a Unix socket. Raises GrpcError(UNAVAILABLE).

        keep_alive: seconds between pings, and seconds to wait for the answer; without one the connection ends.
        """
        try:
            async with asyncio.timeout(timeout):
                if "/" in host:
                    reader, writer = await asyncio.open_unix_connection(host)
                else:
                    name = (server_name or host) if tls else None
                    reader, writer = await asyncio.open_connection(
                        host, port, ssl=tls, server_hostname=name, ssl_shutdown_timeout=_FAREWELL if tls else None
                    )
        except (OSError, TimeoutError) as error:
            raise GrpcError(UNAVAILABLE, f"{host}:{port}: {error or 'no connection in time'}") from None
        authority = "localhost" if "/" in host else f"{server_name or host}:{port}"
        channel = cls(writer, authority, secure=tls is not None)
        channel._task = asyncio.ensure_future(channel.pump(reader))
        if keep_alive is not None:
            channel._pinging = asyncio.ensure_future(channel._keep_alive(*keep_alive))
        return channel

    def close(self, reason: str = "the connection has ended") -> None:
        super().close(reason)
        for task in (self._pinging, self._task):
            if task is not None and task is not asyncio.current_task():
                task.cancel()  # nobody else holds it: a task that is forgotten while it waits is complained about

    def call(self, path: str, metadata: Sequence[tuple[str, str]] = ()) -> Call:
        """Begin a call of a method. Raises GrpcError(UNAVAILABLE)."""
        if self.closed or not self.codec.can_open:
            raise GrpcError(UNAVAILABLE, "the connection takes no more calls")
        fields = [("content-type", "application/grpc"), ("te", "trailers"), *metadata]
        request = RequestHeaders("POST", path, self._authority, self._scheme, fields)
        sid = self.codec.send_request(request, False)
        call = self.calls[sid] = Call(self, sid, path)
        return call

    async def _keep_alive(self, interval: float, timeout: float) -> None:
        while not self.closed:
            await asyncio.sleep(interval)
            self._answered = False
            self.codec.ping(_PING)
            await asyncio.sleep(timeout)
            if not self._answered:
                self.close(f"no answer to a ping within {timeout:g} s")

    def on_ping_ack(self, payload: bytes) -> None:
        self._answered = True

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
