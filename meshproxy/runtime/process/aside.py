"""Work that takes long, beside the traffic: in a thread that gives way often.

Pages of thousands of clusters take seconds to write down. A thread does it while the loop goes on; they share the
interpreter in turns, and since a request needs several turns of the loop, the turns are made short meanwhile. What the
thread works on has to be its own, or never change: copies of tables, and messages that were accepted.

Nobody gives way inside of one operation, so long lists are worked on in parts (`meshproxy.in_parts`).
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

_TURN = 0.0005
_usual = sys.getswitchinterval()
_running = 0


async def aside(work: Callable[[], T]) -> T:
    """The result of `work`, which runs in a thread. Only for processes that don't fork."""
    global _running
    _running += 1
    if _running == 1:
        sys.setswitchinterval(_TURN)
    try:
        return await asyncio.to_thread(work)
    finally:
        _running -= 1
        if not _running:
            sys.setswitchinterval(_usual)
