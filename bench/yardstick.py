"""How fast this machine is just now: a fixed piece of interpreter work, to hold beside figures of different hours."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable

_TABLE = {str(i): i for i in range(20)}
_KEYS = list(_TABLE)


def yardstick(repeats: int = 4000) -> float:
    """Microseconds of CPU that twenty look-ups in a dict take, with the sum of what is found."""
    table, total = _TABLE, 0
    began = time.process_time()
    for _ in range(repeats):
        for key in _KEYS:
            total += table[key]
    return (time.process_time() - began) / repeats * 1e6


def print_fastest(cases: dict[str, Callable[[], None]], messages: int, rounds: int) -> None:
    """Time each case, in turn, and print the fastest of its rounds in microseconds per message, with the yardstick's.

    messages: how many a case is made of. A shared machine only ever adds to a time, hence the fastest.
    """
    gc.freeze()
    gc.set_threshold(50_000)
    best = dict.fromkeys(cases, float("inf"))
    scale = float("inf")
    for _ in range(rounds):
        for name, run in cases.items():
            began = time.perf_counter()
            run()
            best[name] = min(best[name], time.perf_counter() - began)
        scale = min(scale, yardstick(messages))
    for name, seconds in best.items():
        print(f"{name:32} {seconds / messages * 1e6:6.2f} us")
    print(f"{'yardstick':32} {scale:6.2f} us")
