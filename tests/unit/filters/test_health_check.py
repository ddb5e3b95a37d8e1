"""The health check filter."""

from __future__ import annotations

from typing import Any

import pytest

from meshproxy.errors import ConfigError
from meshproxy.testing import FilterHarness
from meshproxy_filters.http.health_check import HealthCheck

HEADERS = [{"name": ":path", "string_match": {"exact": "/healthz"}}]
CLUSTER = "x-envoy-upstream-healthchecked-cluster"


def checks(**config: Any) -> FilterHarness:
    return FilterHarness(HealthCheck, {"pass_through_mode": False, "headers": HEADERS, **config})


def test_it_answers_health_checks_and_only_those() -> None:
    harness = checks()
    exchange = harness.request(path="/healthz")
    assert exchange.status == 200
    assert exchange.response[CLUSTER] == "test-cluster"
    assert exchange.stream.details == "health_check_ok"
    assert exchange.stream.health_check
    assert not exchange.reached_upstream
    other = harness.request(path="/healthz?x")
    assert other.reached_upstream
    assert CLUSTER not in other.response
    assert harness.stats == {"http.test.health_check.request_total": 1, "http.test.health_check.ok": 1}


def test_all_headers_have_to_match() -> None:
    harness = checks(headers=[*HEADERS, {"name": "x-h", "present_match": True}])
    assert harness.request(path="/healthz").reached_upstream
    assert not harness.request(path="/healthz", headers={"x-h": "1"}).reached_upstream


@pytest.mark.parametrize("pass_through", [True, False])
def test_when_health_has_been_failed_it_says_so(pass_through: bool) -> None:
    harness = checks(pass_through_mode=pass_through)
    harness.server.health_failed = True
    exchange = harness.request(path="/healthz")
    assert exchange.status == 503
    assert exchange.stream.flags == "LH"
    assert exchange.stream.details == "health_check_failed"
    assert harness.request().response["x-envoy-immediate-health-check-fail"] == "true"


def test_pass_through_lets_the_application_answer() -> None:
    harness = checks(pass_through_mode=True)
    harness.upstream.returns(500)
    exchange = harness.request(path="/healthz")
    assert exchange.reached_upstream
    assert exchange.status == 500
    assert exchange.response[CLUSTER] == "test-cluster"


@pytest.mark.parametrize(("status", "flags"), [(200, ""), (503, "LH")])
def test_an_answer_is_remembered_for_the_cache_time(status: int, flags: str) -> None:
    harness = checks(pass_through_mode=True, cache_time="10s")
    harness.upstream.returns(status)
    assert harness.request(path="/healthz").reached_upstream
    harness.clock.advance(9)
    exchange = harness.request(path="/healthz")
    assert not exchange.reached_upstream
    assert (exchange.status, exchange.stream.flags) == (status, flags)
    assert exchange.stream.details == "health_check_cached"
    harness.clock.advance(2)
    assert harness.request(path="/healthz").reached_upstream


def test_that_the_application_is_degraded_is_remembered_too() -> None:
    harness = checks(pass_through_mode=True, cache_time="10s")
    harness.upstream.returns(200, {"x-envoy-degraded": ""})
    harness.request(path="/healthz")
    assert "x-envoy-degraded" in harness.request(path="/healthz").response


@pytest.mark.parametrize(
    ("hosts", "percent", "status", "details"),
    [
        ((2, 1), 50, 200, "health_check_ok_cluster_healthy"),
        ((3, 1), 50, 503, "health_check_failed_cluster_unhealthy"),
        ((3, 1, 1), 50, 200, "health_check_ok_cluster_healthy"),
        ((0, 0), 50, 503, "health_check_failed_cluster_empty"),
        ((0, 0), 0, 200, "health_check_ok_cluster_healthy"),
        (None, 50, 503, "health_check_failed_no_cluster_found"),
    ],
)
def test_clusters_have_to_be_healthy_enough(
    hosts: tuple[int, ...] | None, percent: int, status: int, details: str
) -> None:
    harness = checks(cluster_min_healthy_percentages={"up": {"value": percent}})
    if hosts is not None:
        harness.cluster("up").has_hosts(*hosts)
    exchange = harness.request(path="/healthz")
    assert exchange.status == status
    assert exchange.stream.details == details


@pytest.mark.parametrize(
    "config",
    [
        {"cache_time": "1s"},
        {"pass_through_mode": True, "cluster_min_healthy_percentages": {"up": {"value": 50}}},
        {"pass_through_mode": None},
    ],
)
def test_what_is_refused(config: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        checks(**config)
