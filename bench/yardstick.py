"""How fast this machine is just now: a fixed piece of interpreter work, to hold beside figures of different hours."""

from __future__ import annotations

import time

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
