"""A program to be abused, an upstream that does what its request's path asks for, and a look at what is left.

The program has the filter of `abuse_filters` before its router. Routes: `/retry` tries again, `/small` goes to a
cluster with small buffers, `/retry-mixed` to one where one of two hosts never answers, `/refused` to a port where
nobody listens, `/unanswered` to one that takes no connection, `/timed` has a timeout.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from ..parity.wire import WireReader
from . import program as programs
from .program import Program, free_ports

_TYPE = "type.googleapis.com/envoy"
_FILTERS = Path(__file__).parent / "abuse_filters"


def _cluster(name: str, *ports: int, **more: Any) -> dict[str, Any]:
    addresses = [{"socket_address": {"address": "127.0.0.1", "port_value": port}} for port in ports]
    endpoints = [{"endpoint": {"address": address}} for address in addresses]
    assignment = {"cluster_name": name, "endpoints": [{"lb_endpoints": endpoints}]}
    return {"name": name, "connect_timeout": "1s", "load_assignment": assignment, **more}


def bootstrap(port: int, admin: int, up: int, unanswered: int, refused: int, options: dict[str, Any]) -> str:
    retry = {"retry_on": "5xx", "num_retries": 3, "retry_back_off": {"base_interval": "0.05s", "max_interval": "0.1s"}}
    slowly = {**retry, "retry_back_off": {"base_interval": "600s"}}
    routes = [
        ({"prefix": "/retry-slow"}, {"cluster": "up", "retry_policy": slowly}),
        ({"prefix": "/direct204"}, None),
        ({"prefix": "/direct"}, None),
        ({"prefix": "/retry-refused"}, {"cluster": "refused", "retry_policy": retry}),
        ({"prefix": "/retry-mixed"}, {"cluster": "mixed", "retry_policy": retry}),
        ({"prefix": "/retry-small"}, {"cluster": "small", "retry_policy": retry}),
        ({"prefix": "/retry"}, {"cluster": "up", "retry_policy": retry}),
        ({"prefix": "/small"}, {"cluster": "small"}),
        ({"prefix": "/refused"}, {"cluster": "refused"}),
        ({"prefix": "/unanswered"}, {"cluster": "unanswered"}),
        ({"prefix": "/timed"}, {"cluster": "up", "timeout": "0.3s"}),
        ({"prefix": "/"}, {"cluster": "up"}),
    ]
    made: list[dict[str, Any]] = []
    for match, route in routes:
        if route is None:
            status = 204 if match["prefix"] == "/direct204" else 200
            made.append({"match": match, "direct_response": {"status": status, "body": {"inline_string": "d" * 4000}}})
        else:
            made.append({"match": match, "route": {"timeout": "0s", **route}})
    abuse = {"@type": "type.googleapis.com/xds.type.v3.TypedStruct", "type_url": "tests.Abuse", "value": {}}
    buffer = {"@type": f"{_TYPE}.extensions.filters.http.buffer.v3.Buffer", "max_request_bytes": 1000}
    router = {"@type": f"{_TYPE}.extensions.filters.http.router.v3.Router"}
    listener_options, more = options.pop("listener", {}), options.pop("bootstrap", {})
    filters = [{"name": "abuse", "typed_config": abuse}, {"name": "router", "typed_config": router}]
    if options.pop("buffered", False):
        filters.insert(0, {"name": "buffer", "typed_config": buffer})
    manager = {
        "@type": f"{_TYPE}.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "test",
        "upgrade_configs": [{"upgrade_type": "websocket"}],
        "delayed_close_timeout": "0.2s",
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": made}]},
        "http_filters": filters,
        **options,
    }
    address = {"socket_address": {"address": "127.0.0.1", "port_value": port}}
    chain = {"filters": [{"name": "http", "typed_config": manager}]}
    listener = {"name": "in", "address": address, "filter_chains": [chain], **listener_options}
    small = {"per_connection_buffer_limit_bytes": 16384}
    clusters = [
        _cluster("up", up),
        _cluster("small", up, **small),
        _cluster("refused", refused, **small),
        _cluster("unanswered", unanswered),
        _cluster("mixed", unanswered, up, **{**small, "connect_timeout": "0.3s"}),
    ]
    admin_address = {"socket_address": {"address": "127.0.0.1", "port_value": admin}}
    resources = {"listeners": [listener], "clusters": clusters}
    return json.dumps({"admin": {"address": admin_address}, "static_resources": resources, **more})


class AbuseUpstream:
    """Reads strictly; the last word of the path says what it answers: see `_answer`.

    anomalies: malformed bytes that reached it. bodies: of complete requests. fails: how many requests it still answers
    with a 503, or cuts; fails_early: before it has read the body.
    """

    def __init__(self) -> None:
        self.port = 0
        self.anomalies: list[str] = []
        self.requests: list[tuple[str, int]] = []
        self.fails = 0
        self.sent = 0
        self.read_pause = 0.0
        self.fails_early = False
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        assert self._server is not None
        self._server.close()
        for writer in list(self._writers):
            writer.transport.abort()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        wire = WireReader("request")
        answered = started = 0
        try:
            while data := await reader.read(65536):
                wire.feed(data)
                self.anomalies += wire.anomalies
                wire.anomalies.clear()
                if self.fails and self.fails_early and started < len(wire.messages):
                    self.fails -= 1
                    writer.write(b"HTTP/1.1 503 Busy\r\ncontent-length: 0\r\n\r\n")
                    await asyncio.sleep(0.01)
                    return
                if self.read_pause:
                    await asyncio.sleep(self.read_pause)
                if wire.raw and "/ws" in wire.messages[-1].start:
                    writer.write(bytes(wire.raw))
                    wire.raw.clear()
                while started < len(wire.messages) and "/early" in wire.messages[started].start:
                    started += 1
                    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nearly")
                while answered < len(wire.messages) and wire.messages[answered].complete:
                    message = wire.messages[answered]
                    answered += 1
                    self.requests.append((message.start, len(message.body)))
                    await self._answer(message.start.split(" ")[1], message.method, writer, wire)
                    if writer.is_closing():
                        return
        except OSError:
            pass
        finally:
            self._writers.discard(writer)
            writer.close()

    async def _answer(self, path: str, method: str, writer: asyncio.StreamWriter, wire: WireReader) -> None:
        what = path.rpartition("/")[2]
        ok = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nplain"
        if self.fails:
            self.fails -= 1
            if what == "cut":
                writer.transport.abort()
            else:
                writer.write(b"HTTP/1.1 503 Busy\r\ncontent-length: 0\r\n\r\n")
            return
        match what.partition("-"):
            case ("big", _, size):
                left = int(size)
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % left)
                while left:
                    piece = min(left, 65536)
                    writer.write(b"x" * piece)
                    left -= piece
                    self.sent += piece
                    await writer.drain()
            case ("slow", _, pause):
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nsl")
                await asyncio.sleep(float(pause))
                writer.write(b"ow" + b"er")
            case ("late", _, pause):
                await asyncio.sleep(float(pause))
                writer.write(ok)
            case ("leave", _, "now"):
                writer.transport.abort()
            case ("leave", _, "head"):
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-le")
                await asyncio.sleep(0.02)
                writer.transport.abort()
            case ("leave", _, "body"):
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\nhalf")
                await asyncio.sleep(0.02)
                writer.close()
            case ("leave", _, "chunk"):
                writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n")
                await asyncio.sleep(0.02)
                writer.close()
            case ("leave", _, "after"):
                writer.write(ok)
                writer.close()
            case ("204", _, _):
                writer.write(b"HTTP/1.1 204 No Content\r\n\r\nbody")
            case ("304", _, _):
                writer.write(b"HTTP/1.1 304 Not Modified\r\ncontent-length: 4\r\n\r\nbody")
            case ("1xx", _, count):
                writer.write(b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n" * int(count) + ok)
            case ("ws", _, _):
                writer.write(b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n")
                wire.switch_to_raw()
                writer.write(bytes(wire.raw))
                wire.raw.clear()
            case ("early", _, _):
                pass
            case _:
                writer.write(ok if method != "HEAD" else ok[:-5])


class Rig:
    """The running program and its upstream."""

    def __init__(self, program: Program, upstream: AbuseUpstream) -> None:
        self.program = program
        self.upstream = upstream

    async def gauges(self) -> dict[str, int]:
        """All that should be zero when nothing happens: what is active or waits, and breakers that are open."""
        _, text = await self.program.ask("/stats?type=Gauges")
        found = {}
        for line in text.splitlines():
            name, _, value = line.rpartition(": ")
            at_rest = re.search(r"(_active|_pending_active|_open|_upgrades_active)$", name) and "admin" not in name
            if at_rest and value != "0" and not re.search(r"upstream_cx_active|membership|listener", name):
                found[name] = int(value)
        return found

    async def settled(self, seconds: float = 3.0) -> None:
        """Wait until nothing is active any more. Fails with what is."""
        left: dict[str, int] = {}
        try:
            async with asyncio.timeout(seconds):
                while left := await self.gauges():
                    await asyncio.sleep(0.05)
        except TimeoutError:
            raise AssertionError(f"still there after {seconds} s: {left}") from None

    def descriptors(self) -> int:
        return len(os.listdir(f"/proc/{self.program.pid}/fd"))

    async def plain(self) -> None:
        """Another client is served as always."""
        answer = await self.send(b"GET /ok HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n", b"plain")
        assert answer.startswith(b"HTTP/1.1 200 OK"), answer

    async def send(self, data: bytes, until: bytes = b"", seconds: float = 2.0) -> bytes:
        """What comes back to `data` on a connection of its own: until `until` is in it, the end, or the time is up."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.program.port)
        got = b""
        try:
            writer.write(data)
            with contextlib.suppress(TimeoutError, ConnectionError):
                async with asyncio.timeout(seconds):
                    while piece := await reader.read(65536):
                        got += piece
                        if until and until in got:
                            break
        finally:
            writer.transport.abort()
        return got

    def complaints(self) -> list[str]:
        """Lines of the program's log that tell of a fault of its own."""
        lines = self.program.output().splitlines()
        return [line for line in lines if "Traceback" in line or "exception" in line.lower() or "level=error" in line]


def unanswering() -> list[socket.socket]:
    """A port that takes no connection: its queue is full. The first socket is the listener."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(0)
    sockets = [listener]
    for _ in range(2):
        filler = socket.socket()
        filler.setblocking(False)
        filler.connect_ex(listener.getsockname())
        sockets.append(filler)
    return sockets


@contextlib.asynccontextmanager
async def abused(directory: Path, **options: Any) -> AsyncIterator[Rig]:
    """The program with these options of its connection manager; `listener` and `bootstrap` hold options of those."""
    upstream = AbuseUpstream()
    await upstream.open()
    silent = unanswering()
    port, admin, refused = free_ports(3)
    config = bootstrap(port, admin, upstream.port, silent[0].getsockname()[1], refused, dict(options))
    path = os.pathsep.join([str(_FILTERS), *filter(None, [os.environ.get("PYTHONPATH")])])
    process, output = await programs.spawn(directory, config, env={"PYTHONPATH": path}, fresh=True)
    program = Program(process, port, admin, output)
    try:
        await program.ready()
        yield Rig(program, upstream)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        await upstream.close()
        for sock in silent:
            sock.close()
