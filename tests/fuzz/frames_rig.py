"""Lanes for raw HTTP/2: a listener with an upstream of its own each, for frames of a client or frames of a host.

In the server's role a client sends frames and the upstream speaks HTTP/1; in the client's role a client asks in HTTP/1
and the upstream sends frames. What happened is told in words that a difference of speed doesn't change.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import hpack

from ..conformance.h2_wire import HEADERS, MARK, PREFACE, Seen, block, data, headers, ping, settings
from ..parity.wire import WireReader
from . import wire_rig
from .frames_seeds import Frames

_API = "type.googleapis.com/envoy.extensions"
MOST_S = 3.0
# What the lanes are set up with, in turn: fields of the connection manager, and of the HTTP/2 options of both sides.
VARIANTS: Sequence[tuple[dict[str, Any], dict[str, Any]]] = (
    ({}, {}),
    ({}, {"override_stream_error_on_invalid_http_message": True}),
    (
        {"upgrade_configs": [{"upgrade_type": "websocket"}, {"upgrade_type": "CONNECT"}]},
        {"allow_connect": True, "override_stream_error_on_invalid_http_message": True},
    ),
)


def bootstrap(lanes: list[tuple[int, int]], admin: int, *, host: bool) -> str:
    """For each (listener port, upstream port) a lane. host: the frames are the upstream's."""
    listeners, clusters = [], []
    for number, (port, upstream) in enumerate(lanes):
        more, options = VARIANTS[number % len(VARIANTS)]
        routes: list[dict[str, Any]] = [
            {"match": {"prefix": "/direct"}, "direct_response": {"status": 200, "body": {"inline_string": "d"}}},
            {"match": {"prefix": "/"}, "route": {"cluster": f"up{number}", "timeout": "0s"}},
        ]
        if more:
            routes.append({"match": {"connect_matcher": {}}, "route": {"cluster": f"up{number}", "timeout": "0s"}})
        manager = {
            "@type": f"{_API}.filters.network.http_connection_manager.v3.HttpConnectionManager",
            "stat_prefix": "fuzz",
            "codec_type": "HTTP1" if host else "HTTP2",
            "delayed_close_timeout": "0.05s",
            "http2_protocol_options": options,
            "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": routes}]},
            "http_filters": [{"name": "router", "typed_config": {"@type": f"{_API}.filters.http.router.v3.Router"}}],
            **more,
        }
        address = {"socket_address": {"address": "127.0.0.1", "port_value": port}}
        chain = {"filters": [{"name": "http", "typed_config": manager}]}
        listeners.append({"name": f"lane{number}", "address": address, "filter_chains": [chain]})
        endpoint = {"address": {"socket_address": {"address": "127.0.0.1", "port_value": upstream}}}
        cluster: dict[str, Any] = {
            "name": f"up{number}",
            "connect_timeout": "5s",
            "load_assignment": {
                "cluster_name": f"up{number}",
                "endpoints": [{"lb_endpoints": [{"endpoint": endpoint}]}],
            },
        }
        if host:
            cluster["typed_extension_protocol_options"] = {
                "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                    "@type": f"{_API}.upstreams.http.v3.HttpProtocolOptions",
                    "explicit_http_config": {"http2_protocol_options": options},
                }
            }
        clusters.append(cluster)
    return json.dumps(
        {
            "admin": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": admin}}},
            "static_resources": {"listeners": listeners, "clusters": clusters},
        }
    )


@dataclass(slots=True)
class Told:
    """What one case led to.

    closed, pong: did the proxy end the connection with the frames, did it answer the PING behind them? streams: what
    became of each. passed: whole messages that came out on the other side. ends: of the other side's connections.
    """

    closed: bool = False
    pong: bool = False
    goaways: list[str] = field(default_factory=list)
    streams: dict[int, str] = field(default_factory=dict)
    passed: list[str] = field(default_factory=list)
    probe: str = ""
    odd: list[str] = field(default_factory=list)

    def take(self, seen: Seen) -> None:
        """What the proxy said to whom the frames came from."""
        self.pong = MARK in seen.pongs
        self.goaways = [code for _, code in seen.goaways]
        for sid in {*seen.statuses, *seen.resets}:
            what = ",".join(seen.statuses.get(sid, []))
            what += f"+{seen.bodies.get(sid, 0)}" if sid in seen.bodies else ""
            what += " end" if sid in seen.ended else ""
            self.streams[sid] = f"{what} reset {seen.resets[sid]}" if sid in seen.resets else what


class _Raw(asyncio.Protocol):
    """A side that speaks frames; what comes goes into `seen`."""

    def __init__(self) -> None:
        self.seen = Seen()
        self.closed = False
        self.activity = 0
        self.odd: list[str] = []
        self.transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, received: bytes) -> None:
        self.activity += 1
        try:
            self.seen.feed(received)
        except (hpack.HPACKError, IndexError, UnicodeError) as error:
            self.odd.append(f"unreadable: {error}")

    def connection_lost(self, error: Exception | None) -> None:
        self.closed = True
        self.activity += 1


class _Host(_Raw):
    """An HTTP/2 upstream: answers the first request with the case's frames, all others plainly."""

    def __init__(self, upstream: FrameUpstream) -> None:
        super().__init__()
        self.upstream = upstream
        self._preface = len(PREFACE)
        self._answered: set[int] = set()
        self._begun = False
        self.spoilt = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.upstream.connections.append(self)
        self.seen.on_frame = self._frame

    def data_received(self, received: bytes) -> None:
        skipped = min(self._preface, len(received))
        self._preface -= skipped
        super().data_received(received[skipped:])

    def _frame(self, kind: int, sid: int) -> None:
        if kind != HEADERS or sid in self._answered or self.transport.is_closing():
            return
        self._answered.add(sid)
        first = b"" if self._begun else settings()
        self._begun = True
        script, self.upstream.script = self.upstream.script, None
        if script is not None:
            self.spoilt = True
            self.transport.write(first + b"".join(script) + ping())
        else:
            answer = headers(sid, block([(":status", "200"), ("x-probe", "1")]), 4) + data(sid, b"probe")
            self.transport.write(first + answer)


class FrameUpstream:
    """The HTTP/2 upstream of a lane. script: frames that answer the next request."""

    def __init__(self) -> None:
        self.script: Frames | None = None
        self.connections: list[_Host] = []
        self.port = 0
        self._server: asyncio.Server | None = None

    async def open(self) -> None:
        self._server = await asyncio.get_running_loop().create_server(lambda: _Host(self), "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    @property
    def activity(self) -> int:
        """Changes with everything that happens."""
        return sum(1 + connection.activity for connection in self.connections)

    def close(self) -> None:
        assert self._server is not None
        self._server.close()
        self.drop()

    def drop(self) -> None:
        for connection in self.connections:
            connection.transport.abort()
        self.connections = []


async def _settle(activity: Any, done: Any, quiet: float) -> None:
    """Until nothing has happened for `quiet` seconds and `done` says yes, or in any case after a while."""
    loop = asyncio.get_running_loop()
    limit = loop.time() + MOST_S
    seen = -1
    while loop.time() < limit and (seen != activity() or not done()):
        seen = activity()
        await asyncio.sleep(quiet)


@dataclass(slots=True)
class ServerLane:
    """Frames come from a client."""

    port: int
    upstream: wire_rig.LaneUpstream

    async def attempt(self, frames: Frames, _: bytes, quiet: float) -> Told:
        told = Told()
        upstream = self.upstream
        outcome = upstream.outcome = wire_rig.Outcome()
        client = _Raw()
        await asyncio.get_running_loop().create_connection(lambda: client, "127.0.0.1", self.port)
        client.transport.write(PREFACE + settings() + b"".join(frames) + ping())
        await _settle(
            lambda: client.activity + upstream.activity, lambda: client.closed or MARK in client.seen.pongs, quiet
        )
        told.closed = client.closed
        told.take(client.seen)
        told.odd = client.odd + outcome.anomalies
        client.transport.abort()
        for connection in list(upstream.connections):
            connection.transport.abort()
        await asyncio.sleep(0.01)
        for message in outcome.requests:
            if message.complete:
                fields = sorted(line for line in message.headers if not line.startswith(wire_rig.VARYING))
                told.passed.append(f"{message.start} {fields} {len(message.body)}")
        told.passed.sort()
        return told


@dataclass(slots=True)
class ClientLane:
    """Frames come from a host."""

    port: int
    upstream: FrameUpstream

    async def _ask(
        self, request: bytes, quiet: float, *, probe: bool = False
    ) -> tuple[wire_rig.LaneClient, WireReader]:
        client = wire_rig.LaneClient([request.split(b" ")[0].decode()])
        await asyncio.get_running_loop().create_connection(lambda: client, "127.0.0.1", self.port)
        client.transport.write(request)
        upstream = self.upstream
        await _settle(
            lambda: client.activity + upstream.activity,
            lambda: (
                client.end != "open"
                or client.answered
                or (not probe and any(each.closed for each in upstream.connections))
            ),
            quiet,
        )
        return client, client.reader

    async def attempt(self, frames: Frames, request: bytes, quiet: float) -> Told:
        told = Told()
        self.upstream.script = frames
        client, reader = await self._ask(request, quiet)
        told.odd += reader.anomalies
        for message in reader.messages:
            fields = sorted(line for line in message.headers if not line.startswith(wire_rig.VARYING))
            told.passed.append(f"{message.status} {fields} {len(message.body)} complete={message.complete}")
        told.passed.append(client.end if client.end == "open" else "closed")
        for host in self.upstream.connections:
            if host.spoilt:
                told.take(host.seen)
                told.closed = host.closed
                told.odd += host.odd
        with contextlib.suppress(OSError):
            prober, probed = await self._ask(b"GET /probe HTTP/1.1\r\nhost: a.example\r\n\r\n", quiet, probe=True)
            told.probe = str([(message.status, bytes(message.body)) for message in probed.messages])
            prober.transport.abort()
        client.transport.abort()
        self.upstream.script = None
        self.upstream.drop()
        await asyncio.sleep(0.01)
        return told
