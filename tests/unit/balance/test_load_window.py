"""What hosts were asked to do, from one report to the next."""

from __future__ import annotations

from typing import Any

from meshproxy.address import SocketAddress
from meshproxy.balance.host import Host
from meshproxy.balance.load_window import LoadMetrics, LoadWindow, add_loads
from meshproxy.headers import ResponseHeaders
from meshproxy.model.endpoint import Endpoint, Locality
from meshproxy.steps import finish

PLACE = (0, "", "a", "")


class FakeCluster:
    """Hosts whose counters a test moves."""

    name = "c"
    service_name = "other"
    drop_category = "why"
    has_localities = True

    def __init__(self, *ports: int, metrics: tuple[str, ...] = ()) -> None:
        self.dropped = self.shed = 0
        self.load_metrics = LoadMetrics(metrics) if metrics else None
        self.members = [Host(Endpoint(SocketAddress("127.0.0.1", port), locality=Locality("", "a"))) for port in ports]
        if self.load_metrics is not None:
            self.load_metrics.watch(self.members)

    def hosts(self) -> list[Host]:
        return self.members

    def carry(self, host: int = 0, *, good: int = 1, bad: int = 0, under_way: int = 0) -> None:
        one = self.members[host]
        one.rq_success += good
        one.rq_error += bad
        one.rq_total += good + bad + under_way
        one.rq_active += under_way


def loads(window: LoadWindow, cluster: FakeCluster) -> dict[str, Any]:
    found = finish(window.take({"c": cluster}))["c"]
    return {address: load[:4] for address, load in found["places"].get(PLACE, {}).items()}


def test_what_came_before_is_not_told_and_what_was_told_not_again() -> None:
    cluster, window = FakeCluster(1, 2), LoadWindow()
    cluster.carry(good=5)
    assert window.track({"c": cluster}, None) == ["c"]
    cluster.carry(0, good=2, bad=1)
    cluster.carry(1, good=0, under_way=1)
    assert loads(window, cluster) == {"127.0.0.1:1": (2, 1, 0, 3), "127.0.0.1:2": (0, 0, 1, 1)}
    assert loads(window, cluster) == {"127.0.0.1:2": (0, 0, 1, 0)}
    window.track({"c": cluster}, ["c"])
    cluster.carry()
    window.track({"c": cluster}, ["c"])  # whoever says again what it wants loses nothing
    assert loads(window, cluster)["127.0.0.1:1"] == (1, 0, 0, 1)


def test_new_hosts_count_from_their_beginning_and_those_of_a_successor_too() -> None:
    cluster, window = FakeCluster(1), LoadWindow()
    window.track({"c": cluster}, ["c"])
    cluster.dropped = 3
    finish(window.take({"c": cluster}))
    successor = FakeCluster(2)
    successor.dropped = 1
    successor.carry(good=4)
    found = finish(window.take({"c": successor}))["c"]
    assert found["dropped"] == 1
    assert found["places"][PLACE]["127.0.0.1:2"][:4] == (4, 0, 0, 4)


def test_a_cluster_that_is_wanted_before_it_is_there_is_told_of_from_its_beginning() -> None:
    cluster, window = FakeCluster(1), LoadWindow()
    assert window.track({}, ["c"]) == ["c"]
    assert finish(window.take({})) == {}
    cluster.carry()
    assert loads(window, cluster) == {"127.0.0.1:1": (1, 0, 0, 1)}
    window.track({"c": cluster}, [])
    assert finish(window.take({"c": cluster})) == {}


def test_reported_metrics_are_added_up_until_they_are_told() -> None:
    cluster, window = FakeCluster(1, metrics=("cpu_utilization", "named_metrics.*")), LoadWindow()
    window.track({"c": cluster}, None)
    reports = cluster.members[0].loads
    assert reports is not None
    for queue in (1, 2):
        text = f"TEXT cpu_utilization:0.5,named_metrics.q:{queue},mem_utilization:1"
        assert reports.on_answer(ResponseHeaders(200, [("endpoint-load-metrics", text)]))
    assert not reports.on_answer(ResponseHeaders(200, []))
    metrics = finish(window.take({"c": cluster}))["c"]["places"][PLACE]["127.0.0.1:1"][4]
    assert metrics == {"cpu_utilization": (2, 1.0), "named_metrics.q": (2, 3.0)}
    assert finish(window.take({"c": cluster}))["c"]["places"] == {}


def test_loads_of_workers_are_added() -> None:
    workers = []
    for number in (1, 2):
        cluster, window = FakeCluster(1, 1 + number), LoadWindow()
        window.track({"c": cluster}, None)
        cluster.carry(0, good=number)
        cluster.carry(1, bad=number)
        cluster.dropped, cluster.shed = number, 1
        workers.append(finish(window.take({"c": cluster})))
    total = add_loads([*workers, {}])["c"]
    assert (total["dropped"], total["shed"], total["service"]) == (3, 2, "other")
    assert {address: load[:4] for address, load in total["places"][PLACE].items()} == {
        "127.0.0.1:1": (3, 0, 0, 3),
        "127.0.0.1:2": (1, 1, 0, 2),
        "127.0.0.1:3": (1, 2, 0, 3),
    }
