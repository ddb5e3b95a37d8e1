"""Giving a connected socket to a transport, so that its descriptor has exactly one owner from then on.

Two objects know the number of a descriptor: the Python socket, which closes it when it is collected, and the transport,
whose library closes it when the connection ends. uvloop's `create_connection(sock=...)` joins the two only after
`connection_made` has returned. If the connection is over by then, they are never joined: the transport closes the
descriptor, the number is given to another connection, and when the garbage collector comes to the socket it closes
*that* one. A request is lost, or libuv finds a descriptor gone that it waits for, and ends the process.

`connect_accepted_socket` joins them first. It serves any connected socket, whoever connected it.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Coroutine
from functools import partial
from typing import Any

_STREAM = int(socket.SOCK_STREAM)


class LooseSocket:
    """A connected socket on its way to its transport; until `disown` it is its holder's to close.

    It has what an event loop's `connect_accepted_socket` asks a socket for. A `socket.socket` for each would
    cost a call of the kernel and several enumeration members, and then nobody would use it.
    """

    __slots__ = ("_descriptor", "family")

    type = _STREAM

    def __init__(self, descriptor: int, family: int) -> None:
        self._descriptor = descriptor
        self.family = family

    @classmethod
    def of(cls, sock: socket.SocketType) -> LooseSocket:
        """Take a socket over; `sock` is closed."""
        family = int(sock.family)
        return cls(sock.detach(), family)

    def to_socket(self) -> socket.socket:
        """The same as a socket for all purposes, which owns it from here on."""
        sock = socket.socket(self.family, _STREAM, 0, self._descriptor)
        self.disown()
        return sock

    def for_loop(self, loop: asyncio.AbstractEventLoop) -> Any:
        """What this loop can take: asyncio's own, which the parent of workers has, wants a socket's methods."""
        return self.to_socket() if isinstance(loop, asyncio.BaseEventLoop) else self

    def fileno(self) -> int:
        return self._descriptor

    def disown(self) -> None:
        """Somebody else closes it."""
        self._descriptor = -1

    def close(self) -> None:
        """Called by whoever refuses the connection, and by the transport after it has closed the descriptor itself."""
        descriptor = self._descriptor
        if descriptor >= 0:
            self._descriptor = -1
            os.close(descriptor)


def attach(loop: asyncio.AbstractEventLoop, sock: socket.SocketType, protocol: Any) -> None:
    """Hand over a connected socket. `protocol.connection_made` is called in the next turn, whatever the caller does.

    Raises OSError. Either way the socket isn't the caller's any more.
    """
    loose = LooseSocket.of(sock)
    try:
        _step(loop.connect_accepted_socket(lambda: protocol, loose.for_loop(loop)))
    except BaseException:
        loose.close()
        raise
    loose.disown()


def _step(opening: Coroutine[Any, Any, Any], _: Any = None) -> None:
    """What a task does, without one: a caller that is cancelled must not take the transport with it."""
    try:
        awaited = opening.send(None)
    except StopIteration:
        return
    awaited._asyncio_future_blocking = False
    awaited.add_done_callback(partial(_step, opening))
