"""`envoy.filters.http.health_check`: answers health checks itself, or from memory, or lets them through.

A request that matches all `headers` is a health check. Who answers it (Envoy: "Health check" of the HTTP filters):

- the filter, when `pass_through_mode` is off, when an operator has failed the proxy's health, or while a cached answer
  of the application is fresh;
- else the application, whose status is then remembered for `cache_time`.

Every response of a proxy whose health has been failed tells the client not to come back
(`x-envoy-immediate-health-check-fail`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar

from meshproxy.headers import RequestHeaders, ResponseHeaders
from meshproxy.inlining import compile_all
from meshproxy.plugin.context import FactoryContext, Stream
from meshproxy.plugin.http import HttpFilter
from meshproxy.plugin.replies import LocalReply
from meshproxy.plugin.stats import Counter, StatsScope
from meshproxy.records import dataclass

if TYPE_CHECKING:
    from meshproxy.plugin.view import ConfigView


class HealthCheckStats:
    """`http.<prefix>.health_check.`."""

    def __init__(self, scope: StatsScope) -> None:
        self.request_total = scope.counter("request_total")
        self.ok = scope.counter("ok")
        self.failed = scope.counter("failed")
        self.degraded = scope.counter("degraded")
        self.cached_response = scope.counter("cached_response")
        self.cluster_not_found = scope.counter("failed_cluster_not_found")
        self.cluster_empty = scope.counter("failed_cluster_empty")
        self.cluster_unhealthy = scope.counter("failed_cluster_unhealthy")


class CachedAnswer:
    """The application's last answer; shared by all streams. `until` is a time of the monotonic clock."""

    __slots__ = ("degraded", "status", "until")

    def __init__(self) -> None:
        self.status = 0
        self.degraded = False
        self.until = 0.0


@dataclass(frozen=True, slots=True, eq=False)
class HealthCheckConfig:
    """concerns: whether a request is a check. cache_time: seconds, 0: no cache.
    min_healthy: cluster name -> percentage of hosts that must be available."""

    pass_through: bool
    concerns: Callable[[RequestHeaders], bool]
    stats: HealthCheckStats
    cache_time: float = 0.0
    cached: CachedAnswer | None = None
    min_healthy: tuple[tuple[str, float], ...] = ()


class HealthCheck(HttpFilter[HealthCheckConfig]):
    """See the module. Without a cache nothing is kept of a request but that it is a health check, and that is the
    stream's fact."""

    stateless: ClassVar[bool] = True
    _answered_here: bool = False

    @classmethod
    def compile(cls, view: ConfigView, context: FactoryContext) -> HealthCheckConfig:
        if not view.has("pass_through_mode"):
            view.fail("field 'pass_through_mode' is required")
        pass_through = view.boolean("pass_through_mode")
        cache_time = view.seconds("cache_time", 0.0)
        if cache_time and not pass_through:
            view.fail("cache_time must not be set when pass_through_mode is disabled", "cache_time")
        percentages = view.view_map("cluster_min_healthy_percentages")
        if percentages and pass_through:
            message = "cluster_min_healthy_percentages must not be set when pass_through_mode is enabled"
            view.fail(message, "cluster_min_healthy_percentages")
        return HealthCheckConfig(
            pass_through=pass_through,
            concerns=compile_all([context.compile_header_matcher(entry) for entry in view.views("headers")]),
            stats=HealthCheckStats(context.stats.scope("health_check.")),
            cache_time=cache_time,
            cached=CachedAnswer() if cache_time else None,
            min_healthy=tuple((name, percent.number("value")) for name, percent in sorted(percentages.items())),
        )

    @classmethod
    def for_config(cls, config: HealthCheckConfig) -> type[HealthCheck]:
        return HealthCheck if config.cached is None else CachingHealthCheck

    def on_request_headers(self, request: RequestHeaders, stream: Stream) -> LocalReply | None:
        config = self.config
        if not config.concerns(request):
            return None
        stream.health_check = True
        if config.pass_through and not stream.server.health_failed and not self._is_cached():
            return None
        if config.cached is not None:
            self._answered_here = True
        return self._answer(stream)

    def on_response_headers(self, response: ResponseHeaders, stream: Stream) -> None:
        if stream.health_check:
            cached = self.config.cached
            if cached is not None and not self._answered_here:
                cached.status = response.status
                cached.degraded = "x-envoy-degraded" in response.fields
                cached.until = self.context.clock.now() + self.config.cache_time
            response.fields["x-envoy-upstream-healthchecked-cluster"] = self.context.node.cluster
        if stream.server.health_failed:
            response.fields["x-envoy-immediate-health-check-fail"] = "true"

    def _is_cached(self) -> bool:
        cached = self.config.cached
        return cached is not None and self.context.clock.now() < cached.until

    def _answer(self, stream: Stream) -> LocalReply:
        stats = self.config.stats
        stats.request_total.value += 1
        if stream.server.health_failed:
            return self._reply(503, "health_check_failed")
        cached = self.config.cached
        if cached is not None:
            stats.cached_response.value += 1
            return self._reply(cached.status, "health_check_cached", cached.degraded)
        for name, percent in self.config.min_healthy:
            fault = self._fault_of(stream, name, percent)
            if fault is not None:
                counter, details = fault
                counter.value += 1
                return self._reply(503, details)
        return self._reply(200, "health_check_ok_cluster_healthy" if self.config.min_healthy else "health_check_ok")

    def _fault_of(self, stream: Stream, name: str, percent: float) -> tuple[Counter, str] | None:
        """Why a cluster isn't healthy enough; degraded hosts are available too."""
        stats = self.config.stats
        cluster = stream.clusters.get(name)
        if cluster is None:
            return stats.cluster_not_found, "health_check_failed_no_cluster_found"
        total, healthy, degraded = cluster.membership()
        if total == 0:
            return None if percent == 0 else (stats.cluster_empty, "health_check_failed_cluster_empty")
        if 100 * (healthy + degraded) < total * percent:
            return stats.cluster_unhealthy, "health_check_failed_cluster_unhealthy"
        return None

    def _reply(self, status: int, details: str, degraded: bool = False) -> LocalReply:
        stats = self.config.stats
        healthy = 200 <= status < 300
        (stats.ok if healthy else stats.failed).value += 1
        if degraded:
            stats.degraded.value += 1
        headers = (("x-envoy-degraded", ""),) if degraded else ()
        return LocalReply(status, headers=headers, details=details, flags="" if healthy else "LH")


class CachingHealthCheck(HealthCheck):
    """The same with `cache_time`: what is remembered must have been the application's own answer."""

    stateless: ClassVar[bool] = False
