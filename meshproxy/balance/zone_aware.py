"""Routing by zone: requests stay in our own zone as far as its hosts can take them (Envoy: "Zone aware routing").

What is fair depends on where the proxies are: with a share l of all proxies (the hosts of the local cluster) and a
share u of the hosts in our zone, everything stays here when u >= l; else u/l of it does, and the rest goes to
zones that have more hosts than proxies, in proportion to what they have more. Only priority 0 is routed so, only among
healthy hosts of at least two zones, and only while the local cluster itself is well.

The plan is made anew when hosts of either cluster change; a pick costs a draw or two.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from itertools import accumulate
from random import Random
from typing import Protocol

from meshproxy.balance.host import Host
from meshproxy.balance.host_set import HostSet, LocalityHosts
from meshproxy.model.endpoint import NO_LOCALITY, Locality
from meshproxy.runtime_values import Live, Share

_WHOLE = 10_000  # shares are whole hundredths of a per cent, as in Envoy
LocalSets = Callable[[], Sequence[HostSet] | None]
"""The hosts of the local cluster by priority; None while there is no such cluster."""


class ZoneOptions(Protocol):
    """What of `meshproxy.model.cluster.ZoneOptions` is read here."""

    @property
    def routing_enabled(self) -> Share: ...
    @property
    def minimum_size(self) -> Live[int]: ...
    @property
    def force_from(self) -> int | None: ...
    @property
    def by_weight(self) -> bool: ...
    @property
    def here(self) -> Locality: ...


class ZonePlan:
    """What becomes of a pick. at_home: of `_WHOLE`, how many stay. rest: bounds for the others, by locality."""

    __slots__ = ("at_home", "localities", "rest")

    def __init__(self, localities: Sequence[Locality], at_home: int, rest: Sequence[int]) -> None:
        self.localities = localities
        self.at_home = at_home
        self.rest = rest


class ZoneRouting:
    """The zones of one balancer. counts: what Envoy counts, by its names, since it was last taken."""

    def __init__(self, options: ZoneOptions, local: LocalSets, random: Random) -> None:
        self._options = options
        self._local = local
        self._random = random
        self._enabled = options.routing_enabled.sampler(random)
        self._seen: object = None
        self._plan: ZonePlan | None = None
        self.counts: dict[str, int] = {}

    def _count(self, name: str) -> None:
        self.counts[name] = self.counts.get(name, 0) + 1

    def forget(self) -> None:
        """The hosts have changed."""
        self._seen = None

    def choose(self, host_set: HostSet, panics: Callable[[HostSet], bool]) -> Locality | bool:
        """The locality for a pick. False: don't look at zones. True: the local cluster is in panic.

        panics: whether a set of hosts is in panic.
        """
        local = self._local()
        if local is None:
            return False
        if local is not self._seen:
            self._seen = local
            self._count("lb_recalculate_zone_structures")
            self._plan = self._make_plan(host_set, local[0])
        plan = self._plan
        if plan is None:
            return False
        random = self._random.random
        if not self._enabled():
            return False
        if panics(local[0]):
            self._count("lb_local_cluster_not_ok")
            return True
        if plan.at_home == _WHOLE and not plan.rest:
            self._count("lb_zone_routing_all_directly")
            return self._options.here
        if random() * _WHOLE < plan.at_home:
            self._count("lb_zone_routing_sampled")
            return self._options.here
        self._count("lb_zone_routing_cross_zone")
        if not plan.rest[-1]:
            self._count("lb_zone_no_capacity_left")
            return plan.localities[int(random() * len(plan.localities))]
        return plan.localities[bisect_right(plan.rest, int(random() * plan.rest[-1]))]

    def _make_plan(self, host_set: HostSet, local: HostSet) -> ZonePlan | None:
        """None where zones aren't looked at."""
        options = self._options
        here = options.here
        if len(host_set.localities) < 2 or (options.force_from is None and len(local.localities) < 2):
            return None
        if here == NO_LOCALITY or all(group.locality != here for group in local.localities):
            self._count("lb_local_cluster_not_ok")
            return None
        if len(host_set.healthy) < options.minimum_size.value:
            self._count("lb_zone_cluster_too_small")
            return None
        ours, theirs = self._shares(local.localities), self._shares(host_set.localities)
        has_home = any(group.locality == here for group in host_set.localities)
        home = theirs.get(here, 0)
        at_home = ours.get(here, 0)
        if has_home:
            healthy_here = next(len(group.healthy) for group in host_set.localities if group.locality == here)
            forced = options.force_from is not None and healthy_here >= options.force_from
            if forced or (home and home >= at_home):
                return ZonePlan((here,), _WHOLE, ())
        localities = [group.locality for group in host_set.localities]
        more = [0 if each == here else max(theirs[each] - ours.get(each, 0), 0) for each in localities]
        stay = home * _WHOLE // at_home if has_home and at_home else 0
        return ZonePlan(localities, stay, list(accumulate(more)))

    def _shares(self, localities: Sequence[LocalityHosts]) -> dict[Locality, int]:
        """Of `_WHOLE`, what each locality has of the healthy hosts."""
        sizes = {group.locality: self._size(group.healthy) for group in localities}
        total = sum(sizes.values())
        return {locality: _WHOLE * size // total if total else 0 for locality, size in sizes.items()}

    def _size(self, hosts: Sequence[Host]) -> int:
        return sum(host.weight for host in hosts) if self._options.by_weight else len(hosts)
