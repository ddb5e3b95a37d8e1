"""The whole path of a request without sockets: a real proxy between two fake transports.

What the kernel and the event loop cost is left out, so a run depends on nothing but our own code.
"""

from __future__ import annotations

import asyncio
import random
import tempfile
from pathlib import Path
from string import Template
from typing import Any

from bench.backend import BODY
from bench.dress import Certificates, dress
from bench.subjects import CONFIGS
from meshproxy.config.text.bootstrap_load import read_source
from meshproxy.plugin.listener import Socket
from meshproxy.proxy import Proxy, load_configuration, make_logger
from meshproxy.runtime.downstream.connection import ServerConnection
from meshproxy.runtime.downstream.connection_info import connection_info
from meshproxy.runtime.process.lifecycle import Lifecycle
from meshproxy.runtime.process.options import Options
from meshproxy.runtime.upstream.connections.http1_pool import Http1Pool
from meshproxy.runtime.upstream.connections.http1_upstream import Http1Upstream

ANSWER = (
    "HTTP/1.1 200 OK\r\nServer: nginx/1.22.1\r\nDate: Mon, 23 Nov 2026 10:00:00 GMT\r\n"
    f"Content-Type: application/json\r\nContent-Length: {len(BODY)}\r\nConnection: keep-alive\r\n\r\n{BODY}"
).encode()

_AREAS = ("cart", "catalogue", "checkout", "currency", "email", "payment", "product", "recommend", "shipping", "items")


def requests(count: int, close: bool = False) -> list[bytes]:
    """Such as `requests.lua` makes: some lines repeat, some repeat per user, some never do."""
    rng = random.Random(1)

    def hexes(digits: int) -> str:
        return f"{rng.getrandbits(4 * digits):0{digits}x}"

    users = [(hexes(96), hexes(16)) for _ in range(500)]
    made = []
    for number in range(count):
        bearer, session = users[rng.randrange(500)]
        path = f"/{_AREAS[number % 10]}/items/{number % 200 * 7919}?page={number % 13}"
        lines = [
            f"GET {path} HTTP/1.1",
            "host: shop.default.svc.cluster.local",
            "user-agent: frontend/1.14.2 (linux; x86_64)",
            "accept: application/json",
            "accept-encoding: gzip, deflate",
            f"authorization: Bearer {bearer}",
            f"cookie: session={session}; theme=dark; seen={number}",
            f"traceparent: 00-{hexes(32)}-{hexes(16)}-01",
        ]
        if number % 2:
            lines.append(f"x-request-id: {hexes(8)}-{hexes(4)}-4{hexes(3)}-a{hexes(3)}-{hexes(12)}")
        lines.append("x-forwarded-proto: http")
        if close:
            lines.append("connection: close")
        made.append("\r\n".join([*lines, "", ""]).encode())
    return made


class FakeTransport:
    """Takes what is written."""

    def __init__(self) -> None:
        self.written = 0

    def write(self, data: bytes) -> None:
        self.written += len(data)

    def is_closing(self) -> bool:
        return False

    def set_write_buffer_limits(self, high: int) -> None:
        pass

    def get_write_buffer_size(self) -> int:
        return 0

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return ("127.0.0.1", 40000) if name == "sockname" else default

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass

    def close(self) -> None:
        pass

    abort = close


class WirelessProxy:
    """A proxy with a client's connection, and one to each endpoint.

    configuration: a file of `bench/configs`, without its ending but with its dress, or the path of another one.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, configuration: str, directory: Path) -> None:
        path = Path(configuration)
        if not path.suffix:
            values = {f"backend_{number}": 20000 + number for number in range(1, 5)}
            log = str(directory / "access.log")
            text = (CONFIGS / f"{configuration.split('+')[0]}.yaml").read_text()
            text = dress(text, configuration, Certificates(directory))
            path = directory / "wireless.yaml"
            path.write_text(Template(text).substitute(values, admin_port=20000, listener_port=20005, access_log=log))
        lifecycle = Lifecycle(loop, make_logger("main"))
        self.proxy = Proxy(loop, load_configuration([read_source(path)]), Options(), lifecycle)
        self.proxy.start({})
        self._listener = self.proxy.listeners.active[0]
        self._open_upstreams()
        self._connection = self.connect()

    def _open_upstreams(self) -> None:
        self._upstreams: list[Http1Upstream] = []
        for cluster in self.proxy.worker.clusters:
            for host in cluster.hosts():
                pool = host.pool = Http1Pool(cluster, host, "DEFAULT")
                pool.limits.connections.acquire()
                upstream = Http1Upstream(pool)
                upstream.connection_made(FakeTransport())
                self._upstreams.append(upstream)

    def connect(self) -> ServerConnection:
        """A new connection of a client."""
        listener = self._listener
        client, own = ("127.0.0.1", 1), ("127.0.0.1", 2)
        facts = Socket(local=own, remote=client, direct_local=own, direct_remote=client)
        chain = listener.chains.find(facts)
        assert chain is not None
        info = connection_info(self.proxy.worker, listener.config, facts)
        connection = ServerConnection(self.proxy.worker, listener.config, chain.makers, facts, info, listener._closed)
        listener.connections.add(connection)
        connection.connection_made(FakeTransport())
        return connection

    def _answer(self) -> None:
        for upstream in self._upstreams:
            if upstream._sink is not None:
                upstream.data_received(ANSWER)
                return
        raise AssertionError("the request reached no upstream")

    def batch(self, count: int) -> list[bytes]:
        """`count` requests for `serve`."""
        return requests(count)

    def serve(self, batch: list[bytes]) -> None:
        """The requests of `batch` on the connection that is there, and their answers."""
        receive, answer = self._connection.data_received, self._answer
        for request in batch:
            receive(request)
            answer()

    def serve_each_apart(self, batch: list[bytes]) -> None:
        """The same with a connection for each."""
        for request in batch:
            connection = self.connect()
            connection.data_received(request)
            self._answer()
            connection.connection_lost(None)

    def close(self) -> None:
        self.proxy.close()


def scratch() -> tempfile.TemporaryDirectory[str]:
    """Where a proxy of this kind keeps its access log."""
    return tempfile.TemporaryDirectory(prefix="meshproxy-bench-")
