"""What discovery is given by the process that it runs in, and how configuration is fetched before there is traffic."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from meshproxy.model.discovery import ConfigSource
from meshproxy.runtime.admin.program import Program
from meshproxy.runtime.discovery.engine import Discovery
from meshproxy.runtime.discovery.node import make_node
from meshproxy.runtime.discovery.pace import Pace
from meshproxy.runtime.discovery.sources import Host, Source
from meshproxy.runtime.discovery.unknown_fields import UnknownFields
from meshproxy.runtime.process.configuration import Configuration, make_logger
from meshproxy.runtime.process.options import Options
from meshproxy.runtime.worker import Worker
from meshproxy.runtime.workers.fleet import WorkerFleet


def make_host(
    configuration: Configuration,
    worker: Worker,
    options: Options,
    *,
    busy: bool,
    carries_traffic: Callable[[], bool],
    clusters: Any = None,
) -> Host:
    """What discovery needs of the process that it runs in. clusters: to reach servers through, if not the worker's."""
    bootstrap: Any = configuration.loaded.message
    log = make_logger("main")
    stats = worker.stats.scope("")
    unknown_fields = UnknownFields(
        stats.counter("server.dynamic_unknown_fields"),
        log,
        reject=options.reject_unknown_dynamic_fields,
        ignore=options.ignore_unknown_dynamic_fields,
    )
    return Host(
        loop=worker.loop,
        clock=worker.clock,
        rng=worker.rng,
        log=log,
        node=make_node(bootstrap.node, configuration.snapshot.node),
        clusters=worker.clusters if clusters is None else clusters,
        stats=stats,
        unknown_fields=unknown_fields,
        busy=busy,
        pace=Pace(worker.loop.time, carries_traffic),
    )


def make_remote(configuration: Configuration, source: ConfigSource, host: Host) -> Source:
    """A management server as a source; what speaks to it is imported by whoever has one."""
    from meshproxy.runtime.discovery.remote import RemoteSources
    from meshproxy.runtime.grpc_client import open_stream

    return RemoteSources(configuration.snapshot.dynamic.ads, open_stream)(source, host)


def begin_load_reports(configuration: Configuration, host: Host, fleet: WorkerFleet) -> Callable[[], None]:
    """Report the load on clusters to whom the configuration names. Returns what ends it."""
    service = configuration.snapshot.cluster_manager.load_reports
    if service is None:
        return lambda: None
    from meshproxy.runtime.reporting.load_reports import LoadReports  # few are asked to report

    reports = LoadReports(host, service, host.node, fleet, host.stats, host.log)
    reports.begin()
    return reports.close


async def prepare(discovery: Discovery, program: Program) -> None:
    """Fetch everything that must be there before the first connection is accepted. Raises BindError."""
    await discovery.prepare_runtime()
    await discovery.prepare_clusters()
    program.state = "INITIALIZING"
    await discovery.prepare_listeners()
