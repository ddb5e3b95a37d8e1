"""Hooks that wait, and what is cancelled before their task has made a step of its own."""

from __future__ import annotations

import asyncio
from typing import Any

from meshproxy.runtime.downstream.hooks import HookCancelled, Suspended, run_hook


class Kept:
    def __init__(self) -> None:
        self.tasks: list[asyncio.Task[Any]] = []

    def keep(self, task: asyncio.Task[Any]) -> None:
        self.tasks.append(task)


async def ended(hook: Any, *, cancel: bool = False) -> tuple[Any, Any]:
    """What a hook that waits comes to."""
    loop = asyncio.get_running_loop()
    result: asyncio.Future[tuple[Any, Any]] = loop.create_future()
    kept = Kept()
    outcome = run_hook(loop, hook, kept)
    assert isinstance(outcome, Suspended)
    outcome.then(lambda value, error: result.set_result((value, error)))
    if cancel:
        kept.tasks[0].cancel()
    return await asyncio.wait_for(result, 5)


async def test_a_timeout_that_is_over_at_once_is_the_hooks_own() -> None:
    async def hook() -> str:
        try:
            async with asyncio.timeout(0):
                await asyncio.get_running_loop().create_future()
        except TimeoutError:
            return "in time"
        return "never"

    assert await ended(hook()) == ("in time", None)


async def test_a_timeout_with_what_it_waits_for_done_already() -> None:
    async def hook() -> str:
        future = asyncio.get_running_loop().create_future()
        future.get_loop().call_soon(future.set_result, "answer")
        try:
            async with asyncio.timeout(0):
                return await future
        except TimeoutError:
            await asyncio.sleep(0)
            return "in time"

    assert await ended(hook()) == ("in time", None)


async def test_a_cancelled_hook_cleans_up() -> None:
    done: list[str] = []

    async def hook() -> None:
        try:
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            done.append("told")
            raise
        finally:
            done.append("cleaned")

    value, error = await ended(hook(), cancel=True)
    assert value is None
    assert isinstance(error, HookCancelled)
    assert done == ["told", "cleaned"]
