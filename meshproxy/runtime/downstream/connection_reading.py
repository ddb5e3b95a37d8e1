"""The reading half of a downstream connection: what the transport brings, through `on_data` of the network filters.

A filter may wait, or have reading turned off. The transport is paused then, and what it had read already is kept with
the place in the chain that it had come to, and passed on in order when reading is on again.

Invariants: reading is on exactly when `_read_disabled` is 0; `_keeps` is set as long as anything is kept, or a filter
waits, so that nothing overtakes it.
"""

from __future__ import annotations

from typing import Any

from meshproxy.plugin.context import Connection
from meshproxy.plugin.network import NetworkFilter
from meshproxy.runtime.downstream.hooks import Suspended, run_hook
from meshproxy.runtime.worker import Worker


class ReadSide(Connection):
    """See the module."""

    worker: Worker
    transport: Any
    _filters: list[NetworkFilter[Any]]
    _sole: NetworkFilter[Any] | None
    _tells_read_done: bool
    _closing: bool
    _hook_waits: bool
    _keeps: bool
    # What few connections change stands here and isn't set with each; what each read asks for is the instance's own.
    _read_disabled = 0
    _paused = False
    _lost = False
    _ended = False
    _begun = 0
    _held: list[tuple[int, bytes, bool]] | None = None

    def _pause_if_still_wanted(self) -> None:
        if self._read_disabled > 0 and not self._closing:
            self.transport.pause_reading()
            self._keeps = self._hook_waits or bool(self._held)
        else:
            self._work_off()

    def _start(self, at: int) -> None:
        for position in range(at, len(self._filters)):
            if self._closing:
                return
            self._begun = position + 1
            result = self._filters[position].on_new_connection(self)
            if result is not None:
                outcome = run_hook(self.worker.loop, result)
                if isinstance(outcome, Suspended):
                    self._hold()
                    outcome.then(self._started, position + 1)
                    return

    def _started(self, at: int, _: Any, error: BaseException | None) -> None:
        if not self._release(error):
            return
        self._start(at)
        self._work_off()

    def data_received(self, data: bytes) -> None:
        if self._sole is not None and not self._keeps:
            if self._closing:
                return
            result = self._sole.on_data(data, False, self)
            if result is None:
                if self._tells_read_done:
                    self._sole.on_read_done(self)
                return
            self._after_data(result, 0, False)
            return
        self._feed(0, data, False)

    def eof_received(self) -> bool:
        if self._closing:
            return False  # we only waited for this
        if not self._ended:
            self._ended = True
            self._feed(0, b"", True)
        return True  # the write half stays open: whoever answers decides when to close

    def _feed(self, at: int, data: bytes, end: bool) -> None:
        if self._keeps:
            if self._held is None:
                self._held = []
            self._held.append((at, data, end))
        else:
            self._pass_on(at, data, end)

    def _pass_on(self, at: int, data: bytes, end: bool) -> None:
        while at < len(self._filters) and not self._closing:
            result = self._filters[at].on_data(data, end, self)
            at += 1
            if result is None:
                continue
            if not isinstance(result, bytes):
                outcome = run_hook(self.worker.loop, result)
                if isinstance(outcome, Suspended):
                    self._hold()
                    outcome.then(self._fed, at, data, end)
                    return
                result = outcome
            if result is not None:
                data = bytes(result)
                if not data and not end:
                    return
        if not self._closing:
            self._filters[-1].on_read_done(self)

    def _after_data(self, result: Any, at: int, end: bool) -> None:
        """The sole filter answered with something else than None; its data go nowhere, but it may have to wait."""
        if not isinstance(result, bytes):
            outcome = run_hook(self.worker.loop, result)
            if isinstance(outcome, Suspended):
                self._hold()
                outcome.then(self._fed, at + 1, b"", end)

    def _fed(self, at: int, data: bytes, end: bool, result: Any, error: BaseException | None) -> None:
        if not self._release(error):
            return
        if result is not None:
            data = bytes(result)
        if data or end:
            self._pass_on(at, data, end)
        self._work_off()

    def _hold(self) -> None:
        self._hook_waits = self._keeps = True
        self.read_disable(True)

    def _release(self, error: BaseException | None) -> bool:
        self._hook_waits = False
        if self._closing or self._lost:
            return False
        if error is not None:
            self._fail(error)
            return False
        self.read_disable(False)
        return True

    def _fail(self, error: BaseException) -> None:
        self.worker.log.error("network filter failed", error=repr(error), connection=self.info.connection_id)
        self.close(reset=True)

    def _work_off(self) -> None:
        """Pass on what was kept, as far as reading is on."""
        while not self._hook_waits and self._read_disabled <= 0:
            if not self._held:
                self._keeps = False
                return
            at, data, end = self._held.pop(0)
            self._pass_on(at, data, end)

    def read_disable(self, disable: bool) -> None:
        self._read_disabled += 1 if disable else -1
        if self.transport is not None and not self._closing:
            self._apply_reading()

    def _apply_reading(self) -> None:
        paused = self._read_disabled > 0
        if paused != self._paused:
            self._paused = paused
            if paused:
                self.transport.pause_reading()
            else:
                self.transport.resume_reading()
                if self._keeps:
                    self.worker.loop.call_soon(self._work_off)
