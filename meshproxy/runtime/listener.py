"""Listeners: sockets that accept, and the way of an accepted socket to its filter chain.

    accept -> listener filters -> the listener of the original destination, if handed over -> filter chain -> transport

A listener may be replaced while it runs: the new one takes its listening sockets over, so that no connection is
refused in between, and the connections that the old one accepted stay with it until they end or are drained.

Accepting is our own loop over a non-blocking socket rather than the event loop's server, because between accept and
transport there is work on the bare socket: SO_ORIGINAL_DST, peeking, choosing the chain. When the process has no file
descriptor left, accepting stops for a moment instead of spinning on a socket that stays readable.
"""

from __future__ import annotations

import asyncio
import errno
import socket
import time
from collections.abc import Callable, Coroutine, Iterable
from functools import partial
from typing import Any, Protocol

from meshproxy.address import SocketAddress
from meshproxy.chain.match import FilterChainMatcher
from meshproxy.chain.match_tree import TreeChainMatcher
from meshproxy.model.listener import FilterChain, Listener
from meshproxy.plugin.listener import Socket
from meshproxy.plugin.stats import StatsScope
from meshproxy.plugin.stream_info import ConnectionInfo, StreamInfo
from meshproxy.runtime.connection import Maker, ServerConnection
from meshproxy.runtime.drain import depart
from meshproxy.runtime.http_downstream import DownstreamConnection
from meshproxy.runtime.listener_filters import CONFIG_MISSING, FilterRun
from meshproxy.runtime.listener_stats import ListenerStats
from meshproxy.runtime.listening_socket import AcceptedSocket, OwnName
from meshproxy.runtime.original_destination import kernel_destination, plain_ip
from meshproxy.runtime.worker import Worker

_ACCEPT_BATCH = 64
_ACCEPT_PAUSE = 0.1
_OUT_OF_DESCRIPTORS = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


class TransportSockets(Protocol):
    """Wraps an accepted socket in what its filter chain configures (TLS); None in the chain means raw."""

    def accept(self, chain: FilterChain, sock: AcceptedSocket, connection: ServerConnection) -> Any: ...


def text(address: tuple[str, int]) -> str:
    """`ip:port`, IPv6 in brackets."""
    ip, port = address
    return f"[{ip}]:{port}" if ":" in ip else f"{ip}:{port}"


class ActiveChain:
    """A filter chain with what its filters' instances share in this worker."""

    __slots__ = ("__weakref__", "_scope", "config", "incomplete", "makers")

    def __init__(self, config: FilterChain, scope: StatsScope) -> None:
        """scope: the listener's."""
        self.config = config
        self._scope = scope
        for spec in config.filters:
            if spec.slot is not None:
                spec.slot.attach(self)
        self.use_filters()

    def use_filters(self) -> None:
        """Make them anew, for the connections that come from now on: discovery may have changed one."""
        specs = [spec.current() for spec in self.config.filters]
        self.incomplete = None in specs
        self.makers: tuple[Maker, ...] = ()
        if not self.incomplete:
            self.makers = tuple(
                (spec.filter_class, spec.filter_class.for_worker(spec.config, spec.context, self._scope), spec.context)
                for spec in specs
                if spec is not None
            )


class ActiveListener:
    """One configured listener in one worker."""

    def __init__(
        self, worker: Worker, config: Listener, listeners: Listeners, transport_sockets: TransportSockets | None
    ) -> None:
        self.worker = worker
        self.config = config
        self.stats = ListenerStats(worker, config.stat_name)
        self.connections: set[ServerConnection] = set()
        self.sockets: list[socket.socket] = []
        self._listeners = listeners
        self._transport_sockets = transport_sockets
        self._chains: dict[FilterChain, ActiveChain] = {}
        self._scopes = [config.scope]
        self._build_chains()
        self._paused: set[int] = set()
        self._limits = worker.overload is not None or config.connection_limit is not None
        self._own_names: dict[socket.socket, OwnName] = {}

    def _build_chains(self) -> list[ActiveChain]:
        """Make the chains that are new, keep those that stay. Returns those that are gone."""
        config = self.config
        before = self._chains
        default = config.default_filter_chain
        wanted = [*config.filter_chains, *((default,) if default is not None else ())]
        scope = self.stats.scope
        self._chains = {chain: before.get(chain) or ActiveChain(chain, scope) for chain in wanted}
        otherwise = self._chains[default] if default is not None else None
        self._matcher: FilterChainMatcher[ActiveChain] | TreeChainMatcher[ActiveChain]
        if config.chain_tree is not None:
            by_name = {chain.name: self._chains[chain] for chain in config.filter_chains}
            self._matcher = TreeChainMatcher(config.chain_tree, by_name, otherwise)
        else:
            self._matcher = FilterChainMatcher.build(
                [(chain.match, self._chains[chain]) for chain in config.filter_chains], otherwise
            )
        return [active for chain, active in before.items() if chain not in self._chains]

    def update_chains(self, config: Listener) -> list[ActiveChain]:
        """Take over a configuration that differs in its filter chains only: an *in-place* update.

        A chain that is the same object stays, with its connections. Returns the chains that are gone.
        """
        self.config = config
        self._scopes.append(config.scope)
        return self._build_chains()

    def of_chain(self, chain: ActiveChain) -> list[ServerConnection]:
        """The connections of a filter chain."""
        return [connection for connection in self.connections if connection.chain is chain]

    def let_go(self) -> None:
        """The last connection is gone: the statistics of this configuration go too, unless its successor has them."""
        for scope in self._scopes:
            if scope is not None:
                scope.close()
        self.stats.scope.close()

    def release(self) -> list[socket.socket]:
        """Stop accepting and give the listening sockets away, open; what waits in them is the next owner's."""
        sockets, self.sockets = self.sockets, []
        for sock in sockets:
            if sock.fileno() not in self._paused:
                self.worker.loop.remove_reader(sock.fileno())
        self._own_names.clear()
        return sockets

    def adopt(self, sockets: Iterable[socket.socket]) -> None:
        """Take bound sockets over and begin to accept."""
        for sock in sockets:
            sock.listen(self.config.tcp_backlog_size)
            self.sockets.append(sock)
            self._own_names[sock] = OwnName(sock)
            if self._listeners.paused:
                self._paused.add(sock.fileno())
            else:
                self.worker.loop.add_reader(sock.fileno(), self._accept, sock)

    def stop(self) -> None:
        """Stop accepting. What was accepted lives on."""
        for sock in self.sockets:
            self.worker.loop.remove_reader(sock.fileno())
            while self._accept(sock):
                pass  # whoever is in the backlog thinks to be connected already
            sock.close()
        self.sockets.clear()
        self._own_names.clear()

    @property
    def listening(self) -> bool:
        return bool(self.sockets)

    def _accept(self, sock: socket.socket) -> bool:
        """Accept what waits. Returns whether more may wait."""
        own = self._own_names.get(sock)
        if own is None:
            return False  # given away while the loop was on its way here
        for _ in range(_ACCEPT_BATCH):
            try:
                descriptor, peer = sock._accept()  # type: ignore[attr-defined]  # what accept() itself calls
            except BlockingIOError:
                return False
            except OSError as error:
                if error.errno in _OUT_OF_DESCRIPTORS:
                    self._pause(sock, error)
                    return False
                continue  # the client was gone before we came (ECONNABORTED and its like)
            accepted = AcceptedSocket(descriptor, own.family)
            try:
                self._accepted(accepted, peer, own)
            except Exception as error:  # one connection's bad luck must not end the accept loop
                accepted.close()
                self.worker.log.error("accept failed", listener=self.config.name, error=repr(error))
        return True

    def pause(self, paused: bool) -> None:
        """Leave whoever comes in the backlog, or take them again."""
        for sock in self.sockets:
            if not paused:
                self._resume(sock)
            elif sock.fileno() not in self._paused:
                self._paused.add(sock.fileno())
                self.worker.loop.remove_reader(sock.fileno())

    def _turns_away(self) -> bool:
        """Whether there are too many connections for one more; counted then."""
        limit = self.config.connection_limit
        if limit is not None and self.open_connections >= limit:
            self.stats.cx_overflow.value += 1
            return True
        overload = self.worker.overload
        if overload is None:
            return False
        limit = None if self.config.ignore_global_conn_limit else overload.max_connections
        if limit is not None and self._listeners.open_connections() >= limit:
            self.stats.global_cx_overflow.value += 1
            return True
        if not self.config.bypass_overload_manager and overload.rejects_connection():
            self.stats.cx_overload_reject.value += 1
            return True
        return False

    @property
    def open_connections(self) -> int:
        """Those that came to this listener, also if they are with its listener filters still."""
        return len(self.connections) + self.stats.pre_cx_active.value

    def _pause(self, sock: socket.socket, error: OSError) -> None:
        if sock.fileno() in self._paused:
            return
        self._paused.add(sock.fileno())
        self.worker.loop.remove_reader(sock.fileno())
        self.worker.log.warning("accepting paused", listener=self.config.name, error=error.strerror)
        self.worker.loop.call_later(_ACCEPT_PAUSE, self._resume, sock)

    def _resume(self, sock: socket.socket) -> None:
        if self._listeners.paused:
            return
        self._paused.discard(sock.fileno())
        if sock in self.sockets:
            self.worker.loop.add_reader(sock.fileno(), self._accept, sock)

    def _accepted(self, accepted: AcceptedSocket, peer: Any, own: OwnName) -> None:
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
        if not config.listener_filters and not config.use_original_dst:
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
        FilterRun(self.worker, self.config, accepted, facts, partial(self._filtered, accepted, facts)).run()

    def _filtered(self, accepted: socket.socket, facts: Socket, refusal: str) -> None:
        self.stats.pre_cx_active.value -= 1
        if refusal:
            if refusal == "timeout":
                self.stats.pre_cx_timeout.value += 1
            elif refusal == CONFIG_MISSING:
                self.stats.scope.counter(CONFIG_MISSING).inc()
            self._refuse(accepted)
            return
        if self.config.use_original_dst and facts.local_restored:
            other = self._listeners.for_destination(facts.local)
            if other is not None and other is not self:
                other.take(accepted, facts)
                return
        self._to_chain(AcceptedSocket.of(accepted), facts)

    def take(self, accepted: socket.socket, facts: Socket) -> None:
        """A connection handed over by the listener that accepted it: our own listener filters, then our chains."""
        if self.config.listener_filters:
            self._filter(accepted, facts)
        else:
            self._to_chain(AcceptedSocket.of(accepted), facts)

    @staticmethod
    def _refuse(accepted: socket.socket | AcceptedSocket) -> None:
        # With bytes unread the kernel sends RST, without any FIN; Envoy leaves it at that too.
        accepted.close()

    def _to_chain(self, accepted: AcceptedSocket, facts: Socket) -> None:
        stats = self.stats
        info = self._connection_info(facts)
        chain = self._matcher.find(facts)
        if chain is None or not chain.makers:
            if chain is not None and chain.incomplete:
                stats.scope.counter("network_extension_config_missing").inc()
            self._no_chain(accepted, info, matched=chain is not None)
            return
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
        # asyncio's own loop, which the parent of workers has, reads and writes by the socket's methods.
        sock: Any = accepted.to_socket() if isinstance(loop, asyncio.BaseEventLoop) else accepted
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

    def _connection_info(self, facts: Socket) -> ConnectionInfo:
        info = ConnectionInfo()
        info.connection_id = self.worker.next_connection_id()
        local, remote = facts.local, facts.remote
        if facts.direct_local[0]:
            info.local_address = here = text(local)
            info.remote_address = there = text(remote)
            if facts.local_restored:
                info.original_destination = local
            info.direct_local_address = here if local is facts.direct_local else text(facts.direct_local)
            info.direct_remote_address = there if remote is facts.direct_remote else text(facts.direct_remote)
            if facts.proxy_tlvs is not None:
                info.proxy_tlvs = facts.proxy_tlvs
        config = self.config
        info.listener_name = config.name
        if config.traffic_direction != "UNSPECIFIED":
            info.listener_direction = config.traffic_direction
        if config.metadata:
            info.listener_metadata = config.metadata
        if facts.server_name:
            info.requested_server_name = facts.server_name
        info.started = self.worker.loop.time()
        return info

    def _no_chain(self, accepted: AcceptedSocket, info: ConnectionInfo, *, matched: bool) -> None:
        if not matched:
            self.stats.no_filter_chain_match.value += 1
        stream = StreamInfo()
        stream.connection = info
        stream.start_wall = time.time()
        stream.start = stream.end = self.worker.loop.time()
        if not matched:
            stream.add_flag("NR")
            stream.details = "filter_chain_not_found"
        self.worker.access_logs.log(self.config.access_logs, stream)
        self._refuse(accepted)

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
            self.worker.access_logs.log(self.config.access_logs, connection.stream)


class Listeners:
    """The listeners of one worker, by the addresses that connections are handed over by.

    draining: listeners that were replaced or removed, as long as they have connections. chains_draining: how many
    filter chains of active listeners are in the same state. paused: nothing is accepted for now.
    """

    def __init__(self, worker: Worker, transport_sockets: TransportSockets | None = None) -> None:
        self.worker = worker
        self.active: list[ActiveListener] = []
        self.draining: list[ActiveListener] = []
        self.chains_draining = 0
        self.paused = False
        self._transport_sockets = transport_sockets
        self._by_address: dict[tuple[str, int], ActiveListener] = {}

    def make(self, config: Listener) -> ActiveListener:
        """A listener that nobody comes to yet: for one that warms."""
        return ActiveListener(self.worker, config, self, self._transport_sockets)

    def add(self, config: Listener, sockets: Iterable[socket.socket]) -> ActiveListener:
        """Start a listener on sockets that are bound already (none for `bind_to_port: false`)."""
        listener = self.make(config)
        self.activate(listener, sockets)
        return listener

    def activate(self, listener: ActiveListener, sockets: Iterable[socket.socket]) -> None:
        """Let connections come to a listener: through its sockets, and from others that hand them over."""
        self.active.append(listener)
        for address in (listener.config.address, *listener.config.additional_addresses):
            if isinstance(address, SocketAddress):
                self._by_address[address.ip, address.port] = listener
        listener.adopt(sockets)

    def find(self, name: str) -> ActiveListener | None:
        """The active listener of this name."""
        return next((listener for listener in self.active if listener.config.name == name), None)

    def retire(
        self,
        listener: ActiveListener,
        drain_time: float,
        *,
        immediate: bool,
        when_over: Callable[[], object] = lambda: None,
    ) -> list[socket.socket]:
        """Take a listener out of service: it gives its sockets away and its connections end within the drain time."""
        self.active.remove(listener)
        for key in [key for key, other in self._by_address.items() if other is listener]:
            del self._by_address[key]
        sockets = listener.release()
        self.draining.append(listener)
        self.worker.departures += 1
        depart(
            self.worker.loop,
            self.worker.rng,
            partial(list, listener.connections),
            drain_time,
            immediate=immediate,
            when_over=partial(self._departed, listener, when_over),
        )
        return sockets

    def _departed(self, listener: ActiveListener, when_over: Callable[[], object]) -> None:
        when_over()
        self.worker.departures -= 1
        self.draining.remove(listener)
        self.worker.loop.call_soon(listener.let_go)

    def update_chains(self, listener: ActiveListener, config: Listener, drain_time: float, *, immediate: bool) -> None:
        """Update a listener in place; the connections of chains that are gone end within the drain time."""
        for chain in listener.update_chains(config):
            self.worker.departures += 1
            self.chains_draining += 1
            depart(
                self.worker.loop,
                self.worker.rng,
                partial(listener.of_chain, chain),
                drain_time,
                immediate=immediate,
                when_over=partial(self._chain_departed, chain),
            )

    def _chain_departed(self, chain: ActiveChain) -> None:
        self.worker.departures -= 1
        self.chains_draining -= 1
        if chain.config.scope is not None:
            self.worker.loop.call_soon(chain.config.scope.close)

    def for_destination(self, destination: tuple[str, int]) -> ActiveListener | None:
        """The listener of exactly this address, else of the wildcard address with this port (Envoy's order)."""
        ip, port = destination
        found = self._by_address.get((ip, port))
        if found is None:
            found = self._by_address.get(("::" if ":" in ip else "0.0.0.0", port))
        if found is None and ":" not in ip:
            any_v6 = self._by_address.get(("::", port))
            if any_v6 is not None and any_v6.config.ipv4_compat:
                found = any_v6
        return found

    def stop(self, which: Callable[[Listener], bool] = lambda _: True) -> None:
        """Stop accepting on those listeners."""
        for listener in self.active:
            if which(listener.config):
                listener.stop()

    def pause(self, paused: bool) -> None:
        """See `Affected` of the overload manager, which this and the next two are for."""
        self.paused = paused
        for listener in self.active:
            listener.pause(paused)

    def open_connections(self) -> int:
        """Those that count for the limit of all."""
        listeners = (*self.active, *self.draining)
        return sum(listener.open_connections for listener in listeners if not listener.config.ignore_global_conn_limit)

    def look_again(self) -> None:
        """Timeouts may have become shorter."""
        for connection in self.connections():
            terminal = connection.terminal
            if isinstance(terminal, DownstreamConnection):
                terminal.look_again()

    def carry_traffic(self) -> bool:
        """Whether anybody is connected to a listener that is in service."""
        return any(listener.connections for listener in self.active)

    def connections(self) -> list[ServerConnection]:
        return [c for listener in (*self.active, *self.draining) for c in listener.connections]
