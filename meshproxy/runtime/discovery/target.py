"""Where accepted resources come into force: in this process's worker, or in those of a fleet.

A target is only ever told what is complete: a cluster with its endpoints, a listener whose routes are there. Order,
warming and everything that can be refused is decided before it.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from meshproxy.model.cluster import ClusterConfig
from meshproxy.model.endpoint import Assignment
from meshproxy.model.listener import Listener
from meshproxy.runtime.process.options import Options

if TYPE_CHECKING:
    from meshproxy.runtime.downstream.listeners import Listeners
    from meshproxy.runtime.tls.sockets import WorkerTls
    from meshproxy.runtime.upstream.clusters import Clusters

Opened = Sequence[Sequence[socket.socket]]
"""Bound sockets: for each worker, one for each address."""


class Target(Protocol):
    """What discovery does with the running program. `message`: what the compiled object was compiled from."""

    def set_cluster(self, config: ClusterConfig, message: Any, endpoints: Any, when_warm: Callable[[], object]) -> None:
        """Add or replace a cluster; it takes effect when it is warm. endpoints: what EDS said, which `config` has."""

    def set_endpoints(self, name: str, assignment: Assignment, message: Any, *, warming: bool) -> None:
        """The endpoints of an EDS cluster, of the active one or of the one that warms."""

    def remove_cluster(self, name: str) -> None: ...

    def set_listener(
        self,
        config: Listener,
        message: Any,
        sockets: Opened | None,
        heir_of: str,
        when_drained: Callable[[], object],
    ) -> None:
        """Add a listener, or replace the one called `heir_of` (""). sockets: None takes those of that one over."""

    def update_chains(self, config: Listener, message: Any, when_drained: Callable[[], object]) -> None:
        """Update a listener in place: only its filter chains differ. when_drained: those that are gone are empty."""

    def remove_listener(self, name: str, when_drained: Callable[[], object]) -> None: ...

    def set_routes(self, name: str, source: Any, message: Any) -> None:
        """The route slots of this name have been filled."""

    def set_extension(self, kind: str, name: str, message: Any) -> None:
        """The filters that wait for this configuration have it; None: it is gone. kind: of filter."""

    def set_secret(self, name: str, message: Any) -> None:
        """The TLS slots that wait for this secret have it."""

    def set_runtime(self, values: dict[str, Any]) -> None:
        """These are the values of the runtime from now on; who follows them in this process was told."""


class LocalTarget:
    """The worker in this process."""

    def __init__(self, clusters: Clusters, listeners: Listeners, tls: WorkerTls, options: Options) -> None:
        self._clusters = clusters
        self._listeners = listeners
        self._tls = tls
        self._drain_time = options.drain_time
        self._immediate = options.drain_strategy == "immediate"

    def set_cluster(self, config: ClusterConfig, message: Any, endpoints: Any, when_warm: Callable[[], object]) -> None:
        """See `Target`."""
        self._clusters.set(config, when_warm)

    def set_endpoints(self, name: str, assignment: Assignment, message: Any, *, warming: bool) -> None:
        """See `Target`."""
        self._clusters.set_endpoints(name, assignment, warming=warming)

    def remove_cluster(self, name: str) -> None:
        """See `Target`."""
        self._clusters.remove(name)

    def set_listener(
        self,
        config: Listener,
        message: Any,
        sockets: Opened | None,
        heir_of: str,
        when_drained: Callable[[], object],
    ) -> None:
        """See `Target`."""
        listeners = self._listeners
        self._tls.add_listener(config)
        listener = listeners.make(config)  # before the old one is touched: what fails here changes nothing
        before = listeners.find(heir_of) if heir_of else None
        own = list(sockets[0]) if sockets else []
        if before is not None:
            if sockets is not None:
                before.acceptor.stop()
            given = listeners.retire(before, self._drain_time, immediate=self._immediate, when_over=when_drained)
            own = own or given
        listeners.activate(listener, own)

    def update_chains(self, config: Listener, message: Any, when_drained: Callable[[], object]) -> None:
        """See `Target`."""
        listener = self._listeners.find(config.name)
        if listener is not None:
            self._tls.add_listener(config)
            self._listeners.update_chains(
                listener, config, self._drain_time, immediate=self._immediate, when_over=when_drained
            )

    def remove_listener(self, name: str, when_drained: Callable[[], object]) -> None:
        """See `Target`."""
        listener = self._listeners.find(name)
        if listener is not None:
            listener.acceptor.stop()
            self._listeners.retire(listener, self._drain_time, immediate=self._immediate, when_over=when_drained)

    def set_routes(self, name: str, source: Any, message: Any) -> None:
        """Who uses a slot was told by the slot itself."""

    def set_extension(self, kind: str, name: str, message: Any) -> None:
        """As above."""

    def set_secret(self, name: str, message: Any) -> None:
        """As above."""

    def set_runtime(self, values: dict[str, Any]) -> None:
        """As above."""

    def owners(self) -> list[ClusterConfig | Listener]:
        """Every cluster and listener that is in force here."""
        return [cluster.config for cluster in self._clusters] + [each.config for each in self._listeners.active]
