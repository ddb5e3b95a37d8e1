"""Memory that a burst has left behind is given back once, and when there is time for it."""

from __future__ import annotations

import subprocess
import sys

from meshproxy.runtime.process.heap import HeapKeeper, resident_memory

MEGABYTE = 1024 * 1024


class Process:
    """A process whose memory and time are what the test says."""

    def __init__(self) -> None:
        self.memory = 50
        self.live = 50
        self.now = self.worked = 0.0
        self.trimmed = self.kept = 0
        self.keeper = HeapKeeper(
            lambda: self.memory * MEGABYTE, self.trim, self.keep, lambda: self.now, lambda: self.worked
        )

    def trim(self) -> None:
        self.trimmed += 1
        self.memory = self.live

    def keep(self) -> None:
        self.kept += 1

    def interval(self, *, memory: int, worked: float = 0.01) -> int:
        """Five seconds more; how often the heap has been trimmed so far."""
        self.now += 5
        self.worked += worked
        self.memory = memory
        self.keeper.check()
        return self.trimmed


def test_growth_is_given_back_when_it_is_quiet() -> None:
    process = Process()
    assert process.interval(memory=50) == 0
    assert process.interval(memory=75) == 0
    assert process.interval(memory=150, worked=3.0) == 0
    assert process.interval(memory=150) == 1
    assert process.memory == 50
    assert process.interval(memory=80) == 1


def test_malloc_keeps_its_memory_once_bodies_pass() -> None:
    process = Process()
    for memory in (50, 53, 51):
        process.interval(memory=memory)
        assert process.kept == 0
    for memory in (58, 51, 60):
        process.interval(memory=memory)
        assert process.kept == 1


ASK = """
from meshproxy.runtime.process.heap import keep_heap, resident_memory, trim_heap
MEGABYTE = 1024 * 1024
keep_heap()
before = resident_memory()
pieces = [b"x" * (256 * 1024) for _ in range(40)]
pieces.clear()
assert resident_memory() > before + 8 * MEGABYTE
trim_heap()
assert resident_memory() < before + 4 * MEGABYTE
"""


def test_the_c_library_does_it() -> None:
    subprocess.run([sys.executable, "-c", ASK], check=True)


def test_what_is_in_use_is_not_looked_at_again_and_again() -> None:
    process = Process()
    process.interval(memory=50)
    process.live = 140
    assert process.interval(memory=150) == 1
    assert process.interval(memory=170) == 1
    process.live = 60
    assert process.interval(memory=180) == 2
    assert process.interval(memory=30) == 2
    assert process.interval(memory=70) == 3


def test_pages_between_pieces_that_live_go_back() -> None:
    keeper = HeapKeeper(worked=lambda: 0.0)
    keeper.check()
    before = resident_memory()
    pieces = [bytes(bytearray(16_384)) for _ in range(6_000)]
    del pieces[:-1]
    kept = resident_memory() - before
    keeper.check()
    assert kept < 32 * MEGABYTE or resident_memory() < before + kept / 4
