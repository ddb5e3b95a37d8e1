"""The program as one process, which carries the traffic and is asked and told."""

from __future__ import annotations

import asyncio
from functools import partial

from meshproxy.proxy.discovery import begin_load_reports, make_host, make_remote, prepare
from meshproxy.proxy.management import Management
from meshproxy.proxy.worker import Proxy, watch_loop
from meshproxy.runtime.discovery.engine import Discovery
from meshproxy.runtime.discovery.reload import Load
from meshproxy.runtime.discovery.target import LocalTarget
from meshproxy.runtime.process.configuration import Configuration, hold_collector, make_logger, tune_collector
from meshproxy.runtime.process.hot_restart import Takeover
from meshproxy.runtime.process.lifecycle import Lifecycle
from meshproxy.runtime.process.options import Options
from meshproxy.runtime.workers.fleet import LocalFleet


async def serve(configuration: Configuration, options: Options, load: Load | None = None) -> int:
    """Run as one process until told to end. Returns how many connections were cut.

    load: reads the configuration again (SIGHUP, or a changed file). Raises BindError, HotRestartError.
    """
    loop = asyncio.get_running_loop()
    takeover = Takeover(options)
    lifecycle = Lifecycle(loop, make_logger("main"))
    hold_collector()
    proxy = Proxy(loop, configuration, options, lifecycle)
    listeners = proxy.listeners
    fleet = LocalFleet(loop, options, lifecycle.end_now, proxy.control, configuration.stats)
    management = Management(
        loop,
        configuration,
        options,
        lifecycle,
        fleet,
        configuration.stats,
        copies=1,
        sockets=lambda: [sock for listener in listeners.active for sock in listener.acceptor.sockets],
    )
    watch = watch_loop(loop, configuration, main=True, worker=0)
    lifecycle.watch_signals(lambda: proxy.control.perform("reopen_logs"))
    target = LocalTarget(proxy.worker.clusters, listeners, proxy.tls, options)
    host = make_host(configuration, proxy.worker, options, busy=True, carries_traffic=listeners.carry_traffic)
    remote = partial(make_remote, configuration)
    discovery = Discovery(host, configuration, options, target, 1, takeover.sockets, remote)
    management.program.discovery = discovery
    await lifecycle.unless_ending(proxy.worker.clusters.warm())
    end_load_reports = begin_load_reports(configuration, host, fleet)
    if await lifecycle.unless_ending(prepare(discovery, management.program)):
        discovery.listeners.start()
        proxy.start()
        proxy.sinks.begin(loop, fleet.statistics, configuration.snapshot.stats.flush_interval)
        management.workers_started()
        management.announce()
        tune_collector()
        takeover.complete()
        management.watch_for_reload(discovery, load)
        watch.start()
    management.await_successor()
    await lifecycle.drain.wait()
    management.drain()
    end_load_reports()
    discovery.close()
    left = await proxy.drain_unless_told(options.drain_time, lifecycle)
    watch.stop()
    await proxy.sinks.end()
    management.stop_admin()
    proxy.close()
    return left
