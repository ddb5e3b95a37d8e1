"""Running `async` hooks without paying for a task that isn't needed.

Most `async def` hooks return without ever waiting (a cache hit, a rule that settles it). Such a hook is run to its
end right here. Only one that suspends becomes an `asyncio.Task`, so that everything written for tasks (time-outs,
task groups, cancellation) works in it.

From Python 3.12 on asyncio has just that: eager tasks. On 3.11 the first step is made by hand, under a stand-in for
the current task, which hands `cancel` and its relatives on to the real task once there is one; `asyncio.timeout()`
entered in the first step keeps working that way.
"""

from __future__ import annotations

import asyncio
import sys
import types
from collections.abc import Awaitable, Callable, Coroutine, Generator
from typing import Any, Protocol

from meshproxy.chain.http_response import PENDING

__all__ = ["PENDING", "HookCancelled", "Keeper", "Resume", "run_hook"]

Resume = Callable[..., None]
"""Called as `resume(*args, value, error)`."""


class Keeper(Protocol):
    """Told of the task of a hook that suspended, so that it can be cancelled when nobody wants its result any more."""

    def keep(self, task: asyncio.Task[Any]) -> None: ...


_Coroutine = types.CoroutineType


class HookCancelled(Exception):
    """What a hook waited for was cancelled: a fault like any other, where CancelledError would end our caller."""


async def _as_coroutine(awaitable: Awaitable[Any]) -> Any:
    return await awaitable


def _watch(task: asyncio.Task[Any], resume: Resume, args: tuple[Any, ...], keeper: Keeper | None) -> Any:
    def finished(task: asyncio.Task[Any]) -> None:
        if task.cancelled():
            resume(*args, None, HookCancelled())
            return
        error = task.exception()
        resume(*args, None if error else task.result(), error)

    task.add_done_callback(finished)
    if keeper is not None:
        keeper.keep(task)
    return PENDING


if sys.version_info >= (3, 12):

    def run_hook(
        loop: asyncio.AbstractEventLoop,
        hook: Awaitable[Any],
        resume: Resume,
        args: tuple[Any, ...] = (),
        keeper: Keeper | None = None,
    ) -> Any:
        """Run `hook` as far as it goes. Returns its value, or PENDING; then `resume(*args, value, error)` follows."""
        coroutine = hook if type(hook) is _Coroutine else _as_coroutine(hook)
        task: asyncio.Task[Any] = asyncio.Task(coroutine, loop=loop, eager_start=True)
        if not task.done():
            return _watch(task, resume, args, keeper)
        if task.cancelled():
            raise HookCancelled
        return task.result()

else:

    class _FirstStep:
        """Stands for the current task while the first step of a hook runs."""

        __slots__ = ("__weakref__", "task")

        def __init__(self) -> None:
            self.task: asyncio.Task[Any] | None = None

        def cancel(self, msg: Any = None) -> bool:
            return self.task.cancel(msg) if self.task is not None else False

        def cancelling(self) -> int:
            return self.task.cancelling() if self.task is not None else 0

        def uncancel(self) -> int:
            return self.task.uncancel() if self.task is not None else 0

        def done(self) -> bool:
            return self.task is not None and self.task.done()

        def get_name(self) -> str:
            return "filter hook"

    @types.coroutine
    def _go_on(coroutine: Coroutine[Any, Any, Any], awaited: Any) -> Generator[Any, Any, Any]:
        """The rest of a coroutine that has been stepped once and then waited for `awaited`."""
        while True:
            try:
                sent = yield awaited
            except GeneratorExit:  # nobody waits for us any more: the coroutine may be gone already
                coroutine.close()
                raise
            except BaseException as error:  # whatever is thrown in belongs to the coroutine
                try:
                    awaited = coroutine.throw(error)
                except StopIteration as stop:
                    return stop.value
            else:
                try:
                    awaited = coroutine.send(sent)
                except StopIteration as stop:
                    return stop.value

    _spare: list[_FirstStep] = []
    """Stand-ins of hooks that came to their end in their first step: nobody can hold on to a task that never was."""

    _current = asyncio.tasks._current_tasks  # type: ignore[attr-defined]  # no public way on 3.11 to step a coroutine

    def run_hook(
        loop: asyncio.AbstractEventLoop,
        hook: Awaitable[Any],
        resume: Resume,
        args: tuple[Any, ...] = (),
        keeper: Keeper | None = None,
    ) -> Any:
        """Run `hook` as far as it goes. Returns its value, or PENDING; then `resume(*args, value, error)` follows."""
        coroutine: Coroutine[Any, Any, Any] = hook if type(hook) is _Coroutine else _as_coroutine(hook)
        outer = _current.get(loop)
        stand_in = _spare.pop() if _spare else _FirstStep()
        _current[loop] = stand_in
        try:
            awaited = coroutine.send(None)
        except StopIteration as stop:
            _spare.append(stand_in)
            return stop.value
        except asyncio.CancelledError as error:
            raise HookCancelled from error
        finally:
            if outer is None:
                del _current[loop]
            else:
                _current[loop] = outer
        task = loop.create_task(_go_on(coroutine, awaited))
        stand_in.task = task
        return _watch(task, resume, args, keeper)
