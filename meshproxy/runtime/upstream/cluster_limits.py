"""The circuit breakers of a cluster, one for each routing priority, and what they show of themselves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from meshproxy.balance.breaker import CircuitBreaker
from meshproxy.model.cluster import ClusterConfig
from meshproxy.runtime.upstream.breaker_stats import BreakerStats
from meshproxy.runtime.upstream.cluster_stats import LiveClusterStats
from meshproxy.runtime.upstream.cluster_values import thresholds_in_force
from meshproxy.runtime_values import RuntimeValues


class ClusterLimits:
    """by_priority: the breakers of `DEFAULT` and `HIGH`. thresholds: what holds for them now, by the runtime too."""

    def __init__(self, config: ClusterConfig, stats: LiveClusterStats, values: RuntimeValues) -> None:
        self._name = config.name
        self._configured = self.thresholds = thresholds = {"DEFAULT": config.thresholds, "HIGH": config.thresholds_high}
        self.by_priority = {priority: CircuitBreaker(limits) for priority, limits in thresholds.items()}
        scope = stats.scope.scope("circuit_breakers.")
        self._shown = [
            BreakerStats(scope.scope(f"{priority.lower()}."), self.by_priority[priority], limits)
            for priority, limits in thresholds.items()
        ]
        self._stats = stats
        self._active_folded = 0
        values.follow(self)

    def settle(self, values: Mapping[str, Any]) -> None:
        """Take what the runtime says (`Follower`)."""
        settled = {
            priority: thresholds_in_force(limits, self._name, priority, values)
            for priority, limits in self._configured.items()
        }
        if settled != self.thresholds:
            self.thresholds = settled
            for priority, limits in settled.items():
                self.by_priority[priority].settle(limits)

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
