"""One worker: everything that carries traffic, in one process with one loop."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Mapping
from functools import partial

from meshproxy.runtime.admin.start import tag_producer
from meshproxy.runtime.downstream.listeners import Listeners
from meshproxy.runtime.drain import cut_off, finish
from meshproxy.runtime.process.configuration import Configuration, make_logger
from meshproxy.runtime.process.heap import HeapKeeper
from meshproxy.runtime.process.lifecycle import Lifecycle
from meshproxy.runtime.process.options import Options
from meshproxy.runtime.process.program_log import PROGRAM_LOG
from meshproxy.runtime.process.watchdog import LoopWatch
from meshproxy.runtime.reporting.access_log_files import AccessLogFiles
from meshproxy.runtime.reporting.stats_sinks import StatsSinks
from meshproxy.runtime.tls.sockets import WorkerTls
from meshproxy.runtime.upstream.clusters import Clusters
from meshproxy.runtime.worker import Worker
from meshproxy.runtime.workers.worker_control import WorkerControl
from meshproxy.telemetry.stats import StatsStore


class Proxy:
    """One worker: what carries traffic, in one process with one loop."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        configuration: Configuration,
        options: Options,
        lifecycle: Lifecycle,
        index: int = 0,
    ) -> None:
        snapshot = configuration.snapshot
        self.configuration = configuration
        self.snapshot = snapshot
        self.worker = make_worker(loop, configuration, options, configuration.stats, f"worker_{index}", index)
        self.tls = WorkerTls(self.worker)
        self.worker.clusters = Clusters(
            self.worker, {**snapshot.clusters, **snapshot.own_clusters}, self.tls.cluster_tls
        )
        self.worker.access_logs.connect(self.worker)
        if snapshot.overload is not None:
            from meshproxy.runtime.overload import Overload

            self.worker.overload = Overload(self.worker, snapshot.overload, index, options.concurrency)
        self.listeners = Listeners(self.worker, self.tls)
        self.tls.add_listeners(snapshot)
        self.sinks = StatsSinks(
            snapshot.stats_sinks, self.worker, self.worker.node, partial(tag_producer, snapshot.stats, options)
        )
        self.sinks.listen(self.worker.stats)
        self._heap = HeapKeeper()
        self.control = WorkerControl(self.worker, self.listeners, self.worker.access_logs, PROGRAM_LOG, lifecycle)

    def start(self, sockets: Mapping[str, list[socket.socket]] | None = None) -> None:
        """Begin to serve. sockets: for the configuration's listeners, by name, unless these were added already."""
        if sockets is not None:
            for listener in self.snapshot.listeners:
                self.listeners.add(listener, sockets.get(listener.name, ()))
        if self.worker.overload is not None:
            self.worker.overload.start(self.listeners)
        self._latch()

    def _latch(self) -> None:
        """End an interval of the histograms and see to the memory, again and again."""
        self.worker.stats.latch()
        self._heap.check()
        self.worker.loop.call_later(self.snapshot.stats.flush_interval, self._latch)

    async def drain(self, timeout: float) -> int:
        """Stop accepting and let what is in flight finish, for at most `timeout` seconds.

        Returns how many connections were still open at the end.
        """
        self.worker.drain.begin(timeout, immediate=True)
        self.listeners.stop()
        return await finish(self.worker.loop, self.listeners.connections, timeout)

    async def drain_unless_told(self, timeout: float, lifecycle: Lifecycle) -> int:
        """`drain`, unless the program is told not to wait. Returns how many connections are still open."""
        if not lifecycle.now.is_set():
            await lifecycle.unless_now(self.drain(timeout))
        left = self.listeners.connections()
        await cut_off(left)
        return len(left)

    def close(self) -> None:
        """Write the logs out and let go of everything."""
        self.sinks.close()
        self.worker.clusters.close()
        self.tls.close()
        self.worker.access_logs.close()


def watch_loop(
    loop: asyncio.AbstractEventLoop, configuration: Configuration, *, main: bool = False, worker: int | None = None
) -> LoopWatch:
    """What sees that the loop of the main thread, or of a worker, or of both hangs. Not yet begun."""
    snapshot = configuration.snapshot
    names = ["main_thread", "server.main_thread"] if main else []
    config = snapshot.main_watchdog
    if worker is not None:
        names += ["workers", f"server.worker_{worker}"]
        config = snapshot.worker_watchdog.strictest(config) if main else snapshot.worker_watchdog
    return LoopWatch(loop, config, configuration.stats, names, make_logger("main"), configuration.rng)


def make_worker(
    loop: asyncio.AbstractEventLoop,
    configuration: Configuration,
    options: Options,
    stats: StatsStore,
    name: str,
    index: int = 0,
) -> Worker:
    """What the connections of one loop share."""
    return Worker(
        loop,
        stats=stats,
        access_logs=AccessLogFiles(loop, stats.scope(""), options.file_flush_interval, options.file_flush_min_size),
        log=make_logger("main"),
        rng=configuration.rng,
        node=configuration.snapshot.node,
        name=name,
        index=index,
        count=options.concurrency,
        measures=configuration.context.formats.measures,
        runtime=configuration.context.runtime,
        connection_limit=configuration.snapshot.connection_limit,
    )
