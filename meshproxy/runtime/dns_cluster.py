"""Clusters whose endpoints are names: STRICT_DNS takes every address a name has, LOGICAL_DNS the first one.

Names are resolved off the path of requests and never block the loop. A resolution that fails keeps the hosts that
were found before: a name server that is down for a minute isn't a reason to lose working endpoints.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace

from meshproxy.address import PipeAddress, SocketAddress
from meshproxy.model.endpoint import Endpoint
from meshproxy.runtime.cluster import ActiveCluster
from meshproxy.runtime.resolver import Resolution, ResolveError, resolve


class StrictDnsCluster(ActiveCluster):
    """Every address of every name is a host."""

    first_only = False

    def start(self) -> None:
        self._found: dict[int, list[Endpoint]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._pending = dict(enumerate(self.config.endpoints))
        for index in self._pending:
            self._refresh(index)

    def _refresh(self, index: int) -> None:
        task = self.worker.loop.create_task(self._resolve(index))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _resolve(self, index: int) -> None:
        endpoint = self._pending[index]
        address = endpoint.address
        options = self.config.dns
        if isinstance(address, PipeAddress):
            self._found[index] = [endpoint]
            self._apply()
            return
        self.stats.update_attempt.inc()
        delay = options.refresh_rate
        try:
            found: Resolution = await resolve(address.ip, options.lookup_family)
        except ResolveError as error:
            self.stats.update_failure.inc()
            delay = options.failure_base or delay
            self.worker.log.warning("name not resolved", cluster=self.name, name=address.ip, error=str(error))
        else:
            self.stats.update_success.inc()
            ips = found.addresses[:1] if self.first_only else found.addresses
            fresh = [
                replace(endpoint, address=SocketAddress(ip, address.port), hostname=endpoint.hostname or address.ip)
                for ip in ips
            ]
            if fresh == self._found.get(index):
                self.stats.update_no_rebuild.inc()
            else:
                self._found[index] = fresh
                self._apply()
            if options.respect_ttl and found.ttl > 0:
                delay = found.ttl
        delay += self.worker.rng.random() * options.jitter
        self.worker.schedule(delay, lambda: self._refresh(index))

    def _apply(self) -> None:
        self.update([endpoint for index in sorted(self._found) for endpoint in self._found[index]])

    def close(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        super().close()


class LogicalDnsCluster(StrictDnsCluster):
    """The first address of the name is the host; when it changes, connections to the old one are left to end."""

    first_only = True
