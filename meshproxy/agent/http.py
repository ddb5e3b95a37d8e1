"""HTTP/1.1 for the agent's own small needs: a server for a handful of paths, a client for probes and scraping.

Nothing here lies in the path of the application's traffic; h11 reads and writes the messages, asyncio's streams carry
them, and every message and every wait is bounded.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import field
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import h11

from meshproxy.records import dataclass

_READ = 65536
_MAX_REQUEST_BODY = 1 << 20
_IDLE = 60.0
_FAREWELL = 1.0
"""Seconds that a peer has to answer the end of TLS (see `grpc_channel`)."""


@dataclass(frozen=True, slots=True)
class Request:
    """A request to the agent. `path` is without the query; header names are in lower case."""

    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    peer: str = ""

    @property
    def is_local(self) -> bool:
        """Whether it came from this machine (or pod)."""
        return self.peer in ("127.0.0.1", "::1", "::ffff:127.0.0.1", "")


@dataclass(frozen=True, slots=True)
class Reply:
    """What is answered, or was: header names in lower case."""

    status: int = 200
    body: bytes = b""
    headers: Sequence[tuple[str, str]] = ()

    @property
    def content_type(self) -> str:
        return next((value for name, value in self.headers if name == "content-type"), "")


Handler = Callable[[Request], Awaitable[Reply]]


class HttpError(Exception):
    """The other side couldn't be reached in time, or doesn't speak HTTP."""


class Unreachable(HttpError):
    """Nobody listens there."""


def text_reply(text: str, status: int = 200) -> Reply:
    return Reply(status, text.encode(), [("content-type", "text/plain; charset=utf-8")])


def json_reply(value: Any, status: int = 200) -> Reply:
    return Reply(status, json.dumps(value, indent=1).encode() + b"\n", [("content-type", "application/json")])


async def serve(host: str | None, port: int, handler: Handler) -> asyncio.Server:
    """Listen; `host` None is every address of both families. Raises OSError."""

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, TimeoutError, h11.ProtocolError):
            await _converse(reader, writer, handler)
        writer.close()

    return await asyncio.start_server(converse, host, port)


async def _converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, handler: Handler) -> None:
    peer = writer.get_extra_info("peername")
    connection = h11.Connection(h11.SERVER)
    while True:
        try:
            async with asyncio.timeout(_IDLE):
                request = await _read_request(connection, reader, peer[0] if peer else "")
        except h11.RemoteProtocolError as error:
            if connection.our_state in (h11.IDLE, h11.SEND_RESPONSE):
                await _send(connection, writer, text_reply(f"{error}\n", error.error_status_hint), close=True)
            return
        if request is None:
            return
        try:
            reply = await handler(request)
        except Exception as error:  # a handler's fault is its request's alone
            reply = text_reply(f"{type(error).__name__}: {error}\n", 500)
        await _send(connection, writer, reply, head_only=request.method == "HEAD")
        if connection.our_state is not h11.DONE or connection.their_state is not h11.DONE:
            return
        connection.start_next_cycle()


async def _read_request(connection: h11.Connection, reader: asyncio.StreamReader, peer: str) -> Request | None:
    head: h11.Request | None = None
    body = b""
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            connection.receive_data(await reader.read(_READ))
        elif isinstance(event, h11.Request):
            head = event
        elif isinstance(event, h11.Data):
            body += event.data
            if len(body) > _MAX_REQUEST_BODY:
                raise h11.RemoteProtocolError("the body is too large", 413)
        elif isinstance(event, h11.EndOfMessage):
            assert head is not None
            target = urlsplit(head.target.decode("latin-1"))
            headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in head.headers}
            query = dict(parse_qsl(target.query, keep_blank_values=True))
            return Request(head.method.decode("latin-1"), target.path, query, headers, body, peer)
        else:
            return None


async def _send(
    connection: h11.Connection,
    writer: asyncio.StreamWriter,
    reply: Reply,
    *,
    close: bool = False,
    head_only: bool = False,
) -> None:
    fields = [*reply.headers, ("content-length", str(len(reply.body)))]
    if close:
        fields.append(("connection", "close"))
    data = connection.send(h11.Response(status_code=reply.status, headers=fields)) or b""
    if reply.body and not head_only:
        data += connection.send(h11.Data(data=reply.body)) or b""
    data += connection.send(h11.EndOfMessage()) or b""
    writer.write(data)
    await writer.drain()


async def fetch(
    host: str,
    port: int,
    path: str,
    *,
    method: str = "GET",
    headers: Sequence[tuple[str, str]] = (),
    timeout: float = 5.0,
    tls: ssl.SSLContext | None = None,
    max_body: int = 64 << 20,
    cut: bool = False,
) -> Reply:
    """One request on a connection of its own. timeout: seconds for all of it. Raises HttpError.

    cut: a body of more than `max_body` bytes ends there, instead of being an error.
    """
    try:
        async with asyncio.timeout(timeout):
            farewell = _FAREWELL if tls else None
            reader, writer = await asyncio.open_connection(
                host, port, ssl=tls, server_hostname="" if tls else None, ssl_shutdown_timeout=farewell
            )
            try:
                authority = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
                return await _exchange(reader, writer, authority, path, method, headers, max_body, cut)
            finally:
                writer.close()
    except TimeoutError:
        raise HttpError(f"no answer from {host}:{port} within {timeout:g} s") from None
    except ConnectionRefusedError as error:
        raise Unreachable(f"{host}:{port}: {error}") from None
    except (OSError, h11.ProtocolError) as error:
        raise HttpError(f"{host}:{port}: {error}") from None


async def _exchange(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    authority: str,
    path: str,
    method: str,
    headers: Sequence[tuple[str, str]],
    max_body: int,
    cut: bool,
) -> Reply:
    connection = h11.Connection(h11.CLIENT)
    fields = [*headers, ("connection", "close")]
    if not any(name.lower() == "host" for name, _ in headers):
        fields.insert(0, ("host", authority))
    if method == "POST":
        fields.append(("content-length", "0"))
    data = connection.send(h11.Request(method=method, target=path, headers=fields)) or b""
    writer.write(data + (connection.send(h11.EndOfMessage()) or b""))
    head: h11.Response | None = None
    body: list[bytes] = []
    size = 0
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            connection.receive_data(await reader.read(_READ))
        elif isinstance(event, h11.Response):
            head = event
        elif isinstance(event, h11.Data):
            size += len(event.data)
            body.append(bytes(event.data))
            if size > max_body:
                if cut:
                    return _reply(head, b"".join(body)[:max_body])
                raise h11.RemoteProtocolError(f"the answer has more than {max_body} bytes")
        elif isinstance(event, h11.EndOfMessage):
            return _reply(head, b"".join(body))
        elif isinstance(event, h11.ConnectionClosed):
            raise h11.RemoteProtocolError("closed before it had answered")


def _reply(head: h11.Response | None, body: bytes) -> Reply:
    assert head is not None
    given = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in head.headers]
    return Reply(head.status_code, body, given)
