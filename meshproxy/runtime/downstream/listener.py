"""One listener: the way of an accepted socket to its filter chain.

    Acceptor -> listener filters -> the original destination's listener, if handed over -> filter chain -> transport

Invariant: an accepted socket is counted in `downstream_pre_cx_active` while listener filters have it, then its
connection is in `connections` until it is closed; either way it counts for the limits.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Coroutine
from functools import partial
from typing import Any, Protocol

from meshproxy.address import SocketAddress
from meshproxy.model.listener import FilterChain, Listener
from meshproxy.plugin.listener import Socket
from meshproxy.plugin.stream_info import ConnectionInfo, StreamInfo
from meshproxy.runtime.attach import LooseSocket
from meshproxy.runtime.downstream.acceptor import Acceptor
from meshproxy.runtime.downstream.connection import ServerConnection
from meshproxy.runtime.downstream.connection_info import connection_info
from meshproxy.runtime.downstream.filter_chains import ActiveChain, ListenerChains
from meshproxy.runtime.downstream.listener_filters import FilterRun
from meshproxy.runtime.downstream.listener_stats import ListenerStats
from meshproxy.runtime.downstream.listening_socket import OwnName
from meshproxy.runtime.downstream.original_destination import kernel_destination, plain_ip
from meshproxy.runtime.downstream.round_trip import round_trip
from meshproxy.runtime.worker import Worker


class TransportSockets(Protocol):
    """Wraps an accepted socket in what its filter chain configures (TLS); None in the chain means raw."""

    def accept(self, chain: FilterChain, sock: LooseSocket, connection: ServerConnection) -> Any: ...


class Neighbours(Protocol):
    """The other listeners of the worker, as far as one of them asks."""

    def for_destination(self, destination: tuple[str, int]) -> ActiveListener | None:
        """The listener that connections to an address are handed over to."""

    def open_connections(self) -> int:
        """Those that count for the limit of all."""


class ActiveListener:
    """One configured listener in one worker."""

    def __init__(
        self, worker: Worker, config: Listener, others: Neighbours, transport_sockets: TransportSockets | None
    ) -> None:
        self.worker = worker
        self.config = config
        self.stats = ListenerStats(worker, config.stat_name)
        self.connections: set[ServerConnection] = set()
        self.acceptor = Acceptor(worker, config.name, self._accepted)
        self.chains = ListenerChains(config, self.stats.scope)
        self._others = others
        self._transport_sockets = transport_sockets
        self._scopes = [config.scope]
        self._limits = (
            worker.overload is not None or worker.connection_limit is not None or config.connection_limit is not None
        )
        self.counts_for_all = not config.ignore_global_conn_limit and not config.is_internal

    def update_chains(self, config: Listener) -> list[ActiveChain]:
        """Take over a configuration that differs in its filter chains only: an *in-place* update.

        A chain that is the same object stays, with its connections. Returns the chains that are gone.
        """
        self.config = config
        self._scopes.append(config.scope)
        return self.chains.update(config)

    def of_chain(self, chain: ActiveChain) -> list[ServerConnection]:
        """The connections of a filter chain."""
        return [connection for connection in self.connections if connection.chain is chain]

    def let_go(self) -> None:
        """The last connection is gone: the statistics of this configuration go too, unless its successor has them."""
        for scope in self._scopes:
            if scope is not None:
                scope.close()
        self.stats.scope.close()

    def _is_full(self) -> bool:
        """Whether its own limit has been reached; counted then."""
        own = self.config.connection_limit
        if own is not None and self.open_connections >= own.value:
            self.stats.cx_overflow.value += 1
            return True
        return False

    def _turns_away(self) -> bool:
        """Whether there are too many connections for one more; counted then."""
        if self._is_full():
            return True
        overload = self.worker.overload
        limit = overload.max_connections if overload is not None else None
        if limit is None:
            limit = self.worker.most_connections()
        if limit is not None and self.counts_for_all and self._others.open_connections() >= limit:
            self.stats.global_cx_overflow.value += 1
            return True
        if overload is not None and not self.config.bypass_overload_manager and overload.rejects_connection():
            self.stats.cx_overload_reject.value += 1
            return True
        return False

    @property
    def open_connections(self) -> int:
        """Those that came to this listener, also if they are with its listener filters still."""
        return len(self.connections) + self.stats.pre_cx_active.value

    def _accepted(self, accepted: LooseSocket, peer: Any, own: OwnName) -> None:
        if self._limits and self._turns_away():
            accepted.close()
            return
        if own.is_unix:
            local = remote = ("", 0)
        else:
            local = own.fixed or own.of(accepted.fileno())
            remote = peer if own.is_v4 else (plain_ip(peer[0]), peer[1])
        facts = Socket(local, remote, local, remote)
        config = self.config
        if not config.listener_filters:
            self._to_chain(accepted, facts)
            return
        sock = accepted.to_socket()
        sock.setblocking(False)
        if not own.is_unix:
            facts.kernel_destination = kernel_destination(sock, remote[0])
            if facts.kernel_destination is None and config.transparent:
                # Asked last: under TPROXY too, the proxy's calls of its own pod arrive redirected.
                facts.kernel_destination = local
            facts.listening_port = config.address.port if isinstance(config.address, SocketAddress) else 0
        self._filter(sock, facts)

    def _filter(self, accepted: socket.socket, facts: Socket) -> None:
        self.stats.pre_cx_active.value += 1
        done = partial(self._filtered, accepted, facts, self.worker.loop.time())
        FilterRun(self.worker, self.config, accepted, facts, done).run()

    def _filtered(self, accepted: socket.socket, facts: Socket, since: float, refusal: str) -> None:
        """since: when it was accepted, in monotonic seconds."""
        self.stats.pre_cx_active.value -= 1
        if refusal:
            counter = self.stats.refusals.get(refusal)
            if counter is not None:
                counter.value += 1
            info = connection_info(self.worker, self.config, facts)
            info.started = since
            self._refuse(accepted, info)
            return
        if self.config.use_original_dst and facts.local_restored and not facts.internal:
            other = self._others.for_destination(facts.local)
            if other is not None and other is not self:
                other.take(accepted, facts)
                return
        self._to_chain(LooseSocket.of(accepted), facts)

    def take(self, accepted: socket.socket, facts: Socket) -> None:
        """A connection handed over by the listener that accepted it: our own listener filters, then our chains."""
        if self.config.listener_filters:
            self._filter(accepted, facts)
        else:
            self._to_chain(LooseSocket.of(accepted), facts)

    def accept_internal(self, sock: socket.socket, facts: Socket) -> None:
        """See `worker.InternalListener`."""
        if self._is_full():
            sock.close()
        else:
            self.take(sock, facts)

    def _refuse(
        self, accepted: socket.socket | LooseSocket, info: ConnectionInfo, flag: str = "", details: str = ""
    ) -> None:
        """Log a connection that nobody serves, and close it."""
        if self.config.access_logs:
            stream = StreamInfo()
            stream.connection = info
            stream.start, stream.end = info.started, self.worker.loop.time()
            stream.start_wall = time.time() - (stream.end - stream.start)
            if flag:
                stream.add_flag(flag)
                stream.details = details
            self.worker.access_logs.log(self.config.access_logs, stream)
        # With bytes unread the kernel sends RST, without any FIN; Envoy leaves it at that too.
        accepted.close()

    def _to_chain(self, accepted: LooseSocket, facts: Socket) -> None:
        stats = self.stats
        info = connection_info(self.worker, self.config, facts)
        if self.worker.measures():
            info.round_trip = round_trip(accepted)
        chain = self.chains.find(facts)
        if chain is None or not chain.makers:
            if chain is not None and chain.incomplete:
                stats.scope.counter("network_extension_config_missing").inc()
            if chain is None:
                stats.no_filter_chain_match.value += 1
                self._refuse(accepted, info, "NR", "filter_chain_not_found")
            else:
                self._refuse(accepted, info)
            return
        info.connection_id = self.worker.next_connection_id()
        stats.cx_total.value += 1
        stats.worker_cx_total.value += 1
        stats.cx_active.value += 1
        stats.worker_cx_active.value += 1
        info.filter_chain_name = chain.config.name
        try:
            connection = ServerConnection(self.worker, self.config, chain.makers, facts, info, self._closed)
        except BaseException:
            stats.cx_active.value -= 1
            stats.worker_cx_active.value -= 1
            raise
        connection.chain = chain
        self.connections.add(connection)
        loop = self.worker.loop
        sock = accepted.for_loop(loop)
        if chain.config.transport_socket is not None:
            assert self._transport_sockets is not None
            opening = self._transport_sockets.accept(chain.config, sock, connection)
        else:
            opening = loop.connect_accepted_socket(lambda: connection, sock)
        if self._open(opening, connection):
            accepted.disown()  # it is the transport's now
        else:
            accepted.close()

    def _open(self, opening: Coroutine[Any, Any, Any], connection: ServerConnection, _: Any = None) -> bool:
        """Step the coroutine that makes the transport. It waits for a future or two; a task would cost more than it.

        Returns whether it got as far as to have the socket.
        """
        try:
            awaited = opening.send(None)
        except StopIteration:
            return True
        except (OSError, RuntimeError):
            if connection.transport is None:
                connection.connection_lost(None)
            return False
        # What asyncio's tasks do with a future that a coroutine waits for.
        awaited._asyncio_future_blocking = False
        awaited.add_done_callback(partial(self._open, opening, connection))
        return True

    def _closed(self, connection: ServerConnection) -> None:
        if connection not in self.connections:
            return
        self.connections.discard(connection)
        stats = self.stats
        stats.cx_active.value -= 1
        stats.worker_cx_active.value -= 1
        stats.cx_destroy.value += 1
        now = self.worker.loop.time()
        stats.cx_length.record((now - connection.started) * 1000)
        if self.config.access_logs:
            connection.stream.end = now
            connection.stream.access_log_type = ""  # that of a log of the connection's own
            self.worker.access_logs.log(self.config.access_logs, connection.stream)
