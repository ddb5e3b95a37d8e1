"""PINGs that find out whether the other end of an HTTP/2 connection still lives (Envoy: `connection_keepalive`).

At any time either the next PING is planned or the answer to one is waited for. Whatever arrives meanwhile proves as
much as the answer, so it gives the answer more time.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Protocol

from meshproxy.model.codec import Keepalive as KeepaliveOptions
from meshproxy.plugin.context import Timer


class Schedules(Protocol):
    """A worker, as far as it is needed here."""

    rng: random.Random

    def schedule(self, delay: float, callback: Callable[[], None]) -> Timer: ...


class Http2Keepalive:
    """The PINGs of one connection. now: monotonic seconds. ping: sends one. expired: called when no answer came."""

    __slots__ = ("_expired", "_heard", "_now", "_number", "_options", "_ping", "_timer", "_waiting", "_worker")

    def __init__(
        self,
        worker: Schedules,
        options: KeepaliveOptions,
        now: Callable[[], float],
        ping: Callable[[bytes], None],
        expired: Callable[[], None],
    ) -> None:
        self._worker = worker
        self._options = options
        self._now = now
        self._ping = ping
        self._expired = expired
        self._number = 0
        self._waiting = b""
        self._heard = now()
        self._timer: Timer | None = None
        self._plan()

    def _plan(self) -> None:
        options = self._options
        if options.interval is None:
            return
        interval: float = options.interval
        longer = interval * options.jitter / 100.0 * self._worker.rng.random()
        self._timer = self._worker.schedule(interval + longer, self._send)

    def _send(self) -> None:
        self.stop()
        self._number += 1
        self._waiting = self._number.to_bytes(8, "big")
        self._timer = self._worker.schedule(self._options.timeout, self._timed_out)
        self._ping(self._waiting)

    def heard(self) -> None:
        """Something has come from the peer."""
        self._heard = self._now()

    def acknowledged(self, payload: bytes) -> None:
        """The answer to a PING."""
        if self._waiting and payload == self._waiting:
            self._waiting = b""
            self.stop()
            self._plan()

    def before_request(self) -> None:
        """A stream is about to be opened: ask first, if it has been quiet for long."""
        idle = self._options.idle_interval
        if idle is not None and not self._waiting and self._now() - self._heard >= idle:
            self._send()

    def _timed_out(self) -> None:
        self._timer = None
        left = self._heard + self._options.timeout - self._now()
        if left > 0.001:
            self._timer = self._worker.schedule(left, self._timed_out)
        else:
            self._expired()

    def stop(self) -> None:
        """Neither send nor wait any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
