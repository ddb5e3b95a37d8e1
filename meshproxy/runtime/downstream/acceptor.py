"""The listening sockets of a listener, and the loop that accepts from them.

It is a loop of our own over non-blocking sockets rather than the event loop's server, because between accept and
transport there is work on the bare socket: SO_ORIGINAL_DST, peeking, choosing the chain. When the process has no file
descriptor left, accepting stops for a moment instead of spinning on a socket that stays readable.

Invariant: the event loop watches a socket of `sockets` exactly if its descriptor isn't in `_paused`.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable, Iterable
from typing import Any

from meshproxy.runtime.attach import LooseSocket
from meshproxy.runtime.downstream.listening_socket import OwnName
from meshproxy.runtime.worker import Worker

_BATCH = 64
"""How many are accepted in one turn of the loop."""
_PAUSE = 0.1
"""Seconds without accepting after the process ran out of descriptors."""
_OUT_OF_DESCRIPTORS = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


class Acceptor:
    """See the module. name: the listener's, for the log.

    accepted: takes each accepted socket, which is then its own; the peer's address as the kernel tells it; and what the
    listening socket knows of its own.
    """

    def __init__(self, worker: Worker, name: str, accepted: Callable[[LooseSocket, Any, OwnName], None]) -> None:
        self.sockets: list[socket.socket] = []
        self._worker = worker
        self._name = name
        self._accepted = accepted
        self._held = False
        self._paused: set[int] = set()
        self._own_names: dict[socket.socket, OwnName] = {}

    def adopt(self, sockets: Iterable[socket.socket], backlog: int, *, held: bool) -> None:
        """Take bound sockets over and begin to accept. held: not before `hold(False)`."""
        self._held = held
        for sock in sockets:
            sock.listen(backlog)
            self.sockets.append(sock)
            self._own_names[sock] = OwnName(sock)
            if held:
                self._paused.add(sock.fileno())
            else:
                self._worker.loop.add_reader(sock.fileno(), self._accept, sock)

    def release(self) -> list[socket.socket]:
        """Stop accepting and give the listening sockets away, open; what waits in them is the next owner's."""
        sockets, self.sockets = self.sockets, []
        for sock in sockets:
            if sock.fileno() not in self._paused:
                self._worker.loop.remove_reader(sock.fileno())
        self._end()
        return sockets

    def stop(self) -> None:
        """Stop accepting. What was accepted lives on."""
        for sock in self.sockets:
            self._worker.loop.remove_reader(sock.fileno())
            while self._accept(sock):
                pass  # whoever is in the backlog thinks to be connected already
            sock.close()
        self.sockets.clear()
        self._end()

    def _end(self) -> None:
        self._own_names.clear()
        self._accepted = _refuse  # or the listener and this would keep each other in memory

    def hold(self, held: bool) -> None:
        """Leave whoever comes in the backlog, or take them again."""
        self._held = held
        for sock in self.sockets:
            if held:
                self._pause(sock)
            else:
                self._resume(sock)

    def _accept(self, sock: socket.socket) -> bool:
        """Accept what waits. Returns whether more may wait."""
        own = self._own_names.get(sock)
        if own is None:
            return False  # given away while the loop was on its way here
        for _ in range(_BATCH):
            try:
                descriptor, peer = sock._accept()  # type: ignore[attr-defined]  # what accept() itself calls
            except BlockingIOError:
                return False
            except OSError as error:
                if error.errno in _OUT_OF_DESCRIPTORS:
                    self._out_of_descriptors(sock, error)
                    return False
                continue  # the client was gone before we came (ECONNABORTED and its like)
            accepted = LooseSocket(descriptor, own.family)
            try:
                self._accepted(accepted, peer, own)
            except Exception as error:  # one connection's bad luck must not end the accept loop
                accepted.close()
                self._worker.log.error("accept failed", listener=self._name, error=repr(error))
        return True

    def _out_of_descriptors(self, sock: socket.socket, error: OSError) -> None:
        if self._pause(sock):
            self._worker.log.warning("accepting paused", listener=self._name, error=error.strerror)
            self._worker.loop.call_later(_PAUSE, self._resume, sock)

    def _pause(self, sock: socket.socket) -> bool:
        """Returns whether it was accepted from until now."""
        descriptor = sock.fileno()
        if descriptor in self._paused:
            return False
        self._paused.add(descriptor)
        self._worker.loop.remove_reader(descriptor)
        return True

    def _resume(self, sock: socket.socket) -> None:
        if self._held:
            return
        self._paused.discard(sock.fileno())
        if sock in self.sockets:
            self._worker.loop.add_reader(sock.fileno(), self._accept, sock)


def _refuse(accepted: LooseSocket, peer: Any, own: OwnName) -> None:
    accepted.close()
