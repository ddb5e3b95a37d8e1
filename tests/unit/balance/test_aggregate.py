"""Clusters one behind the other, as if their priorities were those of one."""

from __future__ import annotations

from collections import Counter
from random import Random
from types import SimpleNamespace
from typing import Any

import pytest

from meshproxy.address import SocketAddress
from meshproxy.balance.aggregate import AggregateBalancer
from meshproxy.balance.balancer import LoadBalancer
from meshproxy.balance.host import Host
from meshproxy.balance.host_set import PrioritySet
from meshproxy.balance.policies import picker_factory
from meshproxy.model.cluster import LbOptions
from meshproxy.model.endpoint import Endpoint, HealthStatus
from meshproxy.plugin.upstream import HostChoice
from meshproxy.runtime_values import constant

_STATES = {"+": HealthStatus.HEALTHY, "-": HealthStatus.UNHEALTHY, "~": HealthStatus.DEGRADED}


def cluster(number: int, *priorities: str, factor: int = 140) -> Any:
    """priorities: of each its hosts, "+" well, "-" ill, "~" degraded. Ports say whose host it is: cluster, priority."""
    endpoints = [
        Endpoint(SocketAddress(f"10.0.0.{i + 1}", number * 10 + level), priority=level, health_status=_STATES[state])
        for level, states in enumerate(priorities)
        for i, state in enumerate(states)
    ]
    sets = PrioritySet(endpoints)
    made = SimpleNamespace(priorities=sets)
    made.balancer = LoadBalancer(sets, picker_factory("ROUND_ROBIN"), LbOptions(), Random(1), factor)
    for host in sets.hosts:
        host.cluster = made
    return made


def port_of(host: Host) -> int:
    assert isinstance(host.address, SocketAddress)
    return host.address.port


def shares(*members: Any, panic: float = 50.0, picks: int = 4000) -> dict[int, float]:
    """Of the load, what each priority of each cluster gets in per cent, rounded to 5."""
    balancer = AggregateBalancer(lambda: members, constant(panic), Random(7))
    counts = Counter(port_of(host) for _ in range(picks) if (host := balancer.pick()) is not None)
    return {port: round(count * 20 / picks) * 5 for port, count in sorted(counts.items())}


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        ((cluster(1, "++"), cluster(2, "++")), {10: 100}),
        ((cluster(1, "--"), cluster(2, "++")), {20: 100}),
        ((cluster(1, "+---"), cluster(2, "++")), {10: 35, 20: 65}),
        ((cluster(1, "--", "+-"), cluster(2, "++")), {11: 70, 20: 30}),
        ((cluster(1, "", "++"), cluster(2, "++")), {11: 100}),
        ((cluster(1, "~-"), cluster(2, "+---")), {10: 65, 20: 35}),
        ((cluster(1, "+---", factor=400), cluster(2, "++")), {10: 100}),
        ((cluster(1, "--"), cluster(2, "------")), {10: 25, 20: 75}),
        ((cluster(1), cluster(2)), {}),
    ],
)
def test_priorities_of_clusters_stand_one_behind_the_other(members: tuple[Any, ...], expected: dict[int, int]) -> None:
    assert shares(*members) == expected


def test_the_first_cluster_says_itself_whether_it_serves_when_nothing_is_well() -> None:
    assert shares(cluster(1, "--"), cluster(2, "--"), panic=0.0) == {10: 100}


def port(balancer: AggregateBalancer) -> int:
    host = balancer.pick()
    assert host is not None
    assert isinstance(host.address, SocketAddress)
    return host.address.port


def test_a_change_of_a_cluster_is_noticed() -> None:
    first, second = cluster(1, "+"), cluster(2, "+")
    members = [first, second]
    balancer = AggregateBalancer(lambda: members, constant(50.0), Random(1))
    assert port(balancer) == 10
    first.priorities.update([])
    first.balancer.refresh()
    assert port(balancer) == 20
    members.remove(second)
    assert balancer.pick() is None


def test_a_retry_leaves_the_priorities_out_that_were_tried() -> None:
    first, second = cluster(1, "+"), cluster(2, "+")
    balancer = AggregateBalancer(lambda: (first, second), constant(50.0), Random(1))
    tried = balancer.pick()
    assert tried is not None
    choice = HostChoice(tried=(tried,), left_out={0})
    again = balancer.pick_choosy(choice)
    assert again is not None
    assert port_of(again) == 20
    choice = HostChoice(tried=(tried, again), left_out={0})
    assert balancer.pick_choosy(choice) is not None  # all were tried: from the start again
    assert choice.left_out == set()
