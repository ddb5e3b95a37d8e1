"""One parent and its workers: `--concurrency` above 1.

The parent owns the configuration, the listening sockets, the admin interface and the merged statistics; it carries no
traffic. Each worker is a fork of it with one listening socket of its own for each address (SO_REUSEPORT), between which
the kernel spreads connections.

Invariants:
- the parent keeps every listening socket open as long as the listener lives: while a worker is dead its connections
  wait in the backlog for the worker that takes its place;
- a fork happens between two runs of the parent's loop, never inside a callback, so the child starts from a clean stack;
- a child never returns into the parent's code: it leaves with `os._exit`.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from meshproxy.model.listener import Listener
from meshproxy.plugin.context import Logger
from meshproxy.runtime.process.lifecycle import Lifecycle
from meshproxy.runtime.process.options import Options
from meshproxy.runtime.workers.channel import AskingEnd, ChannelClosed, open_end
from meshproxy.runtime.workers.fleet import WorkerFleet
from meshproxy.runtime.workers.forking import Sockets, WorkerMain, describe_status
from meshproxy.runtime.workers.merged_stats import Retired
from meshproxy.runtime.workers.worker_control import unpack_snapshot
from meshproxy.runtime.workers.worker_slot import WorkerSlot
from meshproxy.telemetry.stats import StatsSnapshot, StatsStore

_ANSWER_WITHIN = 5.0
_STABLE_AFTER = 10.0
_LONGEST_PAUSE = 5.0
_LAST_WORDS = 3.0
_LOOK_EVERY = 0.02


class Supervisor(WorkerFleet):
    """See the module."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        options: Options,
        lifecycle: Lifecycle,
        sockets: list[Sockets],
        listeners: Callable[[], tuple[Listener, ...]],
        stats: StatsStore,
        worker_main: WorkerMain,
        log: Logger,
    ) -> None:
        super().__init__(loop, options, lifecycle.end_now)
        self.slots = [WorkerSlot(loop, index, own) for index, own in enumerate(sockets)]
        self.retired = Retired()
        self._lifecycle = lifecycle
        self._listeners = listeners
        self._stats = stats
        self._worker_main = worker_main
        self._log = log
        self._due: list[WorkerSlot] = list(self.slots)
        self._attention = asyncio.Event()
        self._ending = False
        self._kept: dict[str, Any] = {}

    # Forking; called while the loop stands still.

    def spawn_due(self) -> None:
        """Fork the workers that are missing."""
        due, self._due = self._due, []
        for slot in due:
            slot.fork(self._worker_main)

    # Supervision.

    async def run(self) -> bool:
        """Supervise until something must be forked (True) or all is over (False)."""
        self.loop.add_signal_handler(signal.SIGCHLD, self._reap)
        for slot in self.slots:
            if slot.pid and slot.channel is None:
                await self._connect(slot)
        self._reap()
        ending = self.loop.create_task(self._lifecycle.drain.wait())
        while not self._due and not self._lifecycle.drain.is_set():
            attention = self.loop.create_task(self._attention.wait())
            await asyncio.wait((attention, ending), return_when=asyncio.FIRST_COMPLETED)
            attention.cancel()
            self._attention.clear()
        ending.cancel()
        return not self._lifecycle.drain.is_set()

    async def _connect(self, slot: WorkerSlot) -> None:
        assert slot.control is not None
        slot.channel = AskingEnd()
        await open_end(slot.channel, slot.control)
        slot.control = None
        unsent, slot.unsent = slot.unsent, []
        for command, argument in unsent:
            self._put(slot, command, argument)
        for command, argument in self._kept.items():
            await self._ask_one(slot, command, argument)

    def _reap(self) -> None:
        by_pid = {slot.pid: slot for slot in self.slots if slot.pid}
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid in by_pid:
                self._died(by_pid[pid], status)

    def _died(self, slot: WorkerSlot, status: int) -> None:
        slot.died()
        if slot.last is not None:
            self.retired.add(slot.last)
            slot.last = None
        self._attention.set()
        if self._ending:
            return
        lived = time.monotonic() - slot.started
        slot.quick_deaths = slot.quick_deaths + 1 if lived < _STABLE_AFTER else 0
        pause = min(0.1 * 2**slot.quick_deaths, _LONGEST_PAUSE) if slot.quick_deaths > 1 else 0.0
        reason = describe_status(status)
        self._log.error("a worker ended and is replaced", worker=slot.index, reason=reason, pause=round(pause, 1))
        self.loop.call_later(pause, self._replace, slot)

    def _replace(self, slot: WorkerSlot) -> None:
        if not self._ending:
            self._due.append(slot)
            self._attention.set()

    async def all_up(self) -> None:
        """Wait until every worker answers; it does so once it serves."""
        while len(await self.ask("pid")) < len(self.slots):
            await asyncio.sleep(_LOOK_EVERY)

    def pids(self) -> list[int]:
        """This process and its workers."""
        return [os.getpid(), *(slot.pid for slot in self.slots if slot.pid)]

    # What the admin interface asks.

    async def ask(self, command: str, argument: Any = None) -> list[Any]:
        if command in ("health_failed", "logging", "drain"):
            self._kept[command] = argument  # a worker that comes later must know it too
        if command == "reset_counters":
            self._stats.reset_counters()
            self.retired.clear()
        answers = await asyncio.gather(*(self._ask_one(slot, command, argument) for slot in self.slots))
        return [answer for good, answer in answers if good]

    async def _ask_one(self, slot: WorkerSlot, command: str, argument: Any = None) -> tuple[bool, Any]:
        if slot.channel is None:
            return False, None
        try:
            return True, await slot.channel.ask(command, argument, _ANSWER_WITHIN)
        except (ChannelClosed, TimeoutError):
            return False, None
        except RuntimeError as error:
            self._log.error("a worker failed to answer", worker=slot.index, command=command, error=str(error))
            return False, None

    # What discovery tells the workers.

    def tell(self, command: str, argument: Any, sockets: Sequence[Sequence[socket.socket]] | None = None) -> None:
        """Have every worker carry out a command, in the order of the calls. sockets: for each worker, its own."""
        for slot in self.slots:
            if not slot.pid:
                continue  # it will be forked from what is in force then
            if sockets is not None:
                slot.pass_sockets(sockets[slot.index])
            if slot.channel is None:
                slot.unsent.append((command, argument))
            else:
                self._put(slot, command, argument)

    def _put(self, slot: WorkerSlot, command: str, argument: Any) -> None:
        assert slot.channel is not None
        try:
            answer = slot.channel.put(command, argument)
        except ChannelClosed:
            return
        answer.add_done_callback(partial(self._answered, slot.index, command))

    def _answered(self, worker: int, command: str, answer: asyncio.Future[Any]) -> None:
        error = answer.exception()
        if error is not None and not isinstance(error, ChannelClosed):
            self._log.error("a worker failed to follow", worker=worker, command=command, error=str(error))

    def own_sockets(self, name: str, sockets: Sequence[Sequence[socket.socket]] | None, heir_of: str) -> None:
        """Keep the sockets of a new listener; without sockets it has those of `heir_of`."""
        for slot in self.slots:
            slot.own(name, None if sockets is None else sockets[slot.index], heir_of)

    def listening_sockets(self) -> list[socket.socket]:
        """Every socket of every worker."""
        return [sock for slot in self.slots for sockets in slot.sockets.values() for sock in sockets]

    def disown_sockets(self, name: str) -> None:
        """A listener is gone: its sockets die with the workers' own."""
        for slot in self.slots:
            slot.disown(name)

    async def statistics(self) -> StatsSnapshot:
        await asyncio.gather(*(self._refresh(slot) for slot in self.slots))
        return self.retired.merged(self._stats.snapshot(), [slot.last for slot in self.slots if slot.last is not None])

    async def _refresh(self, slot: WorkerSlot) -> None:
        """Remember a worker's statistics, so that they outlive it."""
        good, packed = await self._ask_one(slot, "statistics")
        if good and slot.pid:
            slot.last = unpack_snapshot(packed)

    async def keep_statistics(self, interval: float) -> None:
        """Refresh them again and again."""
        while True:
            await asyncio.sleep(interval)
            await asyncio.gather(*(self._refresh(slot) for slot in self.slots))

    async def stop_listeners(self, *, inbound_only: bool) -> None:
        # Our copies go first: a socket then dies with the worker's own, right after its last accept.
        for listener in self._listeners():
            if not inbound_only or listener.traffic_direction == "INBOUND":
                for slot in self.slots:
                    slot.disown(listener.name)
        await self.ask("stop_listeners", inbound_only)

    # The end.

    async def end(self) -> None:
        """Let the workers drain and end, for at most the drain time; at once when the program shall end now."""
        self._ending = True
        for slot in self.slots:
            slot.close_sockets()
        if not self._lifecycle.now.is_set():
            self._signal_all(signal.SIGTERM)
            await self._lifecycle.unless_now(self._all_gone(self._options.drain_time + _LAST_WORDS))
        if self._alive():
            await self.ask("end_now")
            await self._all_gone(_LAST_WORDS)
        self._signal_all(signal.SIGKILL)
        await self._all_gone(_LAST_WORDS)

    def _signal_all(self, number: int) -> None:
        for slot in self.slots:
            if slot.pid:
                os.kill(slot.pid, number)

    def _alive(self) -> bool:
        return any(slot.pid for slot in self.slots)

    async def _all_gone(self, timeout: float) -> None:
        deadline = self.loop.time() + timeout
        while self._alive() and self.loop.time() < deadline:
            try:
                await asyncio.wait_for(self._attention.wait(), deadline - self.loop.time())
            except TimeoutError:
                return
            self._attention.clear()
