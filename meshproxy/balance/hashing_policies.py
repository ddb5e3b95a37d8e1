"""RING_HASH and MAGLEV: a request's hash decides on its host, by the very tables that Envoy builds.

A ring has a number of points for each host, in proportion to its weight, at the hashes of "<key>_<i>"; a request goes
to the first point at or behind its own hash (Envoy: RingHashLoadBalancer::Ring, after ketama). A Maglev table is filled
by the hosts in turn, each with its own permutation of the places (Envoy: MaglevTable; listing 1 of the paper, with
weights).

A table is built for the first request after its hosts have changed, so a cluster that nobody asks costs nothing; it
takes some milliseconds (a ring of 1024 points) to a tenth of a second (65537 places), once. A request without a hash
takes a host at random.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Sequence
from random import Random
from typing import ClassVar, Protocol

from meshproxy.balance.bounded_load import BoundedLoad
from meshproxy.balance.host import Host
from meshproxy.balance.policies import Picker, PickerFactory
from meshproxy.hashing import murmurhash2, xxhash64


class HashPicker(Picker):
    """A policy that looks a hash up. context: has `lb_hash`, None for none, and `lb_attempt`: how many hosts were
    refused before in this choice."""

    __slots__ = ("_bound", "_entries", "_shares", "_sizes", "_stale", "_use_hostname")
    weighs_localities: ClassVar[bool] = True

    def __init__(self, random: Random, use_hostname: bool, bound: BoundedLoad | None = None) -> None:
        super().__init__(random)
        self._bound = bound
        self._shares: dict[Host, float] = {}
        self._use_hostname = use_hostname
        self._entries: list[tuple[Host, str, float]] = []
        self._sizes: dict[str, int] = {}
        self._stale = False

    def update(self, hosts: Sequence[Host]) -> None:
        total = sum(host.weight for host in hosts)
        self.update_shares(hosts, [host.weight / total for host in hosts])

    def update_shares(self, hosts: Sequence[Host], shares: Sequence[float]) -> None:
        self.hosts = hosts
        if self._bound is not None:
            self._shares = dict(zip(hosts, shares, strict=True))
        entries = [(host, self._key(host), share) for host, share in zip(hosts, shares, strict=True)]
        if entries != self._entries:
            self._entries = entries
            self._stale = True

    def _key(self, host: Host) -> str:
        """What stands for a host: its `hash_key`, its name if so configured, or its address."""
        given = host.metadata.get("envoy.lb", {}).get("hash_key")
        if isinstance(given, str) and given:
            return given
        return host.hostname if self._use_hostname else host.text

    def pick(self, context: object = None) -> Host:
        found: int | None = getattr(context, "lb_hash", None)
        if found is None:
            found = self.random.getrandbits(64)
        if self._stale:
            self._stale = False
            self._build(self._entries)
        host = self._find(found, getattr(context, "lb_attempt", 0))
        return host if self._bound is None else self._bound.settle(host, found, self.hosts, self._shares)

    @property
    def sizes(self) -> dict[str, int]:
        """How large the table is, and the shares of hosts in it, by Envoy's names; empty before the first request."""
        return self._sizes

    @abstractmethod
    def _build(self, hosts: list[tuple[Host, str, float]]) -> None:
        """Make the table. hosts: each with its key and its share of 1."""

    @abstractmethod
    def _find(self, number: int, attempt: int) -> Host: ...


class RingHash(HashPicker):
    """RING_HASH."""

    __slots__ = ("_hash", "_hashes", "_maximum", "_minimum", "_points")

    def __init__(
        self,
        random: Random,
        minimum: int,
        maximum: int,
        use_hostname: bool = False,
        bound: BoundedLoad | None = None,
        *,
        murmur: bool = False,
    ) -> None:
        super().__init__(random, use_hostname, bound)
        self._hash = murmurhash2 if murmur else xxhash64
        self._minimum = minimum
        self._maximum = maximum
        self._hashes: list[int] = []
        self._points: list[Host] = []

    def _build(self, hosts: list[tuple[Host, str, float]]) -> None:
        least = min(share for _, _, share in hosts)
        scale = min(math.ceil(least * self._minimum) / least, float(self._maximum))
        hashed = self._hash
        ring: list[tuple[int, int]] = []
        target = 0.0
        for index, (_, key, share) in enumerate(hosts):
            target += scale * share
            number = 0
            while len(ring) < target:
                ring.append((hashed(f"{key}_{number}".encode()), index))
                number += 1
        ring.sort()
        shares = Counter(index for _, index in ring).values()
        self._sizes = {
            "ring_hash_lb.size": len(ring),
            "ring_hash_lb.min_hashes_per_host": min(shares) if len(shares) == len(hosts) else 0,
            "ring_hash_lb.max_hashes_per_host": max(shares),
        }
        self._hashes = [point for point, _ in ring]
        self._points = [hosts[index][0] for _, index in ring]

    def _find(self, number: int, attempt: int) -> Host:
        return self._points[(bisect_left(self._hashes, number) % len(self._points) + attempt) % len(self._points)]


class Maglev(HashPicker):
    """MAGLEV. size: of the table, a prime."""

    __slots__ = ("_size", "_table")

    def __init__(self, random: Random, size: int, use_hostname: bool = False, bound: BoundedLoad | None = None) -> None:
        super().__init__(random, use_hostname, bound)
        self._size = size
        self._table: list[Host] = []

    def _build(self, hosts: list[tuple[Host, str, float]]) -> None:
        size = self._size
        table: list[Host | None] = [None] * size
        largest = max(share for _, _, share in hosts)
        entries = sorted(hosts, key=lambda entry: entry[1])
        places = [xxhash64(key.encode()) % size for _, key, _ in entries]
        skips = [xxhash64(key.encode(), 1) % (size - 1) + 1 for _, key, _ in entries]
        weights = [share for _, _, share in entries]
        targets = [0.0] * len(entries)
        filled = turn = 0
        while filled < size:
            turn += 1
            for index, (host, _, _) in enumerate(entries):
                if turn * weights[index] < targets[index]:
                    continue
                targets[index] += largest
                place, skip = places[index], skips[index]
                while table[place] is not None:
                    place = (place + skip) % size
                table[place] = host
                places[index] = (place + skip) % size
                filled += 1
                if filled == size:
                    break
        self._table = [host for host in table if host is not None]
        # One host alone has all, and Envoy says 1 of it.
        shares = Counter(self._table).values() if len(entries) > 1 else (1,)
        self._sizes = {
            "maglev_lb.min_entries_per_host": min(shares) if len(shares) == len(entries) else 0,
            "maglev_lb.max_entries_per_host": max(shares),
        }

    def _find(self, number: int, attempt: int) -> Host:
        if attempt:
            number ^= 0xFFFFFFFFFFFFFFFF - attempt + 1
        return self._table[number % self._size]


class HashOptions(Protocol):
    """What of `meshproxy.model.LbOptions` is read here."""

    @property
    def minimum_ring_size(self) -> int: ...
    @property
    def maximum_ring_size(self) -> int: ...
    @property
    def table_size(self) -> int: ...
    @property
    def hash_by_hostname(self) -> bool: ...
    @property
    def murmur_ring(self) -> bool: ...
    @property
    def hash_balance(self) -> int: ...


HASHING = ("RING_HASH", "MAGLEV")


def hash_picker_factory(
    lb_policy: str, options: HashOptions, active: Callable[[], int] = lambda: 0
) -> PickerFactory | None:
    """The pickers of RING_HASH or MAGLEV; None for any other policy. active: how many requests are under way to all."""
    by_name = options.hash_by_hostname
    bound = BoundedLoad(options.hash_balance, active) if options.hash_balance else None
    if lb_policy == "RING_HASH":
        least, most = options.minimum_ring_size, options.maximum_ring_size
        return lambda random: RingHash(random, least, most, by_name, bound, murmur=options.murmur_ring)
    if lb_policy == "MAGLEV":
        return lambda random: Maglev(random, options.table_size, by_name, bound)
    return None
