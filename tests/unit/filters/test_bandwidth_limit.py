"""bandwidth_limit: the bucket over time, and streams that share it. How it looks on the wire, tests/parity shows."""

from __future__ import annotations

from typing import Any

import pytest

from meshproxy.errors import ConfigError
from meshproxy.testing import FilterHarness
from meshproxy_filters.http.bandwidth_limit import BandwidthLimit

_STATS = "bw.http_bandwidth_limit."


def limiting(**config: Any) -> FilterHarness:
    both = {"stat_prefix": "bw", "enable_mode": "REQUEST_AND_RESPONSE", "limit_kbps": 1}
    return FilterHarness(BandwidthLimit, {**both, **config})


@pytest.mark.parametrize("pieces", [[b"x" * 3072], [b"x" * 512] * 6, [b"x"] * 3072])
def test_a_body_takes_the_seconds_that_the_bucket_lacks(pieces: list[bytes]) -> None:
    harness = limiting(enable_mode="REQUEST")
    exchange = harness.request("POST", chunks=pieces)
    assert len(exchange.upstream_body) == 1024
    harness.clock.advance(1)
    assert len(exchange.upstream_body) == pytest.approx(2048, abs=60)
    assert harness.stats[_STATS + "request_pending"] == 1
    harness.clock.advance(1.1)
    assert exchange.upstream_body == b"x" * 3072
    assert exchange.complete
    assert _STATS + "request_pending" not in harness.stats
    assert harness.stats[_STATS + "request_allowed_total_size"] == 3072


def test_streams_share_the_bucket_with_each_other_and_both_directions() -> None:
    harness = limiting()
    harness.upstream.returns(body=b"y" * 512)
    first = harness.request("POST", body=b"x" * 512)
    assert first.complete
    assert not harness.request("POST", body=b"x" * 512).upstream_body
    harness.clock.advance(60)
    assert len(harness.request("POST", body=b"x" * 4096).upstream_body) == 1024, "no more than one second is saved up"


def test_a_client_that_leaves_is_not_pending_any_more() -> None:
    harness = limiting()
    exchange = harness.request("POST", body=b"x" * 4096)
    exchange.client_leaves()
    assert _STATS + "request_pending" not in harness.stats


def test_the_runtime_switches_it_off() -> None:
    flag = {"default_value": True, "runtime_key": "bw.on"}
    config = {"stat_prefix": "bw", "enable_mode": "REQUEST", "limit_kbps": 1, "runtime_enabled": flag}
    harness = FilterHarness(BandwidthLimit, config, runtime={"bw.on": False})
    assert harness.request("POST", body=b"x" * 9999).complete


def test_a_prefix_that_is_no_name_is_refused() -> None:
    with pytest.raises(ConfigError, match="response_trailer_prefix"):
        limiting(enable_response_trailers=True, response_trailer_prefix="a b")
