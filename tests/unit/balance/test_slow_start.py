"""Slow start: the share of a new host, by the formula of Envoy's documentation."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import pytest

from meshproxy.address import SocketAddress
from meshproxy.balance.balancer import LoadBalancer
from meshproxy.balance.host import HealthFlag
from meshproxy.balance.host_set import PrioritySet
from meshproxy.balance.policies import picker_factory
from meshproxy.balance.slow_start import SlowStart
from meshproxy.model.cluster import LbOptions
from meshproxy.model.endpoint import Endpoint
from meshproxy.runtime_values import constant


class Clock:
    def __init__(self) -> None:
        self.time = 1000.0

    def __call__(self) -> float:
        return self.time


def endpoint(number: int, **fields: Any) -> Endpoint:
    return Endpoint(SocketAddress(f"10.0.0.{number}", 80), **fields)


def balancer(clock: Clock, policy: str, aggression: float = 1.0) -> LoadBalancer:
    slow_start = SlowStart(clock, 10.0, constant(aggression), 0.1)
    priorities = PrioritySet([endpoint(1)])
    made = LoadBalancer(priorities, picker_factory(policy, slow_start=slow_start), LbOptions(), random.Random(3))
    clock.time += 100
    priorities.update([endpoint(1), endpoint(2)])
    made.refresh()
    return made


def share_of_new(made: LoadBalancer, picks: int = 2000) -> float:
    counts = Counter(str(host.text) for host in (made.pick() for _ in range(picks)) if host is not None)
    return counts["10.0.0.2:80"] / counts["10.0.0.1:80"]


@pytest.mark.parametrize("policy", ["ROUND_ROBIN", "LEAST_REQUEST"])
@pytest.mark.parametrize(
    ("elapsed", "aggression", "expected"),
    [(0.0, 1.0, 0.1), (0.5, 1.0, 0.1), (5.0, 1.0, 0.5), (5.0, 2.0, 0.5**0.5), (5.0, 0.0, 0.5), (11.0, 1.0, 1.0)],
)
def test_the_share_grows_with_time(policy: str, elapsed: float, aggression: float, expected: float) -> None:
    clock = Clock()
    made = balancer(clock, policy, aggression)
    clock.time += elapsed
    made.refresh()
    assert share_of_new(made) == pytest.approx(expected, abs=0.03)


def test_a_host_found_well_again_starts_anew() -> None:
    clock = Clock()
    made = balancer(clock, "ROUND_ROBIN")
    clock.time += 50
    new = next(host for host in made.priorities.sets[0].hosts if host.text == "10.0.0.2:80")
    new.set_flag(HealthFlag.FAILED_ACTIVE_HC, True)
    made.refresh()
    clock.time += 50
    new.set_flag(HealthFlag.FAILED_ACTIVE_HC, False)
    made.refresh()
    clock.time += 5
    made.refresh()
    assert share_of_new(made) == pytest.approx(0.5, abs=0.03)


def test_an_ejected_host_does_not_start_anew() -> None:
    clock = Clock()
    made = balancer(clock, "ROUND_ROBIN")
    clock.time += 50
    new = next(host for host in made.priorities.sets[0].hosts if host.text == "10.0.0.2:80")
    new.set_flag(HealthFlag.FAILED_OUTLIER_CHECK, True)
    made.refresh()
    new.set_flag(HealthFlag.FAILED_OUTLIER_CHECK, False)
    made.refresh()
    assert share_of_new(made) == pytest.approx(1.0, abs=0.03)
