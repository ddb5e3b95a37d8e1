"""Timers by the thousand: a wheel of 50 ms buckets that one timer of the loop turns.

Nearly every timer of a proxy is a time-out that is cancelled before it fires, so arming and cancelling must be cheap
and firing may be late. A timer of a second or more goes into a bucket (a dict, so that cancelling is one deletion) and
fires up to 50 ms late. A shorter one is armed with the loop, to the millisecond.

Invariants: the wheel turns only while something is in it; an idle proxy isn't woken. When the loop was held up nothing
fires before what came meanwhile has been read (see `time_limit`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from meshproxy.plugin.context import Timer
from meshproxy.runtime.time_limit import GRACE, GRACES, LATE, TURNS

TICK = 0.05
COARSE_FROM = 1.0
LATE_TICKS = int(LATE / TICK) + 1


class CoarseTimer:
    """A timer in a bucket of the wheel."""

    __slots__ = ("_bucket", "_callback")

    def __init__(self, bucket: dict[CoarseTimer, None], callback: Callable[[], None]) -> None:
        self._bucket = bucket
        self._callback = callback
        bucket[self] = None

    def cancel(self) -> None:
        self._bucket.pop(self, None)

    def fire(self) -> None:
        self._callback()


class ShortTimer:
    """A timer of the loop."""

    __slots__ = ("_callback", "_due", "_graces", "_handle", "_loop", "_turns")

    def __init__(self, loop: asyncio.AbstractEventLoop, delay: float, callback: Callable[[], None]) -> None:
        self._loop = loop
        self._callback = callback
        self._due = loop.time() + delay
        self._graces = GRACES
        self._turns = TURNS
        self._handle: asyncio.Handle = loop.call_later(delay, self._fire)

    def cancel(self) -> None:
        self._handle.cancel()

    def _fire(self) -> None:
        now = self._loop.time()
        if now - self._due > LATE and self._graces:
            self._graces -= 1
            self._due = now + GRACE
            self._handle = self._loop.call_later(GRACE, self._fire)
        elif self._turns:
            self._turns -= 1
            self._handle = self._loop.call_soon(self._fire)
        else:
            self._callback()


class TimerWheel:
    """The timers of one event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._now = loop.time
        self._buckets: dict[int, dict[CoarseTimer, None]] = {}
        self._next = 0
        self._armed = 0
        self._turning = False
        self._graces = GRACES
        self._turns = 0

    def schedule(self, delay: float, callback: Callable[[], None]) -> Timer:
        """Call back after `delay` seconds."""
        if delay < COARSE_FROM:
            return ShortTimer(self._loop, delay, callback) if delay > 0.0 else self._loop.call_later(0.0, callback)
        index = int((self._now() + delay) / TICK) + 1
        bucket = self._buckets.get(index)
        if bucket is None:
            bucket = self._buckets[index] = {}
            if not self._turning:
                self._turning = True
                self._next = self._armed = int(self._now() / TICK)
                self._loop.call_later(TICK, self._turn)
        return CoarseTimer(bucket, callback)

    def _turn(self) -> None:
        now = int(self._now() / TICK)
        if now - self._armed > LATE_TICKS and self._graces:
            self._graces -= 1
            self._armed = now
            self._turns = TURNS
            self._loop.call_later(GRACE, self._turn)
            return
        if self._turns:
            self._turns -= 1
            self._loop.call_soon(self._turn)
            return
        self._graces = GRACES
        self._armed = now
        buckets = self._buckets
        if now - self._next > len(buckets):
            due = sorted(index for index in buckets if index <= now)
        else:
            due = [index for index in range(self._next, now + 1) if index in buckets]
        self._next = now + 1
        # The wheel must turn on whatever a callback does, so it is armed first.
        for index in due:
            bucket = buckets.pop(index)
            while bucket:
                timer, _ = bucket.popitem()
                try:
                    timer.fire()
                except Exception as error:  # one owner's fault must not stop the timers of all others
                    self._loop.call_exception_handler({"message": "timer callback failed", "exception": error})
        if buckets:
            self._loop.call_later(TICK, self._turn)
        else:
            self._turning = False
