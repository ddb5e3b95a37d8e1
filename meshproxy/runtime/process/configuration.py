"""From the text of a bootstrap to what can be run: read, compiled, its files checked; nothing bound yet."""

from __future__ import annotations

import gc
import os
import random
import socket
from collections.abc import Mapping, Sequence
from dataclasses import replace

from meshproxy.cel.surroundings import Surroundings
from meshproxy.clock import SystemClock
from meshproxy.config.bootstrap.bootstrap import compile_bootstrap
from meshproxy.config.reporting.live_operators import LIVE_OPERATORS
from meshproxy.config.text.bootstrap_load import Loaded, Source, load_bootstrap, without_collector
from meshproxy.config.values.context import CompileContext
from meshproxy.errors import ConfigError, Problem
from meshproxy.model.snapshot import Node, Snapshot, StatsConfig
from meshproxy.plugin.context import Logger
from meshproxy.plugin.registry import FilterRegistry
from meshproxy.plugin.view import ConfigView
from meshproxy.records import dataclass
from meshproxy.runtime.process.program_log import PROGRAM_LOG
from meshproxy.runtime.reporting.access_log_files import STANDARD_STREAMS
from meshproxy.runtime.tls.sockets import COMPILERS as TLS_SOCKETS
from meshproxy.telemetry.formats import Formats
from meshproxy.telemetry.histogram import DEFAULT_BOUNDS
from meshproxy.telemetry.operand import FormatContext
from meshproxy.telemetry.stats import StatsStore


def hold_collector() -> None:
    """No collections until `tune_collector`: what is made at the start stays, and there may be very much of it."""
    gc.disable()


def tune_collector() -> None:
    """Let the garbage collector alone with what lives as long as the configuration does.

    A request leaves no reference cycles, so a collection every few hundred allocations finds nothing and costs time.
    The start itself leaves a hundred objects in cycles; to look for them among millions would cost more than they do.
    """
    gc.freeze()
    gc.enable()
    gc.set_threshold(10_000, 20, 20)


class DeferredStats:
    """The store that filters make their handles in while a configuration is compiled.

    What the store keeps depends on `stats_config`, which is part of the configuration being compiled; until it is
    known everything is kept.
    """

    def __init__(self) -> None:
        self._config: StatsConfig | None = None
        self.store = StatsStore(self._accepts, self._bounds)

    def _accepts(self, name: str) -> bool:
        config = self._config
        if config is None:
            return True
        if config.inclusion is not None:
            return bool(config.inclusion(name))
        return config.exclusion is None or not config.exclusion(name)

    def _bounds(self, name: str) -> tuple[float, ...]:
        for matches, bounds in self._config.buckets if self._config is not None else ():
            if matches(name):
                return bounds
        return DEFAULT_BOUNDS

    def settle(self, config: StatsConfig) -> None:
        """From now on keep what `config` says."""
        self._config = config


def check_log_files(files: Mapping[str, Problem]) -> None:
    """Open every file that an access log goes to, as it will be opened later. Raises ConfigError."""
    problems = []
    for path, problem in files.items():
        if path in STANDARD_STREAMS:
            continue
        try:
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644))
        except OSError as error:
            problems.append(replace(problem, message=f"{problem.message}: {error.strerror}"))
    if problems:
        raise ConfigError(problems)


def make_logger(name: str) -> Logger:
    """The program's log for a component or filter."""
    return PROGRAM_LOG.logger(name)


@dataclass(frozen=True, slots=True)
class Configuration:
    """A bootstrap that can be run: loaded, compiled, nothing opened yet."""

    snapshot: Snapshot
    loaded: Loaded
    stats: StatsStore
    warnings: tuple[Problem, ...]
    rng: random.Random
    context: CompileContext

    def without_places(self) -> Configuration:
        """The same for a program that runs: without where each field was written, which takes much memory."""
        message = self.loaded.message
        return replace(self, loaded=Loaded(message, ConfigView(message), self.loaded.warnings))


def load_configuration(
    sources: Sequence[Source],
    *,
    node: Node | None = None,
    registry: FilterRegistry | None = None,
    allow_unknown_fields: bool = False,
    disabled_extensions: Sequence[str] = (),
    seed: int | None = None,
) -> Configuration:
    """Read and compile a bootstrap. Raises ConfigError with every problem found."""
    with without_collector():
        return _load(sources, node, registry, allow_unknown_fields, disabled_extensions, seed)


def _load(
    sources: Sequence[Source],
    node: Node | None,
    registry: FilterRegistry | None,
    allow_unknown_fields: bool,
    disabled_extensions: Sequence[str],
    seed: int | None,
) -> Configuration:
    loaded = load_bootstrap(sources, allow_unknown_fields=allow_unknown_fields)
    stats = DeferredStats()
    rng = random.Random(seed)
    surroundings = Surroundings()
    context = CompileContext(
        registry=(registry or FilterRegistry.discover()).without(disabled_extensions),
        stats=stats.store.scope(""),
        configure_stats=stats.settle,
        make_logger=make_logger,
        clock=SystemClock(),
        rng=rng,
        format_extensions=LIVE_OPERATORS,
        formats=Formats(FormatContext(hostname=socket.gethostname(), surroundings=surroundings)),
        surroundings=surroundings,
        transport_sockets=TLS_SOCKETS,
        node=node or Node(),
    )
    snapshot = compile_bootstrap(loaded.view, context)
    check_log_files(context.log_files)
    return Configuration(snapshot, loaded, stats.store, (*loaded.warnings, *context.warnings), rng, context)
