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
from collections.abc import Awaitable, Callable, Generator
from typing import Any, Protocol

from meshproxy.chain.http_wire import Suspended

__all__ = ["HookCancelled", "Keeper", "Suspended", "run_hook"]


class Keeper(Protocol):
    """Told of the task of a hook that suspended, so that it can be cancelled when nobody wants its result any more."""

    def keep(self, task: asyncio.Task[Any]) -> None: ...


_Coroutine = types.CoroutineType


class HookCancelled(Exception):
    """What a hook waited for was cancelled: a fault like any other, where CancelledError would end our caller."""


async def _as_coroutine(awaitable: Awaitable[Any]) -> Any:
    return await awaitable


class _Waiting(Suspended):
    """The task that a hook has become."""

    __slots__ = ("_task",)

    def __init__(self, task: asyncio.Task[Any], keeper: Keeper | None) -> None:
        self._task = task
        if keeper is not None:
            keeper.keep(task)

    def then(self, resume: Callable[..., None], *args: Any) -> None:
        def finished(task: asyncio.Task[Any]) -> None:
            if task.cancelled():
                resume(*args, None, HookCancelled())
                return
            error = task.exception()
            resume(*args, None if error else task.result(), error)

        self._task.add_done_callback(finished)


if sys.version_info >= (3, 12):

    def run_hook(loop: asyncio.AbstractEventLoop, hook: Awaitable[Any], keeper: Keeper | None = None) -> Any:
        """Run `hook` as far as it goes. Returns its value, or a `Suspended`, whose task `keeper` is told of."""
        coroutine = hook if type(hook) is _Coroutine else _as_coroutine(hook)
        task: asyncio.Task[Any] = asyncio.Task(coroutine, loop=loop, eager_start=True)
        if not task.done():
            return _Waiting(task, keeper)
        if task.cancelled():
            raise HookCancelled
        return task.result()

else:

    class _FirstStep:
        """Runs the first step of one hook after the other, and stands for the current task meanwhile.

        A coroutine that is stepped by hand ends in StopIteration, and raising, catching and freeing that costs as much
        as the step itself. `await` takes a result without it; so hooks are awaited, by a generator that lives on.

        send: give it a coroutine; it returns _WITHOUT_RESULT, _ENDED with the coroutine's result in `result`, or what
        that waits for.
        What the coroutine raises comes out and ends the generator: then this object is of no more use.
        """

        __slots__ = ("__weakref__", "generator", "result", "send", "task")

        def __init__(self) -> None:
            self.task: _RestTask | None = None
            self.result: Any = None
            self.generator = _drive(self)
            self.send = self.generator.send
            self.send(None)

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

    _ENDED: Any = object()
    _WITHOUT_RESULT: Any = object()

    @types.coroutine
    def _drive(step: _FirstStep) -> Generator[Any, Any, None]:
        coroutine = yield None
        while True:
            result = yield from coroutine
            if result is None:  # nearly always; not to hand it over saves a twentieth of a hook's price
                coroutine = yield _WITHOUT_RESULT
            else:
                step.result = result
                coroutine = yield _ENDED

    class _RestTask(asyncio.Task[Any]):
        """The task of a hook after its first step.

        asyncio throws a cancellation that comes before a task's own first step into a coroutine that never ran, where
        nothing catches it: neither the `timeout()` that the hook has entered already nor its `finally`. This task keeps
        such a cancellation until it is where the hook waits.
        """

        _begun = False
        _asked = 0

        def cancel(self, msg: Any = None) -> bool:
            if self._begun:
                return super().cancel(msg)
            self._asked += 1
            return True

        def begin(self) -> None:
            self._begun = True
            for _ in range(self._asked):
                super().cancel()

    @types.coroutine
    def _go_on(step: _FirstStep, awaited: Any) -> Generator[Any, Any, Any]:
        """The rest of a hook that has been stepped once and then waited for `awaited`."""
        generator = step.generator
        assert step.task is not None
        step.task.begin()
        while awaited is not _ENDED and awaited is not _WITHOUT_RESULT:
            try:
                sent = yield awaited
            except GeneratorExit:  # nobody waits for us any more: the hook may be gone already
                generator.close()
                raise
            except BaseException as error:  # whatever is thrown in belongs to the hook
                awaited = generator.throw(error)
            else:
                awaited = generator.send(sent)
        generator.close()  # it refers to the step, and the step to it
        return step.result

    _spare: list[_FirstStep] = []
    """Those of hooks that came to their end in their first step: nobody can hold on to a task that never was."""
    _take_spare, _keep_spare = _spare.pop, _spare.append

    _current = asyncio.tasks._current_tasks  # type: ignore[attr-defined]  # no public way on 3.11 to step a coroutine
    _current_of = _current.get

    def run_hook(loop: asyncio.AbstractEventLoop, hook: Awaitable[Any], keeper: Keeper | None = None) -> Any:
        """Run `hook` as far as it goes. Returns its value, or a `Suspended`, whose task `keeper` is told of."""
        outer = _current_of(loop)
        step = _take_spare() if _spare else _FirstStep()
        _current[loop] = step  # looks like a task to whoever asks for it now
        try:
            awaited = step.send(hook if type(hook) is _Coroutine else _as_coroutine(hook))
        except asyncio.CancelledError as error:
            raise HookCancelled from error
        finally:
            if outer is None:
                del _current[loop]
            else:
                _current[loop] = outer
        if awaited is _WITHOUT_RESULT:
            _keep_spare(step)
            return None
        if awaited is _ENDED:
            _keep_spare(step)
            result, step.result = step.result, None
            return result
        step.task = task = _RestTask(_go_on(step, awaited), loop=loop)
        return _Waiting(task, keeper)
