"""What a worker does when the process that owns it asks: a handful of commands, whose answers are plain data.

Plain, because with several workers question and answer cross a socket (see `supervisor`); with one worker the same
commands are calls.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from meshproxy.model.listener import Listener
from meshproxy.plugin.stats import StatNames
from meshproxy.runtime.downstream.listeners import Listeners
from meshproxy.runtime.process.lifecycle import Lifecycle
from meshproxy.runtime.process.program_log import ProgramLog
from meshproxy.runtime.reporting.access_log_files import AccessLogFiles
from meshproxy.runtime.worker import Worker
from meshproxy.steps import Steps, batched, finish
from meshproxy.telemetry.stats import HistogramData, StatsSnapshot

if TYPE_CHECKING:
    from meshproxy.balance.load_window import ClusterLoad, LoadWindow


def pack_snapshot(snapshot: StatsSnapshot) -> tuple[Any, ...]:
    """Statistics as nothing but built-in types."""
    histograms = {name: (data.interval, data.cumulative, data.bounds) for name, data in snapshot.histograms.items()}
    declared = [(n.counters, n.gauges, n.histograms, list(prefixes)) for n, prefixes in snapshot.declared.items()]
    return snapshot.counters, snapshot.gauges, histograms, snapshot.texts, declared


def unpack_snapshot(packed: tuple[Any, ...]) -> StatsSnapshot:
    """The reverse of `pack_snapshot`."""
    counters, gauges, histograms, texts, declared = packed
    return StatsSnapshot(
        counters,
        gauges,
        {name: HistogramData(*data) for name, data in histograms.items()},
        texts,
        {StatNames(*names): prefixes for *names, prefixes in declared},
    )


def _follow_nobody(operation: Any) -> None:
    raise RuntimeError("this worker has no parent that discovers for it")


class WorkerControl:
    """The commands, by name. follow: carries out what the parent's discovery says."""

    def __init__(
        self,
        worker: Worker,
        listeners: Listeners,
        access_logs: AccessLogFiles,
        program_log: ProgramLog,
        lifecycle: Lifecycle,
    ) -> None:
        self._worker = worker
        self._listeners = listeners
        self._access_logs = access_logs
        self._program_log = program_log
        self.follow: Callable[[Any], None] = _follow_nobody
        self._loads: LoadWindow | None = None
        self._commands: dict[str, Callable[[Any], Any]] = {
            "clusters": self._clusters,
            "discovery": lambda operation: self.follow(operation),
            "drain": self._drain,
            "end_now": lambda _: lifecycle.end_now(),
            "health_failed": self._set_health_failed,
            "latch": lambda _: worker.stats.latch(),
            "loads": lambda _: finish(self.loads_in_steps()),
            "logging": self._set_levels,
            "pid": lambda _: os.getpid(),
            "reopen_logs": self._reopen_logs,
            "reset_counters": lambda _: worker.stats.reset_counters(),
            "statistics": lambda _: pack_snapshot(worker.stats.snapshot()),
            "stop_listeners": self._stop_listeners,
            "track_loads": self._track_loads,
        }

    def perform(self, command: str, argument: Any = None) -> Any:
        """Carry out a command and return its answer. Raises KeyError for an unknown one."""
        return self._commands[command](argument)

    def _clusters(self, _: Any) -> list[Any]:
        return finish(self.clusters_in_steps())

    def clusters_in_steps(self) -> Steps[list[Any]]:
        """What there is to know of each cluster and its hosts, some clusters with each step."""
        from meshproxy.runtime.upstream.cluster_status import cluster_status  # only who looks needs it

        found = []
        for part in batched(self._worker.clusters, 5):
            found += [cluster_status(cluster) for cluster in part]
            yield
        return found

    def loads_in_steps(self) -> Steps[dict[str, ClusterLoad]]:
        """What the clusters that are tracked have carried since this was last asked (see `LoadWindow`)."""
        if self._loads is None:
            return {}
        return (yield from self._loads.take(self._worker.clusters.active))

    def _track_loads(self, names: Sequence[str] | None) -> list[str]:
        from meshproxy.balance.load_window import LoadWindow  # few are asked to report

        if self._loads is None:
            self._loads = LoadWindow()
        return self._loads.track(self._worker.clusters.active, names)

    def _set_health_failed(self, failed: bool) -> None:
        self._worker.health_failed = failed

    def _set_levels(self, levels: Mapping[str, str]) -> None:
        self._program_log.levels.by_component = dict(levels)

    def _reopen_logs(self, _: Any) -> None:
        self._access_logs.reopen()
        try:
            self._program_log.reopen()
        except OSError as error:
            self._worker.log.error("the log can't be reopened", error=error.strerror)

    def _drain(self, argument: Mapping[str, Any]) -> None:
        """argument: duration (seconds), immediate, inbound_only."""
        self._worker.drain.begin(
            argument["duration"], immediate=argument["immediate"], inbound_only=argument["inbound_only"]
        )

    def _stop_listeners(self, inbound_only: bool) -> int:
        """Accept no more; returns how many listeners that stopped."""
        before = sum(bool(listener.acceptor.sockets) for listener in self._listeners.active)
        self._listeners.stop(_inbound if inbound_only else _every)
        return before - sum(bool(listener.acceptor.sockets) for listener in self._listeners.active)


def _inbound(listener: Listener) -> bool:
    return listener.traffic_direction == "INBOUND"


def _every(listener: Listener) -> bool:
    return True
