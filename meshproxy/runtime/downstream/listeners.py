"""All listeners of a worker: by the addresses that connections are handed over by, and how one comes to be replaced.

A listener may be replaced while it runs: the new one takes its listening sockets over, so that no connection is
refused in between, and the connections that the old one accepted stay with it until they end or are drained.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable
from functools import partial

from meshproxy.address import SocketAddress
from meshproxy.model.listener import Listener
from meshproxy.runtime.downstream.connection import ServerConnection
from meshproxy.runtime.downstream.filter_chains import ActiveChain
from meshproxy.runtime.downstream.http_downstream import DownstreamConnection
from meshproxy.runtime.downstream.listener import ActiveListener, TransportSockets
from meshproxy.runtime.drain import depart
from meshproxy.runtime.worker import Worker


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
        if listener.config.is_internal:
            self.worker.internal_listeners[listener.config.name] = listener
        listener.acceptor.adopt(sockets, listener.config.tcp_backlog_size, held=self.paused)

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
        if self.worker.internal_listeners.get(listener.config.name) is listener:
            del self.worker.internal_listeners[listener.config.name]
        sockets = listener.acceptor.release()
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

    def update_chains(
        self,
        listener: ActiveListener,
        config: Listener,
        drain_time: float,
        *,
        immediate: bool,
        when_over: Callable[[], object],
    ) -> None:
        """Update a listener in place; the connections of chains that are gone end within the drain time."""
        gone = listener.update_chains(config)
        left = set(gone)
        if not left:
            when_over()
        for chain in gone:
            self.worker.departures += 1
            self.chains_draining += 1
            depart(
                self.worker.loop,
                self.worker.rng,
                partial(listener.of_chain, chain),
                drain_time,
                immediate=immediate,
                when_over=partial(self._chain_departed, chain, left, when_over),
            )

    def _chain_departed(self, chain: ActiveChain, left: set[ActiveChain], when_over: Callable[[], object]) -> None:
        left.discard(chain)
        if not left:
            when_over()
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
                listener.acceptor.stop()

    def pause(self, paused: bool) -> None:
        """See `Affected` of the overload manager, which this and the next two are for."""
        self.paused = paused
        for listener in self.active:
            listener.acceptor.hold(paused)

    def open_connections(self) -> int:
        """Those that count for the limit of all."""
        listeners = (*self.active, *self.draining)
        return sum(listener.open_connections for listener in listeners if listener.counts_for_all)

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
