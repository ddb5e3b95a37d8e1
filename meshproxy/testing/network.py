"""The harness for network filters: the proxy's own connection object on a transport that a test plays.

What is real: `ServerConnection`, with its order of filters, half-closing, buffering and its end. What is played: the
socket, whose bytes and limits a test gives, and the loop, whose time a test lets pass.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

from meshproxy.address import SocketAddress
from meshproxy.model.listener import AccessLog, Listener
from meshproxy.plugin.context import Timer
from meshproxy.plugin.listener import Socket
from meshproxy.plugin.network import NetworkFilter
from meshproxy.plugin.stream_info import ConnectionInfo, StreamInfo
from meshproxy.runtime.downstream.connection import ServerConnection
from meshproxy.runtime.worker import Worker
from meshproxy.testing.environment import Environment
from meshproxy.testing.loop import SteppedLoop

_LOCAL, _REMOTE = ("192.0.2.10", 8080), ("192.0.2.20", 40000)


class _AccessLogs:
    def __init__(self, harness: NetworkHarness) -> None:
        self._harness = harness

    def log(self, logs: Sequence[AccessLog], info: StreamInfo) -> None:
        self._harness.write_access_log(tuple(logs), info)


class _Worker:
    """As much of a worker as a connection asks for."""

    def __init__(self, harness: NetworkHarness) -> None:
        self.loop = harness.loop
        self.clock = harness.clock
        self.clusters = harness.clusters
        self.log = harness.log
        self.access_logs = _AccessLogs(harness)

    def schedule(self, delay: float, callback: Callable[[], None]) -> Timer:
        return self.loop.call_later(delay, callback)


class _Transport:
    """The socket's side: keeps what is written."""

    def __init__(self, loop: SteppedLoop) -> None:
        self._loop = loop
        self.connection: ServerConnection
        self.written: list[bytes] = []
        self.ended = False
        self.paused = False
        self.closed = ""

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Tests say when the buffer is full."""

    def get_extra_info(self, name: str) -> None:
        return None

    def write(self, data: bytes) -> None:
        self.written.append(data)

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.ended = True

    def is_closing(self) -> bool:
        return bool(self.closed)

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False

    def close(self) -> None:
        self._close("close")

    def abort(self) -> None:
        self._close("reset")

    def _close(self, how: str) -> None:
        if not self.closed:
            self.closed = how
            self._loop.call_soon(self.connection.connection_lost, None)


class Client:
    """A connection from the client's end.

    connection: the `Connection` that the filters have, with `info` and `stream`.
    """

    def __init__(self, harness: NetworkHarness, connection: ServerConnection, transport: _Transport) -> None:
        self._harness = harness
        self._transport = transport
        self.connection = connection

    @property
    def received(self) -> bytes:
        """What the client was sent."""
        return b"".join(self._transport.written)

    @property
    def ended(self) -> bool:
        """Whether the proxy has sent its FIN: half-closed, or closed in order."""
        return self._transport.ended or self._transport.closed == "close"

    @property
    def closed(self) -> str:
        """ "" while the connection lives; "close" or "reset" once the proxy has closed it."""
        return self._transport.closed

    @property
    def paused(self) -> bool:
        """Whether the proxy doesn't read the client."""
        return self._transport.paused

    def send(self, data: bytes, end: bool = False) -> Client:
        """Send bytes; `end` half-closes after them."""
        with self._harness.loop.entered():
            if data:
                self.connection.data_received(data)
            if end:
                self.connection.eof_received()
        return self

    def leave(self, *, reset: bool = False) -> Client:
        """The connection is lost from the client's side."""
        with self._harness.loop.entered():
            self._transport.closed = self._transport.closed or "client"
            self.connection.connection_lost(ConnectionResetError() if reset else None)
        return self

    def blocks(self, blocked: bool) -> Client:
        """The client reads too slowly (True), or has caught up (False)."""
        with self._harness.loop.entered():
            (self.connection.pause_writing if blocked else self.connection.resume_writing)()
        return self


class NetworkHarness(Environment):
    """Runs a network filter in the proxy's own connection, without a socket.

        harness = NetworkHarness(TcpProxy, {"stat_prefix": "t", "cluster": "up"})
        upstream = harness.cluster("up")
        client = harness.connect().send(b"hello")
        assert upstream.connections[0].received == b"hello"

    filter_class, config: as for `FilterHarness`. before: (class, config) of filters that stand before it.
    """

    def __init__(
        self,
        filter_class: type[NetworkFilter[Any]],
        config: Any = None,
        *,
        before: Sequence[tuple[type[NetworkFilter[Any]], Any]] = (),
        name: str = "",
        **environment: Any,
    ) -> None:
        super().__init__(**environment)
        self.clusters = self._clusters
        scope = self._store.scope("")
        specs = [self.compile(each, settings, scope) for each, settings in before]
        specs.append(self.compile(filter_class, config, scope, name))
        stats = self._store.scope("listener.test.")
        self._makers = [
            (spec.filter_class, spec.filter_class.for_worker(spec.config, spec.context, stats), spec.context)
            for spec in specs
        ]
        self._listener = Listener("test", SocketAddress("192.0.2.10", 8080))

    def connect(self, facts: Socket | None = None, *, alpn: str = "") -> Client:
        """A client connects. facts: what listener filters have found out about it; alpn: what its handshake chose."""
        facts = facts or Socket(local=_LOCAL, remote=_REMOTE, direct_local=_LOCAL, direct_remote=_REMOTE)
        info = ConnectionInfo()
        info.original_destination = facts.local if facts.local_restored else None
        info.local_address = info.direct_local_address = f"{facts.local[0]}:{facts.local[1]}"
        info.remote_address = info.direct_remote_address = f"{facts.remote[0]}:{facts.remote[1]}"
        info.requested_server_name = facts.server_name
        info.alpn = alpn
        worker = cast(Worker, _Worker(self))
        transport = _Transport(self.loop)
        with self.loop.entered():
            connection = ServerConnection(worker, self._listener, self._makers, facts, info, lambda _: None)
            transport.connection = connection
            connection.connection_made(transport)
        return Client(self, connection, transport)

    def upstream_sends(self, cluster: str, data: bytes, end: bool = False, connection: int = -1) -> None:
        """A connection to a cluster (the last one) brings bytes; `end` half-closes it after them."""
        with self.loop.entered():
            self.cluster(cluster).connections[connection].send(data, end)

    def upstream_closes(self, cluster: str, reason: Any = None, detail: str = "", connection: int = -1) -> None:
        """A connection to a cluster is over; reason: a `ResetReason`, None for an orderly end."""
        with self.loop.entered():
            self.cluster(cluster).connections[connection].close_by_peer(reason, detail)

    def upstream_blocks(self, cluster: str, blocked: bool, connection: int = -1) -> None:
        """The buffer towards a cluster is full (True), or empty again."""
        with self.loop.entered():
            self.cluster(cluster).connections[connection].blocks(blocked)
