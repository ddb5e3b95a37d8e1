"""The workers as one: the same few operations, whether there is one process or a parent with several."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

from meshproxy.runtime.process.in_turns import in_turns
from meshproxy.runtime.process.options import Options
from meshproxy.runtime.workers.worker_control import WorkerControl
from meshproxy.telemetry.stats import StatsSnapshot, StatsStore


class WorkerFleet(ABC):
    """What both kinds have in common. on_quit: called when the program is told to end at once."""

    carries_traffic = False

    def __init__(self, loop: asyncio.AbstractEventLoop, options: Options, on_quit: Callable[[], object]) -> None:
        self.loop = loop
        self._options = options
        self._on_quit = on_quit
        self._draining: set[bool] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    @abstractmethod
    async def ask(self, command: str, argument: Any = None) -> list[Any]:
        """What each worker answers to a command (see `WorkerControl`); one that died meanwhile is left out."""

    async def cluster_statuses(self) -> list[Any]:
        """The clusters of each worker, as `WorkerControl` tells them."""
        return await self.ask("clusters")

    async def loads(self) -> list[Any]:
        """What the clusters of each worker have carried, as `WorkerControl` tells it."""
        return await self.ask("loads")

    @abstractmethod
    async def statistics(self) -> StatsSnapshot:
        """The statistics of all processes as one."""

    @abstractmethod
    async def stop_listeners(self, *, inbound_only: bool) -> None:
        """Accept no more."""

    async def drain_listeners(self, *, graceful: bool, skip_exit: bool, inbound_only: bool) -> None:
        """`/drain_listeners`: stop at once, or announce for the drain time and stop then (never with `skip_exit`).

        As in Envoy a second graceful drain of the same listeners changes nothing.
        """
        if not graceful:
            await self.stop_listeners(inbound_only=inbound_only)
            return
        if inbound_only in self._draining or False in self._draining:
            return
        self._draining.add(inbound_only)
        await self.ask(
            "drain",
            {
                "duration": self._options.drain_time,
                "immediate": self._options.drain_strategy == "immediate",
                "inbound_only": inbound_only,
            },
        )
        if not skip_exit:
            self.loop.call_later(self._options.drain_time, self._stop_soon, inbound_only)

    def _stop_soon(self, inbound_only: bool) -> None:
        task = self.loop.create_task(self.stop_listeners(inbound_only=inbound_only))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def quit(self) -> None:
        """End the program now, as Envoy does."""
        self._on_quit()


class LocalFleet(WorkerFleet):
    """One worker, in this process."""

    carries_traffic = True

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        options: Options,
        on_quit: Callable[[], object],
        control: WorkerControl,
        stats: StatsStore,
    ) -> None:
        super().__init__(loop, options, on_quit)
        self._control = control
        self._stats = stats

    async def ask(self, command: str, argument: Any = None) -> list[Any]:
        return [self._control.perform(command, argument)]

    async def cluster_statuses(self) -> list[Any]:
        return [await in_turns(self._control.clusters_in_steps())]

    async def loads(self) -> list[Any]:
        return [await in_turns(self._control.loads_in_steps())]

    async def statistics(self) -> StatsSnapshot:
        return await in_turns(self._stats.snapshot_in_steps())

    async def stop_listeners(self, *, inbound_only: bool) -> None:
        self._control.perform("stop_listeners", inbound_only)
