"""A cluster that sends a request to the host it names (envoy.extensions.clusters.dynamic_forward_proxy).

Its hosts are the names of a DNS cache, which the filter of the same name fills before a request gets here; what it has
not prepared is looked up when a host is picked. With sub clusters each name has a STRICT_DNS cluster of its own
instead, made with the first request for it and removed when nobody has used it for a while.

Which name: the filter state `envoy.upstream.dynamic_host`, else the request's authority, else the server name that a
TLS client asked for; the port likewise, or that of the scheme.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from dataclasses import replace

from meshproxy.address import SocketAddress
from meshproxy.balance.host import Health, Host
from meshproxy.model.cluster import ClusterConfig
from meshproxy.model.endpoint import Endpoint
from meshproxy.model.forwarding import SubClusterOptions
from meshproxy.plugin.context import Timer
from meshproxy.plugin.replies import NO_HEALTHY_UPSTREAM, LocalReply
from meshproxy.plugin.stream_info import StreamInfo
from meshproxy.plugin.upstream import DYNAMIC_HOST, DYNAMIC_PORT, HostChoice
from meshproxy.runtime.upstream.aggregate_cluster import BorrowingCluster
from meshproxy.runtime.upstream.dns_cache import DnsCache, Entry, split_authority

_PREFIX = "DFPCluster:"
_OVERFLOW = LocalReply(503, b"Sub cluster overflow", details="sub_cluster_overflow")
_NOT_WARM = LocalReply(503, b"Sub cluster warming timeout", details="sub_cluster_warming_timeout")


class ForwardCluster(BorrowingCluster):
    """See the module."""

    def start(self) -> None:
        options = self.config.forward
        assert options is not None
        self.forwarding = self
        self.default_port = 443 if self.tls is not None else 80
        self.own_clusters = options.sub_clusters is not None
        self._endpoints: dict[str, Endpoint] = {}
        self._by_key: dict[str, Host] = {}
        self._cache: DnsCache | None = None
        self._subs: dict[str, float] = {}
        self._warm: dict[str, asyncio.Event] = {}
        self._sweep_timer: Timer | None = None
        if options.sub_clusters is not None:
            self._sub_options = options.sub_clusters
            self._sweep_timer = self.worker.schedule(options.sub_clusters.ttl, self._sweep)
        else:
            # The caches are those of all clusters, which come to be with this one.
            self.worker.loop.call_soon(self._follow_cache)

    def _follow_cache(self) -> None:
        options = self.config.forward
        if self.retired or options is None or options.cache is None or self._cache is not None:
            return
        cache = self._cache = self.worker.clusters.name_cache(options.cache)
        cache.on_change.append(self._changed)
        cache.on_remove.append(self._removed)
        for entry in cache.entries:
            if entry.address is not None:
                self._changed(entry)

    # Hosts of the cache.

    def _changed(self, entry: Entry) -> None:
        assert entry.address is not None
        host = self._by_key.get(entry.key)
        if host is not None:
            host.address = entry.address  # its connections stay
            host.text = entry.address.text
            host.more_addresses = entry.more_addresses
            return
        more = entry.more_addresses
        self._endpoints[entry.key] = Endpoint(entry.address, hostname=entry.key, more_addresses=more)
        self._rebuild()

    def _removed(self, entry: Entry) -> None:
        if self._endpoints.pop(entry.key, None) is not None:
            self._rebuild()

    def _rebuild(self) -> None:
        self.update(list(self._endpoints.values()))
        self._by_key = dict(zip(self._endpoints, self.priorities.hosts, strict=True))

    def pick(self, stream: StreamInfo, choice: HostChoice | None = None) -> Host | None:
        host = self._find(stream, choice)
        if host is None:
            self.stats.upstream_cx_none_healthy.inc()
        return host

    def _named(self, stream: StreamInfo) -> tuple[str, str, int]:
        """The key of the host that is named, its authority ("" for none), and the port for one without."""
        state = stream.filter_state or {}
        named = state.get(DYNAMIC_HOST)
        authority = str(named) if named is not None else ""
        if named is None:
            request = stream.request
            authority = request.authority if request is not None else stream.connection.requested_server_name
        port = _port(state.get(DYNAMIC_PORT)) or self.default_port
        return split_authority(authority, port)[0], authority, port

    def _find(self, stream: StreamInfo, choice: HostChoice | None) -> Host | None:
        key, authority, _ = self._named(stream)
        if not authority:
            return None
        if self.own_clusters:
            cluster = self.worker.clusters.get(_PREFIX + key)
            return cluster.pick(stream, choice) if cluster is not None else None
        if self._cache is None:
            self._follow_cache()
        host = self._by_key.get(key)
        if host is None or host.health is Health.UNHEALTHY:
            return None
        if self._cache is not None:
            self._cache.peek(key)
        return host

    def look_up(self, stream: StreamInfo) -> LocalReply | Awaitable[LocalReply | None] | None:
        """See `meshproxy.plugin.upstream.Forwarding`."""
        key, authority, port = self._named(stream)
        if not authority or self.own_clusters or key in self._by_key:
            return None
        self._follow_cache()
        assert self._cache is not None
        found = self._cache.prepare(authority, port)
        return found if found is None else self._no_host(found)

    async def _no_host(self, found: LocalReply | Awaitable[LocalReply | None]) -> LocalReply | None:
        reply = found if isinstance(found, LocalReply) else await found
        if reply is None:
            return None
        self.stats.upstream_cx_none_healthy.inc()
        return replace(NO_HEALTHY_UPSTREAM, details=reply.details)

    # Clusters of their own.

    def prepare_cluster(self, authority: str, timeout: float) -> LocalReply | Awaitable[LocalReply | None] | None:
        """See `meshproxy.plugin.upstream.Forwarding`."""
        key, name, port = split_authority(authority, self.default_port)
        sub = _PREFIX + key
        known = sub in self._subs
        if known:
            self._subs[sub] = self.worker.loop.time()
            if self.worker.clusters.get(sub) is not None:
                return None
        elif len(self._subs) >= self._sub_options.max_clusters:
            return _OVERFLOW
        else:
            warm = self._warm[sub] = asyncio.Event()
            self._subs[sub] = self.worker.loop.time()
            self.worker.clusters.set(self._config_of(self._sub_options, sub, name, port), warm.set)
        return self._wait_until_warm(self._warm[sub], timeout)

    async def _wait_until_warm(self, warm: asyncio.Event, timeout: float) -> LocalReply | None:
        try:
            async with asyncio.timeout(timeout or None):
                await warm.wait()
        except TimeoutError:
            return _NOT_WARM
        return None

    def _config_of(self, options: SubClusterOptions, sub: str, name: str, port: int) -> ClusterConfig:
        return replace(
            self.config,
            name=sub,
            type="STRICT_DNS",
            lb_policy=options.lb_policy,
            forward=None,
            endpoints=(Endpoint(SocketAddress(name, port), hostname=name),),
        )

    def _sweep(self) -> None:
        now, ttl = self.worker.loop.time(), self._sub_options.ttl
        for sub, used_at in list(self._subs.items()):
            if now - used_at > ttl:
                del self._subs[sub], self._warm[sub]
                self.worker.clusters.remove(sub)
        self._sweep_timer = self.worker.schedule(ttl, self._sweep)

    def stop(self) -> None:
        if self._sweep_timer is not None:
            self._sweep_timer.cancel()
        if self._cache is not None:
            self._cache.on_change.remove(self._changed)
            self._cache.on_remove.remove(self._removed)
            self._cache = None
        super().stop()

    def retire(self) -> None:
        """Removed or replaced: what was made for it goes with it."""
        for sub in self._subs:
            self.worker.clusters.remove(sub)
        self._subs = {}
        super().retire()


def _port(value: object) -> int:
    """A port out of the filter state; 0 for what is none."""
    text = str(value) if value is not None else ""
    port = int(text) if text.isascii() and text.isdecimal() and len(text) <= 5 else 0
    return port if port < 65536 else 0
