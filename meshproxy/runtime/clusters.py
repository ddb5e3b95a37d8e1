"""All live clusters of a worker.

Before listeners start, the clusters are warmed: names are looked up, first health checks made. Envoy waits for that as
long as it takes (a minute when no name server answers); here it ends after `WARM_WITHIN` seconds, for a sidecar that
serves all else is better than one that serves nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

from meshproxy.model.cluster import ClusterConfig
from meshproxy.runtime.cluster import ActiveCluster, OriginalDstCluster
from meshproxy.runtime.dns_cluster import LogicalDnsCluster, StrictDnsCluster
from meshproxy.runtime.worker import Worker

WARM_WITHIN = 5.0

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
        self._loop = worker.loop

    def __iter__(self) -> Iterator[ActiveCluster]:
        return iter(self._active.values())

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
        for cluster in self._active.values():
            cluster.close()
