"""The clusters of a parent of workers, which carries no traffic: those that lead to its management servers.

Each is made when it is first asked for, so that the parent resolves no names and checks no hosts that only its workers
need.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from meshproxy.model.cluster import ClusterConfig
from meshproxy.runtime.upstream.cluster import ActiveCluster
from meshproxy.runtime.upstream.clusters import Clusters
from meshproxy.runtime.worker import Worker


class ParentClusters:
    """Clusters of the bootstrap, by name, on demand."""

    def __init__(
        self, worker: Worker, configs: Mapping[str, ClusterConfig], make_tls: Callable[[ClusterConfig], Any]
    ) -> None:
        self._configs = configs
        self._made = Clusters(worker, {}, make_tls)

    def get(self, name: str) -> ActiveCluster | None:
        """The live cluster; None while it isn't warm, and when there is none."""
        config = self._configs.get(name)
        if config is not None and name not in self._made.warming and self._made.get(name) is None:
            self._made.set(config)
        return self._made.get(name)

    def adopt(self, config: ClusterConfig) -> ActiveCluster | None:
        """See `Clusters.adopt`."""
        return self._made.adopt(config)

    def close(self) -> None:
        """Let go of all connections."""
        self._made.close()
