"""A cluster that stands for others (envoy.extensions.clusters.aggregate): it has no hosts, only an order of clusters.

A host that is picked is another cluster's, and so are its connections, their limits and their statistics; what the
router counts of requests and retries is the aggregate's.
"""

from __future__ import annotations

from typing import Any

from meshproxy.balance.aggregate import AggregateBalancer
from meshproxy.balance.host import Host
from meshproxy.plugin.stream_info import StreamInfo
from meshproxy.plugin.upstream import Host as PluginHost
from meshproxy.plugin.upstream import HostChoice, HttpUpstream, TcpUpstream
from meshproxy.runtime.upstream.cluster import ActiveCluster


class BorrowingCluster(ActiveCluster):
    """Sends requests to hosts of other clusters through those; it may have some of its own."""

    def start(self) -> None:
        """There are no hosts to be found."""

    def _owner(self, host: PluginHost) -> ActiveCluster:
        assert isinstance(host, Host)
        owner: ActiveCluster = host.cluster or self
        return owner

    def request(self, host: PluginHost, *args: Any, **options: Any) -> HttpUpstream:
        return ActiveCluster.request(self._owner(host), host, *args, **options)

    def encrypts(self, host: PluginHost) -> bool:
        return ActiveCluster.encrypts(self._owner(host), host)

    def connect(self, host: PluginHost, *args: Any, **options: Any) -> TcpUpstream:
        return ActiveCluster.connect(self._owner(host), host, *args, **options)


class AggregateCluster(BorrowingCluster):
    """See the module. A cluster of the list that doesn't exist is passed over until it does."""

    def start(self) -> None:
        self._choice = AggregateBalancer(self._members, self.config.lb.panic_threshold, self.worker.rng)

    def _members(self) -> list[ActiveCluster]:
        get = self.worker.clusters.get
        return [cluster for name in self.config.aggregate if (cluster := get(name)) is not None]

    def pick(self, stream: StreamInfo, choice: HostChoice | None = None) -> Host | None:
        host = self._choice.pick(stream) if choice is None else self._choice.pick_choosy(choice, stream)
        if host is None:
            self.stats.upstream_cx_none_healthy.inc()
        return host
