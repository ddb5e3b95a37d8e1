"""Coroutines of tests on uvloop, the loop that the program runs on."""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import Coroutine
from typing import Any, TypeVar

import uvloop

T = TypeVar("T")


def run(main: Coroutine[Any, Any, T]) -> T:
    """As `asyncio.run`. What a failed test has left open is told of as a warning.

    As an error, which pytest makes of warnings, it would keep uvloop from closing that, and the loop's end would wait
    for it for ever.
    """
    runner = asyncio.Runner(loop_factory=uvloop.new_event_loop)
    try:
        return runner.run(main)
    finally:
        with warnings.catch_warnings():
            warnings.simplefilter("default", ResourceWarning)
            runner.close()
