"""A cluster that stands for others (envoy.extensions.clusters.aggregate): it has no hosts, only an order of clusters.

A host that is picked is another cluster's, and so are its connections, their limits and their statistics; what the
router counts of requests and retries is the aggregate's.
"""

from __future__ import annotations

from meshproxy.balance.aggregate import AggregateBalancer
from meshproxy.balance.host import Host
from meshproxy.headers import RequestHeaders
from meshproxy.model.proxy_header import ProxyHeaderOptions
from meshproxy.plugin.stream_info import StreamInfo
from meshproxy.plugin.upstream import Host as PluginHost
from meshproxy.plugin.upstream import HostChoice, HttpUpstream, HttpUpstreamSink, TcpUpstream, TcpUpstreamSink
from meshproxy.runtime.cluster import ActiveCluster


class BorrowingCluster(ActiveCluster):
    """Sends requests to hosts of other clusters through those; it may have some of its own."""

    def start(self) -> None:
        """There are no hosts to be found."""

    def request(
        self,
        host: PluginHost,
        request: RequestHeaders,
        end: bool,
        sink: HttpUpstreamSink,
        *,
        priority: str = "DEFAULT",
        protocol: str = "",
        alpn: str = "",
    ) -> HttpUpstream:
        assert isinstance(host, Host)
        owner: ActiveCluster = host.cluster or self
        if owner is self:
            return super().request(host, request, end, sink, priority=priority, protocol=protocol, alpn=alpn)
        return owner.request(host, request, end, sink, priority=priority, protocol=protocol, alpn=alpn)

    def encrypts(self, host: PluginHost) -> bool:
        assert isinstance(host, Host)
        owner: ActiveCluster = host.cluster or self
        return super().encrypts(host) if owner is self else owner.encrypts(host)

    def connect(
        self, host: PluginHost, sink: TcpUpstreamSink, *, header: ProxyHeaderOptions | None = None
    ) -> TcpUpstream:
        assert isinstance(host, Host)
        owner: ActiveCluster = host.cluster or self
        return super().connect(host, sink, header=header) if owner is self else owner.connect(host, sink, header=header)


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
