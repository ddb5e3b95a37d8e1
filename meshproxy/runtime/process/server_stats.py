"""The statistics of the process as a whole (Envoy: "Server", "Listener manager", "Cluster manager").

They are kept by the process that owns the configuration: the only one, or the parent of the workers.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable

from meshproxy.model.snapshot import Snapshot
from meshproxy.runtime.process.memory import process_memory
from meshproxy.runtime.tls.listing import days_until, expirations_of, first_response_ends
from meshproxy.telemetry.stats import Gauge, StatsStore

STATES = {"LIVE": 0, "DRAINING": 1, "PRE_INITIALIZING": 2, "INITIALIZING": 3}

_ZERO_COUNTERS = (
    "main_thread.watchdog_mega_miss", "main_thread.watchdog_miss", "workers.watchdog_mega_miss",
    "workers.watchdog_miss", "server.main_thread.watchdog_mega_miss", "server.main_thread.watchdog_miss",
    "server.debug_assertion_failures", "server.dropped_stat_flushes", "server.dynamic_unknown_fields",
    "server.static_unknown_fields", "server.envoy_bug_failures", "server.envoy_notifications",
    "server.wip_protos", "cluster_manager.cluster_modified", "cluster_manager.cluster_removed",
    "cluster_manager.cluster_updated", "cluster_manager.cluster_updated_via_merge",
    "cluster_manager.update_merge_cancelled", "cluster_manager.update_out_of_merge_window",
    "listener_manager.listener_create_failure", "listener_manager.listener_in_place_updated",
    "listener_manager.listener_modified", "listener_manager.listener_removed", "listener_manager.listener_stopped",
    "runtime.deprecated_feature_use", "runtime.load_error", "runtime.override_dir_exists",
)  # fmt: skip
_ZERO_GAUGES = (
    "server.parent_connections", "server.hot_restart_epoch", "server.stats_recent_lookups",
    "server.compilation_settings.fips_mode",
    "cluster_manager.warming_clusters", "listener_manager.total_filter_chains_draining",
    "listener_manager.total_listeners_draining", "listener_manager.total_listeners_warming",
    "listener_manager.workers_pinned", "runtime.admin_overrides_active",
    "runtime.deprecated_feature_seen_since_process_start",
)  # fmt: skip

_NO_CERTIFICATE = 2**32 - 1


class ServerStats:
    """See the module.

    state: the program's state, as `/ready` prints it. current: the configuration in force. pids: the processes whose
    memory counts.
    """

    def __init__(
        self,
        store: StatsStore,
        snapshot: Snapshot,
        concurrency: int,
        version: str,
        state: Callable[[], str],
        current: Callable[[], Snapshot],
        pids: Callable[[], list[int]] = lambda: [os.getpid()],
    ) -> None:
        self._store = store
        self._state = state
        self._pids = pids
        self._started = time.monotonic()
        for name in _ZERO_COUNTERS:
            store.counter(name)
        for name in _ZERO_GAUGES:
            store.gauge(name)
        for worker in range(concurrency):
            store.counter(f"server.worker_{worker}.watchdog_mega_miss")
            store.counter(f"server.worker_{worker}.watchdog_miss")
        gauge = store.gauge
        self._uptime = gauge("server.uptime")
        self._live = gauge("server.live")
        self._state_gauge = gauge("server.state")
        self._allocated = gauge("server.memory_allocated")
        self._heap = gauge("server.memory_heap_size")
        self._physical = gauge("server.memory_physical_size")
        self._days = gauge("server.days_until_first_cert_expiring")
        self._response = gauge("server.seconds_until_first_ocsp_response_expiring")
        self._current = current
        self._certificates = store.scope("")
        self._expirations: dict[str, int] = {}
        gauge("server.total_connections")
        gauge("server.concurrency").set(concurrency)
        gauge("server.hot_restart_generation").set(1)
        override = snapshot.stats.server_version
        gauge("server.version").set(_version_number(version) if override is None else override)
        self.initialization_time = store.histogram("server.initialization_time_ms")
        gauge("cluster_manager.active_clusters").set(len(snapshot.clusters))
        store.counter("cluster_manager.cluster_added").add(len(snapshot.clusters))
        for name in ("listener_added", "listener_create_success"):
            store.counter(f"listener_manager.{name}")
        gauge("listener_manager.total_listeners_active")
        self.workers_started: Gauge = gauge("listener_manager.workers_started")
        self.listener_stopped = store.counter("listener_manager.listener_stopped")
        store.before_read(self.fold)

    def fold(self) -> None:
        """Bring what changes by itself up to date."""
        state = self._state()
        self._uptime.set(int(time.monotonic() - self._started))
        self._live.set(int(state == "LIVE"))
        self._state_gauge.set(STATES[state])
        self._tell_expirations()
        allocated, resident = process_memory(self._pids())
        self._allocated.set(allocated)
        self._heap.set(resident)
        self._physical.set(resident)

    def _tell_expirations(self) -> None:
        expirations = dict(expirations_of(self._current()))
        self._response.set(first_response_ends(self._current()) if expirations else 0)
        self._days.set(days_until(min(expirations.values())) if expirations else _NO_CERTIFICATE)
        if expirations != self._expirations:
            self._expirations = expirations
            self._certificates.close()
            self._certificates = self._store.scope("")
            for name, end in expirations.items():
                self._certificates.gauge(name).set(end)


def _version_number(version: str) -> int:
    """A number that rises with the version; Envoy shows the first bytes of its commit there."""
    number = 0
    for part in [*version.split("."), "0", "0"][:3]:
        number = number * 1000 + (int(part) if part.isascii() and part.isdigit() else 0)
    return number
