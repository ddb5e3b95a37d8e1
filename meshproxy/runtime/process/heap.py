"""Memory that a burst leaves behind goes back to the system.

Bodies that wait are pieces of 16 KiB. When they have gone on, malloc keeps their pages for later as long as anything
behind them lives, so a proxy that once held a hundred megabytes would look as if it still did. `malloc_trim` gives
back whole pages wherever they are. It takes half a millisecond for each megabyte, so it's done when little else is.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable

_GROWTH = 32 * 1024 * 1024
"""Bytes by which memory has to have grown since the last time."""
_QUIET = 0.1
"""The share of a processor that counts as doing little."""
_PAGE = os.sysconf("SC_PAGE_SIZE")


def resident_memory() -> int:
    """Bytes of this process that are in memory and its own."""
    with open("/proc/self/statm", "rb") as file:
        numbers = file.read().split()
    return (int(numbers[1]) - int(numbers[2])) * _PAGE


def trim_heap() -> None:
    """Give the system what malloc keeps; does nothing where the C library can't."""
    import ctypes  # needed by few processes, and by these seldom

    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


class HeapKeeper:
    """Trims the heap of a process when it's due; somebody calls `check` every few seconds."""

    def __init__(
        self,
        memory: Callable[[], int] = resident_memory,
        trim: Callable[[], None] = trim_heap,
        now: Callable[[], float] = time.monotonic,
        worked: Callable[[], float] = time.process_time,
    ) -> None:
        self._memory = memory
        self._trim = trim
        self._now = now
        self._worked = worked
        self._checked = now(), worked()
        self._usual = 0

    def check(self) -> None:
        """Has memory grown, and is there time?"""
        (then, worked_then), self._checked = self._checked, (self._now(), self._worked())
        busy = self._checked[1] - worked_then > _QUIET * (self._checked[0] - then)
        memory = self._memory()
        if not self._usual or memory < self._usual:
            self._usual = memory
        elif memory > self._usual + _GROWTH and not busy:
            self._trim()
            self._usual = self._memory()  # what is still there is in use
