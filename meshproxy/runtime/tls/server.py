"""TLS on accepted connections: the listener's transport socket."""

from __future__ import annotations

import asyncio
import ssl
from typing import TYPE_CHECKING, Any

from meshproxy.model.listener import FilterChain
from meshproxy.runtime.tls.contexts import ServerContexts
from meshproxy.runtime.tls.failures import TlsFailure, not_ready
from meshproxy.runtime.tls.info import tls_info, unfinished_info
from meshproxy.runtime.tls.slots import ServerSlot
from meshproxy.runtime.tls.stats import SecretUpdates, TlsStats
from meshproxy.runtime.tls.transport import TlsTransport
from meshproxy.runtime.tls.watch import Watcher

if TYPE_CHECKING:
    from meshproxy.plugin.context import Timer
    from meshproxy.plugin.stats import Counter
    from meshproxy.runtime.attach import LooseSocket
    from meshproxy.runtime.downstream.connection import ServerConnection
    from meshproxy.runtime.worker import Worker

_TIMEOUT_DETAILS = "transport socket timeout was reached"


class ListenerTls:
    """The statistics of one listener's handshakes."""

    def __init__(self, worker: Worker, stat_name: str) -> None:
        scope = worker.stats.scope(f"listener.{stat_name}.")
        self.stats = TlsStats(scope)
        self.timeouts: Counter = scope.counter("downstream_cx_transport_socket_connect_timeout")
        factory = scope.scope("server_ssl_socket_factory.")
        self.not_ready: Counter = factory.counter("downstream_context_secrets_not_ready")
        self.updates = SecretUpdates(factory, counts=worker.is_first)


class ServerTls:
    """What `meshproxy.runtime.downstream.listener` asks to wrap accepted sockets (its `TransportSockets`)."""

    def __init__(self, worker: Worker, watcher: Watcher) -> None:
        self._worker = worker
        self._watcher = watcher
        self._listeners: dict[str, ListenerTls] = {}

    def add(self, chain: FilterChain, stat_name: str) -> None:
        """Make statistics and watch files before the first connection comes."""
        if chain.transport_socket is not None:
            self._watcher.add(chain.transport_socket.config)
            self._listener(stat_name).updates.follow(chain.transport_socket.config)

    def _listener(self, stat_name: str) -> ListenerTls:
        found = self._listeners.get(stat_name)
        if found is None:
            found = self._listeners[stat_name] = ListenerTls(self._worker, stat_name)
        return found

    def accept(self, chain: FilterChain, sock: LooseSocket, connection: ServerConnection) -> Any:
        """Begin the handshake on an accepted socket. The connection hears of it when its peer is accepted."""
        assert chain.transport_socket is not None
        slot: ServerSlot = chain.transport_socket.config
        listener = self._listener(connection.listener.stat_name)
        connection.info.transport = "tls"
        generation = slot.generation
        if generation is None:
            return self._refuse(sock, connection, listener)
        loop = self._worker.loop
        handshake = _Handshake(self._worker, listener, generation, connection)
        transport = TlsTransport(loop, generation.context, connection, handshake, server_side=True)
        if generation.key_log is not None:
            generation.key_log.begin(transport.object, sock)
        connection.give_up = transport.give_up
        if chain.transport_socket_connect_timeout:
            handshake.limit(transport, chain.transport_socket_connect_timeout)
        return loop.connect_accepted_socket(lambda: transport, sock)  # type: ignore[arg-type]  # it has what is asked for

    async def _refuse(self, sock: LooseSocket, connection: ServerConnection, listener: ListenerTls) -> None:
        """There is no certificate yet: no handshake (CVE-2020-8664 is what comes of making one all the same)."""
        sock.close()
        listener.not_ready.value += 1
        connection.info.transport_failure_reason = not_ready().text
        self._worker.loop.call_soon(connection.connection_lost, None)


class _Handshake:
    """One handshake (a `HandshakeOwner`)."""

    __slots__ = ("_connection", "_generation", "_listener", "_timer", "_worker")

    def __init__(
        self, worker: Worker, listener: ListenerTls, generation: ServerContexts, connection: ServerConnection
    ) -> None:
        self._worker = worker
        self._listener = listener
        self._generation = generation
        self._connection = connection
        self._timer: Timer | asyncio.TimerHandle | None = None

    def limit(self, transport: TlsTransport, seconds: float) -> None:
        self._timer = self._worker.loop.call_later(seconds, self._too_long, transport)

    def _too_long(self, transport: TlsTransport) -> None:
        self._listener.timeouts.value += 1
        self._connection.info.termination_details = _TIMEOUT_DETAILS
        transport.give_up()

    def accept_peer(self, transport: TlsTransport) -> None:
        tls = transport.object
        generation = self._generation
        peer = generation.policy.check(tls)
        self._stop(tls)
        local = generation.certificate_of[tls.context]
        info = self._connection.info
        info.tls = found = tls_info(tls, peer, local.leaf)
        info.alpn = tls.selected_alpn_protocol() or ""
        info.handshake_began = transport.began
        info.handshake_complete = self._worker.loop.time()
        self._listener.stats.success(tls, found, peer)

    def failed(self, transport: TlsTransport, failure: TlsFailure | None) -> None:
        self._stop(transport.object)
        info = self._connection.info
        info.tls = unfinished_info(transport.object)
        if failure is not None:
            self._listener.stats.failure(failure.counter)
            info.transport_failure_reason = failure.text
        self._connection.connection_lost(None)

    def broken(self, transport: TlsTransport, failure: TlsFailure) -> None:
        self._listener.stats.failure(failure.counter)
        self._connection.info.transport_failure_reason = failure.text

    def _stop(self, tls: ssl.SSLObject) -> None:
        """The handshake is over, one way or the other."""
        generation = self._generation
        self._connection.give_up = None
        self._listener.stats.staple(generation.staples.outcome(tls))
        if generation.key_log is not None:
            generation.key_log.end(tls)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
