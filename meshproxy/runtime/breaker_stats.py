"""The gauges of circuit breakers: `cluster.<name>.circuit_breakers.<priority>.` (Envoy: "Circuit breakers statistics").

They are read off the breakers when somebody looks. They are per worker, and so is what they describe: the merged value
of an `open` gauge says in how many workers the breaker is open.
"""

from __future__ import annotations

from meshproxy.balance.breaker import CircuitBreaker
from meshproxy.model.cluster import CircuitBreakerThresholds
from meshproxy.plugin.stats import Gauge, StatsScope

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
    """The gauges of one cluster at one priority."""

    def __init__(self, scope: StatsScope, breaker: CircuitBreaker, thresholds: CircuitBreakerThresholds) -> None:
        self._breaker = breaker
        self._open: list[tuple[Gauge, str]] = [(scope.gauge(name), resource) for name, resource in _OPEN.items()]
        self._remaining: list[tuple[Gauge, str]] = []
        if thresholds.track_remaining:
            self._remaining = [(scope.gauge(name), resource) for name, resource in _REMAINING.items()]

    def fold(self) -> None:
        """Read the breaker."""
        breaker = self._breaker
        for gauge, name in self._open:
            gauge.set(int(getattr(breaker, name).is_open))
        for gauge, name in self._remaining:
            gauge.set(getattr(breaker, name).remaining)
