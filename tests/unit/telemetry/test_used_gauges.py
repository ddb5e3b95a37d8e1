"""Gauges that are back at 0 and were used all the same."""

import pytest

from meshproxy.plugin.stats import StatNames
from meshproxy.telemetry.stats import StatsStore
from meshproxy.telemetry.stats_query import parse_stats_query, select


@pytest.mark.parametrize(
    ("gauge", "counter"),
    [
        ("http.a.downstream_rq_active", "http.a.downstream_rq_total"),
        ("listener.l.downstream_pre_cx_active", "listener.l.downstream_cx_total"),
        ("cluster.c.upstream_cx_rx_bytes_buffered", "cluster.c.upstream_cx_rx_bytes_total"),
        ("cluster.c.circuit_breakers.default.rq_open", "cluster.c.upstream_rq_total"),
        ("cluster.c.circuit_breakers.default.cx_pool_open", "cluster.c.upstream_cx_http2_total"),
    ],
)
def test_the_counter_beside_it_tells(gauge: str, counter: str) -> None:
    store = StatsStore()
    count = store.counter(counter)
    store.gauge(gauge).set(0)
    assert not store.snapshot().gauges[gauge][1]
    count.inc()
    assert store.snapshot().gauges[gauge][1]
    store.reset_counters()
    assert store.snapshot().gauges[gauge][1]


def test_without_such_a_counter_it_tells_itself() -> None:
    store = StatsStore()
    moved, still = store.gauge("a.pools_active"), store.gauge("b.pools_active")
    moved.inc()
    moved.dec()
    assert {name: used for name, (_, used, _) in store.snapshot().gauges.items()} == {
        moved.name: True,
        still.name: False,
    }


def test_only_those_of_the_declared_that_were_used_are_shown() -> None:
    store = StatsStore()
    names = StatNames((), ("membership_excluded", "circuit_breakers.default.cx_open", "other"), ())
    store.scope("cluster.c.").declare(names)
    query = parse_stats_query({"usedonly": ""})
    assert list(select(store.snapshot(), query).gauges) == ["cluster.c.membership_excluded"]
    store.counter("cluster.c.upstream_cx_total").inc()
    shown = select(store.snapshot(), query).gauges
    assert sorted(shown) == ["cluster.c.circuit_breakers.default.cx_open", "cluster.c.membership_excluded"]
