"""The TLS transport sockets as the composition root gives them to `config`, and to the worker.

This module imports nothing of `ssl` or `cryptography`: a proxy without TLS pays neither their memory nor their time.
What needs them is imported when the first TLS context is compiled.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from meshproxy.config.tls.tls import (
    DOWNSTREAM_TLS,
    START_TLS,
    UPSTREAM_TLS,
    compile_downstream_tls,
    compile_upstream_tls,
    refuse_start_tls,
)
from meshproxy.config.values.context import CompileContext, TransportSocketCompiler
from meshproxy.model.cluster import ClusterConfig
from meshproxy.model.listener import Listener, TransportSocket
from meshproxy.model.snapshot import Snapshot
from meshproxy.plugin.view import ConfigView

if TYPE_CHECKING:
    from meshproxy.runtime.tls.client import ClusterTls
    from meshproxy.runtime.tls.watch import Watcher
    from meshproxy.runtime.worker import Worker


def _downstream(view: ConfigView, context: CompileContext) -> TransportSocket:
    from meshproxy.runtime.tls.failures import MaterialError
    from meshproxy.runtime.tls.slots import server_slot

    config = compile_downstream_tls(view, context)
    try:
        return TransportSocket("tls", server_slot(config))
    except MaterialError as error:
        view.fail(str(error))


def _upstream(view: ConfigView, context: CompileContext) -> TransportSocket:
    from meshproxy.runtime.tls.failures import MaterialError
    from meshproxy.runtime.tls.slots import client_slot

    config = compile_upstream_tls(view, context)
    try:
        return TransportSocket("tls", client_slot(config))
    except MaterialError as error:
        view.fail(str(error))


def _start_tls(view: ConfigView, context: CompileContext) -> TransportSocket:
    refuse_start_tls(view, context)
    raise AssertionError("unreachable")


COMPILERS: dict[str, TransportSocketCompiler] = {
    DOWNSTREAM_TLS: _downstream,
    UPSTREAM_TLS: _upstream,
    **dict.fromkeys(START_TLS, _start_tls),
}
"""For `CompileContext.transport_sockets`."""


class WorkerTls:
    """TLS of one worker; what it needs is made when something asks for it."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._watcher: Watcher | None = None
        self._server: Any = None

    def _watch(self) -> Watcher:
        if self._watcher is None:
            from meshproxy.runtime.tls.watch import Watcher

            self._watcher = Watcher(self._worker.loop, self._worker.log)
        return self._watcher

    def accept(self, chain: Any, sock: Any, connection: Any) -> Any:
        """See `meshproxy.runtime.downstream.listener.TransportSockets`."""
        return self._server_tls().accept(chain, sock, connection)

    def _server_tls(self) -> Any:
        if self._server is None:
            from meshproxy.runtime.tls.server import ServerTls

            self._server = ServerTls(self._worker, self._watch())
        return self._server

    def add_listeners(self, snapshot: Snapshot) -> None:
        """Watch the files of every chain that has TLS."""
        for listener in snapshot.listeners:
            self.add_listener(listener)

    def add_listener(self, listener: Listener) -> None:
        """Watch the files of one listener's chains."""
        default = listener.default_filter_chain
        for chain in (*listener.filter_chains, *((default,) if default is not None else ())):
            if chain.transport_socket is not None:
                self._server_tls().add(chain, listener.stat_name)

    def cluster_tls(self, config: ClusterConfig) -> ClusterTls | None:
        """For `Clusters`: how to wrap connections to a cluster's hosts; None for raw ones."""
        if config.transport_socket is None and not config.transport_socket_matches:
            return None
        from meshproxy.runtime.tls.client import ClusterTls

        return ClusterTls(self._worker, config, self._watch())

    def close(self) -> None:
        """Stop watching files."""
        if self._watcher is not None:
            self._watcher.close()
