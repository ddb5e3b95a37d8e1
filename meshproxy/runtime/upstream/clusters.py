"""All live clusters of a worker, and how one comes to be replaced by another.

Before listeners start, the clusters are warmed: names are looked up, first health checks made. Envoy waits for that as
long as it takes (a minute when no name server answers); here it ends after `WARM_WITHIN` seconds, for a sidecar that
serves all else is better than one that serves nothing.

Make before break: a changed cluster warms beside the one that it replaces, which serves until then. Whoever has asked
for a cluster holds the object, so a request that is under way stays with the one that it began with.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from meshproxy.model.cluster import ClusterConfig
from meshproxy.model.endpoint import Assignment
from meshproxy.model.forwarding import DnsCacheOptions
from meshproxy.runtime.upstream.cluster import ActiveCluster, EdsCluster
from meshproxy.runtime.upstream.original_dst_cluster import OriginalDstCluster
from meshproxy.runtime.worker import Worker

if TYPE_CHECKING:
    from meshproxy.runtime.upstream.dns_cache import DnsCache

WARM_WITHIN = 5.0

_KINDS: dict[str, type[ActiveCluster]] = {
    "STATIC": ActiveCluster,
    "EDS": EdsCluster,
    "ORIGINAL_DST": OriginalDstCluster,
}


def _uncommon_kind(kind: str) -> type[ActiveCluster]:
    """Those that few configurations have are loaded when one has them."""
    if kind == "AGGREGATE":
        from meshproxy.runtime.upstream.aggregate_cluster import AggregateCluster

        return AggregateCluster
    if kind in ("STRICT_DNS", "LOGICAL_DNS"):
        from meshproxy.runtime.upstream.dns_cluster import LogicalDnsCluster, StrictDnsCluster

        return StrictDnsCluster if kind == "STRICT_DNS" else LogicalDnsCluster
    from meshproxy.runtime.upstream.forward_cluster import ForwardCluster

    return ForwardCluster


class Clusters:
    """Clusters by name (the plugin API's `ClusterManager`)."""

    def __init__(
        self,
        worker: Worker,
        configs: Mapping[str, ClusterConfig],
        make_tls: Callable[[ClusterConfig], Any] = lambda _: None,
    ) -> None:
        self._worker = worker
        self._make_tls = make_tls
        self._updated = worker.stats.counter("cluster_manager.cluster_updated")
        self._active: dict[str, ActiveCluster] = {name: self._make(config) for name, config in configs.items()}
        self._warming: dict[str, ActiveCluster] = {}
        self._name_caches: dict[DnsCacheOptions, DnsCache] = {}
        self.get = self._active.get
        self._loop = worker.loop

    def name_cache(self, options: DnsCacheOptions) -> DnsCache:
        """The cache with these options, made when it is first asked for."""
        cache = self._name_caches.get(options)
        if cache is None:
            from meshproxy.runtime.upstream.dns_cache import DnsCache

            cache = self._name_caches[options] = DnsCache(self._worker, options)
        return cache

    def _make(self, config: ClusterConfig) -> ActiveCluster:
        kind = _KINDS.get(config.type) or _uncommon_kind(config.type)
        return kind(self._worker, config, self._make_tls(config))

    def __iter__(self) -> Iterator[ActiveCluster]:
        return iter(self._active.values())

    @property
    def active(self) -> Mapping[str, ActiveCluster]:
        """Those that are in force, by name."""
        return self._active

    @property
    def warming(self) -> list[str]:
        """The names of those that aren't ready yet."""
        return list(self._warming)

    def adopt(self, config: ClusterConfig) -> ActiveCluster | None:
        """The live cluster of this name, made now if there is none; None while it isn't warm."""
        if config.name not in self._active and config.name not in self._warming:
            self.set(config)
        return self._active.get(config.name)

    def set(self, config: ClusterConfig, when_warm: Callable[[], object] = lambda: None) -> None:
        """Add a cluster, or replace the one of this name. Once it is warm it takes effect and `when_warm` is called."""
        self._cancel_warming(config.name)
        cluster = self._make(config)
        self._warming[config.name] = cluster
        cluster.warm(partial(self._warm, cluster, when_warm))

    def _warm(self, cluster: ActiveCluster, when_warm: Callable[[], object]) -> None:
        if self._warming.get(cluster.name) is not cluster:
            return  # overtaken by another, or removed
        del self._warming[cluster.name]
        before = self._active.get(cluster.name)
        self._active[cluster.name] = cluster
        if before is not None:
            before.retire()
        when_warm()

    def set_endpoints(self, name: str, assignment: Assignment, *, warming: bool = False) -> None:
        """New endpoints for an EDS cluster: for the active one, or for the one that warms."""
        cluster = (self._warming if warming else self._active).get(name)
        if cluster is not None:
            cluster.balancer.set_overprovisioning(assignment.overprovisioning_factor)
            cluster.set_drop_overload(assignment.drop_overload)
            if cluster.update(assignment.endpoints) and not warming and self._worker.is_first:
                self._updated.inc()

    def remove(self, name: str) -> None:
        """Take a cluster away; what it has under way may finish."""
        self._cancel_warming(name)
        cluster = self._active.pop(name, None)
        if cluster is not None:
            cluster.retire()

    def _cancel_warming(self, name: str) -> None:
        cluster = self._warming.pop(name, None)
        if cluster is not None:
            cluster.retire()

    async def warm(self, timeout: float = WARM_WITHIN) -> bool:
        """Wait until every cluster is warm, at most `timeout` seconds. Returns whether all are."""
        left = set(self._active)
        done: asyncio.Future[None] = self._loop.create_future()

        def is_warm(name: str) -> None:
            left.discard(name)
            if not left and not done.done():
                done.set_result(None)

        for name, cluster in self._active.items():
            cluster.warm(partial(is_warm, name))
        if left:
            await asyncio.wait([done], timeout=timeout)
        return not left

    def close(self) -> None:
        for cluster in (*self._active.values(), *self._warming.values()):
            cluster.close()
        for cache in self._name_caches.values():
            cache.close()
