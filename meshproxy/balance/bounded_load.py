"""Hashing with bounded loads (`hash_balance_factor`): a host with much more under way than its share is passed over.

The host in its place is found in an order that the hash decides on, so one key keeps to the same substitutes. The order
is Envoy's to the number: a shuffle by the generator MT19937 seeded with the hash (BoundedLoadHashingLoadBalancer).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from random import Random

from meshproxy.balance.host import Host

_WORDS = 624
_MASK = 0xFFFFFFFF


class BoundedLoad:
    """factor: per cent of its fair share of requests that a host may have under way. active: how many all have."""

    def __init__(self, factor: int, active: Callable[[], int]) -> None:
        self._factor = factor
        self._active = active

    def settle(self, host: Host, number: int, hosts: Sequence[Host], shares: Mapping[Host, float]) -> Host:
        """`host`, which the hash `number` stands for, or another one of `hosts` if it has too much to do."""
        slots = ((self._active() + 1) * self._factor + 99) // 100
        least = _overload(host, slots, shares[host])
        if least <= 1.0:
            return host
        chosen = host
        draw = _generator(number)
        order = list(range(len(hosts)))
        for position in range(len(order)):
            other = position + _below(draw, len(order) - position)
            order[position], order[other] = order[other], order[position]
            candidate = hosts[order[position]]
            if candidate is host:
                continue
            overload = _overload(candidate, slots, shares[candidate])
            if overload <= 1.0:
                return candidate
            if overload < least:
                chosen, least = candidate, overload
        return chosen


def _overload(host: Host, slots: int, share: float) -> float:
    return host.rq_active / max(math.ceil(slots * share), 1)


def _generator(seed: int) -> Random:
    """MT19937 as C++ seeds it; Python's own seeding is another one."""
    state = [seed & _MASK]
    for index in range(1, _WORDS):
        last = state[-1]
        state.append((1812433253 * (last ^ last >> 30) + index) & _MASK)
    generator = Random()
    generator.setstate((3, (*state, _WORDS), None))
    return generator


def _below(generator: Random, bound: int) -> int:
    """A number below `bound`, evenly."""
    width = (_MASK + 1) // bound
    number = bound
    while number >= bound:
        number = generator.getrandbits(32) // width
    return number
