"""Responses that wait for a client's window have a time to be taken in."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from meshproxy.runtime.downstream.http2_flushes import Http2Flushes


class Rig:
    """A worker whose clock is moved by hand, and a codec in which the streams of `waiting` wait."""

    def __init__(self) -> None:
        self.now = 0.0
        self.timers: list[Any] = []
        self.waiting = {1, 3, 5}
        self.ended: list[tuple[float, int]] = []
        self.loop = SimpleNamespace(time=lambda: self.now)
        self.open_streams = 0
        self.flushes = Http2Flushes(self, self)  # type: ignore[arg-type]  # as much of a worker and a codec as it asks

    def schedule(self, delay: float, callback: Any) -> Any:
        timer = SimpleNamespace(due=self.now + delay, callback=callback)
        timer.cancel = lambda: self.timers.remove(timer)
        self.timers.append(timer)
        return timer

    def is_flushing(self, sid: int) -> bool:
        return sid in self.waiting

    def end_flush(self, sid: int) -> None:
        self.waiting.discard(sid)
        self.ended.append((self.now, sid))

    def run(self) -> None:
        while self.timers:
            timer = min(self.timers, key=lambda each: float(each.due))
            self.timers.remove(timer)
            self.now = timer.due
            timer.callback()


def test_each_is_given_up_at_its_time() -> None:
    rig = Rig()
    rig.flushes.watch(1, 5.0)
    rig.flushes.watch(3, 2.0)
    rig.flushes.watch(5, 9.0)
    rig.run()
    assert rig.ended == [(2.0, 3), (5.0, 1), (9.0, 5)]


def test_one_that_was_taken_in_is_left_alone() -> None:
    rig = Rig()
    rig.flushes.watch(1, 5.0)
    rig.waiting.clear()
    rig.run()
    assert rig.ended == []


def test_nothing_is_given_up_once_the_connection_is_closed() -> None:
    rig = Rig()
    rig.flushes.watch(1, 5.0)
    rig.flushes.stop()
    assert not rig.timers
