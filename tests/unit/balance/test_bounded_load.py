"""Hashing with bounded loads."""

from __future__ import annotations

from random import Random
from types import SimpleNamespace

from meshproxy.address import SocketAddress
from meshproxy.balance.bounded_load import _generator
from meshproxy.balance.hashing_policies import hash_picker_factory
from meshproxy.balance.host import Host
from meshproxy.model.cluster import LbOptions
from meshproxy.model.endpoint import Endpoint


def test_the_generator_is_that_of_cpp() -> None:
    """std::mt19937 gives 4123659995 as its 10000th number when it is seeded with 5489 (C++ standard, rand.predef)."""
    generator = _generator(5489)
    assert [generator.getrandbits(32) for _ in range(10_000)][-1] == 4123659995


def test_a_host_with_too_much_to_do_is_passed_over_and_the_substitute_stays_the_same() -> None:
    hosts = [Host(Endpoint(SocketAddress(f"10.0.0.{number}", 1))) for number in range(4)]
    make = hash_picker_factory("RING_HASH", LbOptions(hash_balance=150), lambda: sum(host.rq_active for host in hosts))
    assert make is not None
    picker = make(Random(1))
    picker.update(hosts)
    key = SimpleNamespace(lb_hash=1234567890123, lb_attempt=0)
    first = picker.pick(key)
    first.rq_active = 1
    assert picker.pick(key) is first  # its one slot may be full, not more than full
    first.rq_active = 6
    second = picker.pick(key)
    assert second is not first
    assert picker.pick(key) is second
    second.rq_active = 6
    assert picker.pick(key) not in (first, second)


def test_when_all_have_too_much_the_one_with_least_is_taken() -> None:
    hosts = [Host(Endpoint(SocketAddress(f"10.0.0.{number}", 1))) for number in range(3)]
    for host, active in zip(hosts, (9, 7, 8), strict=True):
        host.rq_active = active
    make = hash_picker_factory("MAGLEV", LbOptions(hash_balance=100, table_size=1009), lambda: 0)
    assert make is not None
    picker = make(Random(1))
    picker.update(hosts)
    assert picker.pick(SimpleNamespace(lb_hash=5, lb_attempt=0)) is hosts[1]
