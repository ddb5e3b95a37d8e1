"""admission_control and adaptive_concurrency over time. What a client gets, tests/parity shows."""

from __future__ import annotations

from typing import Any

import pytest

from meshproxy.testing import FilterHarness
from meshproxy_filters.http.adaptive_concurrency import AdaptiveConcurrency
from meshproxy_filters.http.admission_control import AdmissionControl
from meshproxy_filters.http.cdn_loop import cdn_ids

_GRADIENT = "http.test.adaptive_concurrency.gradient_controller."


def admitting(**config: Any) -> FilterHarness:
    return FilterHarness(AdmissionControl, {"success_criteria": {}, **config})


def percent(value: float) -> dict[str, Any]:
    return {"default_value": {"value": value}, "runtime_key": ""}


def share_refused(harness: FilterHarness, good: int, bad: int) -> float:
    """How many requests are refused after so many outcomes."""
    outcomes = harness._specs[0].config.outcomes
    for success in [True] * good + [False] * bad:
        outcomes.record(success)
    config = harness._specs[0].config
    return sum(config.refuses() for _ in range(2000)) / 2000


@pytest.mark.parametrize(
    ("good", "bad", "config", "share"),
    [
        (100, 0, {}, 0.0),
        (95, 5, {}, 0.0),
        (50, 50, {}, (100 - 50 / 0.95) / 101),
        (50, 50, {"sr_threshold": percent(50)}, 0.0),
        (50, 50, {"aggression": {"default_value": 2.0, "runtime_key": ""}}, ((100 - 50 / 0.95) / 101) ** 0.5),
        (0, 100, {}, 0.8),
        (0, 100, {"max_rejection_probability": percent(30)}, 0.3),
        (0, 100, {"rps_threshold": {"default_value": 101, "runtime_key": ""}}, 0.0),
        (0, 0, {}, 0.0),
    ],
)
def test_the_share_that_is_refused(good: int, bad: int, config: dict[str, Any], share: float) -> None:
    assert share_refused(admitting(**config), good, bad) == pytest.approx(share, abs=0.04)


def test_outcomes_are_forgotten_after_the_window() -> None:
    harness = admitting(sampling_window="5s", max_rejection_probability=percent(100))
    assert share_refused(harness, 0, 50) > 0.9
    harness.clock.advance(4.5)
    assert share_refused(harness, 0, 0) > 0.9
    harness.clock.advance(1)
    assert share_refused(harness, 0, 0) == 0.0


def limiting(*, update: str = "0.1s", **least: Any) -> FilterHarness:
    least = {"interval": "60s", "jitter": {"value": 0}, "request_count": 5, **least}
    config = {"concurrency_limit_params": {"concurrency_update_interval": update}, "min_rtt_calc_params": least}
    return FilterHarness(AdaptiveConcurrency, {"gradient_controller_config": config})


def ask(harness: FilterHarness, seconds: float, count: int = 1) -> int:
    """So many requests at once, each of which takes so long. Returns how many were refused."""
    exchanges = [harness.request(prepare=None, end=False) for _ in range(count)]
    harness.clock.advance(seconds)
    for exchange in exchanges:
        if not exchange.complete:
            exchange.send_body(b"", True)
    return sum(exchange.status == 503 for exchange in exchanges)


class TestConcurrency:
    def test_few_go_at_once_until_it_is_known_how_long_they_take(self) -> None:
        harness = limiting()
        assert ask(harness, 0.01, 5) == 2
        assert harness.stats[_GRADIENT + "min_rtt_calculation_active"] == 1
        ask(harness, 0.01, 3)
        stats = harness.stats
        assert _GRADIENT + "min_rtt_calculation_active" not in stats
        assert stats[_GRADIENT + "min_rtt_msecs"] == 10
        assert stats[_GRADIENT + "rq_blocked"] == 2

    def test_the_limit_rises_while_requests_are_fast_and_falls_when_they_are_slow(self) -> None:
        harness = limiting(update="1s", fixed_value="0.02s", interval=None)
        limits = []
        for seconds in (0.02, 0.02, 0.02, 0.2, 0.2, 0.2, 0.2):
            ask(harness, seconds, 3)
            harness.clock.advance(1)
            limits.append(harness.stats[_GRADIENT + "concurrency_limit"])
        assert limits[:3] == sorted(limits[:3])
        assert limits[2] > 10
        assert limits[3:] == sorted(limits[3:], reverse=True)
        assert limits[-1] < limits[2]

    def test_an_interval_without_requests_changes_nothing(self) -> None:
        harness = limiting(fixed_value="0.02s", interval=None)
        ask(harness, 0.02)
        harness.clock.advance(0.1)
        limit = harness.stats[_GRADIENT + "concurrency_limit"]
        harness.clock.advance(1000)
        assert harness.stats[_GRADIENT + "concurrency_limit"] == limit

    def test_the_minimum_is_measured_again(self) -> None:
        harness = limiting(interval="10s")
        ask(harness, 0.01, 3)
        ask(harness, 0.01, 3)
        assert _GRADIENT + "min_rtt_calculation_active" not in harness.stats
        harness.clock.advance(10)
        assert harness.stats[_GRADIENT + "min_rtt_calculation_active"] == 1
        assert harness.stats[_GRADIENT + "concurrency_limit"] == 3

    def test_five_intervals_at_the_lowest_limit_call_for_a_new_measurement(self) -> None:
        harness = limiting(interval="3600s", update="1s")
        for _ in range(2):
            ask(harness, 0.01, 3)
        assert harness.stats[_GRADIENT + "min_rtt_msecs"] == 10
        for _ in range(8):
            ask(harness, 0.5, 3)
            harness.clock.advance(0.6)
        assert harness.stats[_GRADIENT + "min_rtt_msecs"] == 500

    def test_a_client_that_leaves_gives_its_place_back(self) -> None:
        harness = limiting(min_concurrency=1)
        first = harness.request(end=False)
        assert harness.request().status == 503
        first.client_leaves()
        assert harness.request().reached_upstream


@pytest.mark.parametrize("value", ["a b", "a;", "a;b", 'a;b="', '"a"', "a,b c", "[g]", "a;b=c d=e"])
def test_malformed_loop_fields(value: str) -> None:
    assert cdn_ids(value) is None


def test_loop_fields() -> None:
    assert cdn_ids('a , ,b:8;x="\\"," ; y=z,[::1]:8') == ["a", "b:8", "[::1]:8"]
