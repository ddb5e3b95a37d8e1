"""Clusters whose endpoints are names: STRICT_DNS takes every address a name has, LOGICAL_DNS the first one,
and the others only where that can't be reached.

Each name is a `_Target` with a life of its own: it is resolved off the path of requests, and again when its answer is
due (`dns_refresh_rate`, the answer's TTL, or a back-off after a failure).

What an outcome means is Envoy's: no answer keeps the hosts that were found before; an answer without addresses takes
the hosts of a STRICT_DNS cluster away, and counts as a failure for LOGICAL_DNS. A cluster is warm when each of its
names has been looked up once, whatever came of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace

from meshproxy.address import SocketAddress
from meshproxy.balance.backoff import JitteredBackoff
from meshproxy.model.endpoint import Endpoint
from meshproxy.plugin.context import Timer
from meshproxy.runtime.dns.resolver import Resolution, ResolveError
from meshproxy.runtime.upstream.cluster import ActiveCluster


class _Target:
    """One endpoint to be resolved. found: the endpoints made of its addresses, in the order of the answer."""

    def __init__(self, cluster: StrictDnsCluster, endpoint: Endpoint) -> None:
        self._cluster = cluster
        self._endpoint = endpoint
        self.found: list[Endpoint] = []
        self.resolved = not isinstance(endpoint.address, SocketAddress)
        if self.resolved:
            self.found = [endpoint]
        options = cluster.config.dns
        self._backoff = None
        if options.failure_base is not None:
            maximum = options.failure_max if options.failure_max is not None else options.failure_base * 10
            self._backoff = JitteredBackoff(options.failure_base, maximum, cluster.worker.rng)
        self._task: asyncio.Task[None] | None = None
        self._timer: Timer | None = None
        self._failing = False

    def start(self) -> None:
        """Look the name up now, and from then on whenever it is due."""
        self._timer = None
        if isinstance(self._endpoint.address, SocketAddress):
            self._task = self._cluster.worker.loop.create_task(self._resolve(self._endpoint.address))

    def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
        if self._timer is not None:
            self._timer.cancel()

    async def _resolve(self, address: SocketAddress) -> None:
        cluster = self._cluster
        cluster.stats.update_attempt.inc()
        try:
            answer = await cluster.resolver.resolve(address.ip, cluster.config.dns.lookup_family)
            if not answer.addresses and cluster.first_only:
                raise ResolveError("no address")
        except ResolveError as error:
            cluster.stats.update_failure.inc()
            if not self._failing:
                self._failing = True
                cluster.worker.log.warning("name not resolved", cluster=cluster.name, name=address.ip, error=str(error))
            delay = self._backoff.next() if self._backoff is not None else cluster.config.dns.refresh_rate
        else:
            cluster.stats.update_success.inc()
            self._failing = False
            delay = self._take(answer, address)
        self._timer = cluster.worker.schedule(delay, self.start)
        if not self.resolved:
            self.resolved = True
            cluster.check_warm()

    def _take(self, answer: Resolution, address: SocketAddress) -> float:
        """Use an answer; returns for how long."""
        cluster = self._cluster
        endpoint = self._endpoint
        name = endpoint.hostname or address.ip
        fresh = [replace(endpoint, address=SocketAddress(ip, address.port), hostname=name) for ip in answer.addresses]
        if cluster.first_only:
            others = tuple(SocketAddress(ip, address.port) for ip in answer.addresses[1:])
            fresh = [replace(fresh[0], more_addresses=others)]
        if {(made.address, made.more_addresses) for made in fresh} == {
            (made.address, made.more_addresses) for made in self.found
        }:
            cluster.stats.update_no_rebuild.inc()
        else:
            self.found = fresh
            cluster.rebuild()
        if self._backoff is not None:
            self._backoff.reset()
        options = cluster.config.dns
        delay = answer.ttl if options.respect_ttl and answer.ttl > 0 else options.refresh_rate
        return delay + cluster.worker.rng.random() * options.jitter


class StrictDnsCluster(ActiveCluster):
    """Every address of every name is a host; one that several names share is one host."""

    first_only = False
    unique_hosts = True

    def start(self) -> None:
        self.resolver = self.worker.resolver(self.config.dns.resolver)
        self._when_warm: Callable[[], None] | None = None
        self._targets = [_Target(self, endpoint) for endpoint in self.config.endpoints]
        self.rebuild()
        for target in self._targets:
            target.start()

    def rebuild(self) -> None:
        """Make the hosts of what all names are known to be."""
        self.update([endpoint for target in self._targets for endpoint in target.found])

    def warm(self, when_warm: Callable[[], None]) -> None:
        self._when_warm = when_warm
        self.check_warm()

    def check_warm(self) -> None:
        """Tell, once, when every name has been looked up."""
        if self._when_warm is not None and all(target.resolved for target in self._targets):
            when_warm, self._when_warm = self._when_warm, None
            super().warm(when_warm)

    def stop(self) -> None:
        for target in self._targets:
            target.stop()
        super().stop()


class LogicalDnsCluster(StrictDnsCluster):
    """The first address of the name is the host; when it changes, connections to the old one are left to end."""

    first_only = True
