"""Statistics that are counted in plain numbers and spread when somebody looks."""

from __future__ import annotations

from meshproxy.balance.breaker import CircuitBreaker
from meshproxy.model.cluster import CircuitBreakerThresholds
from meshproxy.model.route_counts import RouteCounts
from meshproxy.runtime.downstream.route_stats import RouteStats
from meshproxy.runtime.upstream.breaker_stats import BreakerStats
from meshproxy.runtime.upstream.cluster_stats import LiveClusterStats
from meshproxy.telemetry.stats import StatsStore
from meshproxy.telemetry.stats_query import StatsQuery, select


def test_a_cluster_that_nobody_used_holds_no_statistics_but_shows_them() -> None:
    store = StatsStore()
    LiveClusterStats(store.scope("cluster.up."))
    snapshot = store.snapshot()
    assert not snapshot.counters
    assert not snapshot.gauges
    assert not snapshot.histograms
    shown = select(snapshot, StatsQuery())
    assert shown.counters["cluster.up.upstream_rq_total"] == (0, False)
    assert "cluster.up.lb_subsets_active" in shown.gauges
    assert "cluster.up.upstream_rq_per_cx" in shown.histograms


def test_a_response_time_goes_into_both_histograms() -> None:
    store = StatsStore()
    stats = LiveClusterStats(store.scope("cluster.up."))
    stats.count_time(7, internal=False)
    stats.count_time(7, internal=False)
    stats.count_time(9, internal=True)
    stats.fold()
    assert sorted(store.snapshot().histograms) == [
        "cluster.up.external.upstream_rq_time",
        "cluster.up.internal.upstream_rq_time",
        "cluster.up.upstream_rq_time",
    ]
    store.latch()
    store.latch()
    counts = {name: sum(data.cumulative.values()) for name, data in store.snapshot().histograms.items()}
    assert counts == {
        "cluster.up.external.upstream_rq_time": 2,
        "cluster.up.internal.upstream_rq_time": 1,
        "cluster.up.upstream_rq_time": 3,
    }


def test_a_route_with_a_prefix() -> None:
    store = StatsStore()
    counts = RouteCounts()
    RouteStats(store.scope("vhost.v.route.r."), counts)
    counts.total += 2
    counts.codes[503] += 1
    counts.times[12] += 1
    for _ in range(2):  # a second look changes nothing
        seen = {name: value for name, (value, _) in store.snapshot().counters.items()}
    assert seen == {
        "vhost.v.route.r.upstream_rq_503": 1,
        "vhost.v.route.r.upstream_rq_5xx": 1,
        "vhost.v.route.r.upstream_rq_completed": 1,
        "vhost.v.route.r.upstream_rq_total": 2,
    }
    assert select(store.snapshot(), StatsQuery()).counters["vhost.v.route.r.upstream_rq_retry"] == (0, False)
    store.latch()
    assert sum(store.snapshot().histograms["vhost.v.route.r.upstream_rq_time"].cumulative.values()) == 1


def test_a_breaker_becomes_a_gauge_when_it_opens() -> None:
    store = StatsStore()
    thresholds = CircuitBreakerThresholds(max_requests=1, max_pending_requests=0)
    breaker = CircuitBreaker(thresholds)
    stats = BreakerStats(store.scope("b."), breaker, thresholds)
    stats.fold()
    assert not store.snapshot().gauges  # a limit of nothing isn't open as long as nothing was counted, as in Envoy
    breaker.requests.acquire()
    stats.fold()
    assert store.snapshot().gauges["b.rq_open"][0] == 1
    breaker.requests.release()
    stats.fold()
    assert store.snapshot().gauges["b.rq_open"][0] == 0
