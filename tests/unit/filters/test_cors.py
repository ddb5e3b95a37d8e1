"""CORS; the heads are those that Envoy sent for the same policy."""

from __future__ import annotations

from typing import Any

import pytest

from meshproxy.model.route import DirectResponseAction, PathMatch, Route
from meshproxy.testing import FilterHarness
from meshproxy_filters.http.cors import Cors

POLICY = {
    "@type": "envoy.extensions.filters.http.cors.v3.CorsPolicy",
    "allow_origin_string_match": [{"exact": "http://a"}],
    "allow_methods": "GET,PUT",
    "allow_headers": "x-a",
    "expose_headers": "x-e",
    "max_age": "10",
    "allow_credentials": True,
    "allow_private_network_access": True,
}
PREFLIGHT = {"access-control-request-method": "PUT", "access-control-request-private-network": "true"}


def cors(**changes: Any) -> FilterHarness:
    return FilterHarness(Cors, {}, route_config={**POLICY, **changes})


def test_a_preflight_is_answered() -> None:
    harness = cors()
    exchange = harness.request("OPTIONS", headers={"origin": "http://a", **PREFLIGHT})
    assert not exchange.reached_upstream
    assert exchange.status == 200
    assert list(exchange.response.items()) == [
        ("access-control-allow-origin", "http://a"),
        ("access-control-allow-credentials", "true"),
        ("access-control-allow-methods", "GET,PUT"),
        ("access-control-allow-headers", "x-a"),
        ("access-control-max-age", "10"),
        ("access-control-allow-private-network", "true"),
        ("access-control-expose-headers", "x-e"),
    ]
    assert exchange.stream.details == "cors_response"
    assert harness.stats == {"http.test.cors.origin_valid": 1}


def test_a_preflight_from_elsewhere_is_forwarded_or_answered_without_permission() -> None:
    harness = cors()
    exchange = harness.request("OPTIONS", headers={"origin": "http://b", **PREFLIGHT})
    assert exchange.reached_upstream
    assert "access-control-allow-origin" not in exchange.response
    assert harness.stats == {"http.test.cors.origin_invalid": 1}
    exchange = cors(forward_not_matching_preflights=False).request(
        "OPTIONS", headers={"origin": "http://b", **PREFLIGHT}
    )
    assert not exchange.reached_upstream
    assert "access-control-allow-origin" not in exchange.response


@pytest.mark.parametrize("method", ["GET", "OPTIONS"])
def test_a_response_says_who_may_read_it(method: str) -> None:
    harness = cors()
    harness.upstream.returns(headers={"access-control-allow-origin": "*"})
    response = harness.request(method, headers={"origin": "http://a"}).response
    assert dict(response.items()) == {
        "access-control-allow-origin": "http://a",
        "access-control-allow-credentials": "true",
        "access-control-expose-headers": "x-e",
    }


@pytest.mark.parametrize("headers", [{}, {"origin": ""}, {"origin": "http://b"}])
def test_other_responses_are_left_alone(headers: dict[str, str]) -> None:
    assert list(cors().request(headers=headers).response.items()) == []


def test_any_origin() -> None:
    exchange = cors(allow_origin_string_match=[{"exact": "*"}]).request(headers={"origin": "http://z"})
    assert exchange.response["access-control-allow-origin"] == "http://z"


@pytest.mark.parametrize(("shadow", "counted"), [(100, 1), (0, 0)])
def test_a_policy_in_shadow_only_counts(shadow: int, counted: int) -> None:
    harness = cors(
        filter_enabled={"default_value": {"numerator": 0}}, shadow_enabled={"default_value": {"numerator": shadow}}
    )
    exchange = harness.request("OPTIONS", headers={"origin": "http://a", **PREFLIGHT})
    assert exchange.reached_upstream
    assert list(exchange.response.items()) == []
    assert harness.stats.get("http.test.cors.origin_valid", 0) == counted


def test_a_route_that_forwards_nothing_is_left_alone() -> None:
    route = Route(PathMatch("prefix", "/"), DirectResponseAction(200))
    assert list(cors().request(headers={"origin": "http://a"}, route=route).response.items()) == []


def test_without_a_policy_it_is_not_in_the_plan() -> None:
    assert FilterHarness(Cors, {}).plan.request_headers == ()


def test_any_method_and_header_are_those_that_are_asked_for() -> None:
    harness = cors(allow_methods="*", allow_headers="*")
    asked = {**PREFLIGHT, "origin": "http://a", "access-control-request-headers": "x-b, x-c"}
    response = harness.request("OPTIONS", headers=asked).response
    assert response["access-control-allow-methods"] == "PUT"
    assert response["access-control-allow-headers"] == "x-b, x-c"
