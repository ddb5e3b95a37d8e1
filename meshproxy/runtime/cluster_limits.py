"""The circuit breakers of a cluster, one for each routing priority, and what they show of themselves."""

from __future__ import annotations

from meshproxy.balance.breaker import CircuitBreaker
from meshproxy.model.cluster import ClusterConfig
from meshproxy.runtime.breaker_stats import BreakerStats
from meshproxy.runtime.cluster_stats import LiveClusterStats


class ClusterLimits:
    """by_priority: the breakers of `DEFAULT` and `HIGH`."""

    def __init__(self, config: ClusterConfig, stats: LiveClusterStats) -> None:
        thresholds = {"DEFAULT": config.thresholds, "HIGH": config.thresholds_high}
        self.by_priority = {priority: CircuitBreaker(limits) for priority, limits in thresholds.items()}
        scope = stats.scope.scope("circuit_breakers.")
        self._shown = [
            BreakerStats(scope.scope(f"{priority.lower()}."), self.by_priority[priority], limits)
            for priority, limits in thresholds.items()
        ]
        self._stats = stats
        self._active_folded = 0

    def active_requests(self) -> int:
        """How many requests the cluster has under way."""
        return sum(breaker.requests.active for breaker in self.by_priority.values())

    def fold(self) -> None:
        """Bring the gauges up to date, which nobody moves on the path of a request."""
        active = self.active_requests()
        if active != self._active_folded:
            # By how much it changed: while a cluster is replaced the old one and the new one share the gauge.
            self._stats.upstream_rq_active.add(active - self._active_folded)
            self._active_folded = active
        for shown in self._shown:
            shown.fold()
