"""Options of the router itself: which control fields are refused, which time counts, and what isn't counted."""

from __future__ import annotations

from typing import Any

import pytest

from meshproxy.headers import RequestHeaders
from meshproxy.model.route import ForwardAction, PathMatch, Route
from meshproxy.testing import FilterHarness
from meshproxy_filters.http.router.router import Router
from meshproxy_filters.http.router.strict import strict_refusal

ROUTE = Route(PathMatch("prefix", "/"), ForwardAction(cluster="upstream"))
TIMEOUT, RETRY, GRPC = "x-envoy-upstream-rq-timeout-ms", "x-envoy-retry-on", "x-envoy-retry-grpc-on"


@pytest.mark.parametrize(
    ("name", "value", "good"),
    [
        *((TIMEOUT, value, True) for value in ("0", "5", "+5", "18446744073709551615")),
        *((TIMEOUT, value, False) for value in ("", "-1", "1s", "0x1", "\xb2", "18446744073709551616", "1" * 500)),
        *((RETRY, value, True) for value in ("5xx", "5xx, reset", "", ",")),
        *((RETRY, value, False) for value in ("unavailable", "5xx,x")),
        *((GRPC, value, True) for value in ("unavailable", "cancelled,internal")),
        (GRPC, "5xx", False),
    ],
)
def test_which_values_can_be_obeyed(name: str, value: str, good: bool) -> None:
    refusal = strict_refusal((name,), RequestHeaders(fields=[(name, value)]))
    assert (refusal is None) is good
    assert strict_refusal((), RequestHeaders(fields=[(name, value)])) is None


def exchange(config: dict[str, Any], *fields: tuple[str, str], status: int = 200) -> FilterHarness:
    proxy = FilterHarness(Router, config)
    proxy.cluster("upstream").returns(status)
    assert proxy.request("GET", "/", headers=fields, route=ROUTE).status == status
    return proxy


@pytest.mark.parametrize(("given", "told"), [("7000", "7000"), ("x", "15000"), ("0", "0"), ("", "15000")])
def test_the_time_that_a_proxy_before_us_gave_counts(given: str, told: str) -> None:
    proxy = exchange({"respect_expected_rq_timeout": True}, ("x-envoy-expected-rq-timeout-ms", given))
    assert proxy.cluster("upstream").requests[0].headers["x-envoy-expected-rq-timeout-ms"] == told


@pytest.mark.parametrize(
    ("config", "content_type", "completed", "classed"),
    [
        ({}, "application/grpc", 1, 1),
        ({"dynamic_stats": False}, "text/plain", 0, 0),
        ({"suppress_grpc_request_failure_code_stats": True}, "application/grpc+proto", 1, 0),
        ({"suppress_grpc_request_failure_code_stats": True}, "application/grpc-web", 1, 1),
    ],
)
def test_what_is_counted(config: dict[str, Any], content_type: str, completed: int, classed: int) -> None:
    proxy = FilterHarness(Router, config)
    stats: Any = proxy.cluster("upstream").returns(200).stats
    statuses: list[int] = []
    stats.count_response = lambda status, internal: statuses.append(status)
    proxy.request("GET", "/", headers=[("content-type", content_type)], route=ROUTE)
    assert statuses == [200] * classed
    assert proxy.stats.get("cluster.upstream.upstream_rq_completed", 0) + classed == completed
