"""What everything in one worker process shares: the loop, its timers, the clock, the configuration's live objects."""

from __future__ import annotations

import asyncio
import random
import time
from email.utils import formatdate
from typing import TYPE_CHECKING

from meshproxy.clock import SystemClock
from meshproxy.model.snapshot import Node
from meshproxy.plugin.context import Logger
from meshproxy.runtime.timers import TimerWheel

if TYPE_CHECKING:
    from meshproxy.runtime.access_log_files import AccessLogFiles
    from meshproxy.runtime.clusters import Clusters
    from meshproxy.telemetry.stats import StatsStore


class Worker:
    """One event loop and what its connections share.

    draining: responses carry `connection: close` and connections end when idle.
    health_failed: `/healthcheck/fail` was asked for.
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
        self.clusters: Clusters
        self.health_failed = False
        self.draining = False
        self.drain_probability = 0.0
        self._connection_ids = 0
        self._date = ""
        self._date_valid_until = 0.0

    def next_connection_id(self) -> int:
        """A number that no other connection of this worker has."""
        self._connection_ids += 1
        return self._connection_ids

    def date(self, now: float) -> str:
        """The value of a Date field (RFC 9110 section 5.6.7), at monotonic time `now`."""
        if now >= self._date_valid_until:
            wall = time.time()
            self._date = formatdate(wall, usegmt=True)
            self._date_valid_until = now + 1.0 - wall % 1.0
        return self._date

    def closes_connections(self) -> bool:
        """Whether a response now should carry `connection: close` because we are going away."""
        if self.health_failed:
            return True
        return self.draining and (self.drain_probability >= 1.0 or self.rng.random() < self.drain_probability)
