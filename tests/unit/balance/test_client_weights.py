"""Weights by load reports: what a report is worth, and when."""

from __future__ import annotations

from typing import Any

import pytest

from meshproxy.address import SocketAddress
from meshproxy.balance.client_weights import ClientWeights
from meshproxy.balance.host import Host
from meshproxy.balance.load_report import read_load_report, utilization
from meshproxy.headers import ResponseHeaders
from meshproxy.model.cluster import ClientWeightOptions
from meshproxy.model.endpoint import Endpoint

FIELD = "endpoint-load-metrics"


class Rig:
    """Three hosts and a clock."""

    def __init__(self, **options: Any) -> None:
        self.now = 100.0
        self.hosts = [Host(Endpoint(SocketAddress("127.0.0.1", port))) for port in (1, 2, 3)]
        options = {"blackout": 10.0, "expiration": 60.0, **options}
        self.weights = ClientWeights(ClientWeightOptions(**options), lambda: self.now)
        self.weights.watch(self.hosts)

    def report(self, host: int, text: str) -> None:
        loads = self.hosts[host].loads
        assert loads is not None
        loads.on_answer(ResponseHeaders(200, [(FIELD, f"TEXT {text}")]))

    def settle(self) -> list[int]:
        self.weights.apply(self.hosts)
        return [host.weight for host in self.hosts]


def test_a_weight_counts_after_the_blackout_and_until_it_expires() -> None:
    rig = Rig()
    rig.report(0, "rps_fractional:100,cpu_utilization:0.5")
    rig.report(1, "rps_fractional:100,cpu_utilization:1")
    rig.now += 9.9
    assert rig.settle() == [1, 1, 1]
    rig.now += 0.2
    assert rig.settle() == [200, 100, 200]  # the third gets the median
    rig.now += 40.0
    rig.report(0, "rps_fractional:100,cpu_utilization:0.25")
    assert rig.settle()[0] == 400
    rig.now += 15.0
    assert rig.settle() == [400, 400, 400]  # that of the second is too old
    rig.now += 100.0
    assert rig.settle() == [1, 1, 1]
    rig.report(0, "rps_fractional:100,cpu_utilization:0.5")
    assert rig.settle() == [1, 1, 1]  # a blackout again


def test_says_whether_a_weight_changed() -> None:
    rig = Rig(blackout=0.0)
    rig.report(0, "rps_fractional:100,cpu_utilization:0.5")
    assert rig.weights.apply(rig.hosts)
    assert not rig.weights.apply(rig.hosts)


@pytest.mark.parametrize(
    "text",
    [
        "rps_fractional:0,cpu_utilization:1",
        "rps_fractional:10",
        "cpu_utilization:1",
        "rps_fractional:10,cpu_utilization:0",
    ],
)
def test_what_gives_no_weight(text: str) -> None:
    rig = Rig(blackout=0.0)
    rig.report(0, "rps_fractional:50,cpu_utilization:1")
    rig.report(0, text)
    assert rig.settle()[0] == 50


def test_errors_lower_a_weight() -> None:
    rig = Rig(blackout=0.0, error_penalty=2.0)
    rig.report(0, "rps_fractional:100,cpu_utilization:0.5,eps:25")
    assert rig.settle()[0] == 100


def test_weights_stay_within_32_bits() -> None:
    rig = Rig(blackout=0.0)
    rig.report(0, "rps_fractional:1e30,cpu_utilization:1e-9")
    rig.report(1, "rps_fractional:1,cpu_utilization:1e9")
    assert rig.settle()[:2] == [2**32 - 1, 1]


@pytest.mark.parametrize(
    "field",
    [
        (FIELD, "rps_fractional:1"),
        (FIELD, "text rps_fractional:1"),
        (FIELD, "TEXT rps_fractional:one"),
        (FIELD, "TEXT rps_fractional:nan"),
        (FIELD, "TEXT rps_fractional:inf"),
        (FIELD, "TEXT rps_fractional:1_0"),
        (FIELD, "TEXT rps_fractional"),
        (FIELD, "TEXT rps_fractional:1,rps_fractional:1"),
        (FIELD, "TEXT unheard_of:1"),
        (FIELD, "TEXT named_metrics.:1"),
        (FIELD, 'JSON {"rps_fractional": "x"}'),
        (FIELD, "JSON ["),
        (FIELD, "BIN ~~~"),
        (FIELD, "BIN /////w=="),
        ("endpoint-load-metrics-bin", "~"),
    ],
)
def test_what_is_no_report(field: tuple[str, str]) -> None:
    assert read_load_report(ResponseHeaders(200, [field])) is None


def test_what_tells_the_utilization() -> None:
    report = read_load_report(
        ResponseHeaders(200, [(FIELD, 'JSON {"cpu_utilization": 0.1, "utilization": {"disk": 0.7, "net": 0.9}}')])
    )
    assert report is not None
    assert utilization(report, ()) == 0.1
    assert utilization(report, ("utilization.disk", "mem_utilization")) == 0.7
    assert utilization(report, ("utilization.*",)) == 0.9
    assert utilization(report, ("nothing", "utilization.none")) == 0.1
