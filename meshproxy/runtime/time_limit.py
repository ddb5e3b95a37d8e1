"""Time limits that forgive a loop that was held up.

When the process gets no CPU for a while (a cgroup's quota is used up, a neighbour is busy) answers arrive in the kernel
and time-outs pass alike. The loop calls its timers before it looks at its sockets, so each such time-out would hit
somebody whose answer is there already. Envoy's loop looks at the sockets first.

Hence a time-out that is due lets the loop go round first, so that what is there is read. One that comes much later than
it was due gives the loop a little more time besides: peers were held up as well. It does so a few times at most: a loop
that is always late still has time-outs.
"""

from __future__ import annotations

import asyncio
from types import TracebackType

LATE = 0.1
"""Seconds behind which a timer says that the loop was held up."""

GRACE = 0.01
"""Seconds for reading what is there."""

GRACES = 5

TURNS = 3
"""How often the loop goes round first: to look at its sockets, to wake the tasks that waited for them, to run these."""


class TimeLimit:
    """`async with TimeLimit(loop, 2.0)`: as `asyncio.timeout`. Raises TimeoutError. seconds: None for no limit."""

    __slots__ = ("_cancelling", "_due", "_graces", "_handle", "_loop", "_over", "_seconds", "_task", "_turns")

    def __init__(self, loop: asyncio.AbstractEventLoop, seconds: float | None) -> None:
        self._loop = loop
        self._seconds = seconds
        self._handle: asyncio.Handle | None = None
        self._over = False
        self._graces = GRACES
        self._turns = TURNS

    async def __aenter__(self) -> None:
        if self._seconds is None:
            return
        task = asyncio.current_task()
        assert task is not None
        self._task = task
        self._cancelling = task.cancelling()
        self._due = self._loop.time() + self._seconds
        self._handle = self._loop.call_later(max(self._seconds, 0.0), self._pass)

    def _pass(self) -> None:
        now = self._loop.time()
        if now - self._due > LATE and self._graces:
            self._graces -= 1
            self._due = now + GRACE
            self._handle = self._loop.call_later(GRACE, self._pass)
            return
        if self._turns:
            self._turns -= 1
            self._handle = self._loop.call_soon(self._pass)
            return
        self._over = True
        self._task.cancel()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._handle is not None:
            self._handle.cancel()
        if self._over and self._task.uncancel() <= self._cancelling and kind is asyncio.CancelledError:
            raise TimeoutError from error
