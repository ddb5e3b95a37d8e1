"""TLS to hosts: a cluster's transport socket, or the one that a host's metadata selects."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from meshproxy.model.cluster import ClusterConfig
from meshproxy.model.listener import TransportSocket
from meshproxy.plugin.stream_info import TlsInfo
from meshproxy.runtime.attach import attach
from meshproxy.runtime.tls.client_contexts import ClientContext
from meshproxy.runtime.tls.failures import TlsFailure, not_ready
from meshproxy.runtime.tls.info import tls_info
from meshproxy.runtime.tls.slots import ClientSlot
from meshproxy.runtime.tls.stats import SecretUpdates, TlsStats
from meshproxy.runtime.tls.transport import TlsTransport
from meshproxy.runtime.tls.watch import Watcher
from meshproxy.runtime.upstream.connections.auto_sni import NO_NAME, ServerName

if TYPE_CHECKING:
    from meshproxy.balance.host import Host
    from meshproxy.runtime.worker import Worker


class ClusterTls:
    """How connections to the hosts of one cluster are wrapped."""

    def __init__(self, worker: Worker, config: ClusterConfig, watcher: Watcher) -> None:
        self._config = config
        self._scope = scope = worker.stats.scope(f"cluster.{config.alt_stat_name or config.name}.")
        self._stats = TlsStats(scope)
        factory = scope.scope("client_ssl_socket_factory.")
        self._not_ready = factory.counter("upstream_context_secrets_not_ready")
        updates = SecretUpdates(factory, counts=worker.is_first)
        self._matched = {
            match.name: scope.counter(f"{match.name}.total_match_count") for match in config.transport_socket_matches
        }
        for entry in (config.transport_socket, *(match.socket for match in config.transport_socket_matches)):
            if entry is not None:
                watcher.add(entry.config)
                updates.follow(entry.config)

    def close(self) -> None:
        """The cluster is gone, and its last connection."""
        self._scope.close()

    def socket_for(self, host: Host) -> TransportSocket | None:
        """The first match whose every entry the host's metadata has, else the cluster's own; None is raw."""
        for match in self._config.transport_socket_matches:
            if match.selects(host.metadata):
                self._matched[match.name].value += 1
                return match.socket
        return self._config.transport_socket

    async def connect(
        self,
        loop: asyncio.AbstractEventLoop,
        sock: socket.SocketType,
        host: Host,
        protocol: Callable[[], Any],
        asked: ServerName = NO_NAME,
    ) -> Any:
        """Wrap a connected socket and shake hands. Returns the protocol. Raises OSError (TlsFailure).

        asked: the names that the request makes of it, in place of what is configured.
        """
        wanted = self.socket_for(host)
        if wanted is None:
            made = protocol()
            attach(loop, sock, made)
            return made
        slot: ClientSlot = wanted.config
        generation = slot.generation
        if generation is None:
            self._not_ready.value += 1
            raise not_ready()
        config = slot.config
        name = asked.sni or config.sni
        if config.auto_host_sni and host.hostname:
            name = host.hostname
        own_name = name if config.auto_sni_san_validation else ""
        app = protocol()
        handshake = _Handshake(loop, self._stats, generation, app, (own_name, asked.san))
        context = generation.context_for(getattr(app, "alpn_fallback", ""), asked.alpn)
        transport = TlsTransport(loop, context, app, handshake, server_side=False, server_hostname=name or None)
        if generation.key_log is not None:
            generation.key_log.begin(transport.object, sock)
        attach(loop, sock, transport)
        try:
            await handshake.done
        except asyncio.CancelledError:
            transport.give_up()
            raise
        return app


class _Handshake:
    """One handshake (a `HandshakeOwner`). done: set when the host is accepted, or failed."""

    __slots__ = ("_app", "_generation", "_names", "_stats", "done")

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        stats: TlsStats,
        generation: ClientContext,
        app: Any,
        names: tuple[str, str],
    ) -> None:
        self.done: asyncio.Future[None] = loop.create_future()
        self._stats = stats
        self._generation = generation
        self._app = app
        self._names = names

    def accept_peer(self, transport: TlsTransport) -> None:
        tls = transport.object
        generation = self._generation
        peer = generation.policy.check(tls, *self._names)
        local = generation.certificates[0].leaf if generation.certificates else None
        info: TlsInfo = tls_info(tls, peer, local)
        self._app.tls = info
        self._app.handshake_began = transport.began
        self._stats.success(tls, info, peer)
        self._end(tls)
        if not self.done.done():
            self.done.set_result(None)

    def _end(self, tls: ssl.SSLObject) -> None:
        if self._generation.key_log is not None:
            self._generation.key_log.end(tls)

    def failed(self, transport: TlsTransport, failure: TlsFailure | None) -> None:
        self._end(transport.object)
        if failure is not None:
            self._stats.failure(failure.counter)
        if not self.done.done():
            self.done.set_exception(failure or TlsFailure("", ""))

    def broken(self, transport: TlsTransport, failure: TlsFailure) -> None:
        self._stats.failure(failure.counter)
