"""The statistics of a route: `vhost.<virtual host>.route.<stat_prefix>.` (config.route.v3.Route.stat_prefix)."""

from __future__ import annotations

from meshproxy.model.route_counts import RouteCounts
from meshproxy.plugin.stats import StatsScope
from meshproxy.runtime.cluster_stat_names import ROUTE

_NUMBERS = ("total", "timeout", "retry", "retry_success", "retry_overflow", "retry_limit_exceeded")


class RouteStats:
    """Spreads what the router counts in plain numbers over the statistics, when somebody looks."""

    def __init__(self, scope: StatsScope, counts: RouteCounts) -> None:
        self._scope = scope
        self._counts = counts
        scope.declare(ROUTE)
        scope.before_read(self.fold)
        scope.before_latch(self._fold_times)

    def fold(self) -> None:
        """Bring the counters up to date."""
        counts = self._counts
        for name in _NUMBERS:
            count = getattr(counts, name)
            if count:
                self._scope.counter(f"upstream_rq_{name}").add(count)
                setattr(counts, name, 0)
        for status, count in counts.codes.items():
            for suffix in ("completed", str(status), f"{status // 100}xx"):
                self._scope.counter(f"upstream_rq_{suffix}").add(count)
        counts.codes.clear()
        if counts.times:
            self._scope.histogram("upstream_rq_time")

    def _fold_times(self) -> None:
        for milliseconds, count in self._counts.times.items():
            self._scope.histogram("upstream_rq_time").record_many(milliseconds, count)
        self._counts.times.clear()
