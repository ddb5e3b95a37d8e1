"""Waiting on the loop, for hooks."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable


def sleep(loop: asyncio.AbstractEventLoop, seconds: float) -> Awaitable[None]:
    """Something to await that is ready after `seconds`."""
    future: asyncio.Future[None] = loop.create_future()
    handle = loop.call_later(max(seconds, 0.0), _wake, future)
    future.add_done_callback(lambda _: handle.cancel())
    return future


def _wake(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
