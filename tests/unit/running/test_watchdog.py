"""A loop that hangs is counted, once for each hang, and the filter that holds it up is named."""

from __future__ import annotations

import asyncio
import ctypes
import random
import threading
import time
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


async def _watched(work: Any, *, miss: float = 0.03, megamiss: float = 30.0) -> tuple[list[int], Recorder]:
    """The misses and mega misses that were counted, and what was logged, when a filter's hook does `work`."""
    stats, log = StatsStore(), Recorder()
    loop = asyncio.get_running_loop()
    watch = LoopWatch(loop, Watchdog(miss, megamiss), stats, ["workers", "server.worker_7"], log, random.Random(1))
    names = ["workers.watchdog_miss", "server.worker_7.watchdog_miss", "workers.watchdog_mega_miss"]
    counters = [stats.counter(name) for name in names]
    with watch.watching():
        hook = Slow(None, _Context()).on_request_headers  # type: ignore[arg-type]  # all that is asked of a context
        expected = counters if megamiss < 1 else counters[:2]
        hook(lambda: work(lambda: log.lines and all(counter.value for counter in expected)), None)
        async with asyncio.timeout(10):
            while watch.in_a_hang:
                await asyncio.sleep(0.01)
    return [counter.value for counter in counters], log


def _until(done: Any) -> None:
    end = time.monotonic() + 10
    while not done() and time.monotonic() < end:
        time.sleep(0.01)


async def test_a_hook_that_blocks_is_counted_once_and_named() -> None:
    counted, log = await _watched(_until, megamiss=0.1)
    assert counted == [1, 1, 1]
    (first, fields), *_ = log.lines
    assert "blocks the event loop" in first
    assert fields["filter"] == "slow"
    assert fields["hook"] == "Slow.on_request_headers"
    assert fields["thread"] == "worker_7"
    assert "in _until" in fields["stack"]
    assert log.lines[-1][0] == "the event loop goes on"


async def test_a_hook_that_keeps_the_interpreter_is_found_when_it_lets_go() -> None:
    held = ctypes.PyDLL(None).usleep  # unlike CDLL, it doesn't let other threads run meanwhile
    counted, log = await _watched(lambda _: held(300_000), miss=0.05, megamiss=0.1)
    assert counted == [1, 1, 1]
    assert log.lines[0][1]["hook"] == "Slow.on_request_headers"


async def test_a_loop_that_works_on_is_left_alone() -> None:
    counted, log = await _watched(lambda _: None, miss=5.0)
    assert counted == [0, 0, 0]
    assert log.lines == []


async def test_without_a_filter_only_a_long_hang_is_told() -> None:
    stats, log = StatsStore(), Recorder()
    loop = asyncio.get_running_loop()
    with LoopWatch(loop, Watchdog(0.03, 0.06), stats, ["main_thread"], log, random.Random(1)).watching():
        _until(lambda: stats.counter("main_thread.watchdog_mega_miss").value)
        _until(lambda: log.lines)
    assert [line[0] for line in log.lines] == ["the event loop hangs"]


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
