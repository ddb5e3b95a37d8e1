"""Statistics of several processes, and of those that are gone."""

from meshproxy.runtime.workers.merged_stats import Retired
from meshproxy.runtime.workers.worker_control import pack_snapshot, unpack_snapshot
from meshproxy.telemetry.stats import StatsSnapshot, StatsStore


def worker(requests: int, active: int) -> StatsSnapshot:
    store = StatsStore()
    store.counter("http.in.rq").add(requests)
    store.gauge("http.in.active").set(active)
    store.gauge("cluster.up.membership_total").set(3)
    store.histogram("http.in.time").record(5)
    return unpack_snapshot(pack_snapshot(store.snapshot()))


def own() -> StatsSnapshot:
    store = StatsStore()
    store.gauge("server.live").set(1)
    return store.snapshot()


def test_numbers_are_added_and_what_all_know_is_not() -> None:
    merged = Retired().merged(own(), [worker(2, 1), worker(5, 4)])
    assert merged.counters["http.in.rq"][0] == 7
    assert merged.gauges["http.in.active"][0] == 5
    assert merged.gauges["cluster.up.membership_total"][0] == 3
    assert merged.gauges["server.live"][0] == 1


def test_counters_of_the_dead_stay_and_their_gauges_go() -> None:
    retired = Retired()
    retired.add(worker(2, 1))
    retired.add(worker(3, 1))
    merged = retired.merged(own(), [worker(4, 2)])
    assert merged.counters["http.in.rq"][0] == 9
    assert merged.gauges["http.in.active"][0] == 2
    retired.clear()
    assert retired.merged(own(), []).counters == {}
