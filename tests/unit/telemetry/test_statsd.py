"""Lines of statsd, as Envoy's sinks write them."""

from __future__ import annotations

import pytest

from meshproxy.telemetry.stats import StatsStore
from meshproxy.telemetry.statsd import StatsdWriter, datagrams
from meshproxy.telemetry.tags import TagProducer, default_extractors


def writer(dialect: str, prefix: str = "envoy") -> StatsdWriter:
    return StatsdWriter(dialect, prefix, TagProducer(default_extractors()))


@pytest.mark.parametrize(
    ("dialect", "counter", "gauge", "sample"),
    [
        ("statsd", "envoy.cluster.up.x_total:3|c", "envoy.server.live:1|g", "envoy.http.s.rq_time:7|ms"),
        (
            "dogstatsd",
            "envoy.cluster.x_total:3|c|#envoy.cluster_name:up",
            "envoy.server.live:1|g",
            "envoy.http.rq_time:7|ms|#envoy.http_conn_manager_prefix:s",
        ),
        (
            "graphite",
            "envoy.cluster.x_total;envoy.cluster_name=up:3|c",
            "envoy.server.live:1|g",
            "envoy.http.rq_time;envoy.http_conn_manager_prefix=s:7|ms",
        ),
    ],
)
def test_the_dialects(dialect: str, counter: str, gauge: str, sample: str) -> None:
    store = StatsStore()
    store.counter("cluster.up.x_total").add(3)
    store.counter("cluster.up.never")
    store.gauge("server.live").set(1)
    writes = writer(dialect)
    assert list(writes.flush(store.snapshot())) == [counter, gauge]
    assert list(writes.samples("http.s.rq_time", {7.9: 2})) == [sample, sample]


def test_a_counter_is_told_by_what_it_has_risen() -> None:
    store = StatsStore()
    counter = store.counter("c")
    writes = writer("statsd", "p")
    told: list[str] = []
    for amount in (2, 0, 5):
        counter.add(amount)
        told += writes.flush(store.snapshot())
    store.reset_counters()
    counter.add(1)
    told += writes.flush(store.snapshot())
    assert told == ["p.c:2|c", "p.c:0|c", "p.c:5|c", "p.c:1|c"]


def test_values_of_histograms_are_told_when_an_interval_ends() -> None:
    store = StatsStore()
    told: list[tuple[str, dict[float, int]]] = []
    store.tell_samples = lambda name, recorded: told.append((name, dict(recorded)))
    histogram = store.histogram("h")
    store.histogram("quiet")
    histogram.record(123)
    histogram.record_many(4, 2)
    store.latch()
    store.latch()
    assert told == [("h", {123: 1, 4: 2})]


def test_lines_are_joined_up_to_the_size_of_a_datagram() -> None:
    lines = ["aa:1|c", "bb:2|c", "a-long-line:3|c", "c:4|c"]
    assert list(datagrams(lines, 0)) == [line.encode() for line in lines]
    assert list(datagrams(lines, 13)) == [b"aa:1|c\nbb:2|c", b"a-long-line:3|c", b"c:4|c"]
    assert list(datagrams([], 13)) == []
