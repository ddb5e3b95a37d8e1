"""Ring hash and Maglev: the same host for the same key as Envoy 1.40, whose picks are in `hashed_picks.json`."""

from __future__ import annotations

import json
import time
from collections import Counter
from pathlib import Path
from random import Random
from types import SimpleNamespace

import pytest

from meshproxy.address import SocketAddress
from meshproxy.balance.balancer import LoadBalancer
from meshproxy.balance.hashing_policies import HashPicker, Maglev, RingHash, hash_picker_factory
from meshproxy.balance.host import Host
from meshproxy.balance.host_set import PrioritySet
from meshproxy.hashing import xxhash64
from meshproxy.model.cluster import LbOptions
from meshproxy.model.endpoint import Endpoint, HealthStatus
from meshproxy.plugin.upstream import HostChoice

GOLDEN = json.loads(Path(__file__).with_name("hashed_picks.json").read_text())


def hosts(weights: list[int]) -> list[Host]:
    return [
        Host(Endpoint(SocketAddress(f"127.0.0.{10 + index}", 23457), weight=weight))
        for index, weight in enumerate(weights)
    ]


def asking(key: str) -> SimpleNamespace:
    return SimpleNamespace(lb_hash=xxhash64(key.encode()), lb_attempt=0)


def picker(name: str) -> HashPicker:
    policy, *sizes = name.split()
    if policy == "MAGLEV":
        return Maglev(Random(1), int(sizes[0]))
    minimum = 1 if len(sizes) == 2 else int(sizes[0])
    return RingHash(Random(1), minimum, int(sizes[1]) if len(sizes) == 2 else 1 << 23)


@pytest.mark.parametrize("name", GOLDEN)
def test_the_host_that_envoy_picks(name: str) -> None:
    golden = GOLDEN[name]
    made = picker(name)
    all_hosts = hosts(golden["weights"])
    made.update(all_hosts)
    picks = "".join(str(all_hosts.index(made.pick(asking(f"key-{number}")))) for number in range(60))
    assert picks == golden["picks"]


def test_the_order_of_the_hosts_does_not_matter() -> None:
    for name in GOLDEN:
        weights = GOLDEN[name]["weights"]
        one, other = picker(name), picker(name)
        all_hosts = hosts(weights)
        one.update(all_hosts)
        other.update(list(reversed(all_hosts)))
        keys = [asking(f"{number}") for number in range(200)]
        same = sum(one.pick(key) is other.pick(key) for key in keys)
        assert same >= (200 if name == "MAGLEV 65537" or name == "RING_HASH 1024" else 150)


def test_a_host_less_moves_few_keys() -> None:
    all_hosts = hosts([1] * 10)
    # A ring gives each host more points when there are fewer hosts, so that some keys move in it too.
    for made, most in ((RingHash(Random(1), 1024, 1 << 23), 250), (Maglev(Random(1), 65537), 60)):
        made.update(all_hosts)
        keys = [asking(f"{number}") for number in range(2000)]
        before = [made.pick(key) for key in keys]
        made.update(all_hosts[:-1])
        after = [made.pick(key) for key in keys]
        moved = sum(a is not b for a, b in zip(before, after, strict=True) if a is not all_hosts[-1])
        assert moved <= most


def test_without_a_hash_any_host() -> None:
    made = RingHash(Random(1), 1024, 1 << 23)
    made.update(hosts([1] * 4))
    picks = Counter(made.pick(context) for context in [None, SimpleNamespace(lb_hash=None)] * 200)
    assert len(picks) == 4


def test_a_further_attempt_finds_another_host() -> None:
    balancer = LoadBalancer(
        PrioritySet([host.endpoint for host in hosts([1] * 3)]),
        hash_picker_factory("RING_HASH", LbOptions()),  # type: ignore[arg-type]  # not None for this policy
        LbOptions(),
        Random(1),
    )
    for number in range(50):
        context = asking(str(number))
        first = balancer.pick(context)
        assert first is not None
        assert balancer.pick_choosy(HostChoice((lambda host, tried: host in tried,), (first,), 9), context) is not first
        assert balancer.pick(context) is first


def test_a_key_given_with_the_endpoint_or_its_name() -> None:
    named = [
        Host(Endpoint(SocketAddress(f"127.0.0.{n}", 1), hostname=f"h{n}", metadata={"envoy.lb": {"hash_key": f"k{n}"}}))
        for n in range(3)
    ]
    other = [Host(Endpoint(SocketAddress(f"127.0.9.{n}", 1), hostname=f"k{n}")) for n in range(3)]
    by_key, by_name = Maglev(Random(1), 65537), Maglev(Random(1), 65537, use_hostname=True)
    by_key.update(named)
    by_name.update(other)
    for number in range(100):
        key = asking(str(number))
        assert named.index(by_key.pick(key)) == other.index(by_name.pick(key))


def test_an_unhealthy_host_is_not_on_the_ring() -> None:
    endpoints = [host.endpoint for host in hosts([1] * 4)]
    endpoints[0] = Endpoint(endpoints[0].address, health_status=HealthStatus.UNHEALTHY)
    factory = hash_picker_factory("MAGLEV", LbOptions(table_size=101))
    assert factory is not None
    balancer = LoadBalancer(PrioritySet(endpoints), factory, LbOptions(), Random(1))
    picks = {balancer.pick(asking(str(number))) for number in range(200)}
    assert {host.text for host in picks if host is not None} == {f"127.0.0.{n}:23457" for n in (11, 12, 13)}


def test_equal_hosts_build_no_table_anew() -> None:
    made = Maglev(Random(1), 65537)
    all_hosts = hosts([1] * 3)
    made.update(all_hosts)
    began = time.perf_counter()
    for _ in range(50):
        made.update(list(all_hosts))
    assert time.perf_counter() - began < 1.0  # building one takes about 0.05 s
