"""How a cluster's hosts are chosen: the balancer that its configuration asks for, and what that has counted.

Policy over levels (`LoadBalancer`), perhaps one of those for each subset (`SubsetBalancer`), perhaps with a part of the
requests kept in the proxy's own zone. All of it is settled here; a pick goes straight to the balancer.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Protocol

from meshproxy.balance.balancer import LoadBalancer
from meshproxy.balance.hashing_policies import HASHING, hash_picker_factory
from meshproxy.balance.host import Host
from meshproxy.balance.host_set import HostGroups, HostSet, PrioritySet
from meshproxy.balance.policies import PickerFactory, picker_factory
from meshproxy.balance.slow_start import SlowStart
from meshproxy.balance.subset import SubsetBalancer
from meshproxy.balance.zone_aware import ZoneRouting
from meshproxy.model.cluster import ClusterConfig
from meshproxy.plugin.stats import StatNames
from meshproxy.plugin.stream_info import StreamInfo
from meshproxy.plugin.upstream import HostChoice
from meshproxy.runtime.upstream.cluster_stats import LiveClusterStats
from meshproxy.runtime.worker import Worker

if TYPE_CHECKING:
    from meshproxy.runtime.upstream.cluster import ActiveCluster
    from meshproxy.runtime.upstream.connections.preconnect import NextHosts


class Pick(Protocol):
    """Choose a host for a stream; None where there is none that may be used."""

    def __call__(self, stream: StreamInfo, choice: HostChoice | None = None) -> Host | None: ...


_TABLES = {
    "RING_HASH": StatNames(
        gauges=("ring_hash_lb.size", "ring_hash_lb.min_hashes_per_host", "ring_hash_lb.max_hashes_per_host")
    ),
    "MAGLEV": StatNames(gauges=("maglev_lb.min_entries_per_host", "maglev_lb.max_entries_per_host")),
}


class ClusterBalancing:
    """balancer: over `hosts`. active: how many requests the cluster has under way. tables: what is told of a hashing
    policy's tables, None without."""

    def __init__(self, worker: Worker, config: ClusterConfig, hosts: PrioritySet, active: Callable[[], int]) -> None:
        self._worker = worker
        self._config = config
        self._pickers = _pickers(config, worker.loop.time, active)
        self._zones: list[ZoneRouting] = []
        self._next: NextHosts | None = None
        self.tables = _TABLES.get(config.lb_policy)
        self.balancer: LoadBalancer | SubsetBalancer
        if config.subsets is not None:
            self.balancer = SubsetBalancer(hosts, config.subsets, self._make)
        else:
            self.balancer = self._make(hosts, True)

    def _make(self, hosts: HostGroups, locality_weighted: bool) -> LoadBalancer:
        config, worker = self._config, self._worker
        options = config.lb
        if options.locality_weighted and not locality_weighted:
            options = replace(options, locality_weighted=False)
        zones = None
        if options.zone is not None and config.lb_policy not in HASHING:
            local = partial(_sets_of, worker, options.zone.local_cluster)
            zones = ZoneRouting(options.zone, local, worker.rng)
            self._zones.append(zones)
        return LoadBalancer(hosts, self._pickers, options, worker.rng, config.overprovisioning_factor, zones)

    def refresh(self) -> None:
        """The hosts, or what is known of them, have changed."""
        self.balancer.refresh()
        if self._next is not None:
            self._next.forget()

    def uncommon_pick(self, cluster: ActiveCluster) -> Pick | None:
        """What picks for `cluster` where it is configured to do more than ask the balancer; None where it isn't.

        Hosts that a request names come first, and connections to the next hosts are made before they are needed.
        """
        config = self._config
        pick: Pick | None = None
        if config.preconnect is not None and config.preconnect.ahead > 1.0:
            from meshproxy.runtime.upstream.connections.preconnect import NextHosts  # few ask for it

            self._next = NextHosts(cluster, config.preconnect.ahead, cluster.pick)
            pick = self._next.pick
        if config.lb.override_sources:
            pick = _named_first(config, cluster.priorities, pick or cluster.pick)
        return pick

    def fold(self, stats: LiveClusterStats) -> None:
        """Count what was counted beside the statistics."""
        balancer = self.balancer
        for zones in self._zones:
            counts, zones.counts = zones.counts, {}
            for name, count in counts.items():
                stats.scope.counter(name).add(count)
        if isinstance(balancer, LoadBalancer):
            for name, value in balancer.table_sizes.items():
                stats.scope.gauge(name).set(value)
        if isinstance(balancer, SubsetBalancer):
            stats.count_subsets(balancer.active, balancer.duplicates, balancer.take_counts())
        panicking = balancer.healthy_panic
        if panicking:
            balancer.healthy_panic = 0
            stats.lb_healthy_panic.add(panicking)


def _sets_of(worker: Worker, name: str) -> tuple[HostSet, ...] | None:
    """The hosts of a cluster as they are now; None while there is no such cluster."""
    cluster = worker.clusters.get(name)
    return cluster.priorities.sets if cluster is not None else None


def _pickers(config: ClusterConfig, now: Callable[[], float], active: Callable[[], int]) -> PickerFactory:
    if config.lb_policy == "CLUSTER_PROVIDED":
        return picker_factory("ROUND_ROBIN")  # never asked: the cluster itself finds the host
    hashing = hash_picker_factory(config.lb_policy, config.lb, active)
    if hashing is not None:
        return hashing
    lb = config.lb
    options = lb.slow_start
    slow_start = SlowStart(now, options.window, options.aggression, options.minimum) if options is not None else None
    return picker_factory(config.lb_policy, lb.choice_count, lb.active_request_bias, slow_start, lb.full_scan)


def _named_first(config: ClusterConfig, hosts: PrioritySet, otherwise: Pick) -> Pick:
    """A `pick` where a request may name its hosts (`override_host`)."""
    from meshproxy.balance.override import NamedHosts  # few ask for it

    names = NamedHosts(config.lb.override_sources, lambda: hosts.sets)

    def pick(stream: StreamInfo, choice: HostChoice | None = None) -> Host | None:
        return names.next(stream) or otherwise(stream, choice)

    return pick
