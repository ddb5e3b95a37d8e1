"""Discovery as a whole: in which order what is fetched comes into force, at the start and after it.

The order of the start is Envoy's: the runtime (RTDS), endpoints of the bootstrap's clusters, then CDS and the endpoints
of its clusters, until all of them are warm; then LDS, with the route tables of all listeners. Nothing accepts before
that is done, or the time for it is up (`initial_fetch_timeout`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from meshproxy.model.discovery import ConfigSource
from meshproxy.model.runtime_layer import RuntimeLayer
from meshproxy.model.snapshot import Snapshot
from meshproxy.runtime.discovery.cluster_discovery import ClusterDiscovery
from meshproxy.runtime.discovery.extension_discovery import ExtensionDiscovery
from meshproxy.runtime.discovery.listener_discovery import ListenerDiscovery
from meshproxy.runtime.discovery.route_discovery import RouteDiscovery
from meshproxy.runtime.discovery.runtime_discovery import RuntimeDiscovery
from meshproxy.runtime.discovery.secret_discovery import SecretDiscovery
from meshproxy.runtime.discovery.sources import Host, Source, Sources
from meshproxy.runtime.discovery.target import Target
from meshproxy.runtime.discovery.watch import Hub
from meshproxy.runtime.process.bind import BindError
from meshproxy.runtime.process.configuration import Configuration
from meshproxy.runtime.process.hot_restart import Inherited
from meshproxy.runtime.process.layered_runtime import LayeredRuntime
from meshproxy.runtime.process.options import Options


class Discovery:
    """What a process that owns the configuration has of it. copies: how many workers need listening sockets.

    inherited: listening sockets of an older process.
    """

    def __init__(
        self,
        host: Host,
        configuration: Configuration,
        options: Options,
        target: Target,
        copies: int = 1,
        inherited: Inherited | None = None,
        make_remote: Callable[[ConfigSource, Host], Source] | None = None,
    ) -> None:
        self._configuration = configuration
        self._loop = host.loop
        self.sources = Sources(host, make_remote)
        self.hub = Hub(host, self.sources)
        context = configuration.context
        snapshot = configuration.snapshot
        self.runtime = LayeredRuntime(
            snapshot.layers, snapshot.runtime, host.stats.scope("runtime."), host.log, target.set_runtime
        )
        self._runtime = RuntimeDiscovery(self.hub, self.runtime)
        self.routes = RouteDiscovery(self.hub, target)
        self.extensions = ExtensionDiscovery(self.hub, target)
        self.secrets = SecretDiscovery(self.hub, context, target)
        self.clusters = ClusterDiscovery(self.hub, context, target, self.secrets)
        self.listeners = ListenerDiscovery(
            self.hub, context, target, self.routes, self.secrets, self.extensions, copies, options.drain_time, inherited
        )
        self._waiting = ""
        self._begun = asyncio.Event()
        self._failure: BindError | None = None

    async def prepare_runtime(self) -> None:
        """Fetch the layers of the runtime, before anything that may depend on them."""
        await self._until(self._runtime.start)

    async def prepare_clusters(self) -> None:
        """Fetch what clusters need, and the clusters; when they are warm, begin with the listeners."""
        static: Any = self._configuration.loaded.message
        for message in static.static_resources.clusters:
            self.clusters.adopt(self._configuration.snapshot.clusters[message.name], message)
        source = self._configuration.snapshot.dynamic.clusters
        if source is not None:
            await self._until(self.clusters.when_warm)
            self._waiting = "the clusters (CDS)"
            await self._until(self.clusters.subscribe(source).when_settled)
            self._waiting = ""
        # In the same breath, so that on the wire the request for listeners comes before the last acknowledgement.
        self.clusters.when_warm(self._begin_listeners)
        await self._begun.wait()

    def _begin_listeners(self) -> None:
        """Bind the bootstrap's listeners and ask for the others."""
        self.clusters.holds = True
        self._begun.set()
        static: Any = self._configuration.loaded.message
        messages = static.static_resources.listeners
        try:
            for config, message in zip(self._configuration.snapshot.listeners, messages, strict=True):
                sockets = self.listeners.open_sockets(config) if config.bind_to_port else None
                self.listeners.adopt(config, message, sockets)
        except BindError as error:
            self._failure = error
            return
        source = self._configuration.snapshot.dynamic.listeners
        if source is not None:
            self.listeners.subscribe(source)

    async def prepare_listeners(self) -> None:
        """Wait for the listeners and what they need. Raises BindError."""
        if self._failure is not None:
            raise self._failure
        if self.listeners.watch is not None:
            self._waiting = "the listeners (LDS)"
            await self._until(self.listeners.watch.when_settled)
            self._waiting = ""
        await self._until(self.listeners.when_warm)

    async def _until(self, tell: Callable[[Callable[[], object]], None]) -> None:
        done = asyncio.Event()
        tell(done.set)
        await done.wait()

    def use_layers(self, layers: Sequence[RuntimeLayer]) -> bool:
        """Let these be the layers of the runtime. Returns False when that takes a restart."""
        return self._runtime.use(layers)

    def missing(self) -> list[str]:
        """What a start still waits for, in words."""
        waits = [f"waiting for {self._waiting}"] if self._waiting else []
        return waits + self._runtime.missing() + self.clusters.missing() + self.listeners.missing()

    def snapshot(self) -> Snapshot:
        """The configuration as it is now in force."""
        return replace(
            self._configuration.snapshot,
            clusters={name: entry.config for name, entry in self.clusters.active.items()},
            listeners=tuple(entry.config for entry in self.listeners.active.values()),
        )

    def close(self) -> None:
        """Fetch nothing any more."""
        self.sources.close()  # first, or each watch that closes would still be told to a server
        for watch in list(self.hub.watches):
            watch.close()
