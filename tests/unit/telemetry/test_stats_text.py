"""`/stats` as Envoy 1.40 printed it for the same values."""

from __future__ import annotations

import json

import pytest

from meshproxy.telemetry.stats import StatsSnapshot, StatsStore
from meshproxy.telemetry.stats_query import StatsQuery, parse_stats_query
from meshproxy.telemetry.stats_text import render_json, render_text


@pytest.fixture
def snapshot() -> StatsSnapshot:
    store = StatsStore()
    cluster = store.scope("cluster.up.")
    cluster.counter("upstream_rq_total").add(3)
    cluster.counter("upstream_rq_timeout")
    cluster.gauge("upstream_rq_active").set(0)
    time = cluster.histogram("upstream_rq_time")
    time.record(0)
    time.record(1)
    cluster.histogram("upstream_cx_connect_ms")
    store.text_readout("lds.version_text").value = "v1"
    store.latch()
    return store.snapshot()


def test_text(snapshot: StatsSnapshot) -> None:
    assert render_text(snapshot).splitlines() == [
        'lds.version_text: "v1"',
        "cluster.up.upstream_rq_active: 0",
        "cluster.up.upstream_rq_timeout: 0",
        "cluster.up.upstream_rq_total: 3",
        "cluster.up.upstream_cx_connect_ms: No recorded values",
        "cluster.up.upstream_rq_time: P0(0,0) P25(0,0) P50(0,0) P75(1.05,1.05) P90(1.05,1.05) P95(1.05,1.05) "
        "P99(1.05,1.05) P99.5(1.05,1.05) P99.9(1.05,1.05) P100(1.05,1.05)",
    ]


def test_an_interval_without_values_has_no_quantiles() -> None:
    store = StatsStore()
    store.histogram("h").record(5)
    store.latch()
    store.latch()
    assert render_text(store.snapshot()).startswith("h: P0(nan,5.05) P25(nan,5.05)")


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("cumulative", "B0.5(1,1) B1(2,2) B5(2,2) B10(2,2)"),
        ("disjoint", "B0.5(1,1) B1(1,1) B5(0,0) B10(0,0)"),
    ],
)
def test_buckets(snapshot: StatsSnapshot, mode: str, expected: str) -> None:
    query = StatsQuery(buckets=mode, type="Histograms", used_only=True)
    line = render_text(snapshot, query)
    assert line.startswith(f"cluster.up.upstream_rq_time: {expected}")
    assert line.endswith(" B1.8e+06(2,2) B3.6e+06(2,2)\n" if mode == "cumulative" else " B3.6e+06(0,0)\n")


def test_detailed_buckets(snapshot: StatsSnapshot) -> None:
    query = StatsQuery(buckets="detailed", type="Histograms", used_only=True)
    assert render_text(snapshot, query).splitlines()[:4] == [
        "cluster.up.upstream_rq_time:",
        "  totals=0,0:1, 1,0.1:1",
        "  intervals=0,0:1, 1,0.1:1",
        "  summary=P0(0,0) P25(0,0) P50(0,0) P75(1.05,1.05) P90(1.05,1.05) P95(1.05,1.05) "
        "P99(1.05,1.05) P99.5(1.05,1.05) P99.9(1.05,1.05) P100(1.05,1.05)",
    ]


def test_used_only_keeps_a_gauge_that_went_back_to_zero(snapshot: StatsSnapshot) -> None:
    shown = render_text(snapshot, StatsQuery(used_only=True))
    assert "upstream_rq_active: 0" in shown
    assert "upstream_rq_timeout" not in shown
    assert "connect_ms" not in shown


def test_filter_finds_a_part_of_the_name(snapshot: StatsSnapshot) -> None:
    query = parse_stats_query({"filter": "rq_t.*l$"})
    assert render_text(snapshot, query) == "cluster.up.upstream_rq_total: 3\n"


def test_json(snapshot: StatsSnapshot) -> None:
    stats = json.loads(render_json(snapshot))["stats"]
    assert stats[:2] == [
        {"name": "lds.version_text", "value": "v1"},
        {"name": "cluster.up.upstream_rq_active", "value": 0},
    ]
    histograms = stats[-1]["histograms"]
    assert histograms["supported_quantiles"] == [0, 25, 50, 75, 90, 95, 99, 99.5, 99.9, 100]
    empty, time = histograms["computed_quantiles"]
    assert empty["values"][0] == {"cumulative": None, "interval": None}
    assert time["values"][3] == {"cumulative": 1.05, "interval": 1.05}


def test_json_bytes() -> None:
    store = StatsStore(bounds_for=lambda name: (1.0, 300000.0, 1800000.0))
    store.histogram("h").record(1)
    store.latch()
    assert render_json(store.snapshot(), StatsQuery("json", "cumulative")) == (
        '{"stats":[{"histograms":[{"name":"h","buckets":[{"upper_bound":1,"interval":1,"cumulative":1},'
        '{"upper_bound":3e+05,"interval":1,"cumulative":1},{"upper_bound":1800000,"interval":1,"cumulative":1}]}]}]}'
    )
    detailed = render_json(store.snapshot(), StatsQuery("json", "detailed"))
    assert '"totals":[{"lower_bound":1,"width":0.1,"count":1}],"intervals":[{"lower_bound":1' in detailed
    assert render_json(StatsSnapshot()) == '{"stats":[]}'


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"type": "counters"}, "invalid &type= param"),
        ({"histogram_buckets": "x"}, "usage: /stats?histogram_buckets="),
        ({"format": "x"}, "usage: /stats?format="),
        ({"filter": "("}, "Invalid re2 regex: missing ): ("),
        ({"format": "prometheus", "histogram_buckets": "disjoint"}, "unsupported prometheus histogram bucket mode"),
    ],
)
def test_bad_queries(parameters: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse_stats_query(parameters)
    assert str(caught.value).startswith(message)
