"""The policies that pick one of a list of hosts: round robin, random, least request.

A picker serves one list (the healthy hosts of one priority, or of one of its localities). It is told of a new list with
`update` and prepares whatever it needs then; `pick` only looks it up. Equal weights go the plain way, others through
a scheduler, as in Envoy: rotation from a random start, or the better of some hosts drawn at random.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from random import Random
from typing import ClassVar

from meshproxy.balance.edf import EdfScheduler
from meshproxy.balance.host import Host
from meshproxy.balance.slow_start import SlowStart
from meshproxy.runtime_values import Live, constant

_NEUTRAL = constant(1.0)


class Picker(ABC):
    """Picks from a list of hosts that is never empty. `pick` may be replaced by `update`, so don't keep it."""

    __slots__ = ("hosts", "random")
    weighs_localities: ClassVar[bool] = False
    """The policy itself puts weights of localities and hosts together: it is given them by `update_shares`."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.hosts: Sequence[Host] = ()

    @property
    def sizes(self) -> dict[str, int]:
        """What there is to say of a table, by Envoy's names; most policies have none."""
        return {}

    @abstractmethod
    def update(self, hosts: Sequence[Host]) -> None:
        """Pick from these from now on; also to be called when weights changed."""

    def update_shares(self, hosts: Sequence[Host], shares: Sequence[float]) -> None:
        """The same for a policy that weighs localities; shares: of each host, of 1 in all."""
        raise NotImplementedError  # most policies weigh none

    @abstractmethod
    def pick(self, context: object = None) -> Host:
        """One of the hosts. context: what the request brings, for policies that look at it."""


def _weights_differ(hosts: Sequence[Host]) -> bool:
    return any(host.weight != hosts[0].weight for host in hosts)


def _starts_slowly(slow_start: SlowStart, hosts: Sequence[Host]) -> bool:
    slow_start.note(hosts)
    return slow_start.under_way


class RoundRobin(Picker):
    """ROUND_ROBIN: each in turn; with weights, in proportion and evenly spread."""

    __slots__ = ("_index", "_scheduler", "_slow_start")

    def __init__(self, random: Random, slow_start: SlowStart | None = None) -> None:
        super().__init__(random)
        self._slow_start = slow_start
        self._index = random.getrandbits(31)
        self._scheduler: EdfScheduler[Host] | None = None

    def update(self, hosts: Sequence[Host]) -> None:
        self.hosts = hosts
        self._scheduler = None
        slow_start = self._slow_start
        if slow_start is not None and _starts_slowly(slow_start, hosts):
            factor = slow_start.factor
            start = self.random.randrange(len(hosts))
            self._scheduler = EdfScheduler(hosts, lambda host: host.weight * factor(host), start)
        elif _weights_differ(hosts):
            self._scheduler = EdfScheduler(hosts, lambda host: host.weight, self.random.randrange(len(hosts)))

    def pick(self, context: object = None) -> Host:
        if self._scheduler is not None:
            return self._scheduler.pick()
        hosts = self.hosts
        self._index = index = self._index + 1
        return hosts[index % len(hosts)]


class RandomPick(Picker):
    """RANDOM: any of them; weights don't count, as in Envoy."""

    __slots__ = ("_count", "_draw")

    def __init__(self, random: Random) -> None:
        super().__init__(random)
        self._draw = random.random
        self._count = 0

    def update(self, hosts: Sequence[Host]) -> None:
        self.hosts = hosts
        self._count = len(hosts)

    def pick(self, context: object = None) -> Host:
        return self.hosts[int(self._draw() * self._count)]


class LeastRequest(Picker):
    """LEAST_REQUEST: the one with the fewest active requests of `choice_count` drawn at random.

    With different weights: in proportion to weight / (active requests + 1) ** bias, looked at after each pick.
    """

    __slots__ = ("_bias", "_choice_count", "_count", "_draw", "_scheduler", "_slow_start")

    def __init__(
        self,
        random: Random,
        choice_count: int = 2,
        bias: Live[float] = _NEUTRAL,
        slow_start: SlowStart | None = None,
    ) -> None:
        super().__init__(random)
        self._slow_start = slow_start
        self._draw = random.random
        self._choice_count = choice_count
        self._bias = bias
        self._count = 0
        self._scheduler: EdfScheduler[Host] | None = None

    def update(self, hosts: Sequence[Host]) -> None:
        self.hosts = hosts
        self._count = len(hosts)
        self._scheduler = None
        slow_start = self._slow_start
        if (slow_start is not None and _starts_slowly(slow_start, hosts)) or _weights_differ(hosts):
            self._scheduler = EdfScheduler(hosts, self._weight_of, self.random.randrange(len(hosts)))

    def _weight_of(self, host: Host) -> float:
        weight: float = host.weight
        if self._slow_start is not None:
            weight *= self._slow_start.factor(host)
        bias = self._bias.value
        if bias == 1.0:
            return weight / (host.rq_active + 1)
        return max(weight / math.pow(host.rq_active + 1, bias), 1e-9)

    def pick(self, context: object = None) -> Host:
        if self._scheduler is not None:
            return self._scheduler.pick()
        draw, hosts, count = self._draw, self.hosts, self._count
        if self._choice_count == 2:
            number = int(draw() * count * count)  # two choices from one draw
            best, other = hosts[number % count], hosts[number // count]
            return other if other.rq_active < best.rq_active else best
        best = hosts[int(draw() * count)]
        for _ in range(self._choice_count - 1):
            other = hosts[int(draw() * count)]
            if other.rq_active < best.rq_active:
                best = other
        return best


class FullScan(LeastRequest):
    """LEAST_REQUEST that looks at every host: the one with the fewest active requests, any of several."""

    __slots__ = ()

    def pick(self, context: object = None) -> Host:
        if self._scheduler is not None:
            return self._scheduler.pick()
        least = min([host.rq_active for host in self.hosts])
        tied = [host for host in self.hosts if host.rq_active == least]
        return tied[int(self._draw() * len(tied))]


PickerFactory = Callable[[Random], Picker]


def picker_factory(
    lb_policy: str,
    choice_count: int = 2,
    active_request_bias: Live[float] = _NEUTRAL,
    slow_start: SlowStart | None = None,
    full_scan: bool = False,
) -> PickerFactory:
    """The pickers of a policy by Envoy's name for it. Raises ValueError for one that picks in another way."""
    if lb_policy == "ROUND_ROBIN":
        return lambda random: RoundRobin(random, slow_start)
    if lb_policy == "RANDOM":
        return RandomPick
    if lb_policy == "LEAST_REQUEST":
        kind = FullScan if full_scan else LeastRequest
        return lambda random: kind(random, choice_count, active_request_bias, slow_start)
    raise ValueError(f"{lb_policy!r} is not a policy that picks from a plain list of hosts")
