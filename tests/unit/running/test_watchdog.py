"""A loop that hangs is counted, once for each hang, and the filter that holds it up is named."""

from __future__ import annotations

import asyncio
import ctypes
import random
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from meshproxy.model.watchdog import Watchdog
from meshproxy.plugin.http import HttpFilter
from meshproxy.runtime.process.blame import what_does
from meshproxy.runtime.process.watchdog import LoopWatch
from meshproxy.telemetry.stats import StatsStore


class Recorder:
    """A log."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, dict[str, Any]]] = []

    def warning(self, event: str, **fields: Any) -> None:
        self.lines.append((event, fields))

    debug = info = error = critical = warning


class Slow(HttpFilter[None]):
    """Its hook runs what it is given."""

    def on_request_headers(self, request: Any, stream: Any) -> None:
        _helper(request)


def _helper(work: Any) -> None:
    work()


class _Context:
    name = "slow"


class Hang:
    """What is counted and logged of a hook that hangs."""

    def __init__(self, config: Watchdog) -> None:
        stats, self.log = StatsStore(), Recorder()
        names = ["workers", "server.worker_7"]
        self.watch = LoopWatch(asyncio.get_running_loop(), config, stats, names, self.log, random.Random(1))
        kinds = ["watchdog_miss", "watchdog_mega_miss"]
        self._counters = [stats.counter(f"{name}.{kind}") for kind in kinds for name in names]

    def counted(self) -> list[int]:
        return [counter.value for counter in self._counters]

    def told(self) -> bool:
        return bool(self.log.lines) and all(self.counted())


async def _watched(work: Callable[[Hang], object], config: Watchdog) -> Hang:
    """A filter's hook does `work`."""
    hang = Hang(config)
    with hang.watch.watching():
        Slow(None, _Context()).on_request_headers(lambda: work(hang), None)  # type: ignore[arg-type]  # all that is asked
        async with asyncio.timeout(10):
            while hang.watch.in_a_hang:
                await asyncio.sleep(0.01)
    return hang


def _until(done: Callable[[], object]) -> None:
    end = time.monotonic() + 10
    while not done() and time.monotonic() < end:
        time.sleep(0.01)


async def test_a_hook_that_blocks_is_counted_once_and_named() -> None:
    within: list[int] = []

    def block(hang: Hang) -> None:
        _until(hang.told)
        time.sleep(0.1)  # three times what a miss takes
        within.extend(hang.counted())

    hang = await _watched(block, Watchdog(0.03, 0.1))
    assert within == [1, 1, 1, 1]
    event, fields = hang.log.lines[0]
    assert "blocks the event loop" in event
    assert fields["filter"] == "slow"
    assert fields["hook"] == "Slow.on_request_headers"
    assert fields["thread"] == "worker_7"
    assert "in _until" in fields["stack"]
    assert "the event loop goes on" in [event for event, _ in hang.log.lines]


async def test_a_hook_that_keeps_the_interpreter_is_found_when_it_lets_go() -> None:
    held = ctypes.PyDLL(None).usleep  # unlike CDLL, it doesn't let other threads run meanwhile
    hang = await _watched(lambda _: held(300_000), Watchdog(0.05, 0.1))
    assert min(hang.counted()) >= 1
    assert hang.log.lines[0][1]["hook"] == "Slow.on_request_headers"


async def test_a_loop_that_works_on_is_left_alone() -> None:
    hang = await _watched(lambda _: None, Watchdog(5.0, 9.0))
    assert hang.counted() == [0, 0, 0, 0]
    assert hang.log.lines == []


async def test_without_a_filter_only_a_long_hang_is_told() -> None:
    stats, log = StatsStore(), Recorder()
    loop = asyncio.get_running_loop()
    with LoopWatch(loop, Watchdog(0.03, 0.06), stats, ["main_thread"], log, random.Random(1)).watching():
        _until(lambda: stats.counter("main_thread.watchdog_mega_miss").value)
        _until(lambda: log.lines)
    assert log.lines[0][0] == "the event loop hangs"


async def test_the_thread_ends_when_it_is_told_to() -> None:
    before = threading.active_count()
    loop = asyncio.get_running_loop()
    watch = LoopWatch(loop, Watchdog(), StatsStore(), ["main_thread"], Recorder(), random.Random(1))
    with watch.watching():
        assert threading.active_count() == before + 1
    assert threading.active_count() == before


def test_a_thread_that_is_gone_does_nothing() -> None:
    assert what_does(1).stack == ""


@pytest.mark.parametrize("kill", [0.0, 2.0])
def test_the_stricter_of_two(kill: float) -> None:
    together = Watchdog(0.2, 1.0, 3.0, 0.5).strictest(Watchdog(0.3, 0.8, kill, 0.1))
    assert together == (Watchdog(0.2, 0.8, 2.0, 0.1) if kill else Watchdog(0.2, 0.8, 3.0, 0.5))
