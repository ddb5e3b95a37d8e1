"""The buffer filter."""

from __future__ import annotations

from typing import Any

import pytest

from meshproxy.errors import ConfigError
from meshproxy.testing import FilterHarness
from meshproxy_filters.http.buffer import Buffer

ROUTE = "envoy.extensions.filters.http.buffer.v3.BufferPerRoute"


@pytest.mark.parametrize("pieces", [[b"hello"], [b"he", b"llo"], [b"h", b"e", b"l", b"l", b"o"]])
@pytest.mark.parametrize("trailers", [{}, {"t": "1"}])
def test_the_upstream_gets_the_whole_body_and_its_length(pieces: list[bytes], trailers: dict[str, str]) -> None:
    exchange = FilterHarness(Buffer, {"max_request_bytes": 5}).request("POST", chunks=pieces, trailers=trailers)
    assert exchange.upstream_chunks == [b"hello"]
    assert exchange.upstream_headers["content-length"] == "5"
    assert (exchange.upstream_trailers is not None) is bool(trailers)


def test_until_then_it_gets_nothing() -> None:
    harness = FilterHarness(Buffer, {"max_request_bytes": 5})
    exchange = harness.request("POST", chunks=[b"he"], end=False)
    assert not exchange.reached_upstream
    assert exchange.send_body(b"llo", True).upstream_body == b"hello"


@pytest.mark.parametrize("pieces", [[b"hello!"], [b"hello", b"!"]])
def test_a_longer_body_is_413_and_ends_the_connection(pieces: list[bytes]) -> None:
    exchange = FilterHarness(Buffer, {"max_request_bytes": 5}).request("POST", chunks=pieces)
    assert exchange.status == 413
    assert exchange.local_reply is not None
    assert exchange.local_reply.close
    assert not exchange.reached_upstream


def test_a_get_passes() -> None:
    exchange = FilterHarness(Buffer, {"max_request_bytes": 5}).request()
    assert "content-length" not in exchange.upstream_headers


@pytest.mark.parametrize(
    ("route_config", "status"),
    [
        ({"@type": ROUTE, "disabled": True}, 200),
        ({"@type": ROUTE, "buffer": {"max_request_bytes": 10}}, 200),
        ({"@type": ROUTE, "buffer": {"max_request_bytes": 3}}, 413),
    ],
)
def test_a_route_has_its_own_limit_or_none(route_config: dict[str, Any], status: int) -> None:
    harness = FilterHarness(Buffer, {"max_request_bytes": 4}, route_config=route_config)
    assert harness.request("POST", body=b"hello").status == status


@pytest.mark.parametrize("config", [{}, {"max_request_bytes": 0}])
def test_a_limit_is_required(config: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        FilterHarness(Buffer, config)
