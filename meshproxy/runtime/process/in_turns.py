"""Steps (`meshproxy.steps`) taken by a loop that carries traffic: a millisecond or two, then a turn for all else."""

from __future__ import annotations

import asyncio
import time
from typing import TypeVar

from meshproxy.steps import Steps

T = TypeVar("T")

_TURN_S = 0.002


async def in_turns(steps: Steps[T]) -> T:
    """What comes of the steps."""
    while True:
        until = time.monotonic() + _TURN_S
        try:
            while time.monotonic() < until:
                next(steps)
        except StopIteration as end:
            result: T = end.value
            return result
        await asyncio.sleep(0)
