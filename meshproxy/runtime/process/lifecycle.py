"""How the program is told to end: by signals, by `/quitquitquit`, or by the death of its parent.

The first SIGTERM or SIGINT asks for a drain, a second one for the end at once. (Envoy ends at once on the first; its
drain is asked for over the admin interface. See `docs/running.md`.)
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable

from meshproxy.plugin.context import Logger


class Lifecycle:
    """drain: set once the program shall drain and end; now: set once it shall end without waiting any longer."""

    def __init__(self, loop: asyncio.AbstractEventLoop, log: Logger) -> None:
        self.drain = asyncio.Event()
        self.now = asyncio.Event()
        self._loop = loop
        self._log = log

    def watch_signals(self, reopen_logs: Callable[[], object]) -> None:
        """SIGTERM, SIGINT, SIGUSR1 (reopen logs) and, until `on_hangup` says more of it, SIGHUP."""
        for number in (signal.SIGTERM, signal.SIGINT):
            self._loop.add_signal_handler(number, self._told_to_end, number)
        self._loop.add_signal_handler(signal.SIGUSR1, reopen_logs)
        self._loop.add_signal_handler(signal.SIGHUP, self._log.info, "SIGHUP comes too early to do anything")

    def on_hangup(self, reload: Callable[[], object]) -> None:
        """SIGHUP: read the configuration again."""
        self._loop.add_signal_handler(signal.SIGHUP, reload)

    def _told_to_end(self, number: int) -> None:
        name = signal.Signals(number).name
        if self.drain.is_set():
            self._log.warning("ending without waiting", signal=name)
            self.end_now()
        else:
            self._log.info("draining", signal=name)
            self.drain.set()

    def end_within(self, seconds: float) -> None:
        """Drain, and end after so many seconds even if something is still in flight."""
        self._loop.call_later(seconds, self.end_now)
        self.drain.set()

    def end_now(self) -> None:
        """End at once."""
        self.now.set()
        self.drain.set()

    async def unless_now(self, work: Awaitable[object]) -> bool:
        """Wait for `work`; give it up when the end is to come now. Returns whether it was finished."""
        return await self._unless(self.now, work)

    async def unless_ending(self, work: Awaitable[object]) -> bool:
        """Wait for `work`; give it up when a drain is asked for. Returns whether it was finished."""
        return await self._unless(self.drain, work)

    async def _unless(self, end: asyncio.Event, work: Awaitable[object]) -> bool:
        task = asyncio.ensure_future(work)
        hurry = self._loop.create_task(end.wait())
        await asyncio.wait((task, hurry), return_when=asyncio.FIRST_COMPLETED)
        hurry.cancel()
        if task.done():
            task.result()
            return True
        task.cancel()
        return False
