"""What a thread is doing, and which filter's hook does it: read from its stack, by another thread.

The innermost frame that is a method of a filter is the hook, or belongs to it: filters call the rest of the chain (the
router does), so those further out only wait.
"""

from __future__ import annotations

import gc
import sys
from types import FrameType

from meshproxy.plugin.http import HttpFilter
from meshproxy.plugin.listener import ListenerFilter
from meshproxy.plugin.network import NetworkFilter
from meshproxy.records import dataclass

_FILTERS = HttpFilter, NetworkFilter, ListenerFilter
_INNERMOST = 8


@dataclass(frozen=True, slots=True)
class Doing:
    """filter: its name in its chain, "" if none is at work. hook: its class and method.

    stack: the innermost calls as `file:line in function`, the innermost last.
    """

    filter: str
    hook: str
    stack: str


def what_does(thread: int) -> Doing:
    """What the thread with this identifier (`threading.get_ident`) does now."""
    collected = gc.isenabled()
    gc.disable()  # before 3.11.5 a collection inside of the next call could lock the interpreter (CPython issue 106883)
    try:
        frame = sys._current_frames().get(thread)
    finally:
        if collected:
            gc.enable()
    calls: list[str] = []
    found: tuple[str, str] | None = None
    while frame is not None:
        if len(calls) < _INNERMOST:
            calls.append(f"{frame.f_code.co_filename}:{frame.f_lineno} in {frame.f_code.co_name}")
        found = _filter_of(frame)
        if found is not None:
            break
        frame = frame.f_back
    name, hook = found or ("", "")
    return Doing(name, hook, " > ".join(reversed(calls)))


def _filter_of(frame: FrameType) -> tuple[str, str] | None:
    names = frame.f_code.co_varnames
    if not names or names[0] != "self":
        return None
    owner = frame.f_locals.get("self")
    if not isinstance(owner, _FILTERS):
        return None
    context = getattr(owner, "context", None)  # one that doesn't call the base class's constructor has none
    return str(getattr(context, "name", "")) or "?", f"{type(owner).__qualname__}.{frame.f_code.co_name}"
