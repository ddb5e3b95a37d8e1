"""Outlier detection at work: what befalls requests goes into the detector of `balance.outlier`, ejections into the
balancer, and its figures into `cluster.<name>.outlier_detection.`

Connection pools feed it, one call for each answer and each failure; a cluster without outlier detection has no monitor
on its hosts, which costs a request one look at an attribute.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from meshproxy.balance.host import Host
from meshproxy.balance.outlier import EjectionType, Events, OutlierDetector, OutlierEvent
from meshproxy.headers import ResponseHeaders
from meshproxy.model.outlier import OutlierDetection
from meshproxy.plugin.stats import StatNames, StatsScope
from meshproxy.runtime.upstream.cluster_values import outlier_in_force

if TYPE_CHECKING:
    from meshproxy.runtime.worker import Worker


Judge = Callable[[Any], bool]
"""Whether a response with this head counts as a failure."""


class HostMonitor:
    """Where the pools of one host report (`Host.monitor`)."""

    __slots__ = ("_detector", "_host", "_judges_error", "_now", "_split")

    def __init__(
        self, detector: OutlierDetector, host: Host, now: Callable[[], float], judges_error: Judge | None
    ) -> None:
        self._judges_error = judges_error
        self._detector = detector
        self._host = host
        self._now = now
        self._split = detector.config.split_external_local_origin_errors

    def on_response(self, response: ResponseHeaders) -> None:
        """A request was answered."""
        now = self._now()
        status = response.status
        if self._judges_error is not None:
            status = 500 if self._judges_error(response) else 200
        if self._split:
            self._detector.on_event(self._host, OutlierEvent.CONNECT_SUCCESS, now)
        self._detector.on_response(self._host, status, now)

    def on_connected(self) -> None:
        """A raw connection was opened; no answer will ever be known."""
        self._detector.on_event(self._host, OutlierEvent.CONNECT_SUCCESS_FINAL, self._now())

    def on_failure(self, *, connected: bool, timeout: bool) -> None:
        """A request got no answer. connected: it had a connection. timeout: it was given up waiting."""
        now = self._now()
        if connected and self._split:
            self._detector.on_event(self._host, OutlierEvent.CONNECT_SUCCESS, now)
        self._detector.on_event(self._host, OutlierEvent.TIMEOUT if timeout else OutlierEvent.CONNECT_FAILED, now)


class OutlierMonitor:
    """The outlier detection of one cluster. on_change: the health of a host changed. events: who is told of it.

    judges_error: what a failure is; None: the status says.
    """

    def __init__(
        self,
        worker: Worker,
        config: OutlierDetection,
        scope: StatsScope,
        on_change: Callable[[Host], None],
        events: Events | None = None,
        judges_error: Judge | None = None,
    ) -> None:
        self._judges_error = judges_error
        self._worker = worker
        self._now = worker.loop.time
        self.detector = OutlierDetector(config, (), worker.rng, on_change)
        self.detector.events = events
        self._active = scope.gauge("ejections_active")
        self._figures = _Figures(scope, self.detector)
        self._configured = config
        worker.runtime.follow(self)
        self._timer = worker.schedule(self.detector.config.interval, self._turn)

    def settle(self, values: Mapping[str, Any]) -> None:
        """Take what the runtime says (`Follower`)."""
        self.detector.settle(outlier_in_force(self._configured, values))

    def update(self, added: Iterable[Host], removed: Iterable[Host]) -> None:
        """Watch these hosts too, and those no more."""
        added = list(added)
        self.detector.update_hosts(added, removed)
        for host in added:
            host.monitor = HostMonitor(self.detector, host, self._now, self._judges_error)

    def _turn(self) -> None:
        self._timer = self._worker.schedule(self.detector.config.interval, self._turn)
        self.detector.on_interval(self._now())

    def fold(self) -> None:
        """Bring the statistics up to date."""
        self._active.set(self.detector.ejected)
        self._figures.fold()

    def close(self) -> None:
        self._timer.cancel()


def _detected(kind: EjectionType) -> Callable[[OutlierDetector], int]:
    return lambda detector: detector.detected[kind]


def _enforced(kind: EjectionType) -> Callable[[OutlierDetector], int]:
    return lambda detector: detector.enforced[kind]


_COUNTERS: dict[str, Callable[[OutlierDetector], int]] = {
    "ejections_overflow": lambda detector: detector.overflow,
    "ejections_enforced_total": lambda detector: sum(detector.enforced.values()),
    # Envoy's older names, for what there was when they were made.
    "ejections_total": lambda detector: (
        detector.allowed[EjectionType.CONSECUTIVE_5XX] + detector.allowed[EjectionType.SUCCESS_RATE]
    ),
    "ejections_consecutive_5xx": lambda detector: detector.detected[EjectionType.CONSECUTIVE_5XX],
    "ejections_success_rate": lambda detector: (
        detector.detected[EjectionType.SUCCESS_RATE] + detector.detected[EjectionType.LOCAL_ORIGIN_SUCCESS_RATE]
    ),
    **{f"ejections_detected_{kind.value}": _detected(kind) for kind in EjectionType},
    **{f"ejections_enforced_{kind.value}": _enforced(kind) for kind in EjectionType},
}
_NAMES = StatNames(counters=(*_COUNTERS, "ejections_detected_degradation"))  # the last one of what nothing here does


class _Figures:
    """The counters, moved by as much as the detector has counted since the last time; made when they first move."""

    def __init__(self, scope: StatsScope, detector: OutlierDetector) -> None:
        scope.declare(_NAMES)
        self._scope = scope
        self._detector = detector
        self._seen: dict[str, int] = {}

    def fold(self) -> None:
        for name, read in _COUNTERS.items():
            value = read(self._detector)
            before = self._seen.get(name, 0)
            if value != before:
                self._scope.counter(name).value += value - before
                self._seen[name] = value
