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
import socket
from collections.abc import Coroutine
from functools import partial
from typing import Any


def attach(loop: asyncio.AbstractEventLoop, sock: socket.socket, protocol: Any) -> None:
    """Hand over a connected socket. `protocol.connection_made` is called in the next turn, whatever the caller does.

    Raises OSError; then the socket is still the caller's.
    """
    opening: Coroutine[Any, Any, Any] = loop.connect_accepted_socket(lambda: protocol, sock)
    _step(opening)


def _step(opening: Coroutine[Any, Any, Any], _: Any = None) -> None:
    """What a task does, without one: a caller that is cancelled must not take the transport with it."""
    try:
        awaited = opening.send(None)
    except StopIteration:
        return
    awaited._asyncio_future_blocking = False
    awaited.add_done_callback(partial(_step, opening))
