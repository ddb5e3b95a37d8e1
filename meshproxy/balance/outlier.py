"""Outlier detection: a host that keeps failing is left out for a while (Envoy's "Outlier detection").

Pure: it is fed with (host, event, now) and says which hosts' health changed; whoever feeds it refreshes the balancer.
Two things eject a host. Failures in a row do so at once. The share of successes of the last interval does so when the
interval ends: far below the other hosts' (success rate), or below a fixed bound (failure percentage).

How long: `base_ejection_time` times the number of ejections so far, at most `max_ejection_time`, plus jitter; the
number falls by one in each interval that a host lives through after it came back. Ejected hosts come back at the end of
an interval only.

With `split_external_local_origin_errors` failures to reach a host (connect failures, resets, time-outs) are counted
apart from its answers; without, they count as the answers 503, 500 and 504.

Invariant: `ejected` is the number of hosts with FAILED_OUTLIER_CHECK among those watched.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from enum import Enum
from random import Random
from typing import Protocol

from meshproxy.balance.host import HealthFlag, Host
from meshproxy.model.outlier import OutlierDetection

_UNKNOWN = (-1.0, -1.0)


class OutlierEvent(Enum):
    """What befell a request beside its status. The value is the status that stands for it when not told apart."""

    CONNECT_SUCCESS = 0  # not final: the answer is still to come and will count
    CONNECT_SUCCESS_FINAL = 200  # nothing more will be known of it (raw TCP)
    REQUEST_SUCCESS = 201
    REQUEST_FAILED = 500
    CONNECT_FAILED = 503
    TIMEOUT = 504


class EjectionType(Enum):
    """Why a host is ejected. The values are the parts of Envoy's statistics' names."""

    CONSECUTIVE_5XX = "consecutive_5xx"
    CONSECUTIVE_GATEWAY_FAILURE = "consecutive_gateway_failure"
    CONSECUTIVE_LOCAL_ORIGIN_FAILURE = "consecutive_local_origin_failure"
    SUCCESS_RATE = "success_rate"
    LOCAL_ORIGIN_SUCCESS_RATE = "local_origin_success_rate"
    FAILURE_PERCENTAGE = "failure_percentage"
    LOCAL_ORIGIN_FAILURE_PERCENTAGE = "local_origin_failure_percentage"


class SuccessRate:
    """Requests and successes of the interval now running, and the rate of the one before (per cent, -1 unknown)."""

    __slots__ = ("last", "last_volume", "rate", "success", "total")

    def __init__(self) -> None:
        self.total = self.success = self.last_volume = 0
        self.last = 0.0
        self.rate = -1.0

    def roll(self) -> None:
        """Begin a new interval."""
        self.last_volume = self.total
        self.last = 100.0 * self.success / self.total if self.total else 0.0
        self.total = self.success = 0
        self.rate = -1.0


class HostMonitor:
    """What is known of one host. ejections: how often it was ejected. Times are 0.0 for never."""

    __slots__ = (
        "consecutive_5xx",
        "consecutive_gateway_failure",
        "consecutive_local_origin_failure",
        "ejected_at",
        "ejections",
        "external",
        "jitter",
        "local",
        "times_ejected",
        "unejected_at",
    )

    def __init__(self) -> None:
        self.external = SuccessRate()
        self.local = SuccessRate()
        self.times_ejected = 0  # falls again while the host is well
        self.ejections = 0
        self.ejected_at = self.unejected_at = 0.0
        self.jitter = 0.0
        self.reset_runs()

    def reset_runs(self) -> None:
        """Forget the failures in a row."""
        self.consecutive_5xx = self.consecutive_gateway_failure = self.consecutive_local_origin_failure = 0


class Events(Protocol):
    """Who is told what happens; see `meshproxy.runtime.upstream.health.cluster_events.OutlierEvents`."""

    def ejected(
        self,
        detector: OutlierDetector,
        host: Host,
        monitor: HostMonitor,
        kind: EjectionType,
        enforced: bool,
        now: float,
    ) -> None: ...
    def unejected(self, host: Host, monitor: HostMonitor, now: float) -> None: ...


class OutlierDetector:
    """Watches the hosts of one cluster.

    detected, enforced: how often each type was found, and led to an ejection. overflow: ejections refused because too
    many hosts were out already (`ejections_overflow`); allowed: how often that was not so. on_change: called with each
    host that is ejected or comes back. thresholds: the average of the rates and the one that is still well enough, as
    they were when they were last looked at.
    """

    __slots__ = (
        "_enforcing",
        "_monitors",
        "_on_change",
        "_random",
        "allowed",
        "config",
        "detected",
        "ejected",
        "enforced",
        "events",
        "overflow",
        "thresholds",
    )

    def __init__(
        self, config: OutlierDetection, hosts: Iterable[Host], random: Random, on_change: Callable[[Host], None]
    ) -> None:
        self.events: Events | None = None
        self.thresholds = {EjectionType.SUCCESS_RATE: _UNKNOWN, EjectionType.LOCAL_ORIGIN_SUCCESS_RATE: _UNKNOWN}
        self._random = random
        self._on_change = on_change
        self._monitors: dict[Host, HostMonitor] = {}
        self.settle(config)
        self.ejected = self.overflow = 0
        self.detected = dict.fromkeys(EjectionType, 0)
        self.enforced = dict.fromkeys(EjectionType, 0)
        self.allowed = dict.fromkeys(EjectionType, 0)
        self.update_hosts(hosts, ())

    def settle(self, config: OutlierDetection) -> None:
        """Judge by other numbers from now on."""
        self.config = config
        self._enforcing = {
            EjectionType.CONSECUTIVE_5XX: config.enforcing_consecutive_5xx,
            EjectionType.CONSECUTIVE_GATEWAY_FAILURE: config.enforcing_consecutive_gateway_failure,
            EjectionType.CONSECUTIVE_LOCAL_ORIGIN_FAILURE: config.enforcing_consecutive_local_origin_failure,
            EjectionType.SUCCESS_RATE: config.enforcing_success_rate,
            EjectionType.LOCAL_ORIGIN_SUCCESS_RATE: config.enforcing_local_origin_success_rate,
            EjectionType.FAILURE_PERCENTAGE: config.enforcing_failure_percentage,
            EjectionType.LOCAL_ORIGIN_FAILURE_PERCENTAGE: config.enforcing_failure_percentage_local_origin,
        }

    def update_hosts(self, added: Iterable[Host], removed: Iterable[Host]) -> None:
        """Watch these hosts too, and those no more."""
        for host in added:
            if host not in self._monitors:
                self._monitors[host] = HostMonitor()
        for host in removed:
            if self._monitors.pop(host, None) is not None and host.flags & HealthFlag.FAILED_OUTLIER_CHECK:
                self.ejected -= 1

    def monitor(self, host: Host) -> HostMonitor | None:
        """What is known of a host; None if it isn't watched."""
        return self._monitors.get(host)

    def on_response(self, host: Host, status: int, now: float) -> None:
        """The host answered with this status."""
        monitor = self._monitors.get(host)
        if monitor is None:
            return
        monitor.external.total += 1
        if status < 500 or status > 599:
            monitor.external.success += 1
            monitor.consecutive_5xx = monitor.consecutive_gateway_failure = 0
            return
        config = self.config
        if 502 <= status <= 504:
            monitor.consecutive_gateway_failure += 1
            if monitor.consecutive_gateway_failure == config.consecutive_gateway_failure:
                monitor.consecutive_gateway_failure = 0
                self._detect(host, monitor, EjectionType.CONSECUTIVE_GATEWAY_FAILURE, now)
        else:
            monitor.consecutive_gateway_failure = 0
        monitor.consecutive_5xx += 1
        if monitor.consecutive_5xx == config.consecutive_5xx:
            monitor.consecutive_5xx = 0
            self._detect(host, monitor, EjectionType.CONSECUTIVE_5XX, now)

    def on_event(self, host: Host, event: OutlierEvent, now: float) -> None:
        """Something other than a status is known of a request to the host."""
        if not self.config.split_external_local_origin_errors:
            if event is not OutlierEvent.CONNECT_SUCCESS:
                self.on_response(host, event.value, now)
        elif event in (OutlierEvent.REQUEST_SUCCESS, OutlierEvent.REQUEST_FAILED):
            self.on_response(host, event.value, now)
        else:
            self._on_local_origin(host, event, now)

    def _on_local_origin(self, host: Host, event: OutlierEvent, now: float) -> None:
        monitor = self._monitors.get(host)
        if monitor is None:
            return
        monitor.local.total += 1
        if event in (OutlierEvent.CONNECT_SUCCESS, OutlierEvent.CONNECT_SUCCESS_FINAL):
            monitor.local.success += 1
            monitor.consecutive_local_origin_failure = 0
            return
        monitor.consecutive_local_origin_failure += 1
        if monitor.consecutive_local_origin_failure == self.config.consecutive_local_origin_failure:
            monitor.consecutive_local_origin_failure = 0
            self._detect(host, monitor, EjectionType.CONSECUTIVE_LOCAL_ORIGIN_FAILURE, now)

    def on_active_health_check_success(self, host: Host, now: float) -> None:
        """An active health check found the host well: that brings it back, unless configured otherwise."""
        monitor = self._monitors.get(host)
        if monitor is not None and self.config.successful_active_health_check_uneject_host:
            self._uneject(host, monitor, now)

    def on_interval(self, now: float) -> None:
        """`interval` seconds are over: let hosts come back, then judge the rates of the interval."""
        for host, monitor in list(self._monitors.items()):  # `on_change` may bring an update of the hosts
            self._check_return(host, monitor, now)
            monitor.external.roll()
            monitor.local.roll()
        self._judge_rates(
            lambda monitor: monitor.external, EjectionType.SUCCESS_RATE, EjectionType.FAILURE_PERCENTAGE, now
        )
        self._judge_rates(
            lambda monitor: monitor.local,
            EjectionType.LOCAL_ORIGIN_SUCCESS_RATE,
            EjectionType.LOCAL_ORIGIN_FAILURE_PERCENTAGE,
            now,
        )
        for host, monitor in self._monitors.items():
            returned = monitor.unejected_at
            if returned and now - returned >= self.config.interval and not host.flags & HealthFlag.FAILED_OUTLIER_CHECK:
                monitor.times_ejected = max(monitor.times_ejected - 1, 0)

    def _check_return(self, host: Host, monitor: HostMonitor, now: float) -> None:
        if not host.flags & HealthFlag.FAILED_OUTLIER_CHECK:
            return
        out_for = min(self.config.base_ejection_time * monitor.times_ejected, self._max_ejection_time())
        if out_for + monitor.jitter <= now - monitor.ejected_at:
            self._uneject(host, monitor, now)

    def _max_ejection_time(self) -> float:
        configured = self.config.max_ejection_time
        return max(300.0, self.config.base_ejection_time) if configured is None else configured

    def _judge_rates(
        self,
        rate_of: Callable[[HostMonitor], SuccessRate],
        by_success_rate: EjectionType,
        by_failure_percentage: EjectionType,
        now: float,
    ) -> None:
        config = self.config
        self.thresholds[by_success_rate] = _UNKNOWN
        if len(self._monitors) < min(config.success_rate_minimum_hosts, config.failure_percentage_minimum_hosts):
            return
        for_success_rate: list[tuple[Host, HostMonitor, float]] = []
        for_percentage: list[tuple[Host, HostMonitor, float]] = []
        for host, monitor in self._monitors.items():
            rate = rate_of(monitor)
            if host.flags & HealthFlag.FAILED_OUTLIER_CHECK or not rate.last_volume:
                continue
            if rate.last_volume >= min(config.success_rate_request_volume, config.failure_percentage_request_volume):
                rate.rate = rate.last
            if rate.last_volume >= config.success_rate_request_volume:
                for_success_rate.append((host, monitor, rate.last))
            if rate.last_volume >= config.failure_percentage_request_volume:
                for_percentage.append((host, monitor, rate.last))
        if for_success_rate and len(for_success_rate) >= config.success_rate_minimum_hosts:
            rates = [rate for _, _, rate in for_success_rate]
            threshold = ejection_threshold(rates, config.success_rate_stdev_factor)
            self.thresholds[by_success_rate] = (sum(rates) / len(rates), threshold)
            for host, monitor, success_rate in for_success_rate:
                if success_rate < threshold:
                    self._detect(host, monitor, by_success_rate, now)
        if for_percentage and len(for_percentage) >= config.failure_percentage_minimum_hosts:
            for host, monitor, success_rate in for_percentage:
                if 100.0 - success_rate >= config.failure_percentage_threshold:
                    self._detect(host, monitor, by_failure_percentage, now)

    def _detect(self, host: Host, monitor: HostMonitor, kind: EjectionType, now: float) -> None:
        if host.flags & HealthFlag.FAILED_OUTLIER_CHECK:
            return
        self.detected[kind] += 1
        config = self.config
        share = 100.0 * (self.ejected + 1) / len(self._monitors)
        if share > config.max_ejection_percent and not (config.always_eject_one_host and not self.ejected):
            self.overflow += 1
            return
        self.allowed[kind] += 1
        if self._random.randrange(100) >= self._enforcing[kind]:
            if self.events is not None:
                self.events.ejected(self, host, monitor, kind, False, now)
            return
        self.ejected += 1
        self.enforced[kind] += 1
        monitor.ejections += 1
        monitor.ejected_at = now
        monitor.jitter = self._random.random() * config.max_ejection_time_jitter
        base = config.base_ejection_time
        if monitor.times_ejected * base < self._max_ejection_time() + base:
            monitor.times_ejected += 1
        host.set_flag(HealthFlag.FAILED_OUTLIER_CHECK, True)
        self._on_change(host)
        if self.events is not None:
            self.events.ejected(self, host, monitor, kind, True, now)

    def _uneject(self, host: Host, monitor: HostMonitor, now: float) -> None:
        if host.flags & HealthFlag.FAILED_OUTLIER_CHECK:
            self.ejected -= 1
            monitor.reset_runs()
            monitor.unejected_at = now
            host.set_flag(HealthFlag.FAILED_OUTLIER_CHECK, False)
            self._on_change(host)
            if self.events is not None:
                self.events.unejected(host, monitor, now)


def ejection_threshold(rates: list[float], stdev_factor: int) -> float:
    """The success rate below which a host is an outlier among these: the mean less `stdev_factor`/1000 deviations."""
    mean = sum(rates) / len(rates)
    variance = sum((rate - mean) ** 2 for rate in rates) / len(rates)
    return mean - stdev_factor / 1000.0 * float(variance**0.5)
