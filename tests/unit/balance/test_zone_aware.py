"""Routing by zone: what stays at home and where the rest goes."""

from __future__ import annotations

from collections import Counter
from random import Random
from typing import Any

import pytest

from meshproxy.address import SocketAddress
from meshproxy.balance.balancer import LoadBalancer
from meshproxy.balance.host_set import PrioritySet
from meshproxy.balance.policies import picker_factory
from meshproxy.balance.zone_aware import ZoneRouting
from meshproxy.matching import FractionalPercent
from meshproxy.model.cluster import LbOptions, ZoneOptions
from meshproxy.model.endpoint import Endpoint, HealthStatus, Locality
from meshproxy.runtime_values import constant

HERE = Locality(zone="a")


def hosts(ill: str = "", **zones: int) -> PrioritySet:
    """So many hosts in each zone; those of the zones in `ill` are ill."""
    endpoints = [
        Endpoint(
            SocketAddress(f"10.0.{ord(zone)}.{number}", 1),
            locality=Locality(zone=zone),
            health_status=HealthStatus.UNHEALTHY if zone in ill else HealthStatus.HEALTHY,
        )
        for zone, count in zones.items()
        for number in range(count)
    ]
    return PrioritySet(endpoints)


def shares(
    local: PrioritySet, upstream: PrioritySet, picks: int = 20_000, **options: Any
) -> tuple[dict[str, float], dict[str, int]]:
    """Of the load, what each zone gets in per cent, and what was counted."""
    zone = ZoneOptions("local", HERE, minimum_size=constant(1), **options)
    routing = ZoneRouting(zone, lambda: local.sets, Random(3))
    balancer = LoadBalancer(upstream, picker_factory("ROUND_ROBIN"), LbOptions(), Random(5), 140, routing)
    counts = Counter(host.locality.zone for _ in range(picks) if (host := balancer.pick()) is not None)
    return {zone: 100 * count / picks for zone, count in sorted(counts.items())}, routing.counts


@pytest.mark.parametrize(
    ("local", "upstream", "expected"),
    [
        (hosts(a=1, b=1), hosts(a=1, b=1), {"a": 100}),
        (hosts(a=1, b=3), hosts(a=1, b=1), {"a": 100}),
        (hosts(a=2, b=1), hosts(a=1, b=1), {"a": 75, "b": 25}),
        (hosts(a=4, b=4, c=2), hosts(a=1, b=2, c=1), {"a": 62.5, "b": 25, "c": 12.5}),
        (hosts(a=1, b=1), hosts(b=1, c=1), {"c": 100}),
        (hosts(a=1, b=1), hosts(a=3, b=3, ill="a"), {"b": 100}),
        (hosts(a=1), hosts(a=1, b=3), {"a": 25, "b": 75}),
        (hosts(b=2, c=2), hosts(a=1, b=3), {"a": 25, "b": 75}),
        (hosts(a=1, b=1, ill="ab"), hosts(a=1, b=3), {"a": 25, "b": 75}),
    ],
)
def test_shares(local: PrioritySet, upstream: PrioritySet, expected: dict[str, float]) -> None:
    found, _ = shares(local, upstream)
    assert found == pytest.approx(expected, abs=1.5)


def test_only_some_of_the_requests_are_routed_so() -> None:
    found, counts = shares(hosts(a=1, b=1), hosts(a=1, b=1), routing_enabled=FractionalPercent(40))
    assert found == pytest.approx({"a": 70, "b": 30}, abs=1.5)
    assert counts["lb_zone_routing_all_directly"] == pytest.approx(8000, abs=300)


def test_everything_may_be_forced_to_stay() -> None:
    assert shares(hosts(a=9, b=1), hosts(a=2, b=8), force_from=2)[0] == {"a": 100}
    assert shares(hosts(a=9, b=1), hosts(a=2, b=8), force_from=3)[0] != {"a": 100}


def zones(balancer: LoadBalancer) -> set[str]:
    return {host.locality.zone for _ in range(50) if (host := balancer.pick())}


def test_a_change_of_the_local_cluster_counts() -> None:
    local = hosts(a=1, b=1)
    routing = ZoneRouting(ZoneOptions("local", HERE, minimum_size=constant(1)), lambda: local.sets, Random(3))
    balancer = LoadBalancer(hosts(a=1, b=1), picker_factory("RANDOM"), LbOptions(), Random(5), 140, routing)
    assert zones(balancer) == {"a"}
    local.update([host.endpoint for host in local.hosts[:1]])
    assert zones(balancer) == {"a", "b"}
