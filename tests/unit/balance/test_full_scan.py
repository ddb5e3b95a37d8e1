"""LEAST_REQUEST that looks at every host."""

from __future__ import annotations

from collections import Counter
from random import Random

from meshproxy.address import SocketAddress
from meshproxy.balance.host import Host
from meshproxy.balance.policies import picker_factory
from meshproxy.model.endpoint import Endpoint


def test_the_least_busy_is_taken_and_any_of_several() -> None:
    hosts = [Host(Endpoint(SocketAddress(f"10.0.0.{number}", 1))) for number in range(50)]
    for host in hosts:
        host.rq_active = 3
    hosts[7].rq_active = hosts[30].rq_active = 1
    picker = picker_factory("LEAST_REQUEST", full_scan=True)(Random(1))
    picker.update(hosts)
    counts = Counter(hosts.index(picker.pick()) for _ in range(400))
    assert set(counts) == {7, 30}
    assert min(counts.values()) > 150
