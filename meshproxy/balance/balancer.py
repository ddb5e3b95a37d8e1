"""A cluster's load balancer: which priority, which locality, and then the policy's pick.

All that can be decided without a request is decided in `refresh`, when hosts or their health change: the shares of
the priorities, panic, the lists to pick from. In the plain case (all load on the healthy hosts of one priority, no
locality weights) `pick` *is* the policy's own method, so don't keep it: read `balancer.pick` each time.

Invariant: after hosts came or went or a host's health changed, `refresh` is called before the next pick.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from random import Random
from typing import Any, Protocol

from meshproxy.balance.edf import EdfScheduler
from meshproxy.balance.host import Host
from meshproxy.balance.host_set import HostGroups, HostSet, LocalityHosts
from meshproxy.balance.policies import Picker, PickerFactory
from meshproxy.balance.priority import HostCounts, in_panic, share_load
from meshproxy.balance.zone_aware import ZoneRouting
from meshproxy.runtime_values import Live

Pick = Callable[..., Host | None]
"""context -> host. context: what the request brings, None when nothing."""


class BalancerOptions(Protocol):
    """What of `meshproxy.model.LbOptions` is read here."""

    @property
    def panic_threshold(self) -> Live[float]: ...
    @property
    def locality_weighted(self) -> bool: ...
    @property
    def fail_traffic_on_panic(self) -> bool: ...


class Choice(Protocol):
    """What of `meshproxy.plugin.upstream.HostChoice` is read here."""

    @property
    def attempts(self) -> int: ...
    @property
    def tried(self) -> tuple[Any, ...]: ...
    @property
    def left_out(self) -> set[int]: ...
    def refuses(self, host: Any) -> bool: ...


class LoadBalancer:
    """Picks hosts of a `PrioritySet`, or of a part of one.

    healthy_panic: how many picks were made in panic (`lb_healthy_panic`). zones: routes priority 0 by zone, if given.
    """

    __slots__ = (
        "_bounds",
        "_chosen",
        "_factor",
        "_make_picker",
        "_options",
        "_pickers",
        "_random",
        "_sources",
        "_weighs_localities",
        "healthy_panic",
        "panicking",
        "pick",
        "priorities",
        "zones",
    )

    def __init__(
        self,
        priorities: HostGroups,
        make_picker: PickerFactory,
        options: BalancerOptions,
        random: Random,
        overprovisioning_factor: int = 140,
        zones: ZoneRouting | None = None,
    ) -> None:
        self.priorities = priorities
        self.zones = zones
        self._make_picker = make_picker
        self._weighs_localities = make_picker(random).weighs_localities
        self._options = options
        self._random = random
        self._factor = overprovisioning_factor
        self._pickers: dict[tuple[object, ...], Picker] = {}
        self._sources: list[Pick] = []
        self._bounds: list[int] = []
        self._chosen: dict[tuple[int, str], Pick] = {}
        self.healthy_panic = 0
        self.panicking = False
        self.pick: Pick = _no_host
        self.refresh()

    def set_overprovisioning(self, factor: int) -> None:
        """A new `overprovisioning_factor` (percent); counts from the next `refresh`."""
        self._factor = factor

    def refresh(self) -> None:
        """Look at the hosts and their health anew."""
        self.priorities.regroup()
        if self.zones is not None:
            self.zones.forget()
        sets = self.priorities.sets
        loads = share_load([host_set.counts for host_set in sets], self._factor, self._options.panic_threshold.value)
        before, self._pickers = self._pickers, {}
        self._sources, self._bounds, total = [], [], 0
        self._chosen = {}
        self.panicking = any(loads.panic)
        for level, host_set in enumerate(sets):
            for kind, share in (("healthy", loads.healthy[level]), ("degraded", loads.degraded[level])):
                if share:
                    total += share
                    self._bounds.append(total)
                    self._sources.append(self._source(host_set, level, kind, loads.panic[level], before))
        self.pick = self._sources[0] if len(self._sources) == 1 else self._pick_priority if self._sources else _no_host

    @property
    def overprovisioning_factor(self) -> int:
        """Per cent."""
        return self._factor

    @property
    def table_sizes(self) -> dict[str, int]:
        """Of hashing policies; of several tables, the last one that was built."""
        sizes: dict[str, int] = {}
        for picker in self._pickers.values():
            sizes |= picker.sizes
        return sizes

    def pick_at(self, level: int, kind: str, context: object = None) -> Host | None:
        """Pick where somebody else has chosen the priority. kind: "healthy" or "degraded"."""
        source = self._chosen.get((level, kind))
        if source is None:
            sets = self.priorities.sets
            if level >= len(sets):
                return None
            counts = [host_set.counts for host_set in sets]
            panic = share_load(counts, self._factor, self._options.panic_threshold.value).panic[level]
            source = self._chosen[level, kind] = self._source(sets[level], level, kind, panic, self._pickers)
        return source(context)

    def pick_choosy(self, choice: Choice, context: Any = None) -> Host | None:
        """Pick for a retry: again while the host is refused, and the last one in any case.

        Priorities that were left out stay out; when nothing else is available they are taken in again, and
        `choice.left_out` is emptied.
        """
        pick = self._pick_without(choice.left_out) if choice.left_out else self.pick
        host = pick(context)
        attempt = 0
        while attempt < choice.attempts and host is not None and choice.refuses(host):
            attempt += 1
            if context is not None:
                context.lb_attempt = attempt  # for policies that would find the same host again
            host = pick(context)
        if attempt and context is not None:
            context.lb_attempt = 0
        return host

    def _pick_without(self, left_out: set[int]) -> Pick:
        """The load of some priorities given to the others (Envoy: PreviousPrioritiesRetryPriority)."""
        sets = self.priorities.sets
        counts = [host_set.counts for host_set in sets]
        rest = [HostCounts(0, 0) if level in left_out else count for level, count in enumerate(counts)]
        loads = share_load(rest, self._factor, 0.0)
        if not any(loads.healthy) and not any(loads.degraded):
            left_out.clear()
            return self.pick
        sources: list[Pick] = []
        bounds: list[int] = []
        total = 0
        panic = share_load(counts, self._factor, self._options.panic_threshold.value).panic
        for level, host_set in enumerate(sets):
            for kind, share in (("healthy", loads.healthy[level]), ("degraded", loads.degraded[level])):
                if share:
                    total += share
                    bounds.append(total)
                    sources.append(self._source(host_set, level, kind, panic[level], self._pickers))

        def pick(context: object = None) -> Host | None:
            number = int(self._random.random() * total)
            return sources[bisect_right(bounds, number)](context)

        return pick

    def _source(
        self, host_set: HostSet, level: int, kind: str, panic: bool, before: dict[tuple[object, ...], Picker]
    ) -> Pick:
        if panic:
            if self._options.fail_traffic_on_panic or not host_set.hosts:
                return self._refuse_in_panic
            kind = "all"
        if self._options.locality_weighted and self._weighs_localities:
            picker = self._by_shares(host_set, level, kind, before)
            return self._counting_panic(picker) if panic else picker
        if panic:
            return self._counting_panic(self._picker((level, "all"), host_set.hosts, before).pick)
        if self._options.locality_weighted:
            pick = self._by_locality(host_set, level, kind, before)
            if pick is not None:
                return pick
        hosts = host_set.healthy if kind == "healthy" else host_set.degraded
        pick = self._picker((level, kind), hosts, before).pick if hosts else _no_host
        if self.zones is not None and level == 0:
            return self._by_zone(self.zones, host_set, kind, before, pick)
        return pick

    def _by_zone(
        self,
        zones: ZoneRouting,
        host_set: HostSet,
        kind: str,
        before: dict[tuple[object, ...], Picker],
        anywhere: Pick,
    ) -> Pick:
        """Pick the locality by zone, and then a host of it. anywhere: for what isn't routed so."""
        pickers = {
            group.locality: self._picker((0, kind, group.locality), hosts, before)
            for group in host_set.localities
            if (hosts := group.healthy if kind == "healthy" else group.degraded)
        }

        def pick(context: object = None) -> Host | None:
            locality = zones.choose(host_set, self._panics)
            if locality is False:
                return anywhere(context)
            if locality is True:
                return None if self._options.fail_traffic_on_panic else anywhere(context)
            picker = pickers.get(locality)
            return picker.pick(context) if picker is not None else None

        return pick

    def _panics(self, host_set: HostSet) -> bool:
        return in_panic(host_set.counts, self._options.panic_threshold.value)

    def _picker(
        self, key: tuple[object, ...], hosts: Sequence[Host], before: dict[tuple[object, ...], Picker]
    ) -> Picker:
        # A picker lives on, so that a rotation goes on where it was.
        if before is self._pickers and key in before:
            return before[key]
        picker = before.get(key) or self._make_picker(self._random)
        picker.update(hosts)
        self._pickers[key] = picker
        return picker

    def _by_shares(self, host_set: HostSet, level: int, kind: str, before: dict[tuple[object, ...], Picker]) -> Pick:
        """For a policy that weighs localities itself; one without a weight gets nothing (normalizeLocalityWeights)."""
        total = sum(group.weight for group in host_set.localities)
        hosts: list[Host] = []
        shares: list[float] = []
        for group in host_set.localities:
            members = group.hosts if kind == "all" else group.healthy if kind == "healthy" else group.degraded
            weights = sum(host.weight for host in members)
            if group.weight:
                hosts += members
                shares += [host.weight * (group.weight / total) / weights for host in members]
        if not hosts:
            return _no_host
        key = (level, kind)
        picker = before.get(key) or self._make_picker(self._random)
        picker.update_shares(hosts, shares)
        self._pickers[key] = picker
        return picker.pick

    def _by_locality(
        self, host_set: HostSet, level: int, kind: str, before: dict[tuple[object, ...], Picker]
    ) -> Pick | None:
        """Pick the locality by weight and availability first; None when no locality with a weight has hosts."""
        choices: list[tuple[float, Pick]] = []
        for group in host_set.localities:
            hosts = group.healthy if kind == "healthy" else group.degraded
            if group.weight and hosts:
                picker = self._picker((level, kind, group.locality), hosts, before)
                choices.append((_effective_weight(group, len(hosts), self._factor), picker.pick))
        if not choices:
            return None
        scheduler = EdfScheduler(choices, lambda choice: choice[0], self._random.randrange(len(choices)))
        return lambda context=None: scheduler.pick()[1](context)

    def _pick_priority(self, context: object = None) -> Host | None:
        found: int | None = getattr(context, "lb_hash", None)
        # As in Envoy a request with a hash finds its priority by it, whatever the policy.
        number = int(self._random.random() * self._bounds[-1]) if found is None else found % self._bounds[-1]
        return self._sources[bisect_right(self._bounds, number)](context)

    def _counting_panic(self, pick: Pick) -> Pick:
        def pick_in_panic(context: object = None) -> Host | None:
            self.healthy_panic += 1
            return pick(context)

        return pick_in_panic

    def _refuse_in_panic(self, context: object = None) -> None:
        self.healthy_panic += 1


def _effective_weight(group: LocalityHosts, available: int, factor: int) -> float:
    """A locality keeps its weight until so many of its hosts fail that the overprovisioning factor is used up."""
    return group.weight * min(1.0, factor / 100.0 * available / (len(group.hosts) - group.excluded))


def _no_host(context: object = None) -> None:
    return None
