"""Counting, scopes, snapshots and merging; bins and quantiles as libcircllhist has them."""

from __future__ import annotations

import math
import pickle

import pytest

from meshproxy.plugin.stats import StatNames
from meshproxy.telemetry.histogram import (
    Histogram,
    approximate_sum,
    bin_bounds,
    bin_index,
    counts_up_to,
    quantile_values,
)
from meshproxy.telemetry.stats import StatsStore, merge
from meshproxy.telemetry.stats_query import StatsQuery, select


def test_one_name_is_one_object() -> None:
    store = StatsStore()
    counter = store.counter("cluster.up.upstream_rq_total")
    assert store.scope("cluster.").scope("up.").counter("upstream_rq_total") is counter
    counter.value += 1
    counter.inc()
    counter.add(2)
    assert store.snapshot().counters == {"cluster.up.upstream_rq_total": (4, True)}


def test_a_closed_scope_takes_only_its_own_names() -> None:
    store = StatsStore()
    first, second = store.scope("cluster.a."), store.scope("cluster.a.")
    neighbour = store.scope("cluster.a.b.")
    first.counter("x")
    first.scope("ssl.").gauge("y")
    kept = second.counter("x")
    neighbour.counter("x")
    first.close()
    assert sorted(store.snapshot().counters) == ["cluster.a.b.x", "cluster.a.x"]
    assert not store.snapshot().gauges
    assert store.scope("cluster.a.").counter("x") is kept
    second.close()
    second.close()
    assert "cluster.a.x" in store.snapshot().counters


def test_a_rejected_name_counts_but_is_never_seen() -> None:
    store = StatsStore(accepts=lambda name: not name.startswith("http."))
    rejected = store.counter("http.x")
    rejected.inc()
    assert rejected.value == 1
    assert not store.snapshot().counters


def test_reset_counters() -> None:
    store = StatsStore()
    store.counter("c").add(3)
    store.gauge("g").set(3)
    store.histogram("h").record(3)
    store.latch()
    store.reset_counters()
    snapshot = store.snapshot()
    assert snapshot.counters["c"] == (0, True)
    assert snapshot.gauges["g"][0] == 3
    assert not snapshot.histograms["h"].cumulative


def test_merge_of_workers() -> None:
    snapshots = []
    for worker in (1, 2):
        store = StatsStore()
        store.counter("c").add(worker)
        store.counter(f"only.{worker}")
        store.gauge("sum").set(worker)
        store.gauge("max", "max").set(10 - worker)
        store.gauge("first", "first").set(worker)
        for _ in range(worker):
            store.histogram("h").record(100 * worker)
        store.text_readout("t").value = f"v{worker}"
        store.latch()
        snapshots.append(pickle.loads(pickle.dumps(store.snapshot())))
    merged = merge(snapshots)
    assert merged.counters == {"c": (3, True), "only.1": (0, False), "only.2": (0, False)}
    assert {name: stat[0] for name, stat in merged.gauges.items()} == {"first": 1, "max": 9, "sum": 3}
    assert merged.histograms["h"].cumulative == {bin_index(100): 1, bin_index(200): 2}
    assert merged.texts == {"t": "v1"}
    assert snapshots[0].histograms["h"].cumulative == {bin_index(100): 1}


@pytest.mark.parametrize(
    ("value", "bounds"),
    [
        (0, (0, 0)),
        (0.9, (0, 0)),
        (-1, (0, 0)),
        (1, (1, 0.1)),
        (3.7, (3, 0.1)),
        (9, (9, 0.1)),
        (10, (10, 1)),
        (99, (99, 1)),
        (100, (100, 10)),
        (109, (100, 10)),
        (110, (110, 10)),
        (12345, (12000, 1000)),
        (3600000, (3600000, 100000)),
    ],
)
def test_bins(value: float, bounds: tuple[float, float]) -> None:
    assert bin_bounds(bin_index(value)) == bounds


def test_quantiles_as_envoy_prints_them() -> None:
    """Envoy printed these for four connections per event once ... four times 1, once 2."""
    bins = {bin_index(1): 4, bin_index(2): 1}
    values = [round(value, 6) for value in quantile_values(bins)]
    assert values == [1.02, 1.04, 1.06, 1.08, 2.05, 2.05, 2.05, 2.05, 2.05, 2.05]


def test_no_values_have_no_quantiles() -> None:
    assert all(math.isnan(value) for value in quantile_values({}))


def test_counts_up_to_include_the_bound() -> None:
    bins = {bin_index(value): 1 for value in (0, 1, 5, 6, 10, 400)}
    assert counts_up_to(bins, (0.5, 1, 5, 10, 250, 500)) == [1, 2, 3, 5, 5, 6]


def test_sum_of_bins() -> None:
    assert f"{approximate_sum({bin_index(0): 1, bin_index(1): 1}):.32g}" == "1.0476190476190476719153821250075"


def test_intervals() -> None:
    histogram = Histogram("h")
    histogram.record(1)
    assert not histogram.cumulative
    histogram.latch()
    histogram.record(1)
    histogram.record(2)
    histogram.latch()
    assert histogram.interval == {1: 1, 2: 1}
    assert histogram.cumulative == {1: 2, 2: 1}
    histogram.latch()
    assert histogram.interval == {}


def test_many_different_values_lose_nothing_and_take_bounded_room() -> None:
    histogram = Histogram("h")
    for value in range(1_000_000, 1_010_000):
        histogram.record(value)
    for value in range(5000):
        histogram.record(value)
    assert len(histogram._recording) <= 2048
    histogram.latch()
    assert sum(histogram.cumulative.values()) == 15_000
    assert histogram.cumulative[bin_index(1_000_000)] == 10_000
    assert histogram.cumulative[bin_index(150)] == 10


NAMES = StatNames(counters=("lost", "seen"), gauges=("open",), histograms=("time",))


def test_declared_names_are_shown_at_zero_and_hidden_by_real_ones() -> None:
    store = StatsStore()
    scope = store.scope("cluster.a.")
    scope.declare(NAMES)
    scope.counter("seen").inc()
    snapshot = store.snapshot()
    assert list(snapshot.counters) == ["cluster.a.seen"]
    shown = select(snapshot, StatsQuery())
    assert {name: value for name, (value, _) in shown.counters.items()} == {"cluster.a.lost": 0, "cluster.a.seen": 1}
    assert list(shown.gauges) == ["cluster.a.open"]
    assert list(shown.histograms) == ["cluster.a.time"]
    assert list(select(snapshot, StatsQuery(used_only=True)).counters) == ["cluster.a.seen"]
    assert list(select(snapshot, StatsQuery(wanted=lambda name: "open" in name)).gauges) == ["cluster.a.open"]


def test_declared_names_follow_the_matcher_and_their_scope() -> None:
    store = StatsStore(accepts=lambda name: not name.endswith("lost"))
    first, second = store.scope("cluster.a."), store.scope("cluster.a.")
    first.declare(NAMES)
    second.declare(NAMES)
    assert list(select(store.snapshot(), StatsQuery()).counters) == ["cluster.a.seen"]
    first.close()
    assert list(select(store.snapshot(), StatsQuery()).counters) == ["cluster.a.seen"]
    second.close()
    assert not store.snapshot().declared


def test_what_is_still_declared_keeps_its_value() -> None:
    store = StatsStore()
    first, second = store.scope("cluster.a."), store.scope("cluster.a.")
    first.declare(NAMES)
    second.declare(NAMES)
    for name in ("seen", "other"):
        first.counter(name).inc()
    first.close()
    assert store.snapshot().counters == {"cluster.a.seen": (1, True)}
    second.counter("seen").inc()
    second.close()
    assert not store.snapshot().counters
    third = store.scope("cluster.a.")
    third.declare(NAMES)
    assert third.counter("seen").value == 0


def test_processes_that_declare_the_same_are_shown_once() -> None:
    snapshots = []
    for _ in range(2):
        store = StatsStore()
        store.scope("cluster.a.").declare(NAMES)
        snapshots.append(store.snapshot())
    assert select(merge(snapshots), StatsQuery()).counters == {
        "cluster.a.lost": (0, False),
        "cluster.a.seen": (0, False),
    }


def test_values_noted_elsewhere_come_before_the_interval_ends() -> None:
    store = StatsStore()
    histogram = store.histogram("time")
    noted = [7]
    store.before_latch(lambda: histogram.record_many(noted.pop(), 3))
    store.latch()
    assert sum(histogram.interval.values()) == 3
