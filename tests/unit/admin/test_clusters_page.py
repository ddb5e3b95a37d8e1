"""`/clusters`: one worker's clusters, and those of several as one."""

import json
from types import SimpleNamespace

import pytest

from meshproxy.address import SocketAddress
from meshproxy.balance.host import HealthFlag, Host
from meshproxy.model.cluster import CircuitBreakerThresholds, ClusterConfig
from meshproxy.model.endpoint import Endpoint, Locality
from meshproxy.runtime.admin.clusters import address_json, merge_statuses, render_json, render_text
from meshproxy.runtime.upstream.cluster_status import Status, cluster_status


class FakeCluster:
    def __init__(self, *hosts: Host) -> None:
        self.config = ClusterConfig("up", alt_stat_name="alt", thresholds=CircuitBreakerThresholds(max_requests=7))
        self._hosts = list(hosts)
        self.outlier = None
        self.service_name = ""
        self.balancer = SimpleNamespace(overprovisioning_factor=140)

    def thresholds(self, priority: str) -> CircuitBreakerThresholds:
        return self.config.thresholds if priority == "DEFAULT" else self.config.thresholds_high

    def hosts(self) -> list[Host]:
        return self._hosts


def text(parts: list[bytes]) -> str:
    return b"".join(parts).decode()


def host(port: int, **numbers: int) -> Host:
    made = Host(
        Endpoint(
            SocketAddress("10.0.0.1", port), weight=2, hostname="h", locality=Locality("r", "z"),
            metadata={"envoy.lb": {"canary": True}},
        )
    )  # fmt: skip
    for name, value in numbers.items():
        setattr(made, name, value)
    return made


def status(*hosts: Host) -> Status:
    return cluster_status(FakeCluster(*hosts))  # type: ignore[arg-type]  # what is read of one


def everything(name: str) -> bool:
    return True


def test_text() -> None:
    lines = text(render_text([status(host(80, cx_total=3))], everything)).splitlines()
    assert lines[:4] == [
        "up::observability_name::alt",
        "up::default_priority::max_connections::1024",
        "up::default_priority::max_pending_requests::1024",
        "up::default_priority::max_requests::7",
    ]
    assert "up::10.0.0.1:80::cx_total::3" in lines
    assert "up::10.0.0.1:80::canary::true" in lines
    assert lines[-2:] == ["up::10.0.0.1:80::success_rate::-1", "up::10.0.0.1:80::local_origin_success_rate::-1"]
    assert text(render_text([status()], lambda name: name != "up")) == ""


def test_json_leaves_out_what_is_empty() -> None:
    (shown,) = json.loads(text(render_json([status(host(80, rq_total=4))], everything)))["cluster_statuses"]
    (only,) = shown["host_statuses"]
    assert {"value": "4", "name": "rq_total"} in only["stats"]
    assert {"name": "cx_total"} in only["stats"]
    assert only["locality"] == {"region": "r", "zone": "z"}
    assert only["health_status"] == {"eds_health_status": "HEALTHY"}
    assert shown["circuit_breakers"]["thresholds"][1]["priority"] == "HIGH"


def test_health_flags() -> None:
    ill = host(80)
    ill.set_flag(HealthFlag.FAILED_OUTLIER_CHECK, True)
    assert "::health_flags::/failed_outlier_check" in text(render_text([status(ill)], everything))
    (shown,) = json.loads(text(render_json([status(ill)], everything)))["cluster_statuses"]
    assert shown["host_statuses"][0]["health_status"]["failed_outlier_check"] is True


def test_merging_adds_numbers_and_keeps_the_worst_health() -> None:
    ill = host(80, rq_total=5)
    ill.set_flag(HealthFlag.FAILED_OUTLIER_CHECK, True)
    merged = merge_statuses([[status(host(80, rq_total=3), host(81, rq_total=1))], [status(ill, host(82))]])
    (cluster,) = merged
    assert [(h["address"], h["rq_total"]) for h in cluster["hosts"]] == [
        ("10.0.0.1:80", 8),
        ("10.0.0.1:81", 1),
        ("10.0.0.1:82", 0),
    ]
    assert cluster["hosts"][0]["health_flags"] == "/failed_outlier_check"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("[::1]:80", {"socket_address": {"address": "::1", "port_value": 80}}),
        ("envoy://in/one", {"envoy_internal_address": {"server_listener_name": "in", "endpoint_id": "one"}}),
        ("envoy://in/", {"envoy_internal_address": {"server_listener_name": "in"}}),
    ],
)
def test_addresses(text: str, shown: object) -> None:
    assert address_json(text) == shown
