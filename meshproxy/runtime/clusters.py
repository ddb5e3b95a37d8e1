"""All live clusters of a worker."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from meshproxy.model.cluster import ClusterConfig
from meshproxy.runtime.cluster import ActiveCluster, OriginalDstCluster
from meshproxy.runtime.dns_cluster import LogicalDnsCluster, StrictDnsCluster
from meshproxy.runtime.worker import Worker

_KINDS: dict[str, type[ActiveCluster]] = {
    "STATIC": ActiveCluster,
    "STRICT_DNS": StrictDnsCluster,
    "LOGICAL_DNS": LogicalDnsCluster,
    "ORIGINAL_DST": OriginalDstCluster,
}


class Clusters:
    """Clusters by name (the plugin API's `ClusterManager`)."""

    def __init__(
        self,
        worker: Worker,
        configs: Mapping[str, ClusterConfig],
        make_tls: Callable[[ClusterConfig], Any] = lambda _: None,
    ) -> None:
        self._active = {name: _KINDS[config.type](worker, config, make_tls(config)) for name, config in configs.items()}
        scope = worker.stats.scope("cluster_manager.")
        scope.gauge("active_clusters").set(len(self._active))
        scope.gauge("warming_clusters").set(0)
        scope.counter("cluster_added").add(len(self._active))
        for name in ("cluster_modified", "cluster_removed", "cluster_updated"):
            scope.counter(name)
        self.get = self._active.get

    def __iter__(self) -> Any:
        return iter(self._active.values())

    def close(self) -> None:
        for cluster in self._active.values():
            cluster.close()
