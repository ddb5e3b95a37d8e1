"""Watches the files of TLS slots, twice a second, by stat().

Not by inotify: a stat() through the whole path sees every way in which a file comes to be another (rename, write in
place, a swapped symbolic link three directories up), on every file system, and a dozen of them cost some microseconds.
"""

from __future__ import annotations

import asyncio
import weakref
from typing import Any

from meshproxy.plugin.context import Logger
from meshproxy.runtime.tls.slots import Slot

INTERVAL = 0.5
"""Seconds between two looks."""


class Watcher:
    """Slots are held weakly: they go with the configuration that they belong to."""

    def __init__(self, loop: asyncio.AbstractEventLoop, log: Logger) -> None:
        self._loop = loop
        self._log = log
        self._slots: weakref.WeakSet[Slot[Any, Any]] = weakref.WeakSet()
        self._timer: asyncio.TimerHandle | None = None
        self.updates = 0
        self.rejected = 0

    def add(self, slot: Slot[Any, Any]) -> None:
        """Watch the files of a slot, if it has any."""
        if slot.watches:
            self._slots.add(slot)
            if self._timer is None:
                self._timer = self._loop.call_later(INTERVAL, self._look)

    def __iter__(self) -> Any:
        return iter(list(self._slots))

    def _look(self) -> None:
        self._timer = self._loop.call_later(INTERVAL, self._look) if self._slots else None
        for slot in list(self._slots):
            if slot.changed():
                fault = slot.reload()
                if fault:
                    self.rejected += 1
                    self._log.warning("changed certificates can't be used; the former ones stay", error=fault)
                else:
                    self.updates += 1
                    self._log.info("certificates changed", files=len(slot._files))

    def close(self) -> None:
        """Stop watching."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._slots.clear()
