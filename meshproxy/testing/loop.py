"""An event loop without time and without sockets: it runs what is ready, and time passes only when a test says so.

It has what tasks, futures, `asyncio.sleep` and `asyncio.timeout` need, and nothing that waits. A test calls the harness
as ordinary functions; each call enters the loop, runs it until nothing is ready, and leaves it again, so that the
same test may itself be `async`. What a callback raised is raised to the test, not logged away.
"""

from __future__ import annotations

import asyncio
import heapq
from collections import deque
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from contextvars import Context
from typing import Any, TypeVarTuple

from meshproxy.clock import FakeClock

_MANY = 1_000_000
_Ts = TypeVarTuple("_Ts")


class SteppedLoop(asyncio.AbstractEventLoop):
    """The loop of one harness."""

    def __init__(self, clock: FakeClock) -> None:
        self._clock = clock
        self._ready: deque[asyncio.Handle] = deque()
        self._timers: list[tuple[float, int, asyncio.TimerHandle]] = []
        self._made = 0
        self._faults: list[BaseException] = []

    # What tests call, through the harness.

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Run a block inside the loop, then what has become ready. Raises what a callback raised."""
        outer = asyncio._get_running_loop()
        asyncio._set_running_loop(self)
        try:
            yield
            self._run_until(self._clock.now())
        finally:
            asyncio._set_running_loop(outer)
        if self._faults:
            raise self._faults.pop(0)

    def advance(self, seconds: float) -> None:
        """Let time pass, timer by timer."""
        target = self._clock.now() + seconds
        with self.entered():
            self._run_until(target)
            self._clock.advance(max(target - self._clock.now(), 0.0))

    def _run_until(self, target: float) -> None:
        """Run what is ready, and timer by timer what falls due up to `target`."""
        self._run_ready()
        while self._timers and self._timers[0][0] <= target:
            due, _, handle = heapq.heappop(self._timers)
            if not handle.cancelled():
                self._clock.advance(max(due - self._clock.now(), 0.0))
                self._ready.append(handle)
                self._run_ready()

    def _run_ready(self) -> None:
        for _ in range(_MANY):
            if not self._ready:
                return
            handle = self._ready.popleft()
            if not handle.cancelled():
                handle._run()
        raise RuntimeError("the loop never comes to rest: something schedules itself again and again")

    # What asyncio asks of a loop.

    def time(self) -> float:
        return self._clock.now()

    def call_soon(
        self, callback: Callable[[*_Ts], object], *args: *_Ts, context: Context | None = None
    ) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, self, context)
        self._ready.append(handle)
        return handle

    def call_soon_threadsafe(
        self, callback: Callable[[*_Ts], object], *args: *_Ts, context: Context | None = None
    ) -> asyncio.Handle:
        return self.call_soon(callback, *args, context=context)

    def call_later(
        self, delay: float, callback: Callable[[*_Ts], object], *args: *_Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        return self.call_at(self.time() + delay, callback, *args, context=context)

    def call_at(
        self, when: float, callback: Callable[[*_Ts], object], *args: *_Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        handle = asyncio.TimerHandle(when, callback, args, self, context)
        self._made += 1
        heapq.heappush(self._timers, (when, self._made, handle))
        return handle

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """Part of the contract between a TimerHandle and its loop; cancelled timers are skipped when they are due."""

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self)

    def create_task(self, coro: Coroutine[Any, Any, Any], **options: Any) -> asyncio.Task[Any]:  # type: ignore[override]  # its types differ from version to version
        return asyncio.Task(coro, loop=self, **options)

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        self._faults.append(context.get("exception") or RuntimeError(context.get("message", "a callback failed")))

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return True

    def is_closed(self) -> bool:
        return False


class SteppedClock(FakeClock):
    """A clock that stands still; `advance` lets time pass and runs what falls due in it."""

    def __init__(self) -> None:
        super().__init__()
        self._time = FakeClock()
        self.loop = SteppedLoop(self._time)  # type: ignore[abstract]  # what it leaves out needs sockets or threads

    def now(self) -> float:
        return self._time.now()

    def wall(self) -> float:
        return self._time.wall()

    def advance(self, seconds: float) -> None:
        """Let `seconds` pass: timers fire in their order, and hooks that waited for them go on."""
        self.loop.advance(seconds)
