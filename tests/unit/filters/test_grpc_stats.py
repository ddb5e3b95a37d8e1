"""gRPC statistics."""

from __future__ import annotations

from typing import Any

import pytest

from meshproxy.telemetry.histogram import Histogram
from meshproxy.testing import FilterHarness
from meshproxy_filters.http.grpc_stats import FILTER_STATE, GrpcCounts, GrpcStats

GRPC = {"content-type": "application/grpc"}
TWO = b"\0\0\0\0\x03abc" + b"\0\0\0\0\0"


def stats(config: dict[str, Any], path: str = "/pkg.Svc/Meth", status: str = "0", **request: Any) -> dict[str, int]:
    harness = FilterHarness(GrpcStats, config)
    harness.upstream.returns(headers=GRPC, chunks=[TWO], trailers={"grpc-status": status})
    harness.request("POST", path, headers=GRPC, chunks=[TWO], **request)
    return {name.removeprefix("cluster.upstream."): value for name, value in harness.stats.items()}


@pytest.mark.parametrize(("status", "outcome"), [("0", "success"), ("14", "failure")])
def test_calls_and_messages_are_counted(status: str, outcome: str) -> None:
    assert stats({}, status=status) == {
        f"grpc.{status}": 1,
        f"grpc.{outcome}": 1,
        "grpc.total": 1,
        "grpc.request_message_count": 2,
        "grpc.response_message_count": 2,
    }


@pytest.mark.parametrize(
    ("config", "prefix"),
    [
        ({"stats_for_all_methods": True}, "grpc.pkg.Svc.Meth."),
        ({"stats_for_all_methods": True, "replace_dots_in_grpc_service_name": True}, "grpc.pkg_Svc.Meth."),
        (
            {"individual_method_stats_allowlist": {"services": [{"name": "pkg.Svc", "method_names": ["Meth"]}]}},
            "grpc.pkg.Svc.Meth.",
        ),
        (
            {"individual_method_stats_allowlist": {"services": [{"name": "pkg.Svc", "method_names": ["Other"]}]}},
            "grpc.",
        ),
        ({}, "grpc."),
    ],
)
def test_by_method(config: dict[str, Any], prefix: str) -> None:
    assert stats(config)[f"{prefix}total"] == 1


@pytest.mark.parametrize("pieces", [[TWO], [TWO[i : i + 1] for i in range(len(TWO))], [TWO[:7], TWO[7:]]])
def test_messages_are_counted_however_they_are_cut(pieces: list[bytes]) -> None:
    harness = FilterHarness(GrpcStats, {"emit_filter_state": True})
    harness.upstream.returns(headers=GRPC, chunks=pieces, trailers={"grpc-status": "0"})
    exchange = harness.request("POST", "/a/b", headers=GRPC, chunks=pieces)
    assert exchange.stream.filter_state == {FILTER_STATE: GrpcCounts(2, 2)}


def test_a_status_in_the_head_counts_once() -> None:
    harness = FilterHarness(GrpcStats, {})
    harness.upstream.returns(headers={**GRPC, "grpc-status": "5"})
    harness.request("POST", "/a/b", headers=GRPC, body=b"")
    assert harness.stats["cluster.upstream.grpc.total"] == 1


@pytest.mark.parametrize("content_type", ["text/plain", "application/grpc-web", ""])
def test_what_is_no_grpc_is_not_counted(content_type: str) -> None:
    harness = FilterHarness(GrpcStats, {})
    harness.request("POST", "/a/b", headers={"content-type": content_type}, body=TWO)
    assert harness.stats == {}


@pytest.mark.parametrize("enabled", [True, False])
def test_times_of_the_upstream_are_noted_if_wanted(enabled: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    noted: list[str] = []
    monkeypatch.setattr(Histogram, "record", lambda histogram, _: noted.append(histogram.name))
    stats({"stats_for_all_methods": True, "enable_upstream_stats": enabled})
    assert noted == (["cluster.upstream.grpc.pkg.Svc.Meth.upstream_rq_time"] if enabled else [])
