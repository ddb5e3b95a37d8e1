"""Circuit breakers: how much may be under way to a cluster at once, by routing priority.

Counting and refusing are two things, as in Envoy: whoever wants a connection, a place in the queue, a request or a
retry asks `is_open` first, and counts with `acquire` and `release`. Some count without asking (a cluster without any
connection may always open one), so a count can be above its limit. The counts are this worker's.
"""

from __future__ import annotations

from typing import Protocol

_NO_LIMIT = 2**64 - 1


class Thresholds(Protocol):
    """What of `meshproxy.model.CircuitBreakerThresholds` is read here."""

    @property
    def max_connections(self) -> int: ...
    @property
    def max_pending_requests(self) -> int: ...
    @property
    def max_requests(self) -> int: ...
    @property
    def max_retries(self) -> int: ...
    @property
    def max_connection_pools(self) -> int: ...
    @property
    def max_connections_per_host(self) -> int: ...
    @property
    def retry_budget_percent(self) -> float | None: ...
    @property
    def retry_budget_min_concurrency(self) -> int: ...


class Resource:
    """One limited thing. active: how many there are now."""

    __slots__ = ("_limit", "active")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.active = 0

    @property
    def limit(self) -> int:
        """How many there may be, now."""
        return self._limit

    def set_limit(self, limit: int) -> None:
        """How many there may be from now on."""
        self._limit = limit

    @property
    def is_open(self) -> bool:
        """Whether the breaker is open: no more. (Envoy's gauges `cx_open`, `rq_open` and so on.)"""
        return self.active >= self._limit

    @property
    def remaining(self) -> int:
        """How many more there may be (`remaining_cx` and so on)."""
        return max(self.limit - self.active, 0)

    def acquire(self) -> None:
        """Count one more, also above the limit."""
        self.active += 1

    def try_acquire(self) -> bool:
        """Count one more unless the breaker is open; say whether it was counted."""
        if self.active >= self._limit:  # `is_open`, for which each request would pay a call
            return False
        self.active += 1
        return True

    def release(self) -> None:
        """Count one less."""
        self.active -= 1


class RetryBudget(Resource):
    """Retries limited to a share of what is active and waiting, and never below a fixed number."""

    __slots__ = ("_minimum", "_pending", "_requests", "_share")

    def __init__(self, percent: float, minimum: int, requests: Resource, pending: Resource) -> None:
        super().__init__(minimum)
        self._share = percent / 100.0
        self._minimum = minimum
        self._requests = requests
        self._pending = pending

    @property
    def limit(self) -> int:
        return max(int(self._share * (self._requests.active + self._pending.active)), self._minimum)

    @property
    def is_open(self) -> bool:
        return self.active >= self.limit

    def try_acquire(self) -> bool:
        if self.is_open:
            return False
        self.active += 1
        return True


class CircuitBreaker:
    """The limits of one cluster at one routing priority. per_host: of connections to each host, None for none."""

    __slots__ = ("connection_pools", "connections", "pending_requests", "per_host", "requests", "retries")

    def __init__(self, thresholds: Thresholds) -> None:
        self.connections = Resource(thresholds.max_connections)
        self.pending_requests = Resource(thresholds.max_pending_requests)
        self.requests = Resource(thresholds.max_requests)
        self.connection_pools = Resource(thresholds.max_connection_pools)
        most = thresholds.max_connections_per_host
        self.per_host = most if most < _NO_LIMIT else None
        self.retries = self._make_retries(thresholds)

    def _make_retries(self, thresholds: Thresholds) -> Resource:
        percent = thresholds.retry_budget_percent
        if percent is None:
            return Resource(thresholds.max_retries)
        minimum = thresholds.retry_budget_min_concurrency
        return RetryBudget(percent, minimum, self.requests, self.pending_requests)

    def settle(self, thresholds: Thresholds) -> None:
        """Other limits from now on; what is under way counts on."""
        self.connections.set_limit(thresholds.max_connections)
        self.pending_requests.set_limit(thresholds.max_pending_requests)
        self.requests.set_limit(thresholds.max_requests)
        self.connection_pools.set_limit(thresholds.max_connection_pools)
        active = self.retries.active
        self.retries = self._make_retries(thresholds)
        self.retries.active = active
