"""Local rate limits. What Envoy does in each of these situations, tests/parity shows."""

from __future__ import annotations

import gc
from dataclasses import replace
from typing import Any

import pytest

from meshproxy.errors import ConfigError
from meshproxy.model.rate_limit import RateLimit
from meshproxy.plugin.stream_info import ConnectionInfo
from meshproxy.testing import DEFAULT_ROUTE, FilterHarness
from meshproxy.testing.stream import HarnessStream
from meshproxy_filters.http.local_ratelimit.local_ratelimit import LocalRateLimit

ALL = {"default_value": {"numerator": 100}}
ONE = {"max_tokens": 1, "fill_interval": "10s"}
TYPE = "envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit"
PREFIX = "rl.http_local_rate_limit"


def limiting(**settings: Any) -> FilterHarness:
    base = {"stat_prefix": "rl", "token_bucket": ONE, "filter_enabled": ALL, "filter_enforced": ALL}
    return FilterHarness(LocalRateLimit, {**base, **settings})


def described(key: str, value: str = "", tokens: int = 1) -> dict[str, Any]:
    return {"entries": [{"key": key, "value": value}], "token_bucket": {"max_tokens": tokens, "fill_interval": "10s"}}


def by_header(name: str = "x-a", key: str = "k") -> dict[str, Any]:
    return {"actions": [{"request_headers": {"header_name": name, "descriptor_key": key}}]}


def test_the_second_request_is_one_too_many() -> None:
    harness = limiting()
    assert harness.request().status == 200
    exchange = harness.request()
    assert not exchange.reached_upstream
    assert exchange.status == 429
    assert exchange.response_body == b"local_rate_limited"
    assert exchange.stream.flags == "RL"
    assert exchange.stream.details == "local_rate_limited"
    names = {"enabled": 2, "ok": 1, "rate_limited": 1, "enforced": 1}
    assert harness.stats == {f"{PREFIX}.{name}": count for name, count in names.items()}


def test_tokens_come_with_time() -> None:
    harness = limiting()
    assert [harness.request().status for _ in range(2)] == [200, 429]
    harness.clock.advance(9.9)
    assert harness.request().status == 429
    harness.clock.advance(0.2)
    assert [harness.request().status for _ in range(2)] == [200, 429]


def test_headers_tell_how_much_is_left() -> None:
    harness = limiting(
        enable_x_ratelimit_headers="DRAFT_VERSION_03", token_bucket={"max_tokens": 2, "fill_interval": "10s"}
    )
    told = []
    for _ in range(3):
        response = harness.request().response
        told.append(tuple(response[f"x-ratelimit-{name}"] for name in ("limit", "remaining", "reset")))
        harness.clock.advance(1)
    assert told == [("2", "1", "0"), ("2", "0", "9"), ("2", "0", "8")]


def test_without_fractions_it_is_not_in_the_plan() -> None:
    harness = FilterHarness(LocalRateLimit, {"stat_prefix": "rl", "token_bucket": ONE})
    assert harness.plan.request_headers == ()


def test_not_enforced_it_only_marks() -> None:
    mark = [{"header": {"key": "x-limited", "value": "%REQ(:PATH)%"}}]
    harness = limiting(filter_enforced=None, request_headers_to_add_when_not_enforced=mark)
    assert "x-limited" not in harness.request("GET", "/1").upstream_headers
    assert harness.request("GET", "/2").upstream_headers["x-limited"] == "/2"
    assert harness.stats[f"{PREFIX}.rate_limited"] == 1
    assert f"{PREFIX}.enforced" not in harness.stats


def test_half_of_the_requests() -> None:
    harness = limiting(
        filter_enabled={"default_value": {"numerator": 50}}, token_bucket={"max_tokens": 1, "fill_interval": "10000s"}
    )
    refused = sum(harness.request().status == 429 for _ in range(400))
    assert 150 < refused < 250


def test_the_answer_as_configured() -> None:
    harness = limiting(
        status={"code": "ServiceUnavailable"},
        response_headers_to_add=[
            {"header": {"key": "x-one", "value": "1"}},
            {"header": {"key": "x-one", "value": "2"}},
        ],
    )
    harness.request()
    response = harness.request().response
    assert response.status == 503
    assert response.get_all("x-one") == ["1", "2"]


def test_grpc_clients_may_be_told_that_a_resource_is_exhausted() -> None:
    harness = limiting(rate_limited_as_resource_exhausted=True)
    grpc = {"content-type": "application/grpc"}
    harness.request(headers=grpc)
    assert harness.request(headers=grpc).response["grpc-status"] == "8"


def test_a_bucket_of_each_connection() -> None:
    harness = limiting(local_rate_limit_per_downstream_connection=True)
    connections = [ConnectionInfo(), ConnectionInfo()]

    def on(connection: ConnectionInfo) -> int:
        def prepare(stream: HarnessStream) -> None:
            stream.connection = connection

        return harness.request(prepare=prepare).status

    assert [on(connections[0]), on(connections[1]), on(connections[0])] == [200, 200, 429]


def test_buckets_of_connections_go_with_them() -> None:
    harness = limiting(local_rate_limit_per_downstream_connection=True)
    config = harness._specs[0].config
    for _ in range(100):
        harness.request(prepare=lambda stream: setattr(stream, "connection", ConnectionInfo()))
    gc.collect()
    assert len(config.per_connection) < 10


def test_what_a_route_says() -> None:
    base = {"stat_prefix": "rl", "token_bucket": {**ONE, "max_tokens": 9}, "filter_enabled": ALL}
    over = {"@type": TYPE, "stat_prefix": "other", "token_bucket": ONE, "filter_enabled": ALL, "filter_enforced": ALL}
    harness = FilterHarness(LocalRateLimit, base, route_config=over)
    assert [harness.request().status for _ in range(2)] == [200, 429]
    assert harness.stats["other.http_local_rate_limit.rate_limited"] == 1
    with pytest.raises(ConfigError, match="'token_bucket' is required"):
        FilterHarness(LocalRateLimit, base, route_config={"@type": TYPE, "stat_prefix": "other"})


def test_descriptors_of_the_filter() -> None:
    harness = limiting(
        token_bucket={**ONE, "max_tokens": 100}, descriptors=[described("k", "1")], rate_limits=[by_header()]
    )
    assert [harness.request(headers={"x-a": value}).status for value in ("1", "1", "2", "2")] == [200, 429, 200, 200]


def test_only_the_last_used_of_any_values_are_kept() -> None:
    harness = limiting(
        token_bucket={**ONE, "max_tokens": 100},
        descriptors=[described("k")],
        rate_limits=[by_header()],
        max_dynamic_descriptors=2,
    )
    asked = ["1", "2", "1", "3", "1", "2"]
    assert [harness.request(headers={"x-a": value}).status for value in asked] == [200, 200, 429, 200, 429, 200]


def test_a_client_that_makes_up_values_takes_no_memory() -> None:
    harness = limiting(
        token_bucket={**ONE, "max_tokens": 1000}, descriptors=[described("k")], rate_limits=[by_header()]
    )
    for value in range(300):
        harness.request(headers={"x-a": str(value)})
    (any_value,) = harness._specs[0].config.shared._any_value
    assert len(any_value.buckets) == 20


@pytest.mark.parametrize(
    ("option", "own", "include", "limited"),
    [
        ("OVERRIDE", False, False, True),
        ("OVERRIDE", True, False, False),
        ("OVERRIDE", True, True, True),
        ("INCLUDE", True, False, True),
        ("IGNORE", False, False, False),
        ("IGNORE", False, True, True),
    ],
)
def test_limits_of_the_virtual_host(option: str, own: bool, include: bool, limited: bool) -> None:
    harness = limiting(
        token_bucket={**ONE, "max_tokens": 100}, descriptors=[described("k", "host")], vh_rate_limits=option
    )

    def limit(value: str) -> RateLimit:
        return RateLimit(0, lambda: True, lambda stream: (("k", value),), lambda stream: 1)

    route = replace(
        DEFAULT_ROUTE,
        rate_limits=(limit("route"),) if own else (),
        virtual_host_rate_limits=(limit("host"),),
        include_virtual_host_rate_limits=include,
    )
    assert [harness.request(route=route).status for _ in range(2)] == [200, 429 if limited else 200]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"token_bucket": {"max_tokens": 1, "fill_interval": "0.04s"}}, "must be >= 50ms"),
        ({"local_cluster_rate_limit": {}}, "local_cluster_rate_limit"),
        ({"descriptors": [described("k", "1"), described("k", "1")]}, "duplicate descriptor"),
        ({"rate_limits": [{**by_header(), "apply_on_stream_done": True}]}, "apply_on_stream_done"),
        ({"rate_limits": [{"actions": [{"extension": {"name": "x", "typed_config": {"@type": TYPE}}}]}]}, "extension"),
    ],
)
def test_what_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        limiting(**settings)
