"""What active health checks make of a host, and when the next one is due."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from meshproxy.balance.health_check import HealthState, Transition
from meshproxy.model.health_check import HealthCheck, TcpCheck


def check(**given: Any) -> HealthCheck:
    return HealthCheck(TcpCheck(), timeout=1, interval=10, unhealthy_threshold=3, healthy_threshold=2, **given)


def test_the_first_success_counts_at_once() -> None:
    state = HealthState(check())
    assert state.failed
    assert state.succeeded() is Transition.CHANGED
    assert not state.failed


def test_after_a_first_failure_all_successes_are_needed() -> None:
    state = HealthState(check())
    assert state.did_not_succeed(believed=True) is Transition.UNCHANGED
    assert [state.succeeded(), state.succeeded()] == [Transition.PENDING, Transition.CHANGED]


def test_failures_must_be_in_a_row_unless_the_host_says_so_itself() -> None:
    state = HealthState(check())
    state.succeeded()
    silent = [state.did_not_succeed(believed=False) for _ in range(2)]
    assert silent == [Transition.PENDING] * 2
    state.succeeded()
    silent = [state.did_not_succeed(believed=False) for _ in range(3)]
    assert silent == [Transition.PENDING, Transition.PENDING, Transition.CHANGED]
    other = HealthState(check())
    other.succeeded()
    assert other.did_not_succeed(believed=True) is Transition.CHANGED


def test_a_failure_begins_the_count_of_successes_anew() -> None:
    state = HealthState(check())
    state.did_not_succeed(believed=False)
    state.succeeded()
    state.did_not_succeed(believed=False)
    assert [state.succeeded(), state.succeeded()] == [Transition.PENDING, Transition.CHANGED]


@pytest.mark.parametrize(
    ("succeeded", "transition", "traffic", "expected"),
    [
        (True, Transition.UNCHANGED, True, 10),
        (True, Transition.CHANGED, True, 10),
        (True, Transition.PENDING, True, 1),
        (False, Transition.UNCHANGED, True, 2),
        (False, Transition.PENDING, True, 3),
        (True, Transition.UNCHANGED, False, 40),
        (True, Transition.PENDING, False, 60),
        (False, Transition.UNCHANGED, False, 60),
    ],
)
def test_intervals(succeeded: bool, transition: Transition, traffic: bool, expected: float) -> None:
    config = check(
        healthy_edge_interval=1,
        unhealthy_interval=2,
        unhealthy_edge_interval=3,
        no_traffic_interval=60,
        no_traffic_healthy_interval=40,
    )
    assert HealthState(config).interval(succeeded, transition, traffic, Random(1)) == expected


def test_jitter_is_added_and_bounded() -> None:
    state = HealthState(check(interval_jitter=1.0, interval_jitter_percent=50))
    drawn = [state.interval(True, Transition.UNCHANGED, True, Random(seed)) for seed in range(200)]
    assert 10 <= min(drawn) < 10.5
    assert 15 < max(drawn) < 16
