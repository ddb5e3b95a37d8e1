"""The place of one worker in its parent, whoever fills it: the process, the ways to it, its listening sockets."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
import time
from collections.abc import Sequence
from typing import Any

from meshproxy.runtime.workers.channel import AskingEnd
from meshproxy.runtime.workers.forking import Sockets, WorkerMain, become_worker
from meshproxy.telemetry.stats import StatsSnapshot


class WorkerSlot:
    """See the module. pid 0: nobody fills it.

    sockets: kept open while the worker is dead, so that its connections wait in the backlog for the next one.
    control: the channel's socket until the loop runs, then there is `channel`. last: its statistics as last asked for.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, index: int, sockets: Sockets) -> None:
        self.index = index
        self.sockets = sockets
        self.pid = 0
        self.started = 0.0
        self.quick_deaths = 0
        self.control: socket.socket | None = None
        self.channel: AskingEnd | None = None
        self.last: StatsSnapshot | None = None
        self.unsent: list[tuple[str, Any]] = []  # told before there was a channel
        self._loop = loop
        self._later: socket.socket | None = None
        self._unpassed: list[list[socket.socket]] = []  # sockets that the kernel hasn't taken yet

    def fork(self, main: WorkerMain) -> None:
        """Fill the slot with a new process that runs `main`. Must not be called from within the loop."""
        self.control, control = socket.socketpair()
        self._drop_later()
        self.unsent.clear()
        self._later, later = socket.socketpair()
        self._later.setblocking(False)
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if pid == 0:
            become_worker(self.index, main, control, later, self.sockets)
        control.close()
        later.close()
        self.pid = pid
        self.started = time.monotonic()

    def died(self) -> None:
        """The process is gone."""
        if self.channel is not None:
            self.channel.close()
        self.pid = 0
        self.channel = None
        self._drop_later()

    def pass_sockets(self, sockets: Sequence[socket.socket]) -> None:
        """Give the worker sockets of a listener that it learns of."""
        self._unpassed.append(list(sockets))
        self._pass()

    def _pass(self) -> None:
        """Give the kernel what it takes; the rest when it takes more."""
        assert self._later is not None
        self._loop.remove_writer(self._later.fileno())
        while self._unpassed:
            descriptors = [sock.fileno() for sock in self._unpassed[0]]
            try:
                socket.send_fds(self._later, [bytes((len(descriptors),))], descriptors)
            except BlockingIOError:
                self._loop.add_writer(self._later.fileno(), self._pass)
                return
            except OSError:
                self._unpassed.clear()  # the worker is gone
                return
            del self._unpassed[0]

    def _drop_later(self) -> None:
        self._unpassed.clear()
        if self._later is not None:
            self._loop.remove_writer(self._later.fileno())
            self._later.close()
            self._later = None

    def own(self, name: str, sockets: Sequence[socket.socket] | None, heir_of: str) -> None:
        """Keep the sockets of a new listener; without sockets it has those of `heir_of`."""
        before = self.sockets.pop(heir_of, []) if heir_of else []
        if sockets is None:
            self.sockets[name] = before
            return
        for sock in before:
            sock.close()
        self.sockets[name] = list(sockets)

    def disown(self, name: str) -> None:
        """A listener is gone, or accepts no more: its sockets die with the worker's own."""
        for sock in self.sockets.pop(name, ()):
            sock.close()

    def close_sockets(self) -> None:
        """The end: nobody takes this place any more."""
        for sockets in self.sockets.values():
            for sock in sockets:
                sock.close()
