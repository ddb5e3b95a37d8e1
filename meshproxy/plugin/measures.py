"""Histograms that a cluster keeps where it is asked to (envoy.config.cluster.v3.TrackClusterStats)."""

from __future__ import annotations

from meshproxy.plugin.stats import Histogram, StatsScope
from meshproxy.records import dataclass


class SizeMeasures:
    """How many fields heads have, and how many bytes heads and bodies."""

    def __init__(self, scope: StatsScope) -> None:
        self.request_count = scope.histogram("upstream_rq_headers_count")
        self.request_head = scope.histogram("upstream_rq_headers_size")
        self.request_body = scope.histogram("upstream_rq_body_size")
        self.response_count = scope.histogram("upstream_rs_headers_count")
        self.response_head = scope.histogram("upstream_rs_headers_size")
        self.response_body = scope.histogram("upstream_rs_body_size")


@dataclass(frozen=True, slots=True, eq=False)
class ClusterMeasures:
    """budget, try_budget: per cent of the timeout that a request took, and one attempt. None: not measured."""

    budget: Histogram | None = None
    try_budget: Histogram | None = None
    sizes: SizeMeasures | None = None

    @classmethod
    def of(cls, scope: StatsScope, *, budgets: bool, sizes: bool) -> ClusterMeasures | None:
        """Those of a cluster with this scope; None when nothing is measured."""
        if not budgets and not sizes:
            return None
        name = "upstream_rq_timeout_budget"
        return cls(
            scope.histogram(f"{name}_percent_used") if budgets else None,
            scope.histogram(f"{name}_per_try_percent_used") if budgets else None,
            SizeMeasures(scope) if sizes else None,
        )
