"""Delays, aborts and slow responses."""

from __future__ import annotations

from typing import Any

import pytest

from meshproxy.errors import ConfigError
from meshproxy.testing import FilterHarness
from meshproxy_filters.http.fault.fault import Fault

ALL = {"numerator": 100}
NONE = {"numerator": 0}
ABORT = {"http_status": 503, "percentage": ALL}
BY_HEADER = {"abort": {"header_abort": {}, "percentage": ALL}}
TYPE = "envoy.extensions.filters.http.fault.v3.HTTPFault"


def fault(**config: Any) -> FilterHarness:
    return FilterHarness(Fault, config)


def test_an_abort_answers_in_place_of_the_upstream() -> None:
    harness = fault(abort=ABORT)
    exchange = harness.request()
    assert not exchange.reached_upstream
    assert exchange.status == 503
    assert exchange.response_body == b"fault filter abort"
    assert exchange.stream.flags == "FI"
    assert exchange.stream.details == "fault_filter_abort"
    assert harness.stats == {"http.test.fault.aborts_injected": 1}


@pytest.mark.parametrize("headers", [{}, {"content-type": "application/grpc"}])
def test_an_abort_by_grpc_status(headers: dict[str, str]) -> None:
    exchange = fault(abort={"grpc_status": 5, "percentage": ALL}).request(headers=headers)
    assert exchange.status == 200
    assert exchange.response.get("grpc-status") == ("5" if headers else None)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"x-envoy-fault-abort-request": "429"}, 429),
        ({"x-envoy-fault-abort-request": "199"}, 200),
        ({"x-envoy-fault-abort-request": "600"}, 200),
        ({"x-envoy-fault-abort-request": "abc"}, 200),
        ({"x-envoy-fault-abort-request": "-429"}, 200),
        ({"x-envoy-fault-abort-request": "429", "x-envoy-fault-abort-request-percentage": "0"}, 200),
        ({}, 200),
    ],
)
def test_an_abort_that_the_request_asks_for(headers: dict[str, str], status: int) -> None:
    assert fault(**BY_HEADER).request(headers=headers).status == status


def test_a_request_can_not_raise_the_share() -> None:
    harness = fault(
        abort={"header_abort": {}, "percentage": {"numerator": 0}}, delay={"fixed_delay": "1s", "percentage": ALL}
    )
    exchange = harness.request(
        headers={"x-envoy-fault-abort-request": "429", "x-envoy-fault-abort-request-percentage": "100"}
    )
    harness.clock.advance(1)
    assert exchange.status == 200


def test_an_abort_by_grpc_header() -> None:
    headers = {"x-envoy-fault-abort-grpc-request": "5", "content-type": "application/grpc"}
    assert fault(**BY_HEADER).request(headers=headers).response["grpc-status"] == "5"


def test_a_delay_holds_the_request_and_its_body_back() -> None:
    harness = fault(delay={"fixed_delay": "0.7s", "percentage": ALL})
    exchange = harness.request("POST", chunks=[b"a", b"b"])
    assert harness.stats["http.test.fault.active_faults"] == 1
    harness.clock.advance(0.69)
    assert not exchange.reached_upstream
    assert exchange.paused
    harness.clock.advance(0.02)
    assert exchange.upstream_chunks == [b"a", b"b"]
    assert exchange.stream.flags == "DI"
    assert harness.stats == {"http.test.fault.delays_injected": 1}


def test_a_delay_and_an_abort_together() -> None:
    harness = fault(delay={"fixed_delay": "0.5s", "percentage": ALL}, abort=ABORT)
    exchange = harness.request()
    assert not exchange.answered
    harness.clock.advance(0.5)
    assert exchange.status == 503
    assert exchange.stream.flags == "DI,FI"


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"x-envoy-fault-delay-request": "700"}, 0.7),
        ({"x-envoy-fault-delay-request": "700", "x-envoy-fault-delay-request-percentage": "0"}, 0),
        ({"x-envoy-fault-delay-request": "x"}, 0),
        ({"x-envoy-fault-delay-request": "0"}, 0),
        ({}, 0),
    ],
)
def test_a_delay_that_the_request_asks_for(headers: dict[str, str], seconds: float) -> None:
    harness = fault(delay={"header_delay": {}, "percentage": ALL})
    exchange = harness.request(headers=headers)
    assert exchange.complete is (seconds == 0)
    harness.clock.advance(seconds)
    assert exchange.complete


def test_a_client_that_leaves_ends_the_delay_and_frees_the_active_fault() -> None:
    harness = fault(delay={"fixed_delay": "5s", "percentage": ALL})
    harness.request().client_leaves()
    assert "http.test.fault.active_faults" not in harness.stats


def test_max_active_faults() -> None:
    harness = fault(delay={"fixed_delay": "5s", "percentage": ALL}, max_active_faults=1)
    first, second = harness.request(), harness.request()
    assert first.waiting
    assert second.complete
    assert harness.stats["http.test.fault.faults_overflow"] == 1


@pytest.mark.parametrize(
    ("condition", "headers", "hit"),
    [
        ({"headers": [{"name": "x-f", "string_match": {"exact": "yes"}}]}, {"x-f": "yes"}, True),
        ({"headers": [{"name": "x-f", "string_match": {"exact": "yes"}}]}, {"x-f": "no"}, False),
        ({"upstream_cluster": "upstream"}, {}, True),
        ({"upstream_cluster": "other"}, {}, False),
        ({"downstream_nodes": ["n1"]}, {"x-envoy-downstream-service-node": "n1"}, True),
        ({"downstream_nodes": ["n1"]}, {"x-envoy-downstream-service-node": "n2"}, False),
        ({"downstream_nodes": ["n1"]}, {}, False),
    ],
)
def test_conditions(condition: dict[str, Any], headers: dict[str, str], hit: bool) -> None:
    assert fault(abort=ABORT, **condition).request(headers=headers).status == (503 if hit else 200)


@pytest.mark.parametrize("chunks", [[b"x" * 2048], [b"x" * 1024] * 2, [b"x" * 256] * 8])
def test_a_response_rate_limit_takes_the_time_that_the_bytes_need(chunks: list[bytes]) -> None:
    harness = fault(response_rate_limit={"fixed_limit": {"limit_kbps": 1}, "percentage": ALL})
    harness.upstream.returns(chunks=chunks)
    exchange = harness.request()
    harness.clock.advance(1)
    assert 900 < len(exchange.response_body) < 1200
    harness.clock.advance(0.8)
    assert not exchange.complete
    harness.clock.advance(0.3)
    assert exchange.response_body == b"".join(chunks)
    assert exchange.complete
    assert harness.stats == {"http.test.fault.response_rl_injected": 1}


def test_a_response_rate_limit_that_the_request_asks_for() -> None:
    harness = fault(response_rate_limit={"header_limit": {}, "percentage": ALL})
    harness.upstream.returns(body=b"x" * 1024)
    assert harness.request().complete
    assert harness.request(headers={"x-envoy-fault-throughput-response": "1"}).waiting


@pytest.mark.parametrize(
    ("config", "runtime", "active"),
    [
        ({}, {}, False),
        ({"abort": {"http_status": 503, "percentage": NONE}}, {}, False),
        ({"abort": {"http_status": 503}}, {}, False),
        ({"delay": {"fixed_delay": "1s", "percentage": NONE}}, {}, False),
        ({"abort": ABORT}, {}, True),
        ({"abort": {"http_status": 503, "percentage": NONE}}, {"fault.http.abort.abort_percent": 100}, True),
        ({"abort": ABORT, "abort_percent_runtime": "mine"}, {"mine": 0}, False),
    ],
)
def test_a_configuration_that_can_hit_nothing_is_not_in_the_plan(
    config: dict[str, Any], runtime: dict[str, Any], active: bool
) -> None:
    harness = FilterHarness(Fault, config, runtime=runtime)
    assert ("Fault" in harness.plan.names) is active
    assert harness.request().status == (503 if active else 200)


def test_a_share_hits_that_share_of_the_requests() -> None:
    harness = fault(abort={"http_status": 503, "percentage": {"numerator": 2500, "denominator": "TEN_THOUSAND"}})
    hits = sum(harness.request().status == 503 for _ in range(2000))
    assert 420 < hits < 580


def test_the_configuration_of_a_route_stands_in_place_of_the_filters_own() -> None:
    own = {"abort": ABORT}
    other = {"@type": TYPE, "abort": {"http_status": 418, "percentage": ALL}}
    assert FilterHarness(Fault, own, route_config=other).request().status == 418
    assert FilterHarness(Fault, own, route_config={"@type": TYPE}).request().status == 200


@pytest.mark.parametrize(
    "config",
    [
        {"abort": {"http_status": 700, "percentage": ALL}},
        {"abort": {"percentage": ALL}},
        {"delay": {"percentage": ALL}},
        {"response_rate_limit": {"percentage": ALL}},
    ],
)
def test_what_is_refused(config: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        fault(**config)
