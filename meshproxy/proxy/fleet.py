"""The program as a parent with several workers.

The parent binds the sockets, speaks with management servers, answers on the admin interface and keeps the statistics of
all; it carries no traffic. Workers are forked once everything is prepared, and again when one dies.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from functools import partial

from meshproxy.proxy.discovery import begin_load_reports, make_host, make_remote, prepare
from meshproxy.proxy.fleet_worker import run_worker
from meshproxy.proxy.management import Management
from meshproxy.proxy.worker import make_worker, watch_loop
from meshproxy.runtime.admin.start import tag_producer
from meshproxy.runtime.discovery.engine import Discovery
from meshproxy.runtime.discovery.fleet_target import FleetTarget
from meshproxy.runtime.discovery.parent_clusters import ParentClusters
from meshproxy.runtime.discovery.reload import Load
from meshproxy.runtime.process.configuration import Configuration, hold_collector, make_logger, tune_collector
from meshproxy.runtime.process.hot_restart import Takeover
from meshproxy.runtime.process.lifecycle import Lifecycle
from meshproxy.runtime.process.options import Options
from meshproxy.runtime.process.watchdog import LoopWatch
from meshproxy.runtime.reporting.stats_sinks import StatsSinks
from meshproxy.runtime.tls.sockets import WorkerTls
from meshproxy.runtime.upstream.clusters import Clusters
from meshproxy.runtime.workers.supervisor import Supervisor


def serve_fleet(configuration: Configuration, options: Options, load: Load | None = None) -> int:
    """Run as a parent with `options.concurrency` workers until told to end; returns the exit code.

    load: see `serve`. Raises BindError, HotRestartError.
    """
    stats = configuration.stats.sibling()  # workers inherit the other one, which therefore stays at zero
    loop = asyncio.SelectorEventLoop()
    log = make_logger("main")
    lifecycle = Lifecycle(loop, log)
    takeover = Takeover(options)
    hold_collector()
    target = FleetTarget(options.drain_time)
    parent = make_worker(loop, configuration, options, stats, "main_thread")
    parent.clusters = Clusters(parent, {})
    snapshot = configuration.snapshot
    configs = {**snapshot.clusters, **snapshot.own_clusters}
    to_servers = ParentClusters(parent, configs, WorkerTls(parent).cluster_tls)
    host = make_host(
        configuration,
        parent,
        options,
        busy=False,
        carries_traffic=lambda: target.supervisor is not None,  # every change is work for the workers too
        clusters=to_servers,
    )
    remote = partial(make_remote, configuration)
    discovery = Discovery(host, configuration, options, target, options.concurrency, takeover.sockets, remote)
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
    sinks = StatsSinks(snapshot.stats_sinks, host, parent.node, partial(tag_producer, snapshot.stats, options))
    management = Management(
        loop,
        configuration,
        options,
        lifecycle,
        supervisor,
        stats,
        copies=options.concurrency,
        sockets=supervisor.listening_sockets,
        pids=supervisor.pids,
    )
    management.program.discovery = discovery
    lifecycle.watch_signals(lambda: loop.create_task(supervisor.ask("reopen_logs")))
    if loop.run_until_complete(lifecycle.unless_ending(prepare(discovery, management.program))):
        target.supervisor = supervisor
        discovery.listeners.start()
        tune_collector()
        supervisor.spawn_due()
        sinks.begin(loop, supervisor.statistics, snapshot.stats.flush_interval)
        keeping = loop.create_task(supervisor.keep_statistics(snapshot.stats.flush_interval))
        management.workers_started()
        end_load_reports = begin_load_reports(configuration, host, supervisor)
        announcing = loop.create_task(_announce_when_up(supervisor, management, takeover))
        management.await_successor()
        management.watch_for_reload(discovery, load)
        watch = watch_loop(loop, replace(configuration, stats=stats), main=True)
        while _supervise(loop, supervisor, watch):
            supervisor.spawn_due()
        end_load_reports()
        announcing.cancel()
        keeping.cancel()
    management.drain()
    discovery.close()
    loop.run_until_complete(supervisor.end())
    loop.run_until_complete(sinks.end())
    sinks.close()
    management.stop_admin()
    return 0


def _supervise(loop: asyncio.AbstractEventLoop, supervisor: Supervisor, watch: LoopWatch) -> bool:
    """Whether something must be forked; by then nobody watches the loop: a process with threads mustn't fork."""
    with watch.watching():
        return loop.run_until_complete(supervisor.run())


async def _announce_when_up(supervisor: Supervisor, management: Management, takeover: Takeover) -> None:
    """Wait until every worker serves; then the process that we replace may go."""
    management.program.state = "INITIALIZING"
    await supervisor.all_up()
    management.announce()
    takeover.complete()
