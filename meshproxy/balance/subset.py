"""Subset load balancing: a request goes to the hosts whose metadata under `envoy.lb` is what it asks for.

(Envoy's documentation: "Load balancer subsets".) Each selector groups the hosts that have all its keys by their values;
each group is balanced by a `LoadBalancer` of its own, made when a host first falls into it. A request names keys and
values (`lb_metadata`): if they are just the keys of a selector and such a group has hosts, one of them is picked, or
none if all are ill. Else the selector's fallback decides, or the cluster's.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from itertools import product
from typing import Any, Protocol

from meshproxy.balance.balancer import Choice, LoadBalancer
from meshproxy.balance.host import Host
from meshproxy.balance.host_set import HostSet, PrioritySet, group_hosts

_Values = tuple[tuple[str, str], ...]
Metadata = Mapping[str, Any]


class Selector(Protocol):
    """What of `meshproxy.model.subset.SubsetSelector` is read here."""

    @property
    def keys(self) -> tuple[str, ...]: ...
    @property
    def fallback(self) -> str: ...
    @property
    def fallback_keys(self) -> frozenset[str]: ...
    @property
    def single_host(self) -> bool: ...


class Options(Protocol):
    """What of `meshproxy.model.subset.SubsetOptions` is read here."""

    @property
    def selectors(self) -> tuple[Selector, ...]: ...
    @property
    def fallback(self) -> str: ...
    @property
    def default(self) -> Metadata: ...
    @property
    def locality_weight_aware(self) -> bool: ...
    @property
    def scale_locality_weight(self) -> bool: ...
    @property
    def panic_mode_any(self) -> bool: ...
    @property
    def list_as_any(self) -> bool: ...
    @property
    def metadata_fallback(self) -> bool: ...
    @property
    def allow_redundant_keys(self) -> bool: ...


class SubsetHosts:
    """Some hosts of a `PrioritySet`, seen as one (what a `LoadBalancer` reads of it)."""

    __slots__ = ("_options", "_parent", "members", "sets")

    def __init__(self, parent: PrioritySet, options: Options, members: set[Host]) -> None:
        self._parent = parent
        self._options = options
        self.members = members
        self.sets: tuple[HostSet, ...] = ()
        self.regroup()

    def regroup(self) -> None:
        """Take over what the parent's hosts are now."""
        self.sets = tuple(self._part(host_set) for host_set in self._parent.sets)

    def _part(self, host_set: HostSet) -> HostSet:
        part = group_hosts([host for host in host_set.hosts if host in self.members])
        if not self._options.scale_locality_weight:
            return part
        sizes = {group.locality: len(group.hosts) for group in host_set.localities}
        localities = tuple(
            replace(group, weight=max(1, round(group.weight * len(group.hosts) / sizes[group.locality])))
            if group.weight
            else group
            for group in part.localities
        )
        return replace(part, localities=localities)


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


class SubsetBalancer:
    """The balancer of a cluster with subsets; to be used as a `LoadBalancer` is.

    selected, fallen_back, panicked: how many picks went to a subset, to the fallback, and past it to any host.
    """

    def __init__(self, priorities: PrioritySet, options: Options, make: Callable[[Any, bool], LoadBalancer]) -> None:
        """make: a balancer over hosts; the flag says whether weights of localities may count."""
        self.priorities = priorities
        self._options = options
        self._make = make
        self._selectors = {selector.keys: selector for selector in reversed(options.selectors)}
        self._subsets: dict[_Values, tuple[SubsetHosts, LoadBalancer]] = {}
        self._overprovisioning = 0  # another one than `make` gives, in percent
        self._any = self._balancer_of(set())
        self._default = self._balancer_of(set())
        self.selected = self.fallen_back = self.panicked = self.created = self.removed = 0
        self.refresh()

    def _balancer_of(self, members: set[Host]) -> tuple[SubsetHosts, LoadBalancer]:
        hosts = SubsetHosts(self.priorities, self._options, members)
        balancer = self._make(hosts, self._options.locality_weight_aware)
        if self._overprovisioning:
            balancer.set_overprovisioning(self._overprovisioning)
        return hosts, balancer

    def set_overprovisioning(self, factor: int) -> None:
        """See `LoadBalancer.set_overprovisioning`."""
        self._overprovisioning = factor
        for _, balancer in self._all():
            balancer.set_overprovisioning(factor)

    @property
    def healthy_panic(self) -> int:
        """Picks made in panic; set to 0 by who has counted them."""
        return sum(balancer.healthy_panic for _, balancer in self._all())

    @healthy_panic.setter
    def healthy_panic(self, value: int) -> None:
        for _, balancer in self._all():
            balancer.healthy_panic = value

    @property
    def duplicates(self) -> int:
        """How many hosts are passed over by `single_host` (`lb_subsets_single_host_per_subset_duplicate`)."""
        single = {selector.keys for selector in self._options.selectors if selector.single_host}
        return sum(
            len(hosts.members) - 1
            for values, (hosts, _) in self._subsets.items()
            if tuple(key for key, _ in values) in single
        )

    def take_counts(self) -> dict[str, int]:
        """What has been counted since it was last asked, by Envoy's names."""
        counts = {
            "lb_subsets_created": self.created,
            "lb_subsets_removed": self.removed,
            "lb_subsets_selected": self.selected,
            "lb_subsets_fallback": self.fallen_back,
            "lb_subsets_fallback_panic": self.panicked,
        }
        self.selected = self.fallen_back = self.panicked = self.created = self.removed = 0
        return counts

    @property
    def active(self) -> int:
        """How many subsets have hosts (`lb_subsets_active`)."""
        return len(self._subsets)

    def _all(self) -> Iterable[tuple[SubsetHosts, LoadBalancer]]:
        return (self._any, self._default, *self._subsets.values())

    def refresh(self) -> None:
        """Look at the hosts, their metadata and their health anew."""
        self.priorities.regroup()
        every = self.priorities.hosts
        found: dict[_Values, set[Host]] = {}
        for host in every:
            fields = host.metadata.get("envoy.lb", {})
            for keys in self._selectors:
                for values in self._values_of(fields, keys):
                    found.setdefault(values, set()).add(host)
        for values in [values for values in self._subsets if values not in found]:
            del self._subsets[values]
            self.removed += 1
        for values, members in found.items():
            if values not in self._subsets:
                self._subsets[values] = self._balancer_of(members)
                self.created += 1
            self._subsets[values][0].members = members
        self._any[0].members = set(every)
        self._default[0].members = {host for host in every if self._is_default(host)}
        for _, balancer in self._all():
            balancer.refresh()

    def _values_of(self, fields: Metadata, keys: tuple[str, ...]) -> list[_Values]:
        if any(key not in fields for key in keys):
            return []
        choices = []
        for key in keys:
            value = fields[key]
            values = value if self._options.list_as_any and isinstance(value, list) else [value]
            choices.append([(key, _text(each)) for each in values])
        return list(product(*choices))

    def _is_default(self, host: Host) -> bool:
        fields = host.metadata.get("envoy.lb", {})
        for key, wanted in self._options.default.items():
            value = fields.get(key)
            if value != wanted and not (self._options.list_as_any and isinstance(value, list) and wanted in value):
                return False
        return True

    # Picking.

    def pick(self, context: Any = None) -> Host | None:
        """A host for a request that asks with `context.lb_metadata`."""
        return self._pick(context, lambda balancer: balancer.pick(context))

    @property
    def overprovisioning_factor(self) -> int:
        """Per cent."""
        return self._any[1].overprovisioning_factor

    def pick_at(self, level: int, kind: str, context: Any = None) -> Host | None:
        """See `LoadBalancer.pick_at`."""
        return self._pick(context, lambda balancer: balancer.pick_at(level, kind, context))

    def pick_choosy(self, choice: Choice, context: Any = None) -> Host | None:
        """The same for a retry; see `LoadBalancer.pick_choosy`."""
        return self._pick(context, lambda balancer: balancer.pick_choosy(choice, context))

    def _pick(self, context: Any, pick: Callable[[LoadBalancer], Host | None]) -> Host | None:
        wanted: Metadata | None = getattr(context, "lb_metadata", None)
        if wanted and self._options.metadata_fallback and isinstance(wanted.get("fallback_list"), list):
            rest = {key: value for key, value in wanted.items() if key != "fallback_list"}
            for fallback in wanted["fallback_list"]:
                host = self._pick_for({**rest, **fallback} if isinstance(fallback, Mapping) else rest, pick)
                if host is not None:
                    return host
            return None if wanted["fallback_list"] else self._pick_for(rest, pick)
        return self._pick_for(wanted, pick)

    def _pick_for(self, wanted: Metadata | None, pick: Callable[[LoadBalancer], Host | None]) -> Host | None:
        if wanted:
            keys = tuple(sorted(wanted))
            if self._options.allow_redundant_keys and keys not in self._selectors:
                keys = self._served_keys(wanted)
            selector = self._selectors.get(keys)
            subset = self._subsets.get(tuple((key, _text(wanted[key])) for key in keys)) if selector else None
            if subset is not None and selector is not None:
                self.selected += 1
                return self._single(subset[0]) if selector.single_host else pick(subset[1])
            if selector is not None and selector.fallback != "NOT_DEFINED":
                return self._fall_back_as(selector, wanted, pick)
        return self._fall_back(pick)

    def _served_keys(self, wanted: Metadata) -> tuple[str, ...]:
        """The keys of the longest selector that the request has all of."""
        return max((keys for keys in self._selectors if all(key in wanted for key in keys)), key=len, default=())

    def _single(self, hosts: SubsetHosts) -> Host | None:
        return next((host for host_set in hosts.sets for host in host_set.hosts), None)

    def _fall_back_as(
        self, selector: Selector, wanted: Metadata, pick: Callable[[LoadBalancer], Host | None]
    ) -> Host | None:
        if selector.fallback == "KEYS_SUBSET":
            return self._pick_for({key: wanted[key] for key in selector.fallback_keys}, pick)
        if selector.fallback == "ANY_ENDPOINT":
            return pick(self._any[1])
        return pick(self._default[1]) if selector.fallback == "DEFAULT_SUBSET" else None

    def _fall_back(self, pick: Callable[[LoadBalancer], Host | None]) -> Host | None:
        fallback = self._options.fallback
        if fallback == "NO_FALLBACK":
            return None
        host = pick(self._any[1] if fallback == "ANY_ENDPOINT" else self._default[1])
        if host is not None:
            self.fallen_back += 1
            return host
        if self._options.panic_mode_any:
            host = pick(self._any[1])
            if host is not None:
                self.panicked += 1
        return host
