"""What ext_authz counts: for the filter, and for the cluster that a request was for."""

from __future__ import annotations

from meshproxy.plugin.stats import Counter, StatsScope
from meshproxy.plugin.upstream import Cluster

_OUTCOMES = ("ok", "denied", "error", "failure_mode_allowed", "invalid")
_NEVER = (
    "filter_state_name_collision",
    "omitted_response_headers",
    "request_header_limits_reached",
)


class ExtAuthzStats:
    """`http.<prefix>.ext_authz.`. Those that nothing here can raise are there because Envoy has them."""

    def __init__(self, scope: StatsScope, infix: str) -> None:
        self._infix = infix
        self._of_clusters: dict[tuple[str, str], Counter] = {}
        own = scope.scope(infix)
        self.disabled = own.counter("disabled")
        self._own = {outcome: own.counter(outcome) for outcome in _OUTCOMES}
        self.ignored_metadata = own.counter("ignored_dynamic_metadata")
        self.shadow_denied = own.counter("shadow_denied")
        self.shadow_error = own.counter("shadow_error")
        self.limits_reached = own.counter("response_header_limits_reached")
        for name in _NEVER:
            own.counter(name)

    def count(self, outcome: str, cluster: Cluster | None) -> None:
        """Note what came of a request, for the filter and for the cluster that the request was for."""
        self._own[outcome].value += 1
        if cluster is None:
            return
        key = cluster.name, outcome
        counter = self._of_clusters.get(key)
        if counter is None:
            counter = self._of_clusters[key] = cluster.stats.scope.scope(self._infix).counter(outcome)
        counter.value += 1
