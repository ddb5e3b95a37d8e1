"""One endpoint as a worker knows it: what the configuration says of it, how it fares, and what it is doing now.

A host outlives the update that brought it: while its address, locality and priority stay, a new configuration changes
it in place, and counters, connections and an ejection go on. Everything here belongs to one worker and one cluster.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum, IntFlag
from typing import Any, Protocol

from meshproxy.balance.load_report import HostReports
from meshproxy.model.endpoint import Endpoint, HealthStatus


class HealthFlag(IntFlag):
    """Why a host isn't simply healthy. The names in lower case are those that Envoy's admin prints."""

    FAILED_ACTIVE_HC = 1
    FAILED_OUTLIER_CHECK = 2
    FAILED_EDS_HEALTH = 4
    DEGRADED_ACTIVE_HC = 8
    DEGRADED_EDS_HEALTH = 16
    PENDING_DYNAMIC_REMOVAL = 32
    PENDING_ACTIVE_HC = 64
    EXCLUDED_VIA_IMMEDIATE_HC_FAIL = 128
    ACTIVE_HC_TIMEOUT = 256
    EDS_STATUS_DRAINING = 512


class Health(Enum):
    """What the load balancer makes of the flags."""

    HEALTHY = 0
    DEGRADED = 1
    UNHEALTHY = 2


_UNHEALTHY = (
    HealthFlag.FAILED_ACTIVE_HC
    | HealthFlag.FAILED_OUTLIER_CHECK
    | HealthFlag.FAILED_EDS_HEALTH
    | HealthFlag.EDS_STATUS_DRAINING
)
_DEGRADED = HealthFlag.DEGRADED_ACTIVE_HC | HealthFlag.DEGRADED_EDS_HEALTH
_FROM_EDS = HealthFlag.FAILED_EDS_HEALTH | HealthFlag.DEGRADED_EDS_HEALTH | HealthFlag.EDS_STATUS_DRAINING
_OF_ENDPOINT = _FROM_EDS | HealthFlag.PENDING_DYNAMIC_REMOVAL
_EXCLUDED = HealthFlag.PENDING_ACTIVE_HC | HealthFlag.EXCLUDED_VIA_IMMEDIATE_HC_FAIL | HealthFlag.EDS_STATUS_DRAINING

_EDS_FLAGS = {
    HealthStatus.UNHEALTHY: HealthFlag.FAILED_EDS_HEALTH,
    HealthStatus.DRAINING: HealthFlag.EDS_STATUS_DRAINING,
    HealthStatus.TIMEOUT: HealthFlag.FAILED_EDS_HEALTH,
    HealthStatus.DEGRADED: HealthFlag.DEGRADED_EDS_HEALTH,
}


class Monitor(Protocol):
    """See `meshproxy.runtime.upstream.health.outlier_monitor.HostMonitor`."""

    def on_response(self, response: Any) -> None: ...
    def on_connected(self) -> None: ...
    def on_failure(self, *, connected: bool, timeout: bool) -> None: ...


class Checked(Protocol):
    """See `meshproxy.runtime.upstream.health.health_checker`."""

    def on_immediate_failure(self) -> None: ...


class Host:
    """An endpoint with its state. Compared by identity.

    pool: the connection pool that serves nearly every request to this host, kept by the worker; else None.
    text: the address as it is logged. The counters are Envoy's per-host statistics; those that the connection pool and
    the router move are plain ints. healthy_since: for slow start, monotonic seconds, 0.0 before anybody noted it.
    cluster: whose host it is, kept by the worker. more_addresses: see `Endpoint`.
    excluded: it doesn't count among the hosts of which so many have to be healthy.
    monitor: who is told how requests fare, for outlier detection; None: nobody.
    checked: who is told that the host itself has asked not to be used; None without active health checks.
    loads: what reads the load reports in its answers; None where they don't matter.
    """

    __slots__ = (
        "address",
        "checked",
        "cluster",
        "cx_active",
        "cx_connect_fail",
        "cx_total",
        "endpoint",
        "excluded",
        "flags",
        "health",
        "healthy_since",
        "hostname",
        "loads",
        "locality",
        "metadata",
        "monitor",
        "more_addresses",
        "pool",
        "priority",
        "rq_active",
        "rq_error",
        "rq_success",
        "rq_timeout",
        "rq_total",
        "text",
        "weight",
    )

    def __init__(self, endpoint: Endpoint) -> None:
        self.flags = HealthFlag(0)
        self.health = Health.HEALTHY
        self.excluded = False
        self.address = endpoint.address
        self.text = endpoint.address.text
        self.locality = endpoint.locality
        self.priority = endpoint.priority
        self.monitor: Monitor | None = None
        self.checked: Checked | None = None
        self.loads: HostReports | None = None
        self.cluster: Any = None
        self.pool: Any = None
        self.rq_active = self.rq_total = self.rq_error = self.rq_success = self.rq_timeout = 0
        self.cx_active = self.cx_total = self.cx_connect_fail = 0
        self.healthy_since = 0.0
        self.apply(endpoint)

    def apply(self, endpoint: Endpoint) -> None:
        """Take over weight, name, metadata and health from a new configuration of the same endpoint."""
        self.endpoint = endpoint
        self.weight = max(endpoint.weight, 1)
        self.hostname = endpoint.hostname
        self.more_addresses = endpoint.more_addresses
        self.metadata: Mapping[str, Mapping[str, object]] = endpoint.metadata
        told = _EDS_FLAGS.get(endpoint.health_status)
        if told is not None or self.flags:  # most hosts are well and stay so, and flags are slow
            self._set_flags((self.flags & ~_OF_ENDPOINT) | (told or HealthFlag(0)))

    def set_flag(self, flag: HealthFlag, on: bool) -> bool:
        """Set or clear a flag; say whether the host's health changed (then the balancer must be refreshed)."""
        return self._set_flags(self.flags | flag if on else self.flags & ~flag)

    def _set_flags(self, flags: HealthFlag) -> bool:
        if self.flags & ~flags & HealthFlag.FAILED_ACTIVE_HC:
            self.healthy_since = 0.0  # found well again
        self.flags = flags
        self.excluded = bool(flags & _EXCLUDED)
        before = self.health
        self.health = (
            Health.UNHEALTHY if flags & _UNHEALTHY else Health.DEGRADED if flags & _DEGRADED else Health.HEALTHY
        )
        return self.health is not before

    @property
    def status(self) -> HealthStatus:
        """What is known of it in discovery's terms, checks and ejection first."""
        if self.flags & (HealthFlag.FAILED_ACTIVE_HC | HealthFlag.FAILED_OUTLIER_CHECK):
            return HealthStatus.UNHEALTHY
        told = self.endpoint.health_status
        if told in (HealthStatus.UNHEALTHY, HealthStatus.DRAINING, HealthStatus.TIMEOUT):
            return told
        return HealthStatus.DEGRADED if self.flags & HealthFlag.DEGRADED_ACTIVE_HC else told

    @property
    def health_flags(self) -> str:
        """As Envoy's `/clusters` prints them: `healthy`, or `/failed_outlier_check` and so on, one after the other."""
        return "".join(f"/{flag.name.lower()}" for flag in HealthFlag if flag & self.flags and flag.name) or "healthy"

    def __repr__(self) -> str:
        return f"Host({self.text}, {self.health_flags})"
