"""Running a listener's filters over an accepted socket, before anything is taken off it.

Filters see the first bytes through MSG_PEEK. Level-triggered polling would wake us for the same unread bytes for ever,
so while a filter needs more than has come, SO_RCVLOWAT is raised: the socket polls as readable only once there are
more bytes than it was shown. Unix sockets don't know that for polling; they are looked at again after a moment.
"""

from __future__ import annotations

import select
import socket
from collections.abc import Callable
from functools import partial
from typing import Any

from meshproxy.model.listener import Listener
from meshproxy.plugin.context import Timer
from meshproxy.plugin.listener import NEED_MORE, ListenerFilter, RefuseConnection, Socket
from meshproxy.runtime.downstream.hooks import Suspended, run_hook
from meshproxy.runtime.worker import Worker

_MOMENT = 0.005
TIMEOUT = "downstream_pre_cx_timeout"
CONFIG_MISSING = "extension_config_missing"
REMOTE_CLOSE = "downstream_listener_filter_remote_close"
ERROR = "downstream_listener_filter_error"
"""Why a connection is refused, as the counter that counts it is named: too slow, the configuration of a filter hasn't
come, the peer has left, or reading failed."""
Done = Callable[[str], None]
"""Called once, with "" when every filter is through, else with why the connection is refused."""


class FilterRun:
    """One accepted socket on its way through the listener's filters."""

    def __init__(self, worker: Worker, listener: Listener, accepted: socket.socket, facts: Socket, done: Done) -> None:
        self._worker = worker
        self._listener = listener
        self._socket = accepted
        self._facts = facts
        self._done = done
        self._at = 0
        self._filter: ListenerFilter[Any] | None = None
        self._watching = False
        self._finished = False
        self._seen = 0
        self._timer: Timer | None = None

    def run(self) -> None:
        """Go through the filters as far as they don't have to wait. One that fails fails its connection alone."""
        try:
            self._advance()
        except Exception as error:  # a filter is foreign code
            self._worker.log.error("listener filter failed", error=repr(error), listener=self._listener.name)
            self._finish(ERROR)

    def _advance(self) -> None:
        specs = self._listener.listener_filters
        while self._at < len(specs) and not self._finished:
            placed = specs[self._at]
            if self._filter is None:
                if placed.skips is not None and placed.skips(self._facts):
                    self._at += 1
                    continue
                spec = placed.current()
                if spec is None:
                    self._finish(CONFIG_MISSING)
                    return
                self._filter = spec.filter_class(spec.config, spec.context)
                try:
                    result = self._filter.on_accept(self._facts)
                    if result is not None:
                        result = run_hook(self._worker.loop, result)
                        if isinstance(result, Suspended):
                            self._start_timer()
                            result.then(self._accepted)
                            return
                except RefuseConnection as refusal:
                    self._finish(str(refusal) or "refused")
                    return
            if self._filter.max_peek and not self._peek(self._filter):
                self._start_timer()
                return
            self._filter = None
            self._at += 1
        self._finish("")

    def _accepted(self, _: Any, error: BaseException | None) -> None:
        if self._finished:
            return
        if error is not None:
            self._finish(str(error) or type(error).__name__)
            return
        self.run()

    def _peek(self, current: ListenerFilter[Any]) -> bool:
        """Show the filter what is there; say whether it is satisfied. False: waiting, or finished."""
        try:
            data = self._socket.recv(current.max_peek, socket.MSG_PEEK)
        except BlockingIOError:
            self._watch(1)
            return False
        except OSError:
            self._finish(ERROR)
            return False
        if not data or (len(data) == self._seen and self._peer_ended()):
            self._finish(REMOTE_CLOSE)
            return False
        end = len(data) >= current.max_peek
        try:
            verdict = current.on_peek(data, end, self._facts)
        except RefuseConnection as refusal:
            self._finish(str(refusal) or "refused")
            return False
        if verdict is NEED_MORE:
            if end:
                self._finish("the listener filters found no end")
                return False
            self._seen = len(data)
            self._watch(len(data) + 1)
            return False
        self._unwatch()
        self._seen = 0
        if verdict.consume:
            self._socket.recv(verdict.consume)
        return not self._finished

    def _peer_ended(self) -> bool:
        """Whether the peer has sent FIN: peeking can't tell the end while bytes are unread."""
        poll = select.poll()
        poll.register(self._socket, select.POLLRDHUP)
        return bool(poll.poll(0))

    def _watch(self, low_water: int) -> None:
        if low_water > 1 and self._socket.family == socket.AF_UNIX:
            self._unwatch()
            self._worker.loop.call_later(_MOMENT, self._look_again)
            return
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, low_water)
        if not self._watching:
            self._watching = True
            self._worker.loop.add_reader(self._socket.fileno(), self.run)

    def _look_again(self) -> None:
        if not self._finished:
            self.run()

    def _unwatch(self) -> None:
        if self._watching:
            self._watching = False
            self._worker.loop.remove_reader(self._socket.fileno())
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 1)

    def _start_timer(self) -> None:
        if self._timer is None and self._listener.listener_filters_timeout > 0 and not self._finished:
            timeout = self._listener.listener_filters_timeout
            self._timer = self._worker.schedule(timeout, partial(self._timed_out))

    def _timed_out(self) -> None:
        if not self._finished:
            self._finish("" if self._listener.continue_on_listener_filters_timeout else TIMEOUT)

    def _finish(self, refusal: str) -> None:
        if self._finished:
            return
        self._finished = True
        self._unwatch()
        if self._timer is not None:
            self._timer.cancel()
        self._done(refusal)
