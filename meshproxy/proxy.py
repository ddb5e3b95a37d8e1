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
import signal
import socket
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from meshproxy.model.discovery import ConfigSource
from meshproxy.plugin.context import Logger
from meshproxy.runtime.access_log_files import AccessLogFiles
from meshproxy.runtime.admin.program import Program
from meshproxy.runtime.admin.start import make_program, start_admin, tag_producer
from meshproxy.runtime.bind import BindError, open_listeners
from meshproxy.runtime.clusters import Clusters
from meshproxy.runtime.configuration import (
    Configuration,
    hold_collector,
    load_configuration,
    make_logger,
    tune_collector,
)
from meshproxy.runtime.discovery.engine import Discovery
from meshproxy.runtime.discovery.node import make_node
from meshproxy.runtime.discovery.pace import Pace
from meshproxy.runtime.discovery.reload import Load, Reload
from meshproxy.runtime.discovery.sources import Host, Source
from meshproxy.runtime.discovery.target import LocalTarget
from meshproxy.runtime.drain import finish
from meshproxy.runtime.fleet import LocalFleet, WorkerFleet
from meshproxy.runtime.heap import HeapKeeper
from meshproxy.runtime.hot_restart import Succession, Takeover
from meshproxy.runtime.lifecycle import Lifecycle
from meshproxy.runtime.listeners import Listeners
from meshproxy.runtime.options import Options
from meshproxy.runtime.program_log import PROGRAM_LOG
from meshproxy.runtime.server_stats import ServerStats
from meshproxy.runtime.stats_sinks import StatsSinks
from meshproxy.runtime.tls.sockets import WorkerTls
from meshproxy.runtime.version import version
from meshproxy.runtime.worker import Worker
from meshproxy.runtime.worker_control import WorkerControl
from meshproxy.telemetry.stats import StatsStore

__all__ = [
    "BindError",
    "Configuration",
    "Proxy",
    "hold_collector",
    "load_configuration",
    "make_logger",
    "open_listeners",
    "serve",
    "serve_fleet",
    "tune_collector",
]

ANNOUNCE_TAKEOVER = 2.0
"""Seconds between a takeover and the first closing of idle connections."""

if TYPE_CHECKING:
    from meshproxy.runtime.supervisor import Supervisor


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
        self.worker.clusters = Clusters(self.worker, snapshot.clusters, self.tls.cluster_tls)
        self.worker.access_logs.connect(self.worker)
        if snapshot.overload is not None:
            from meshproxy.runtime.overload import Overload

            self.worker.overload = Overload(self.worker, snapshot.overload, index, options.concurrency)
        self.listeners = Listeners(self.worker, self.tls)
        self.tls.add_listeners(snapshot)
        self.sinks = StatsSinks(
            snapshot.stats_sinks, self.worker.clusters, partial(tag_producer, snapshot.stats, options)
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

    def close(self) -> None:
        """Write the logs out and let go of everything."""
        self.sinks.close()
        self.worker.clusters.close()
        self.tls.close()
        self.worker.access_logs.close()


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
    )


async def serve(configuration: Configuration, options: Options, load: Load | None = None) -> int:
    """Run as one process until told to end. Returns how many connections were cut.

    load: reads the configuration again (SIGHUP, or a changed file). Raises BindError, HotRestartError.
    """
    loop = asyncio.get_running_loop()
    log = make_logger("main")
    takeover = Takeover(options)
    lifecycle = Lifecycle(loop, log)
    hold_collector()
    proxy = Proxy(loop, configuration, options, lifecycle)
    fleet = LocalFleet(loop, options, lifecycle.end_now, proxy.control, configuration.stats)
    program = make_program(configuration, options, fleet)
    server_stats = ServerStats(
        configuration.stats, configuration.snapshot, 1, version(), program.visible_state, program.current
    )
    admin = start_admin(
        partial(make_worker, loop, configuration, options, configuration.stats, "main_thread"),
        configuration,
        options,
        configuration.stats,
        program,
    )
    lifecycle.watch_signals(lambda: proxy.control.perform("reopen_logs"))
    target = LocalTarget(proxy.worker.clusters, proxy.listeners, proxy.tls, options)
    host = make_host(configuration, proxy.worker, busy=True, carries_traffic=proxy.listeners.carry_traffic)
    discovery = Discovery(
        host, configuration, options, target, 1, takeover.sockets, partial(make_remote, configuration)
    )
    program.discovery = discovery
    await lifecycle.unless_ending(proxy.worker.clusters.warm())
    if await lifecycle.unless_ending(prepare(discovery, program)):
        discovery.listeners.start()
        proxy.start()
        proxy.sinks.begin(loop, fleet.statistics, configuration.snapshot.stats.flush_interval)
        server_stats.workers_started.set(1)
        announce(program, log)
        tune_collector()
        takeover.complete()
        watch_for_reload(discovery, configuration, options, load, lifecycle, program)
    succession = Succession(
        loop,
        log,
        sockets=lambda: [sock for listener in proxy.listeners.active for sock in listener.acceptor.sockets],
        stop_admin=admin.stop if admin is not None else lambda: None,
        drain=partial(hand_over, fleet, lifecycle),
    )
    succession.listen(options)
    await lifecycle.drain.wait()
    succession.close()
    program.state = "DRAINING"
    discovery.close()
    left = await drained(lifecycle, proxy, options.drain_time)
    await proxy.sinks.end()
    if admin is not None:
        admin.stop()
    proxy.close()
    return left


async def hand_over(fleet: WorkerFleet, lifecycle: Lifecycle, deadline: float) -> None:
    """A successor accepts already: tell the clients, and end within `deadline` seconds.

    Idle connections are left open for a moment, so that most clients learn of it from an answer and none is cut off
    just when it asks.
    """
    announcing = min(ANNOUNCE_TAKEOVER, deadline)
    await fleet.stop_listeners(inbound_only=False)
    await fleet.ask("drain", {"duration": deadline, "immediate": True, "inbound_only": False})
    await asyncio.sleep(announcing)
    lifecycle.end_within(deadline - announcing)


def make_host(
    configuration: Configuration,
    worker: Worker,
    *,
    busy: bool,
    carries_traffic: Callable[[], bool],
    clusters: Any = None,
) -> Host:
    """What discovery needs of the process that it runs in. clusters: to reach servers through, if not the worker's."""
    bootstrap: Any = configuration.loaded.message
    return Host(
        loop=worker.loop,
        clock=worker.clock,
        rng=worker.rng,
        log=make_logger("main"),
        node=make_node(bootstrap.node, configuration.snapshot.node),
        clusters=worker.clusters if clusters is None else clusters,
        stats=worker.stats.scope(""),
        busy=busy,
        pace=Pace(worker.loop.time, carries_traffic),
    )


def watch_for_reload(
    discovery: Discovery,
    configuration: Configuration,
    options: Options,
    load: Load | None,
    lifecycle: Lifecycle,
    program: Program,
) -> None:
    """From now on read the configuration again when asked to."""
    if load is not None:
        log = make_logger("main")
        reload = Reload(discovery, configuration, load, options.config_path, log, partial(setattr, program, "message"))
        reload.watch()
        lifecycle.on_hangup(reload.reload)


def make_remote(configuration: Configuration, source: ConfigSource, host: Host) -> Source:
    """A management server as a source; what speaks to it is imported by whoever has one."""
    from meshproxy.runtime.discovery.remote import RemoteSources
    from meshproxy.runtime.grpc_client import open_stream

    return RemoteSources(configuration.snapshot.dynamic.ads, open_stream)(source, host)


async def prepare(discovery: Discovery, program: Program) -> None:
    """Fetch everything that must be there before the first connection is accepted. Raises BindError."""
    await discovery.prepare_clusters()
    program.state = "INITIALIZING"
    await discovery.prepare_listeners()


async def drained(lifecycle: Lifecycle, proxy: Proxy, timeout: float) -> int:
    """Drain, unless told not to wait. Returns how many connections are still open."""
    if not lifecycle.now.is_set():
        await lifecycle.unless_now(proxy.drain(timeout))
    return len(proxy.listeners.connections())


def announce(program: Program, log: Logger) -> None:
    """The program is up."""
    program.state = "LIVE"
    snapshot, options = program.snapshot, program.options
    log.info(
        "serving",
        version=version(),
        listeners=len(snapshot.listeners),
        clusters=len(snapshot.clusters),
        workers=options.concurrency,
        workers_from=options.concurrency_reason,
    )


async def announce_when_up(supervisor: Supervisor, program: Program, log: Logger, takeover: Takeover) -> None:
    """Wait until every worker serves; then the process that we replace may go."""
    program.state = "INITIALIZING"
    await supervisor.all_up()
    announce(program, log)
    takeover.complete()


def serve_fleet(configuration: Configuration, options: Options, load: Load | None = None) -> int:
    """Run as a parent with `options.concurrency` workers until told to end; returns the exit code.

    load: see `serve`. Raises BindError, HotRestartError.
    """
    import uvloop  # noqa: F401  # loaded once, before the workers are forked

    from meshproxy.runtime.discovery.fleet_target import FleetTarget
    from meshproxy.runtime.discovery.parent_clusters import ParentClusters
    from meshproxy.runtime.supervisor import Supervisor

    stats = configuration.stats.sibling()  # workers inherit the other one, which therefore stays at zero
    loop = asyncio.SelectorEventLoop()
    log = make_logger("main")
    lifecycle = Lifecycle(loop, log)
    takeover = Takeover(options)
    hold_collector()
    target = FleetTarget(options.drain_time)
    parent = make_worker(loop, configuration, options, stats, "main_thread")
    parent.clusters = Clusters(parent, {})
    to_servers = ParentClusters(parent, configuration.snapshot.clusters, WorkerTls(parent).cluster_tls)
    discovery = Discovery(
        make_host(
            configuration,
            parent,
            busy=False,
            carries_traffic=lambda: target.supervisor is not None,  # every change is work for the workers too
            clusters=to_servers,
        ),
        configuration,
        options,
        target,
        copies=options.concurrency,
        inherited=takeover.sockets,
        make_remote=partial(make_remote, configuration),
    )
    supervisor = Supervisor(
        loop,
        options,
        lifecycle,
        [{} for _ in range(options.concurrency)],
        lambda: discovery.snapshot().listeners,
        stats,
        partial(run_worker, configuration, options, discovery),
        log,
    )
    snapshot = configuration.snapshot
    sinks = StatsSinks(snapshot.stats_sinks, to_servers, partial(tag_producer, snapshot.stats, options))
    program = make_program(configuration, options, supervisor)
    program.discovery = discovery
    server_stats = ServerStats(
        stats,
        configuration.snapshot,
        options.concurrency,
        version(),
        program.visible_state,
        program.current,
        supervisor.pids,
    )
    admin = start_admin(
        partial(make_worker, loop, configuration, options, stats, "main_thread"),
        configuration,
        options,
        stats,
        program,
    )
    lifecycle.watch_signals(lambda: loop.create_task(supervisor.ask("reopen_logs")))
    if loop.run_until_complete(lifecycle.unless_ending(prepare(discovery, program))):
        target.supervisor = supervisor
        discovery.listeners.start()
        tune_collector()
        supervisor.spawn_due()
        sinks.begin(loop, supervisor.statistics, configuration.snapshot.stats.flush_interval)
        keeping = loop.create_task(supervisor.keep_statistics(configuration.snapshot.stats.flush_interval))
        server_stats.workers_started.set(options.concurrency)
        announcing = loop.create_task(announce_when_up(supervisor, program, log, takeover))
        succession = Succession(
            loop,
            log,
            sockets=supervisor.listening_sockets,
            stop_admin=admin.stop if admin is not None else lambda: None,
            drain=partial(hand_over, supervisor, lifecycle),
        )
        succession.listen(options)
        watch_for_reload(discovery, configuration, options, load, lifecycle, program)
        while loop.run_until_complete(supervisor.run()):
            supervisor.spawn_due()
        announcing.cancel()
        keeping.cancel()
        succession.close()
    program.state = "DRAINING"
    discovery.close()
    loop.run_until_complete(supervisor.end())
    loop.run_until_complete(sinks.end())
    sinks.close()
    if admin is not None:
        admin.stop()
    return 0


def run_worker(
    configuration: Configuration,
    options: Options,
    discovery: Discovery,
    index: int,
    control: socket.socket,
    later: socket.socket,
    sockets: dict[str, list[socket.socket]],
) -> int:
    """One worker of a fleet; returns the exit code."""
    import uvloop

    configuration.rng.seed()  # a fork draws the same numbers as its siblings otherwise
    uvloop.run(serve_worker(configuration, options, discovery, index, control, later, sockets))
    return 0


async def serve_worker(
    configuration: Configuration,
    options: Options,
    discovery: Discovery,
    index: int,
    control: socket.socket,
    later: socket.socket,
    sockets: dict[str, list[socket.socket]],
) -> None:
    """Carry traffic until the parent says to end, or is gone. discovery: the parent's, as it was at the fork."""
    from meshproxy.runtime.channel import AnsweringEnd, open_end, take_sockets
    from meshproxy.runtime.discovery.fleet_target import WorkerSide

    loop = asyncio.get_running_loop()
    lifecycle = Lifecycle(loop, make_logger("main"))
    loop.add_signal_handler(signal.SIGTERM, lifecycle.drain.set)
    configuration = replace(configuration, snapshot=discovery.snapshot())
    proxy = Proxy(loop, configuration, options, lifecycle, index)
    follower = WorkerSide(
        LocalTarget(proxy.worker.clusters, proxy.listeners, proxy.tls, options),
        configuration.context,
        [(entry.config, entry.message) for entry in discovery.listeners.active.values()],
        [provider.resource for provider in discovery.routes.providers.values() if provider.resource is not None],
        [provider.resource for provider in discovery.secrets.providers.values() if provider.resource is not None],
        [(each.kind, each.resource) for each in discovery.extensions.providers.values() if each.resource is not None],
        partial(take_sockets, later),
    )
    proxy.control.follow = follower.perform
    await proxy.worker.clusters.warm()
    proxy.start(sockets)
    await open_end(AnsweringEnd(proxy.control.perform, lifecycle.drain.set), control)
    await lifecycle.drain.wait()
    await drained(lifecycle, proxy, options.drain_time)
    proxy.close()
