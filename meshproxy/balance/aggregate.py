"""Balancing over clusters: their priorities stand one behind the other, as if they were those of one cluster.

(Envoy's documentation: "Aggregate cluster".) Priorities without hosts are left out. Which priority takes a request is
decided here, by the health of all of them and with the panic threshold of the aggregate; which of its hosts, by the
balancer of the cluster that it belongs to.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from random import Random
from typing import Any, Protocol

from meshproxy.balance.balancer import Choice, LoadBalancer
from meshproxy.balance.host import Host
from meshproxy.balance.host_set import HostSet, PrioritySet
from meshproxy.balance.priority import HostCounts, share_load
from meshproxy.balance.subset import SubsetBalancer
from meshproxy.runtime_values import Live


class Member(Protocol):
    """A cluster, as far as it is looked at here."""

    @property
    def balancer(self) -> LoadBalancer | SubsetBalancer: ...

    @property
    def priorities(self) -> PrioritySet: ...


class _Level:
    """One priority of one cluster."""

    __slots__ = ("counts", "member", "priority")

    def __init__(self, member: Member, priority: int, counts: HostCounts) -> None:
        self.member = member
        self.priority = priority
        self.counts = counts


class AggregateBalancer:
    """members: gives those clusters of the list that there are, now.

    A change of a cluster's hosts shows in the identity of its `priorities.sets`, so nobody has to tell.
    """

    def __init__(self, members: Callable[[], Sequence[Member]], panic_threshold: Live[float], random: Random) -> None:
        self._members = members
        self._panic_threshold = panic_threshold
        self._random = random
        self._seen: list[tuple[Member, tuple[HostSet, ...]]] = []
        self._levels: list[_Level] = []
        self._shares: list[tuple[_Level, str]] = []
        self._bounds: list[int] = []

    def pick(self, context: Any = None) -> Host | None:
        """A host of one of the clusters; None if there is none."""
        self._look()
        return self._pick(self._shares, self._bounds, context)

    def pick_choosy(self, choice: Choice, context: Any = None) -> Host | None:
        """See `LoadBalancer.pick_choosy`; priorities that were tried are those of `tried`, whatever their number."""
        self._look()
        shares, bounds = self._shares, self._bounds
        if choice.left_out:
            tried = {(id(host.cluster), host.priority) for host in choice.tried}
            shares, bounds = self._share({(id(each.member), each.priority) for each in self._levels} & tried)
            if not shares:  # as in `LoadBalancer.pick_choosy`
                choice.left_out.clear()
                shares, bounds = self._shares, self._bounds
        host = self._pick(shares, bounds, context)
        for _ in range(choice.attempts):
            if host is None or not choice.refuses(host):
                break
            host = self._pick(shares, bounds, context)
        return host

    def _pick(self, shares: list[tuple[_Level, str]], bounds: list[int], context: Any) -> Host | None:
        if len(shares) == 1:
            level, kind = shares[0]
        elif shares:
            level, kind = shares[bisect_right(bounds, int(self._random.random() * bounds[-1]))]
        elif self._levels:
            level, kind = self._levels[0], "healthy"  # whether it serves in panic is for its cluster to say
        else:
            return None
        balancer: LoadBalancer | SubsetBalancer = level.member.balancer
        return balancer.pick_at(level.priority, kind, context)

    def _look(self) -> None:
        """Notice what has changed in the clusters."""
        members = self._members()
        seen = self._seen
        if len(members) == len(seen):
            for member, (known, sets) in zip(members, seen, strict=True):
                if member is not known or member.priorities.sets is not sets:
                    break
            else:
                return
        self._seen = [(member, member.priorities.sets) for member in members]
        self._levels = [
            _Level(member, priority, _counts(host_set, member.balancer.overprovisioning_factor))
            for member, sets in self._seen
            for priority, host_set in enumerate(sets)
            if host_set.hosts
        ]
        self._shares, self._bounds = self._share(set())

    def _share(self, left_out: set[tuple[int, int]]) -> tuple[list[tuple[_Level, str]], list[int]]:
        counts = [
            HostCounts(0, 0) if (id(each.member), each.priority) in left_out else each.counts for each in self._levels
        ]
        loads = share_load(counts, panic_threshold=0.0 if left_out else self._panic_threshold.value)
        shares: list[tuple[_Level, str]] = []
        bounds: list[int] = []
        total = 0
        for level, healthy, degraded in zip(self._levels, loads.healthy, loads.degraded, strict=True):
            for kind, share in (("healthy", healthy), ("degraded", degraded)):
                if share:
                    total += share
                    shares.append((level, kind))
                    bounds.append(total)
        return shares, bounds


def _counts(host_set: HostSet, factor: int) -> HostCounts:
    counts = host_set.counts
    return HostCounts(counts.total, counts.healthy, counts.degraded, counts.excluded, factor)
