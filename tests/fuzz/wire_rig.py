"""A proxy with many lanes, each a listener with an upstream of its own, so that raw messages can be tried side by side.

An upstream reads strictly (`parity.wire`), answers each whole request plainly, or with the raw response that the case
gives, and notes everything. What happened to a case is an `Outcome`; the lanes know nothing of each other.
"""

from __future__ import annotations

import asyncio
import json
import re
from dataclasses import dataclass, field
from typing import Any

from ..parity.wire import Message, WireReader

_API = "type.googleapis.com/envoy.extensions.filters"
_METHOD = re.compile(rb"(?:^|\n)[ \t\r]*(HEAD|CONNECT|GET|POST) ")
_ANSWER_S = 10.0
#: Lines of a head that are never the same twice.
VARYING = ("x-request-id:", "date:", "x-envoy-upstream-service-time:", "x-envoy-expected-rq-timeout-ms:")
_OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nx-from: up\r\n\r\nok"


def bootstrap(lanes: list[tuple[int, int]], admin: int, *, mesh: bool = False, delayed_close: str = "0.05s") -> str:
    """For each (listener port, upstream port) a lane. mesh: with the options that a sidecar's configuration sets."""
    listeners, clusters = [], []
    for number, (port, upstream) in enumerate(lanes):
        manager: dict[str, Any] = {
            "@type": f"{_API}.network.http_connection_manager.v3.HttpConnectionManager",
            "stat_prefix": "fuzz",
            "delayed_close_timeout": delayed_close,
            "route_config": {
                "virtual_hosts": [
                    {
                        "name": "all",
                        "domains": ["*"],
                        "routes": [
                            {"match": {"prefix": "/direct"}, "direct_response": {"status": 200}},
                            {"match": {"prefix": "/"}, "route": {"cluster": f"up{number}", "timeout": "0s"}},
                        ],
                    }
                ]
            },
            "http_filters": [
                {"name": "envoy.filters.http.router", "typed_config": {"@type": f"{_API}.http.router.v3.Router"}}
            ],
        }
        if mesh:
            manager["normalize_path"] = True
            manager["upgrade_configs"] = [{"upgrade_type": "websocket"}]
            manager["use_remote_address"] = False
            manager["stream_idle_timeout"] = "0s"
        listeners.append(
            {
                "name": f"lane{number}",
                "address": {"socket_address": {"address": "127.0.0.1", "port_value": port}},
                "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}],
            }
        )
        endpoint = {"address": {"socket_address": {"address": "127.0.0.1", "port_value": upstream}}}
        clusters.append(
            {
                "name": f"up{number}",
                "connect_timeout": "2s",
                "load_assignment": {
                    "cluster_name": f"up{number}",
                    "endpoints": [{"lb_endpoints": [{"endpoint": endpoint}]}],
                },
            }
        )
    return json.dumps(
        {
            "admin": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": admin}}},
            "static_resources": {"listeners": listeners, "clusters": clusters},
        }
    )


@dataclass(slots=True)
class Outcome:
    """What one case led to. ends: of each client, "open", "fin" or "rst"."""

    requests: list[Message] = field(default_factory=list)
    answers: list[WireReader] = field(default_factory=list)
    ends: list[str] = field(default_factory=list)
    anomalies: list[str] = field(default_factory=list)
    upstream_ends: list[str] = field(default_factory=list)

    def statuses(self, client: int = 0) -> list[int]:
        return [message.status for message in self.answers[client].messages]


class _UpstreamConnection(asyncio.Protocol):
    def __init__(self, upstream: LaneUpstream) -> None:
        self.upstream = upstream
        self.reader = WireReader("request")
        self.answered = 0
        self.transport: Any = None
        self.spoilt = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.upstream.connections.add(self)

    def data_received(self, data: bytes) -> None:
        upstream = self.upstream
        upstream.activity += 1
        before = len(self.reader.messages)
        self.reader.feed(data)
        upstream.outcome.requests += self.reader.messages[before:]
        upstream.outcome.anomalies += [f"upstream saw {odd}" for odd in self.reader.anomalies]
        self.reader.anomalies.clear()
        while self.answered < len(self.reader.messages) and self.reader.messages[self.answered].complete:
            self._answer(self.reader.messages[self.answered])
            self.answered += 1

    def _answer(self, message: Message) -> None:
        if self.transport.is_closing():
            return
        script = self.upstream.script
        if script is None or " /probe" in message.start:
            self.transport.write(self.upstream.plain)
            return
        self.upstream.script = None
        self.spoilt = True
        for piece in script:
            self.transport.write(piece)
        if self.upstream.closes:
            self.transport.close()

    def connection_lost(self, error: Exception | None) -> None:
        self.upstream.connections.discard(self)
        self.upstream.activity += 1


class LaneUpstream:
    """The upstream of one lane. script: raw response to the next request; closes: close after it."""

    def __init__(self) -> None:
        self.outcome = Outcome()
        self.script: list[bytes] | None = None
        self.closes = False
        self.plain = _OK
        self.activity = 0
        self.connections: set[_UpstreamConnection] = set()
        self.port = 0
        self._server: asyncio.Server | None = None

    async def open(self) -> None:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _UpstreamConnection(self), "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    def close(self) -> None:
        assert self._server is not None
        self._server.close()
        for connection in list(self.connections):
            connection.transport.abort()


class LaneClient(asyncio.Protocol):
    """One client connection; `methods` are those of the requests that it will send, as far as one can tell."""

    def __init__(self, methods: list[str]) -> None:
        self.reader = WireReader("response", lambda n: methods[n] if n < len(methods) else "GET")
        self.end = "open"
        self.activity = 0
        self.transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.activity += 1
        self.reader.feed(data)

    @property
    def answered(self) -> bool:
        return any(message.complete for message in self.reader.messages)

    def eof_received(self) -> bool:
        self.end = "fin"
        self.activity += 1
        self.reader.finish()
        return False

    def connection_lost(self, error: Exception | None) -> None:
        if self.end == "open":
            self.end = "rst" if isinstance(error, OSError) else "fin"
        self.activity += 1


@dataclass(slots=True)
class Lane:
    """One listener and its upstream."""

    port: int
    upstream: LaneUpstream

    async def try_request(self, pieces: list[bytes], quiet: float) -> Outcome:
        """Send `pieces`, and wait until nothing has happened for `quiet` seconds."""
        upstream = self.upstream
        outcome = upstream.outcome = Outcome()
        upstream.script, upstream.plain = None, _OK
        client = await self._send(pieces, quiet, outcome)
        outcome.ends.append(client.end)
        await self._leave(client, quiet)
        return outcome

    async def try_response(self, request: bytes, script: list[bytes], closes: bool, quiet: float) -> Outcome:
        """One request that is answered with `script`; then a probe from a second client."""
        upstream = self.upstream
        outcome = upstream.outcome = Outcome()
        upstream.script, upstream.closes = script, closes
        upstream.plain = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\nx-probe: 1\r\n\r\nprobe"
        client = await self._send([request], quiet, outcome)
        probe = await self._send([b"GET /probe HTTP/1.1\r\nHost: a.example\r\n\r\n"], quiet, outcome, asks=True)
        outcome.ends += [client.end, probe.end]
        spoilt = [connection for connection in upstream.connections if connection.spoilt]
        outcome.upstream_ends = ["open"] * len(spoilt)
        await self._leave(probe, quiet)
        await self._leave(client, quiet)
        for connection in list(upstream.connections):
            connection.transport.abort()  # the next case starts with none
        await asyncio.sleep(0.01)
        return outcome

    async def _send(self, pieces: list[bytes], quiet: float, outcome: Outcome, *, asks: bool = False) -> LaneClient:
        """asks: an answer has to come, however busy the machine is."""
        loop = asyncio.get_running_loop()
        methods = [found.decode() for found in _METHOD.findall(b"".join(pieces))]
        client = LaneClient(methods)
        outcome.answers.append(client.reader)
        await loop.create_connection(lambda: client, "127.0.0.1", self.port)
        for piece in pieces:
            if client.transport.is_closing():
                break
            client.transport.write(piece)
            if len(pieces) > 1:
                await asyncio.sleep(0.002)
        deadline = loop.time() + _ANSWER_S
        while asks and client.end == "open" and not client.answered and loop.time() < deadline:
            await asyncio.sleep(0.005)
        await self._until_quiet(client, quiet)
        outcome.anomalies += [f"client saw {odd}" for odd in client.reader.anomalies]
        return client

    async def _until_quiet(self, client: LaneClient, quiet: float) -> None:
        seen = -1
        while client.end == "open" and seen != client.activity + self.upstream.activity:
            seen = client.activity + self.upstream.activity
            await asyncio.sleep(quiet)

    async def _leave(self, client: LaneClient, quiet: float) -> None:
        client.transport.abort()
        seen = -1
        while seen != self.upstream.activity:
            seen = self.upstream.activity
            await asyncio.sleep(min(quiet, 0.02))
