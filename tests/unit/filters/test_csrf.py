"""Cross-site requests. What Envoy does in each of these situations, tests/parity shows."""

from __future__ import annotations

from typing import Any

import pytest

from meshproxy.errors import ConfigError
from meshproxy.testing import FilterHarness
from meshproxy_filters.http.csrf import Csrf, host_and_port

ALL = {"default_value": {"numerator": 100}}
NONE = {"default_value": {"numerator": 0}}


def guarding(**settings: Any) -> FilterHarness:
    return FilterHarness(Csrf, {"filter_enabled": ALL, **settings})


def counted(harness: FilterHarness) -> dict[str, int]:
    return {name.rpartition(".")[2]: value for name, value in harness.stats.items() if ".csrf." in name}


@pytest.mark.parametrize(
    ("headers", "outcome"),
    [
        ({"origin": "http://test.example"}, "request_valid"),
        ({"origin": "https://test.example"}, "request_valid"),
        ({"referer": "http://test.example/a"}, "request_valid"),
        ({"origin": "http://evil.example"}, "request_invalid"),
        ({"origin": "http://test.example.evil"}, "request_invalid"),
        ({"origin": "http://test.example@evil"}, "request_invalid"),
        ({"origin": "http://evil.example", "referer": "http://test.example/"}, "request_invalid"),
        ({"origin": "null", "referer": "http://test.example/"}, "missing_source_origin"),
        ({}, "missing_source_origin"),
    ],
)
def test_who_may_change_something(headers: dict[str, str], outcome: str) -> None:
    harness = guarding()
    exchange = harness.request("POST", headers=headers)
    assert counted(harness) == {outcome: 1}
    assert exchange.reached_upstream == (outcome == "request_valid")
    if outcome != "request_valid":
        assert exchange.status == 403
        assert exchange.response_body == b"Invalid origin"
        assert exchange.stream.details == "csrf_origin_mismatch"


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
def test_who_only_reads(method: str) -> None:
    harness = guarding()
    assert harness.request(method, headers={"origin": "http://evil.example"}).reached_upstream
    assert counted(harness) == {}


def test_origins_that_are_added() -> None:
    harness = guarding(additional_origins=[{"suffix": ".friend.example"}])
    assert harness.request("PUT", headers={"origin": "http://a.friend.example"}).reached_upstream
    assert not harness.request("PUT", headers={"origin": "http://friend.example.evil"}).reached_upstream


def test_a_policy_in_shadow_only_counts() -> None:
    harness = guarding(filter_enabled=NONE, shadow_enabled=ALL)
    assert harness.request("POST", headers={"origin": "http://evil.example"}).reached_upstream
    assert counted(harness) == {"request_invalid": 1}


def test_a_policy_that_is_off_is_not_in_the_plan() -> None:
    assert guarding(filter_enabled=NONE).plan.request_headers == ()


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("http://a:1/b", "a:1"),
        ("http://a?b", "a"),
        ("http://a#b", "http://a#b"),
        ("a:1", "a:1"),
        ("://a", "://a"),
        ("", ""),
    ],
)
def test_host_and_port(url: str, host: str) -> None:
    assert host_and_port(url) == host


def test_what_is_refused() -> None:
    with pytest.raises(ConfigError, match="filter_enabled"):
        FilterHarness(Csrf, {})
