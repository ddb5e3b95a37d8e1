"""The admin interface of a process: what it shows and does, and how it comes up."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from meshproxy.config.http.filters import factory_context
from meshproxy.model.snapshot import StatsConfig
from meshproxy.runtime.admin.message import AdminSite
from meshproxy.runtime.admin.program import Program
from meshproxy.runtime.admin.server import AdminServer, host_of
from meshproxy.runtime.process.bind import BindError
from meshproxy.runtime.process.configuration import Configuration
from meshproxy.runtime.process.options import Options
from meshproxy.runtime.process.program_log import PROGRAM_LOG
from meshproxy.runtime.workers.fleet import WorkerFleet
from meshproxy.telemetry.stats import StatsStore

if TYPE_CHECKING:
    from meshproxy.runtime.worker import Worker
    from meshproxy.telemetry.tags import TagProducer


def make_program(configuration: Configuration, options: Options, fleet: WorkerFleet) -> Program:
    """What the admin interface shows and does."""
    return Program(
        options=options,
        snapshot=configuration.snapshot,
        message=configuration.loaded.message,
        fleet=fleet,
        loggers=PROGRAM_LOG,
        started=time.time(),
        wall=time.time,
        rng=configuration.rng,
        registry_names=configuration.context.registry.names,
    )


def start_admin(
    make_worker: Callable[[], Worker],
    configuration: Configuration,
    options: Options,
    stats: StatsStore,
    program: Program,
) -> AdminServer | None:
    """Start the admin interface, if the configuration has one. Raises BindError."""
    admin = configuration.snapshot.admin
    if admin.address is None:
        return None
    server = AdminServer(
        make_worker(),
        admin.address,
        admin,
        partial(make_site, configuration, options, program),
        program.fleet.carries_traffic,
        factory_context("admin", stats.scope(""), configuration.context),
        host_of(admin.address),
    )
    try:
        sock = server.open()
    except OSError as error:
        raise BindError("admin", admin.address.text, error) from None
    server.start(sock)
    if options.admin_address_path:
        Path(options.admin_address_path).write_text(server.address.text)
    return server


def make_site(configuration: Configuration, options: Options, program: Program) -> AdminSite:
    """The pages of the admin interface; imported when somebody first asks for one."""
    from meshproxy.runtime.admin.pages import Site

    return Site(program, partial(tag_producer, configuration.snapshot.stats, options))


def tag_producer(config: StatsConfig, options: Options) -> TagProducer:
    """How names of statistics are taken apart: the configuration's tags, the command line's, and Envoy's own."""
    from meshproxy.telemetry.tags import TagExtractor, TagProducer, custom_extractor, default_extractors

    extractors: list[TagExtractor] = []
    fixed = [*options.stats_tags]
    for tag in config.tags:
        if tag.fixed_value is not None:
            fixed.append((tag.name, tag.fixed_value))
        elif tag.regex is not None:
            extractors.append(custom_extractor(tag.name, tag.regex))
        else:
            extractors += default_extractors(tag.name)
    if config.use_all_default_tags:
        extractors += default_extractors()
    return TagProducer(extractors, tuple(fixed))
