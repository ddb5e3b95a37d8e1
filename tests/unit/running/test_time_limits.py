"""Time-outs of a loop that was held up: what had arrived by then is read first, and a late loop has time-outs still."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable
from typing import Any, cast

import pytest

from meshproxy.runtime.time_limit import GRACE, GRACES, LATE, TimeLimit
from meshproxy.runtime.timers import TimerWheel
from tests import uv


class FakeLoop:
    """A clock and what is to be called, which `advance` does as late as it is told."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.calls: list[tuple[float, Callable[..., None], tuple[Any, ...]]] = []

    def time(self) -> float:
        return self.now

    def call_later(self, delay: float, callback: Callable[..., None], *args: object) -> Handle:
        call = (self.now + delay, callback, args)
        self.calls.append(call)
        return Handle(self, call)

    def call_soon(self, callback: Callable[..., None], *args: object) -> Handle:
        return self.call_later(0.0, callback, *args)

    def advance(self, seconds: float) -> None:
        """Let time pass in which nothing runs, then run what is due until nothing is any more."""
        self.now += seconds
        while self.go_round():
            pass

    def go_round(self) -> bool:
        """One turn of the loop; whether anything was due."""
        due = [call for call in self.calls if call[0] <= self.now + 1e-9]
        self.calls = [call for call in self.calls if call not in due]
        for _, callback, args in due:
            callback(*args)
        return bool(due)


class Handle:
    def __init__(self, loop: FakeLoop, call: tuple[float, Callable[..., None], tuple[Any, ...]]) -> None:
        self.loop, self.call = loop, call

    def cancel(self) -> None:
        if self.call in self.loop.calls:
            self.loop.calls.remove(self.call)


def wheel(loop: FakeLoop) -> TimerWheel:
    return TimerWheel(cast(asyncio.AbstractEventLoop, loop))


@pytest.mark.parametrize("delay", [0.3, 2.0])
def test_a_timer_of_a_loop_that_was_held_up_waits_a_little(delay: float) -> None:
    loop, fired = FakeLoop(), list[float]()
    wheel(loop).schedule(delay, lambda: fired.append(loop.now))
    loop.advance(delay + 1)
    assert fired == []
    loop.advance(GRACE)
    assert fired == [loop.now]


@pytest.mark.parametrize("delay", [0.3, 2.0])
def test_a_timer_can_be_cancelled_by_what_is_read_meanwhile(delay: float) -> None:
    loop, fired = FakeLoop(), list[float]()
    timer = wheel(loop).schedule(delay, lambda: fired.append(loop.now))
    loop.advance(delay + 1)
    timer.cancel()
    for _ in range(10):
        loop.advance(1)
    assert fired == []


@pytest.mark.parametrize("delay", [0.3, 2.0])
def test_a_loop_that_is_held_up_again_still_reads_first(delay: float) -> None:
    loop, fired = FakeLoop(), list[float]()
    timer = wheel(loop).schedule(delay, lambda: fired.append(loop.now))
    loop.advance(delay + 1)
    loop.now += GRACE + LATE / 2  # not late enough for one grace more
    loop.go_round()
    loop.go_round()
    timer.cancel()
    for _ in range(10):
        loop.advance(1)
    assert fired == []


@pytest.mark.parametrize("delay", [0.3, 2.0])
def test_a_loop_that_is_always_late_has_timers(delay: float) -> None:
    loop, fired = FakeLoop(), list[float]()
    wheel(loop).schedule(delay, lambda: fired.append(loop.now))
    for _ in range(GRACES + 1):
        assert fired == []
        loop.advance(delay + 1)
    assert fired == [loop.now]


@pytest.mark.parametrize("delay", [0.3, 2.0])
def test_a_timer_of_a_loop_that_runs_is_in_time(delay: float) -> None:
    loop, fired = FakeLoop(), list[float]()
    wheel(loop).schedule(delay, lambda: fired.append(loop.now))
    while not fired:
        loop.advance(0.02)
    assert delay - 1e-6 <= fired[0] - 1000.0 <= delay + 0.1


@pytest.mark.parametrize("run", [asyncio.run, uv.run])
@pytest.mark.parametrize("limit", [0.01, 0.05])
@pytest.mark.parametrize("before", [0.0, 0.06])
def test_what_arrived_while_the_loop_was_held_up_is_in_time(
    run: Callable[[Any], bytes], limit: float, before: float
) -> None:
    async def receive() -> bytes:
        loop = asyncio.get_running_loop()
        ours, theirs = socket.socketpair()
        ours.setblocking(False)

        def held_up() -> None:
            time.sleep(0.2)
            theirs.send(b"x")

        with ours, theirs:
            loop.call_soon(held_up)
            async with TimeLimit(loop, limit):
                time.sleep(before)
                return await loop.sock_recv(ours, 1)

    assert run(receive()) == b"x"


async def test_a_time_limit_ends_what_does_not_come() -> None:
    with pytest.raises(TimeoutError):
        async with TimeLimit(asyncio.get_running_loop(), 0.01):
            await asyncio.get_running_loop().create_future()


async def test_a_time_limit_leaves_the_callers_cancellation_alone() -> None:
    async def work() -> None:
        async with TimeLimit(asyncio.get_running_loop(), 60):
            await asyncio.get_running_loop().create_future()

    task = asyncio.create_task(work())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_without_a_limit_no_timer_is_set() -> None:
    timers: list[object] = []
    loop = asyncio.get_running_loop()
    loop.call_later = lambda *args: timers.append(args)  # type: ignore[method-assign, assignment]  # this test's own loop
    async with TimeLimit(loop, None):
        await asyncio.sleep(0)
    assert timers == []
