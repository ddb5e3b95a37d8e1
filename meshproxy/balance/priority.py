"""How load is shared among priorities, as Envoy documents it ("Priority levels", "Degraded endpoints", "Panic").

A priority's availability is the share of its hosts that are healthy, times the overprovisioning factor, at most 100.
Priorities take load in their order until all of it is given away; degraded hosts get what healthy ones leave. All
arithmetic is that of Envoy, whole per cents rounded down and the remainder to the first that can take it, because the
shares are visible.
"""

from __future__ import annotations

from collections.abc import Sequence

from meshproxy.records import dataclass


@dataclass(frozen=True, slots=True)
class HostCounts:
    """How many hosts a priority has, in all and by health. excluded: how many don't count in the availability.

    factor: an overprovisioning factor of its own (per cent), 0 for that of all priorities.
    """

    total: int
    healthy: int
    degraded: int = 0
    excluded: int = 0
    factor: int = 0

    @property
    def counted(self) -> int:
        """Of how many hosts a share has to be available."""
        return self.total - self.excluded


@dataclass(frozen=True, slots=True)
class PriorityLoads:
    """Per cent of the load for the healthy and the degraded hosts of each priority; the two sum up to 100, or to 0
    when nothing is available and panic is off. Of a priority in panic all hosts are used, whatever their health."""

    healthy: tuple[int, ...]
    degraded: tuple[int, ...]
    panic: tuple[bool, ...]


def share_load(
    priorities: Sequence[HostCounts], overprovisioning_factor: int = 140, panic_threshold: float = 50.0
) -> PriorityLoads:
    """The load of each priority. panic_threshold: per cent of available hosts below which health is ignored; 0: never.

    Follows Envoy's LoadBalancerBase (recalculatePerPriorityState, -Panic, recalculateLoadInTotalPanic).
    """
    factors = [counts.factor or overprovisioning_factor for counts in priorities]
    healthy = [_availability(c.healthy, c.counted, factor) for c, factor in zip(priorities, factors, strict=True)]
    degraded = [_availability(c.degraded, c.counted, factor) for c, factor in zip(priorities, factors, strict=True)]
    total = min(sum(healthy) + sum(degraded), 100)
    panic = tuple(total < 100 and in_panic(counts, panic_threshold) for counts in priorities)
    if priorities and all(panic):
        return PriorityLoads(_by_size(priorities), (0,) * len(panic), panic)
    if total == 0:
        nothing = (0,) * len(panic)
        return PriorityLoads(nothing, nothing, panic)
    healthy_load, left = _distribute(healthy, 100, total)
    degraded_load, left = _distribute(degraded, left, total)
    if left:
        load, availability = (healthy_load, healthy) if any(healthy) else (degraded_load, degraded)
        first = next(index for index, available in enumerate(availability) if available)
        load[first] += left
    return PriorityLoads(tuple(healthy_load), tuple(degraded_load), panic)


def _availability(count: int, total: int, factor: int) -> int:
    return min(100, factor * count // total) if total else 0


def in_panic(counts: HostCounts, threshold: float) -> bool:
    """Whether fewer than `threshold` per cent of the hosts are available."""
    available = 100.0 * (counts.healthy + counts.degraded) / counts.counted if counts.counted else 0.0
    return available < min(threshold, 100.0)


def _distribute(availability: Sequence[int], load: int, total: int) -> tuple[list[int], int]:
    shares = []
    for available in availability:
        share = min(load, available * 100 // total)
        shares.append(share)
        load -= share
    return shares, load


def _by_size(priorities: Sequence[HostCounts]) -> tuple[int, ...]:
    """The load when every priority is in panic: by number of hosts, whatever their health."""
    hosts = sum(counts.total for counts in priorities)
    if not hosts:
        return (100,) + (0,) * (len(priorities) - 1)
    shares = [100 * counts.total // hosts for counts in priorities]
    first = next(index for index, counts in enumerate(priorities) if counts.total)
    shares[first] += 100 - sum(shares)
    return tuple(shares)
