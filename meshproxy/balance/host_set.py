"""The hosts of a cluster, by priority, locality and health."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from meshproxy.address import Address
from meshproxy.balance.host import Health, Host
from meshproxy.balance.priority import HostCounts
from meshproxy.model.endpoint import Endpoint, Locality
from meshproxy.records import dataclass

_Key = tuple[int, Locality, Address, int]


@dataclass(frozen=True, slots=True)
class LocalityHosts:
    """The hosts of one locality within a priority. weight: its configured share, 0 for none.

    excluded: how many of them don't count (`Host.excluded`).
    """

    locality: Locality
    weight: int
    hosts: tuple[Host, ...]
    healthy: tuple[Host, ...]
    degraded: tuple[Host, ...]
    excluded: int = 0


@dataclass(frozen=True, slots=True)
class HostSet:
    """The hosts of one priority, as they are now."""

    hosts: tuple[Host, ...]
    healthy: tuple[Host, ...]
    degraded: tuple[Host, ...]
    localities: tuple[LocalityHosts, ...]

    @property
    def counts(self) -> HostCounts:
        """How many there are, for `share_load`."""
        excluded = sum(group.excluded for group in self.localities)
        return HostCounts(len(self.hosts), len(self.healthy), len(self.degraded), excluded)


def group_hosts(hosts: Sequence[Host]) -> HostSet:
    """Sort the hosts of one priority by health and locality; order is kept."""
    by_locality: dict[Locality, list[Host]] = {}
    for host in hosts:
        by_locality.setdefault(host.locality, []).append(host)
    localities = tuple(
        LocalityHosts(
            locality,
            members[0].endpoint.locality_weight,
            tuple(members),
            _healthy(members),
            _degraded(members),
            sum(host.excluded for host in members),
        )
        for locality, members in by_locality.items()
    )
    return HostSet(tuple(hosts), _healthy(hosts), _degraded(hosts), localities)


def _healthy(hosts: Iterable[Host]) -> tuple[Host, ...]:
    return tuple(host for host in hosts if host.health is Health.HEALTHY)


def _degraded(hosts: Iterable[Host]) -> tuple[Host, ...]:
    return tuple(host for host in hosts if host.health is Health.DEGRADED)


class HostGroups(Protocol):
    """What a balancer reads of a `PrioritySet`, or of a part of one."""

    @property
    def sets(self) -> tuple[HostSet, ...]: ...
    def regroup(self) -> None: ...


class PrioritySet:
    """All hosts of a cluster. `sets[p]` are those of priority p; a priority without hosts has an empty set.

    unique: whether an address that stands twice in one place counts once. Envoy does so for what discovery and DNS
    give, and makes two hosts of it in a STATIC cluster.
    """

    __slots__ = ("_hosts", "_unique", "sets")

    def __init__(self, endpoints: Iterable[Endpoint] = (), *, unique: bool = False) -> None:
        self._unique = unique
        self._hosts: dict[_Key, Host] = {}
        self.sets: tuple[HostSet, ...] = (group_hosts(()),)
        self.update(endpoints)

    @property
    def hosts(self) -> tuple[Host, ...]:
        """Every host, by priority and then in the order of the configuration."""
        return tuple(host for host_set in self.sets for host in host_set.hosts)

    def update(
        self, endpoints: Iterable[Endpoint], keeps: Callable[[Host], bool] | None = None
    ) -> tuple[list[Host], list[Host]]:
        """Take over a new list of endpoints; gives the hosts that are new and those that are gone.

        A host whose address, locality and priority stay is kept, and so is one that isn't in the list and that `keeps`
        says so of.
        """
        before = self._hosts
        hosts: dict[_Key, Host] = {}
        self._hosts = hosts
        unique = self._unique
        added = []
        for endpoint in endpoints:
            # Hashing a key is what an update of many hosts costs, so keys are looked up as seldom as can be.
            key: _Key = (endpoint.priority, endpoint.locality, endpoint.address, 0)
            host = before.pop(key, None)
            while host is None and key in hosts:
                if unique:
                    break
                key = (*key[:3], key[3] + 1)
                host = before.pop(key, None)
            else:
                if host is None:
                    host = Host(endpoint)
                    added.append(host)
                else:
                    host.apply(endpoint)
                hosts[key] = host
        if keeps is not None and before:
            addresses = {key[2] for key in self._hosts}
            for key, host in list(before.items()):
                if key[2] not in addresses and keeps(host):
                    self._hosts[key] = before.pop(key)
        self.regroup()
        return added, list(before.values())

    def discard(self, host: Host) -> None:
        """Take one host away; `regroup` follows."""
        self._hosts = {key: each for key, each in self._hosts.items() if each is not host}

    def regroup(self) -> None:
        """Sort the hosts anew; to be called when the health of one of them changed."""
        by_priority: dict[int, list[Host]] = {}
        for host in self._hosts.values():
            by_priority.setdefault(host.priority, []).append(host)
        self.sets = tuple(group_hosts(by_priority.get(level, ())) for level in range(max(by_priority, default=0) + 1))
