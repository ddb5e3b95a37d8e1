"""Floods against the codec, the program and Envoy: each ends the connection or stays bounded, and others don't suffer.

The codec's part is exact. The program's is measured: how much its memory grew, and how long other connections waited
beside the attack. A shared machine disturbs times: the bound has a floor, and makes allowance for what the kernel says
that they waited for a CPU.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from .h2_floods import FLOODS, Flood
from .h2_rig import new_codec, serving
from .h2_wire import PREFACE, Seen, get, settings

BY_NAME = {flood.name: flood for flood in FLOODS}
READ = 65_536
#: Bytes.
MAX_GROWTH = 10 * 1024 * 1024
#: How much longer others may wait, and seconds that are the machine's fault: attacker, upstream and bystander are one
#: process beside the proxy, and other programs run, too.
MAX_FACTOR = 5
FLOOR = 1.0
SECONDS = 20.0


@pytest.mark.parametrize("name", BY_NAME)
def test_codec(name: str) -> None:
    flood = BY_NAME[name]
    codec, sink = new_codec()
    counts: list[str] = []
    sink.on_count = counts.append  # type: ignore[method-assign, assignment]  # only the counts matter
    sent = PREFACE + settings() + flood.send
    written = 0
    tracemalloc.start()
    try:
        if not flood.reads:
            codec.hold(True)
        for start in range(0, len(sent), READ):
            codec.receive(sent[start : start + READ])
            written += len(codec.take())
            while codec.unfinished:
                codec.resume()
                written += len(codec.take())
        grown, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    if flood.end == "closed":
        assert sink.error is not None
    if flood.counter:
        assert flood.counter in counts
    assert written <= 64 * 1024 + 2 * len(sent)
    assert grown < MAX_GROWTH


@dataclass
class Outcome:
    """growth: bytes of memory; before, during: seconds that a hundredth of the requests of others waited at least;
    starved: seconds of the attack in which the program or this process got no CPU.
    """

    closed: bool
    growth: int
    before: float
    during: float
    starved: float


def memory(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096


class Other:
    """A connection that does no harm: one request after another."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.waits: list[float] = []
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Other:
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
        self._writer.write(PREFACE + settings())
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._task is not None
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task
        self._writer.close()

    async def _run(self) -> None:
        seen = Seen()
        for sid in range(1, 2**31, 2):
            started = time.perf_counter()
            self._writer.write(get(sid, [("x-other", "1")]))
            while sid not in seen.ended:
                received = await self._reader.read(READ)
                assert received, "the connection of somebody else was closed"
                seen.feed(received)
            self.waits.append(time.perf_counter() - started)
            await asyncio.sleep(0.002)

    async def worst(self) -> float:
        """The 99th percentile, and a fresh start. What was under way all the time counts, so that is waited for."""
        deadline = time.perf_counter() + SECONDS
        while not self.waits and time.perf_counter() < deadline:
            await asyncio.sleep(0.005)
        waits, self.waits = sorted(self.waits), []
        return waits[min(len(waits) - 1, len(waits) * 99 // 100)] if waits else SECONDS


async def attack(port: int, flood: Flood) -> bool:
    """Send the flood; whether the server ended the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)

    async def read() -> None:
        while await reader.read(READ):
            pass

    closed = False
    reading = asyncio.create_task(read()) if flood.reads else None
    try:
        async with asyncio.timeout(SECONDS):
            sent = PREFACE + settings() + flood.send
            for start in range(0, len(sent), READ):
                writer.write(sent[start : start + READ])
                await writer.drain()
            if flood.end == "closed":
                await (reading or read())
                closed = True
            else:
                await asyncio.sleep(0.5)
                closed = reading is not None and reading.done()
    except (OSError, TimeoutError) as error:
        closed = not isinstance(error, TimeoutError)
    finally:
        if reading is not None:
            reading.cancel()
            with contextlib.suppress(asyncio.CancelledError, OSError):
                await reading
        writer.close()
    return closed


async def run(program: str) -> dict[str, Outcome]:
    outcomes = {}
    async with serving(program) as (port, subject), Other(port) as other:
        pid = subject.pid
        # Once through the most of them, so that what is built on first use isn't taken for growth.
        for flood in FLOODS:
            await attack(port, flood)
        await asyncio.sleep(0.5)
        for flood in FLOODS:
            await other.worst()
            await asyncio.sleep(0.3)
            before, start, starved = await other.worst(), memory(pid), subject.waiting.seconds()
            highest = start
            attacking = asyncio.create_task(attack(port, flood))
            while not attacking.done():
                await asyncio.wait([attacking], timeout=0.02)
                highest = max(highest, memory(pid))
            outcomes[flood.name] = Outcome(
                attacking.result(), highest - start, before, await other.worst(), subject.waiting.seconds() - starved
            )
    return outcomes


def outcomes_of(program: str) -> dict[str, Outcome]:
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, run(program)).result()


def test_program() -> None:
    wrong = []
    for name, outcome in outcomes_of("meshproxy").items():
        print(name, outcome)
        if BY_NAME[name].end == "closed" and not outcome.closed:
            wrong.append(f"{name}: still open")
        if outcome.growth > MAX_GROWTH:
            wrong.append(f"{name}: grew by {outcome.growth >> 10} KiB")
        if outcome.during > max(MAX_FACTOR * outcome.before, FLOOR) + outcome.starved:
            wrong.append(f"{name}: others waited {outcome.during * 1000:.1f} ms, {outcome.before * 1000:.1f} before")
    assert not wrong, "\n".join(wrong)


@pytest.mark.envoy
def test_envoy_ends_the_same_floods() -> None:
    outcomes = outcomes_of("envoy")
    for name, outcome in outcomes.items():
        print(name, outcome)
    open_still = {name for name, outcome in outcomes.items() if BY_NAME[name].end == "closed" and not outcome.closed}
    assert not open_still
