"""Memory that a burst leaves behind goes back to the system.

Bodies that wait are pieces of 16 KiB. When they have gone on, malloc keeps their pages for later as long as anything
behind them lives, so a proxy that once held a hundred megabytes would look as if it still did. `malloc_trim` gives
back whole pages wherever they are. It takes half a millisecond for each megabyte, so it's done when little else is.

Until then malloc is to keep what it has. By itself it gives the end of the heap back whenever half a megabyte of it is
free, which large bodies make it do with nearly every read: the kernel then clears the same pages again and again, and
that was a third to a half of what a mebibyte over HTTP/2 cost in the kernel.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable

_GROWTH = 32 * 1024 * 1024
"""Bytes by which memory has to have grown since the last time."""
_BODIES = 4 * 1024 * 1024
"""Growth in bytes that shows that there is traffic worth it: few processes need `ctypes`, which takes a megabyte."""
_KEPT = 16 * 1024 * 1024
_MAPPED = 4 * 1024 * 1024
"""Bytes that malloc keeps free at the heap's end, and from which on an object has pages of its own."""
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
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
    import ctypes  # needed by few processes

    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def keep_heap() -> None:
    """Have malloc keep up to `_KEPT` bytes that are free; does nothing where the C library can't (mallopt(3))."""
    import ctypes  # the same

    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_TRIM_THRESHOLD, _KEPT)
        mallopt(_M_MMAP_THRESHOLD, _MAPPED)  # or else it would stay where it is now, as low as 128 KiB


class HeapKeeper:
    """Trims the heap of a process when it's due; somebody calls `check` every few seconds."""

    def __init__(
        self,
        memory: Callable[[], int] = resident_memory,
        trim: Callable[[], None] = trim_heap,
        keep: Callable[[], None] = keep_heap,
        now: Callable[[], float] = time.monotonic,
        worked: Callable[[], float] = time.process_time,
    ) -> None:
        self._memory = memory
        self._trim = trim
        self._keep: Callable[[], None] | None = keep
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
        if self._keep is not None and memory > self._usual + _BODIES:
            self._keep()
            self._keep = None
        if memory > self._usual + _GROWTH and not busy:
            self._trim()
            self._usual = self._memory()  # what is still there is in use
