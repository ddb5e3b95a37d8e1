"""Responses that are finished but for the client's window.

A client that opens none must not keep one for ever: each has a time to be taken in, and is given up then.
"""

from __future__ import annotations

from meshproxy.codec.h2_server import Http2ServerCodec
from meshproxy.plugin.context import Timer
from meshproxy.runtime.worker import Worker

#: Responses that may wait, per two streams, before those that don't any more are sorted out.
_FEW = 64


class Http2Flushes:
    """Those of one connection."""

    def __init__(self, worker: Worker, wire: Http2ServerCodec) -> None:
        self._worker = worker
        self._wire = wire
        self._due: dict[int, float] = {}  # by stream
        self._timer: Timer | None = None
        self._next = 0.0

    def watch(self, sid: int, timeout: float) -> None:
        """Give the stream's response up after `timeout` seconds."""
        if len(self._due) > 2 * self._wire.open_streams + _FEW:
            self._due = self._left()
        self._due[sid] = due = self._worker.loop.time() + timeout
        if self._timer is None or due < self._next:
            self.stop()
            self._plan(due)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _left(self) -> dict[int, float]:
        return {sid: due for sid, due in self._due.items() if self._wire.is_flushing(sid)}

    def _plan(self, due: float) -> None:
        self._next = due
        self._timer = self._worker.schedule(due - self._worker.loop.time(), self._check)

    def _check(self) -> None:
        now = self._worker.loop.time()
        left = self._left()
        for sid in [sid for sid, due in left.items() if due <= now]:
            del left[sid]
            self._wire.end_flush(sid)
        self._due = left
        self._timer = None
        if left:
            self._plan(min(left.values()))
