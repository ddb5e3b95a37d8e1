"""Going away without losing a request: which responses say so, and when a connection may be closed.

Two things are told apart, as in Envoy. *Announcing*: responses carry `connection: close`, so that clients come back
somewhere else; with the strategy `gradual` the chance of it rises from 0 to 1 over the drain time, so that they don't
all come at once. *Ending*: nothing is accepted any more, and a connection is closed as soon as nothing is in flight on
it.

A client may have sent a request that hasn't arrived when its idle connection is closed; HTTP/1 can't rule that out.
What can be seen is spared: a connection with unread bytes, and one so young that its first request may be on the way.
"""

from __future__ import annotations

import asyncio
import random
import select
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

_LOOK_EVERY = 0.025
_YOUNG = 1.0
_LOOK_FOR_DEPARTED = 0.5
_LAST_ANSWERS = 1.0
_LAST_TURNS = 100


class Drain:
    """Whether a response should announce the end of its connection. Times in seconds of the monotonic clock.

    active: a drain has begun.
    """

    __slots__ = ("_duration", "_immediate", "_inbound_only", "_now", "_rng", "_since", "active")

    def __init__(self, now: Callable[[], float], rng: random.Random) -> None:
        self._now = now
        self._rng = rng
        self.active = False
        self._since: float | None = None
        self._duration = 0.0
        self._immediate = False
        self._inbound_only = False

    def begin(self, duration: float, *, immediate: bool, inbound_only: bool = False) -> None:
        """Announce from now on. A later call can only widen or hasten what is under way."""
        if self._since is None:
            self.active = True
            self._since = self._now()
            self._duration = duration
            self._immediate = immediate
            self._inbound_only = inbound_only
            return
        self._immediate = self._immediate or immediate
        self._inbound_only = self._inbound_only and inbound_only

    def closes(self, traffic_direction: str) -> bool:
        """Whether a response of a listener with this direction says `connection: close` now."""
        since = self._since
        if since is None or (self._inbound_only and traffic_direction != "INBOUND"):
            return False
        if self._immediate:
            return True
        elapsed = self._now() - since
        return elapsed >= self._duration or self._rng.random() * self._duration < elapsed


def depart(
    loop: asyncio.AbstractEventLoop,
    rng: random.Random,
    connections: Callable[[], Sequence[Departing]],
    duration: float,
    *,
    immediate: bool,
    when_over: Callable[[], object],
) -> None:
    """Let the connections of a listener or filter chain that is gone end within `duration` seconds.

    Until then their responses say `connection: close` (more and more of them, unless `immediate`). What is left at the
    end has a second more, in which every answer says so: a request under way gets its answer, and a client that just
    asks on an idle connection isn't cut off. `when_over` is called after it, or as soon as no connection is left.
    """
    drain = Drain(loop.time, rng)
    drain.begin(duration, immediate=immediate)
    deadline = loop.time() + duration

    def look() -> None:
        left = [connection for connection in connections() if not connection.closed]
        for connection in left:  # also those that were still with the listener filters when it began
            connection.leaving = drain
            if drain.closes(""):
                connection.announce_end()
        now = loop.time()
        if left and now < deadline:
            loop.call_later(min(_LOOK_FOR_DEPARTED, max(deadline - now, 0.001)), look)
            return
        if left and now < deadline + _LAST_ANSWERS:
            for connection in left:
                connection.announce_end()
            loop.call_later(_LAST_ANSWERS, end)
            return
        end()

    def end() -> None:
        for connection in connections():
            if not connection.closed:
                connection.close()
        when_over()

    look()


class Departing(Protocol):
    """What of a `ServerConnection` is looked at, and told, by `depart`."""

    leaving: Drain | None

    @property
    def closed(self) -> bool: ...
    def announce_end(self) -> None: ...
    def close(self) -> None: ...


class Drainable(Protocol):
    """What of a `ServerConnection` is looked at here."""

    @property
    def busy(self) -> bool: ...
    @property
    def closed(self) -> bool: ...
    @property
    def started(self) -> float: ...
    @property
    def descriptor(self) -> int: ...
    def announce_end(self) -> None: ...
    def close(self) -> None: ...
    def cut_off(self) -> None: ...


def close_idle(connections: Iterable[Drainable], now: float) -> None:
    """Tell the peers, and close the connections on which nothing is in flight."""
    for connection in connections:
        if connection.closed:
            continue
        connection.announce_end()
        if connection.busy or now - connection.started < _YOUNG:
            continue
        if not _has_input(connection.descriptor):
            connection.close()


def _has_input(descriptor: int) -> bool:
    """Whether bytes, or an end, wait to be read."""
    if descriptor < 0:
        return False
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(0))


async def finish(
    loop: asyncio.AbstractEventLoop, connections: Callable[[], Sequence[Drainable]], timeout: float
) -> int:
    """Let what is in flight end, for at most `timeout` seconds. Returns how many connections were still open then.

    A connection that is closing counts as open until its last byte has left.
    """
    deadline = loop.time() + timeout
    while left := connections():
        now = loop.time()
        if now >= deadline:
            return len(left)
        close_idle(left, now)
        await asyncio.sleep(min(_LOOK_EVERY, deadline - now))
    return 0


async def cut_off(connections: Sequence[Drainable]) -> None:
    """The time is over: end what is left, and let the logs tell of it."""
    for connection in connections:
        connection.cut_off()
    if connections:
        for _ in range(_LAST_TURNS):  # many streams of one connection end a few in each turn
            await asyncio.sleep(0)
