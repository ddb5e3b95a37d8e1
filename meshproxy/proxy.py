"""The composition root: what the program is made of, and in which order it comes to life.

    bootstrap text -> messages with places -> snapshot          (config)
    snapshot -> worker -> clusters -> listeners                 (runtime)
    socket -> listener filters -> chain -> network filters      (runtime, chain)
           -> codec -> HTTP filters -> router -> cluster -> host and back
    admin beside it

Nothing here decides anything about a request; `docs/life-of-a-request.md` follows one through the parts.
"""

from __future__ import annotations

import asyncio
import gc
import random
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import structlog

from meshproxy.clock import SystemClock
from meshproxy.config.bootstrap import compile_bootstrap
from meshproxy.config.bootstrap_load import Loaded, Source, load_bootstrap
from meshproxy.config.context import CompileContext
from meshproxy.errors import Problem
from meshproxy.model.listener import Listener
from meshproxy.model.snapshot import Node, Snapshot, StatsConfig
from meshproxy.plugin.context import Logger
from meshproxy.plugin.registry import FilterRegistry
from meshproxy.runtime.access_log_files import AccessLogFiles
from meshproxy.runtime.clusters import Clusters
from meshproxy.runtime.listener import Listeners, open_socket
from meshproxy.runtime.worker import Worker
from meshproxy.telemetry.formats import Formats
from meshproxy.telemetry.operand import FormatContext
from meshproxy.telemetry.stats import StatsStore


def tune_collector() -> None:
    """Let the garbage collector alone with what lives as long as the configuration does.

    A request leaves no reference cycles, so a collection every few hundred allocations finds nothing and costs time.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)


class DeferredStats:
    """The store that filters make their handles in while a configuration is compiled.

    What the store keeps depends on `stats_config`, which is part of the configuration being compiled; until it is
    known everything is kept.
    """

    def __init__(self) -> None:
        self._config: StatsConfig | None = None
        self.store = StatsStore(self._accepts)

    def _accepts(self, name: str) -> bool:
        config = self._config
        if config is None:
            return True
        if config.inclusion is not None:
            return bool(config.inclusion(name))
        return config.exclusion is None or not config.exclusion(name)

    def settle(self, config: StatsConfig) -> None:
        """From now on keep what `config` says."""
        self._config = config


@dataclass(frozen=True, slots=True)
class Configuration:
    """A bootstrap that can be run: loaded, compiled, nothing opened yet."""

    snapshot: Snapshot
    loaded: Loaded
    stats: StatsStore
    warnings: tuple[Problem, ...]
    rng: random.Random


def load_configuration(
    sources: Sequence[Source],
    *,
    node: Node | None = None,
    registry: FilterRegistry | None = None,
    allow_unknown_fields: bool = False,
    seed: int | None = None,
) -> Configuration:
    """Read and compile a bootstrap. Raises ConfigError with every problem found."""
    loaded = load_bootstrap(sources, allow_unknown_fields=allow_unknown_fields)
    stats = DeferredStats()
    rng = random.Random(seed)
    context = CompileContext(
        registry=registry or FilterRegistry.discover(),
        stats=stats.store.scope(""),
        configure_stats=stats.settle,
        make_logger=make_logger,
        clock=SystemClock(),
        rng=rng,
        formats=Formats(FormatContext(hostname=socket.gethostname())),
        node=node or Node(),
    )
    snapshot = compile_bootstrap(loaded.view, context)
    return Configuration(snapshot, loaded, stats.store, (*loaded.warnings, *context.warnings), rng)


def make_logger(name: str) -> Logger:
    """The program's log with a name bound."""
    logger: Logger = structlog.get_logger(logger_name=name)
    return logger


class Proxy:
    """One worker's proxy over a compiled configuration."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        configuration: Configuration,
        *,
        log_flush_interval: float = 10.0,
        log_flush_size: int = 65536,
    ) -> None:
        snapshot = configuration.snapshot
        self.configuration = configuration
        self.snapshot = snapshot
        stats = configuration.stats
        self.worker = Worker(
            loop,
            stats=stats,
            access_logs=AccessLogFiles(loop, stats.scope(""), log_flush_interval, log_flush_size),
            log=make_logger("main"),
            rng=configuration.rng,
            node=snapshot.node,
        )
        self.worker.clusters = Clusters(self.worker, snapshot.clusters)
        self.listeners = Listeners(self.worker)

    def open_sockets(self) -> dict[str, list[socket.socket]]:
        """Bind the sockets of all listeners, by listener name. Raises OSError; then none stays open."""
        opened: dict[str, list[socket.socket]] = {}
        try:
            for listener in self.snapshot.listeners:
                if listener.bind_to_port:
                    opened[listener.name] = [open_socket(listener, address) for address in addresses(listener)]
        except OSError:
            for sockets in opened.values():
                for sock in sockets:
                    sock.close()
            raise
        return opened

    def start(self, sockets: Mapping[str, list[socket.socket]]) -> None:
        """Begin to serve."""
        for listener in self.snapshot.listeners:
            self.listeners.add(listener, sockets.get(listener.name, ()))

    async def drain(self, timeout: float) -> int:
        """Stop accepting and let what is in flight finish, for at most `timeout` seconds.

        Returns how many connections were still open at the end.
        """
        self.worker.draining = True
        self.worker.drain_probability = 1.0
        self.listeners.stop()
        deadline = self.worker.loop.time() + timeout
        while (busy := self.busy_connections()) and self.worker.loop.time() < deadline:
            await asyncio.sleep(0.02)
        return len(busy)

    def busy_connections(self) -> list[Any]:
        """Connections that a drain waits for: those with a request in flight, and all raw ones."""
        return [connection for connection in self.listeners.connections() if connection.busy]

    def close(self) -> None:
        """Write the logs out and let go of everything."""
        self.worker.clusters.close()
        self.worker.access_logs.close()


def addresses(listener: Listener) -> list[Any]:
    """Every address a listener binds."""
    return [listener.address, *listener.additional_addresses]
