"""The gauges of circuit breakers: `cluster.<name>.circuit_breakers.<priority>.` (Envoy: "Circuit breakers statistics").

They are read off the breakers when somebody looks. They are per worker, and so is what they describe: the merged value
of an `open` gauge says in how many workers the breaker is open.
"""

from __future__ import annotations

from meshproxy.balance.breaker import CircuitBreaker
from meshproxy.model.cluster import CircuitBreakerThresholds
from meshproxy.plugin.stats import Gauge, StatsScope
from meshproxy.runtime.cluster_stat_names import BREAKER

_OPEN = {
    "cx_open": "connections",
    "cx_pool_open": "connection_pools",
    "rq_open": "requests",
    "rq_pending_open": "pending_requests",
    "rq_retry_open": "retries",
}
_REMAINING = {
    "remaining_cx": "connections",
    "remaining_cx_pools": "connection_pools",
    "remaining_pending": "pending_requests",
    "remaining_retries": "retries",
    "remaining_rq": "requests",
}


class BreakerStats:
    """The gauges of one cluster at one priority. Those of breakers that were never open are shown without an object."""

    def __init__(self, scope: StatsScope, breaker: CircuitBreaker, thresholds: CircuitBreakerThresholds) -> None:
        self._breaker = breaker
        self._scope = scope
        self._open: dict[str, Gauge] = {}
        self._remaining: list[tuple[Gauge, str]] = []
        scope.declare(BREAKER)
        if thresholds.track_remaining:
            self._remaining = [(scope.gauge(name), resource) for name, resource in _REMAINING.items()]

    def fold(self) -> None:
        """Read the breaker."""
        breaker = self._breaker
        for name, resource in _OPEN.items():
            limited = getattr(breaker, resource)
            is_open = limited.is_open and limited.active > 0  # as Envoy, which looks when something is counted
            if is_open or name in self._open:
                if name not in self._open:
                    self._open[name] = self._scope.gauge(name)
                self._open[name].set(int(is_open))
        for gauge, resource in self._remaining:
            gauge.set(getattr(breaker, resource).remaining)
