"""The network filter ratelimit: connections that wait, services that hang. Its verdicts, tests/parity shows."""

from __future__ import annotations

from typing import Any

from envoy.service.ratelimit.v3.rls_pb2 import RateLimitRequest, RateLimitResponse

from meshproxy.testing import NetworkHarness
from meshproxy_filters.network.echo import Echo
from meshproxy_filters.network.ratelimit import RateLimit

OVER = RateLimitResponse(overall_code=RateLimitResponse.OVER_LIMIT).SerializeToString()


def limiting(runtime: dict[str, Any] | None = None, **config: Any) -> NetworkHarness:
    settings = {
        "stat_prefix": "r",
        "domain": "d",
        "descriptors": [{"entries": [{"key": "k", "value": "%DOWNSTREAM_LOCAL_PORT%"}]}],
        "rate_limit_service": {
            "grpc_service": {"envoy_grpc": {"cluster_name": "rls"}},
            "transport_api_version": "V3",
        },
        **config,
    }
    return NetworkHarness(Echo, {}, before=[(RateLimit, settings)], clusters=["rls"], runtime=runtime or {})


def test_nothing_is_read_before_the_verdict() -> None:
    harness = limiting(timeout="1s")
    harness.cluster("rls").returns_grpc(b"", after=0.5)
    connection = harness.connect()
    connection.send(b"hello")
    assert connection.received == b""
    assert harness.stats["ratelimit.r.active"] == 1
    harness.clock.advance(0.6)
    assert connection.received == b"hello"
    assert "ratelimit.r.active" not in harness.stats
    asked = RateLimitRequest.FromString(harness.cluster("rls").requests[0].grpc_message)
    assert asked.domain == "d"


def test_a_service_that_hangs_is_not_waited_for() -> None:
    harness = limiting()
    harness.cluster("rls").hangs()
    connection = harness.connect()
    connection.send(b"hello")
    harness.clock.advance(0.1)
    assert connection.received == b"hello"
    assert harness.stats["ratelimit.r.failure_mode_allowed"] == 1


def test_a_client_that_leaves_is_not_active_any_more() -> None:
    harness = limiting(timeout="10s")
    harness.cluster("rls").hangs()
    connection = harness.connect()
    connection.leave(reset=True)
    assert "ratelimit.r.active" not in harness.stats


def test_the_runtime_switches_asking_and_enforcing_off() -> None:
    harness = limiting({"ratelimit.tcp_filter_enforcing": 0})
    harness.cluster("rls").returns_grpc(OVER)
    connection = harness.connect()
    connection.send(b"hello")
    assert connection.received == b"hello"
    assert harness.stats["ratelimit.r.over_limit"] == 1
    harness = limiting({"ratelimit.tcp_filter_enabled": 0})
    harness.connect().send(b"x")
    assert harness.cluster("rls").requests == []
