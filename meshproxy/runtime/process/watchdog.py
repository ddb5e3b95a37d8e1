"""Sees that an event loop hangs, counts it as Envoy's watchdog does, and says which filter holds it up.

One loop serves every connection of a worker, so a hook that blocks (a plain `time.sleep`, a driver that isn't async, a
calculation) makes all of them wait, and nothing of that shows in the statistics of the request that did it. A thread
beside the loop asks it every now and then to answer, and looks at its stack when it doesn't.

Nothing of this is on the way of a request: the loop pays for a few empty callbacks a second. While a hook keeps the
interpreter to itself (one long regular expression), the thread can't look either, but it gets its turn as soon as the
call returns, and still finds the hook on the stack.

A hang is counted once, as `watchdog_miss`, and once more as `watchdog_mega_miss` when it lasts. It is measured from
when the loop was asked, or should have been, so what is said of its length is never too much.
"""

from __future__ import annotations

import os
import random
import threading
import time
from asyncio import AbstractEventLoop
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from operator import itemgetter
from pathlib import Path

from meshproxy.model.watchdog import Watchdog
from meshproxy.plugin.context import Logger
from meshproxy.runtime.process.blame import Doing, what_does
from meshproxy.telemetry.stats import Counter, StatsStore

_SHORTEST = 0.01
_LOOK_AGAIN = 0.02


class LoopWatch:
    """Watches the loop of the thread that calls `start`.

    names: whose loop it is, as in the names of statistics: `workers` and `server.worker_0`. rng: draws the jitter.
    in_a_hang: the loop hangs, or its last hang is still being told of.
    """

    def __init__(
        self,
        loop: AbstractEventLoop,
        config: Watchdog,
        stats: StatsStore,
        names: Sequence[str],
        log: Logger,
        rng: random.Random,
    ) -> None:
        self._loop = loop
        self._log = log
        self._name = names[-1].rpartition(".")[2]
        misses = [stats.counter(f"{name}.watchdog_miss") for name in names]
        self._mega_misses = [stats.counter(f"{name}.watchdog_mega_miss") for name in names]
        steps: list[tuple[float, list[Counter]]] = [(config.miss, misses), (config.megamiss, self._mega_misses)]
        if config.kill:
            steps.append((config.kill + rng.uniform(0.0, config.kill_jitter), []))
        self._steps = sorted(steps, key=itemgetter(0))
        self._patience = max(self._steps[0][0], _SHORTEST)
        self._answered = threading.Event()
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None
        self.in_a_hang = False

    def start(self) -> None:
        """Begin to watch."""
        watched = threading.get_ident(), threading.get_native_id()
        self._stopped.clear()
        self._thread = threading.Thread(target=self._watch, args=watched, name=f"watchdog of {self._name}", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End watching; the thread is gone then."""
        thread, self._thread = self._thread, None
        if thread is not None:
            self._stopped.set()
            self._answered.set()
            thread.join()

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Watch meanwhile."""
        self.start()
        try:
            yield
        finally:
            self.stop()

    # In the thread.

    def _watch(self, thread: int, native: int) -> None:
        rest = self._patience / 2
        asked = 0.0
        self._answered.set()
        while True:
            due = time.monotonic() + rest
            if self._stopped.wait(rest):
                return
            now = time.monotonic()
            doing = what_does(thread) if now - due > self._patience else None  # why do we come so late?
            if self._answered.is_set():
                kept_away = doing is not None and doing.filter != ""
                asked = due if kept_away else now
                self._answered.clear()
                try:
                    self._loop.call_soon_threadsafe(self._answered.set)
                except RuntimeError:
                    return  # the loop is closed
                if not kept_away:
                    continue
            if now - asked >= self._patience:
                self.in_a_hang = True
                self._see_out(asked, thread, native, doing)
                self.in_a_hang = False

    def _see_out(self, asked: float, thread: int, native: int, doing: Doing | None) -> None:
        """A hang, to its end. doing: what the thread was seen to do, if it was looked at."""
        warned = False
        for after, counters in self._steps:
            self._answered.wait(max(asked + after - time.monotonic(), 0.0))
            if time.monotonic() - asked < after:
                break
            doing = doing or what_does(thread)
            for counter in counters:
                counter.inc()
            if not counters:
                self._kill(asked, doing)
            warned = warned or self._warn(asked, doing, native, long=counters is self._mega_misses)
            doing = None
        while not self._answered.wait(self._patience):
            warned = warned or self._warn(asked, what_does(thread), native, long=True)
        if warned and not self._stopped.is_set():
            seconds = round(time.monotonic() - asked, 3)
            self._log.warning("the event loop goes on", thread=self._name, blocked_for_seconds=seconds)

    def _warn(self, asked: float, doing: Doing, native: int, *, long: bool) -> bool:
        """Tell of a hang, if a filter is to blame, or if it is a long one. Returns whether that was done."""
        if not (doing.filter or long) or self._starved(native):
            return False
        seconds = round(time.monotonic() - asked, 3)
        if doing.filter:
            self._log.warning(
                "a filter blocks the event loop, and all connections of this worker wait",
                filter=doing.filter,
                hook=doing.hook,
                thread=self._name,
                for_seconds=seconds,
                stack=doing.stack,
            )
        else:
            self._log.warning("the event loop hangs", thread=self._name, for_seconds=seconds, stack=doing.stack)
        return True

    def _kill(self, asked: float, doing: Doing) -> None:
        self._log.error(
            "the event loop hangs for longer than kill_timeout: aborting",
            filter=doing.filter,
            thread=self._name,
            for_seconds=round(time.monotonic() - asked, 3),
            stack=doing.stack,
        )
        os.abort()

    def _starved(self, native: int) -> bool:
        """Whether the thread would go on but isn't given a processor: the machine is busy, no filter is to blame."""
        before = _waited_for_processor(native)
        answered = self._answered.wait(_LOOK_AGAIN)
        return not answered and _waited_for_processor(native) - before > _LOOK_AGAIN / 2


def _waited_for_processor(native: int) -> float:
    """Seconds that a thread of ours was ready to run and didn't (`schedstat` in proc(5)); 0 where nobody keeps that."""
    try:
        return int(Path(f"/proc/self/task/{native}/schedstat").read_text().split()[1]) / 1e9
    except (OSError, IndexError):
        return 0.0
