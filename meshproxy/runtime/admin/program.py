"""What the admin interface knows of the running program: its parts, and how to ask the workers."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from google.protobuf.message import Message

from meshproxy.address import Address
from meshproxy.model.snapshot import Snapshot
from meshproxy.records import dataclass
from meshproxy.runtime.process.options import Options
from meshproxy.runtime.process.program_log import ProgramLog
from meshproxy.telemetry.stats import StatsSnapshot


class Fleet(Protocol):
    """The worker processes, one or more. carries_traffic: in the process that the admin interface is in."""

    carries_traffic: bool

    async def ask(self, command: str, argument: Any = None) -> list[Any]:
        """What each worker answers to a command (see `WorkerControl`); one that died meanwhile is left out."""

    async def cluster_statuses(self) -> list[Any]:
        """The clusters of each worker, as `WorkerControl` tells them."""

    async def statistics(self) -> StatsSnapshot:
        """The statistics of all processes as one."""

    async def drain_listeners(self, *, graceful: bool, skip_exit: bool, inbound_only: bool) -> None:
        """See `/drain_listeners`."""

    def quit(self) -> None:
        """End the program now, as Envoy does."""


@dataclass(slots=True)
class Program:
    """One running program.

    message: the bootstrap as it was read, kept for `/config_dump`. started: wall clock, in seconds. wall, now: clocks.
    loggers: the program's log, for its levels. registry_names: the messages of all installed filters.
    discovery: what comes and goes (`meshproxy.runtime.discovery.engine.Discovery`), once there is something of it.
    """

    options: Options
    snapshot: Snapshot
    message: Message
    fleet: Fleet
    loggers: ProgramLog
    started: float
    wall: Callable[[], float]
    rng: random.Random
    registry_names: Sequence[str] = ()
    state: str = "PRE_INITIALIZING"
    health_failed: bool = False
    discovery: Any = None

    @property
    def listening(self) -> list[tuple[str, list[Address]]]:
        """The addresses that each listener is bound to."""
        if self.discovery is None or not self.discovery.listeners.started:
            return []
        return [(name, entry.bound) for name, entry in self.discovery.listeners.active.items()]

    def current(self) -> Snapshot:
        """The configuration as it is now in force."""
        return self.snapshot if self.discovery is None else self.discovery.snapshot()

    def visible_state(self) -> str:
        """As `/ready` prints it."""
        return "DRAINING" if self.health_failed and self.state == "LIVE" else self.state
