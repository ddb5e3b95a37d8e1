"""A proxy with one listener and one cluster `c` in the test's own loop, for what happens on the upstream side."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from meshproxy.config.text.bootstrap_load import Source
from meshproxy.proxy import Proxy, load_configuration, make_logger, open_listeners
from meshproxy.runtime.process.lifecycle import Lifecycle
from meshproxy.runtime.process.options import Options
from meshproxy.runtime.upstream.cluster import ActiveCluster

_PACKAGE = "type.googleapis.com/envoy.extensions.filters"

_HTTP = f"""
      - name: http
        typed_config:
          "@type": {_PACKAGE}.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: h
          upgrade_configs: [{{upgrade_type: websocket}}]
          http_filters:
          - {{name: router, typed_config: {{"@type": {_PACKAGE}.http.router.v3.Router}}}}
          route_config:
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes: [{{match: {{prefix: /}}, route: {{cluster: c, %s}}}}]
"""
_TCP = f"""
      - name: tcp
        typed_config: {{"@type": {_PACKAGE}.network.tcp_proxy.v3.TcpProxy, stat_prefix: t, cluster: c}}
"""


def bootstrap(cluster: str, *, route: str = "timeout: 10s", tcp: bool = False) -> str:
    """A bootstrap. cluster: fields of the cluster `c` in flow style; route: those of its one route."""
    return f"""
static_resources:
  listeners:
  - address: {{socket_address: {{address: 127.0.0.1, port_value: 0}}}}
    name: l
    filter_chains:
    - filters:{_TCP if tcp else _HTTP % route}
  clusters: [{{name: c, {cluster}}}]
"""


def endpoints(*addresses: tuple[str, int] | str) -> str:
    """A load assignment with these addresses: (ip or name, port), or the path of a Unix socket."""
    entries = []
    for address in addresses:
        where = (
            f"pipe: {{path: '{address}'}}"
            if isinstance(address, str)
            else f"socket_address: {{address: '{address[0]}', port_value: {address[1]}}}"
        )
        entries.append(f"{{endpoint: {{address: {{{where}}}}}}}")
    return f"load_assignment: {{cluster_name: c, endpoints: [{{lb_endpoints: [{', '.join(entries)}]}}]}}"


@dataclass
class Running:
    """A proxy at work."""

    proxy: Proxy
    port: int

    @property
    def cluster(self) -> ActiveCluster:
        cluster = self.proxy.worker.clusters.get("c")
        assert cluster is not None
        return cluster

    def hosts(self) -> list[str]:
        return sorted(host.text for host in self.cluster.hosts())

    def stat(self, name: str) -> int:
        """A counter or gauge of the cluster; 0 if nobody has moved it."""
        snapshot = self.proxy.worker.stats.snapshot()
        full = f"cluster.c.{name}"
        if full in snapshot.counters:
            return snapshot.counters[full][0]
        return snapshot.gauges[full][0] if full in snapshot.gauges else 0

    async def client(self) -> Client:
        return Client(*await asyncio.open_connection("127.0.0.1", self.port))

    async def get(self, path: str = "/", **options: Any) -> Response:
        """One request on a connection of its own."""
        client = await self.client()
        try:
            return await client.request(path=path, **options)
        finally:
            client.close()


@asynccontextmanager
async def running(text: str, *, warm_within: float = 5.0) -> AsyncIterator[Running]:
    """Run a proxy with this bootstrap. warm_within: how many seconds its start waits for the clusters."""
    configuration = load_configuration([Source("test.yaml", text)], seed=1)
    loop = asyncio.get_running_loop()
    proxy = Proxy(loop, configuration, Options(), Lifecycle(loop, make_logger("test")))
    await proxy.worker.clusters.warm(warm_within)
    sockets = open_listeners(configuration.snapshot)[0]
    proxy.start(sockets)
    try:
        yield Running(proxy, sockets["l"][0].getsockname()[1])
    finally:
        proxy.listeners.stop()
        for connection in proxy.listeners.connections():
            connection.cut_off()
        proxy.close()
        await asyncio.sleep(0.01)


@dataclass
class Response:
    """status 0: the connection ended without a whole response."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    whole: bool = False


class Client:
    """A plain HTTP/1 client that notices what is wrong."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def request(
        self, path: str = "/", method: str = "GET", body: bytes = b"", headers: tuple[str, ...] = ()
    ) -> Response:
        self.send(path, method, body, headers)
        return await self.response(method)

    def send(self, path: str = "/", method: str = "GET", body: bytes = b"", headers: tuple[str, ...] = ()) -> None:
        lines = [f"{method} {path} HTTP/1.1", "host: h", *headers]
        if body:
            lines.append(f"content-length: {len(body)}")
        self.writer.write("\r\n".join((*lines, "", "")).encode() + body)

    async def response(self, method: str = "GET") -> Response:
        response = Response()
        async with asyncio.timeout(10):
            try:
                head = (await self.reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
                response.status = int(head[0].split()[1])
                response.headers = dict(line.split(": ", 1) for line in head[1:] if line)
                await self._read_body(response, method)
                response.whole = True
            except (asyncio.IncompleteReadError, OSError):
                pass
        return response

    async def _read_body(self, response: Response, method: str) -> None:
        if method == "HEAD" or response.status in (101, 204, 304):
            return
        if "content-length" in response.headers:
            response.body = await self.reader.readexactly(int(response.headers["content-length"]))
            return
        while size := int((await self.reader.readuntil(b"\r\n")).strip(), 16):
            response.body += await self.reader.readexactly(size)
            await self.reader.readexactly(2)
        await self.reader.readuntil(b"\r\n")

    def close(self) -> None:
        self.writer.close()


Handler = Callable[["Peer"], Coroutine[Any, Any, None]]


@dataclass
class Peer:
    """One connection that an upstream has accepted. number: from 1."""

    number: int
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def head(self) -> str:
        """The head of the next request; "" when the proxy has closed the connection."""
        try:
            return (await self.reader.readuntil(b"\r\n\r\n")).decode()
        except (asyncio.IncompleteReadError, OSError):
            return ""

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    def answer(self, body: bytes = b"ok", *headers: str) -> None:
        lines = ["HTTP/1.1 200 OK", f"content-length: {len(body)}", *headers, "", ""]
        self.writer.write("\r\n".join(lines).encode() + body)

    async def ended(self, seconds: float = 5.0) -> bool:
        """Wait for the proxy's end of the connection."""
        try:
            async with asyncio.timeout(seconds):
                while await self.reader.read(65536):
                    pass
        except TimeoutError:
            return False
        except OSError:
            pass
        return True

    def abort(self) -> None:
        """End with an RST."""
        import socket
        import struct

        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


class Upstream:
    """A server whose connections a coroutine of the test serves."""

    def __init__(self, handler: Handler) -> None:
        self._handler = handler
        self.peers: list[Peer] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self.address: tuple[str, int] = ("", 0)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        peer = Peer(len(self.peers) + 1, reader, writer)
        self.peers.append(peer)
        try:
            await self._handler(peer)
        except asyncio.CancelledError:
            pass
        except OSError:
            pass
        finally:
            writer.close()
            self._tasks.discard(task)

    async def __aenter__(self) -> Upstream:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.address = self._server.sockets[0].getsockname()
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for peer in self.peers:
            peer.writer.transport.abort()  # whatever hasn't been read of it yet
        await asyncio.sleep(0)


async def until(condition: Callable[[], bool], seconds: float = 5.0) -> None:
    """Wait until it holds. Raises TimeoutError."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.005)
