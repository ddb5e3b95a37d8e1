"""What everything in one worker process shares: the loop, its timers, the clock, the configuration's live objects."""

from __future__ import annotations

import asyncio
import random
import socket
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from meshproxy.clock import SystemClock, http_date
from meshproxy.model.snapshot import Node
from meshproxy.plugin.context import Logger
from meshproxy.runtime.drain import Drain
from meshproxy.runtime.timers import TimerWheel
from meshproxy.runtime_values import NO_RUNTIME, Live, RuntimeValues

if TYPE_CHECKING:
    from meshproxy.model.dns import DnsResolverOptions
    from meshproxy.model.listener import Listener
    from meshproxy.plugin.listener import Socket
    from meshproxy.runtime.dns.resolver import Resolver
    from meshproxy.runtime.downstream.connection import ServerConnection
    from meshproxy.runtime.overload import Overload
    from meshproxy.runtime.reporting.access_log_files import AccessLogFiles
    from meshproxy.runtime.upstream.clusters import Clusters
    from meshproxy.telemetry.stats import StatsStore


_UNLIMITED = (1 << 31) - 1
"""Istio's value for "no limit"."""


class InternalListener(Protocol):
    """A listener that connections of this program come to."""

    config: Listener

    def accept_internal(self, sock: socket.socket, facts: Socket) -> None:
        """Take a connected socket over. facts: who it comes from, and what it brings along."""


class Worker:
    """One event loop and what its connections share.

    name: `worker_0` and so on, as it stands in the names of statistics; `main_thread` for the admin interface.
    index, count: which of how many workers this is. is_first: it counts what counts once for all of them.
    runtime: the values that clusters follow. connection_limit: of all workers together, None for none ever.
    measures: whether some log tells bytes on the wire, or times, that are only noted for it (see `wire_sizes`).
    internal_listeners: by name, those that clusters connect to.
    drain: whether responses announce that we are going away. departures: how many listeners and filter chains do so by
    themselves, because they were removed or replaced; one more while overload may end keep-alive.
    sources_vary: some client's connections to upstreams are made from its own address (`original_src`).
    overload: what is done against it; None: nothing. health_failed: `/healthcheck/fail` was asked for.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        *,
        stats: StatsStore,
        access_logs: AccessLogFiles,
        log: Logger,
        rng: random.Random,
        node: Node,
        name: str = "worker_0",
        index: int = 0,
        count: int = 1,
        measures: Callable[[], bool] = lambda: False,
        runtime: RuntimeValues = NO_RUNTIME,
        connection_limit: Live[int] | None = None,
    ) -> None:
        self.loop = loop
        self.clock = SystemClock()
        self.timers = TimerWheel(loop)
        self.schedule = self.timers.schedule
        self.stats = stats
        self.access_logs = access_logs
        self.log = log
        self.rng = rng
        self.node = node
        self.name = name
        self.runtime = runtime
        self.connection_limit = connection_limit
        self._place = index, count
        self.is_first = not index
        self.clusters: Clusters
        self.internal_listeners: dict[str, InternalListener] = {}
        self.health_failed = False
        self.sources_vary = False
        self.drain = Drain(loop.time, rng)
        self.measures = measures
        self.departures = 0
        self.overload: Overload | None = None
        self._connection_ids = index
        self._connection_step = count
        self._resolvers: dict[DnsResolverOptions, Resolver] = {}
        self._date = ""
        self._date_valid_until = 0.0

    def most_connections(self) -> int | None:
        """How many connections from clients this worker may have by the runtime's limit; None: as many as come."""
        limit = self.connection_limit
        if limit is None or limit.value >= _UNLIMITED:
            return None
        index, count = self._place
        return limit.value // count + (index < limit.value % count)

    def vary_sources(self) -> None:
        """From now on clients may bring their own address to connect from: pools are no longer for everybody."""
        if not self.sources_vary:
            self.sources_vary = True
            for cluster in self.clusters:
                for host in cluster.hosts():
                    host.pool = None

    def next_connection_id(self) -> int:
        """A number that no other connection of the program has."""
        self._connection_ids += self._connection_step
        return self._connection_ids

    def resolver(self, options: DnsResolverOptions) -> Resolver:
        """The resolver with these options; one for all clusters that have the same."""
        resolver = self._resolvers.get(options)
        if resolver is None:
            from meshproxy.runtime.dns.resolver import Resolver  # most sidecars resolve nothing

            resolver = self._resolvers[options] = Resolver(options)
        return resolver

    def date(self, now: float) -> str:
        """The value of a Date field (RFC 9110 section 5.6.7), at monotonic time `now`."""
        if now >= self._date_valid_until:
            wall = time.time()
            self._date = http_date(wall)
            self._date_valid_until = now + 1.0 - wall % 1.0
        return self._date

    @property
    def draining(self) -> bool:
        """Whether a drain has begun (`ServerState`)."""
        return self.drain.active

    def closes(self, connection: ServerConnection) -> bool:
        """Whether a response on this connection now should carry `connection: close`."""
        listener = connection.listener
        direction = listener.traffic_direction
        leaving = connection.leaving
        failed = self.health_failed and not listener.drains_only_when_changed
        return failed or self.drain.closes(direction) or (leaving is not None and leaving.closes(direction))
