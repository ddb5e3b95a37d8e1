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
        self.get = self._active.get

    def __iter__(self) -> Any:
        return iter(self._active.values())

    def close(self) -> None:
        for cluster in self._active.values():
            cluster.close()
