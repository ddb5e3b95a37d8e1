"""Questions and answers between a parent and one worker, over a socket pair.

A frame is a length (four bytes, big-endian) and a value in `marshal`'s form: both ends are the same program started
from the same files, and only built-in types cross. The parent asks, the worker answers in the order of the questions.
"""

from __future__ import annotations

import asyncio
import marshal
import socket
import struct
from collections.abc import Callable
from typing import Any

_LENGTH = struct.Struct(">I")
_MOST_SOCKETS = 250
_SOCKETS_WITHIN = 5.0


class ChannelClosed(ConnectionError):
    """The other end is gone."""


class _Frames(asyncio.Protocol):
    """Cuts the byte stream into frames."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self.transport: Any = None  # uvloop's are no asyncio.Transport

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        buffer = self._buffer
        buffer += data
        while len(buffer) >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(buffer)
            end = _LENGTH.size + length
            if len(buffer) < end:
                return
            frame = bytes(buffer[_LENGTH.size : end])
            del buffer[:end]
            self.received(marshal.loads(frame))

    def send(self, value: Any) -> None:
        """Send one frame."""
        if self.transport is None or self.transport.is_closing():
            raise ChannelClosed
        frame = marshal.dumps(value)
        self.transport.write(_LENGTH.pack(len(frame)) + frame)

    def received(self, value: Any) -> None:
        """A whole frame has come."""
        raise NotImplementedError  # each end gives its own

    def close(self) -> None:
        """Hang up."""
        if self.transport is not None:
            self.transport.close()


class AskingEnd(_Frames):
    """The parent's end."""

    def __init__(self) -> None:
        super().__init__()
        self._waiting: list[asyncio.Future[Any]] = []

    async def ask(self, command: str, argument: Any, timeout: float) -> Any:
        """Ask and wait for the answer. Raises ChannelClosed, TimeoutError, or RuntimeError when the worker failed."""
        return await asyncio.wait_for(self.put(command, argument), timeout)

    def put(self, command: str, argument: Any) -> asyncio.Future[Any]:
        """Ask; the answer comes in the future. Raises ChannelClosed."""
        if self.transport is None or self.transport.is_closing():
            raise ChannelClosed
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting.append(answer)
        self.send((command, argument))
        return answer

    def received(self, value: Any) -> None:
        waiting = self._waiting.pop(0)
        if waiting.done():
            return  # whoever asked has lost patience
        good, answer = value
        if good:
            waiting.set_result(answer)
        else:
            waiting.set_exception(RuntimeError(answer))

    def connection_lost(self, exc: Exception | None) -> None:
        waiting, self._waiting = self._waiting, []
        for future in waiting:
            if not future.done():
                future.set_exception(ChannelClosed())


class AnsweringEnd(_Frames):
    """The worker's end. perform: carries out a command; on_closed: the parent is gone."""

    def __init__(self, perform: Callable[[str, Any], Any], on_closed: Callable[[], object]) -> None:
        super().__init__()
        self._perform = perform
        self._on_closed = on_closed

    def received(self, value: Any) -> None:
        command, argument = value
        try:
            answer = True, self._perform(command, argument)
        except Exception as error:  # the question must be answered, or the order of the answers is lost
            answer = False, repr(error)
        try:
            self.send(answer)
        except ChannelClosed:
            pass  # nobody waits for it any more

    def connection_lost(self, exc: Exception | None) -> None:
        self._on_closed()


def take_sockets(sock: socket.socket) -> list[socket.socket]:
    """The next set of sockets that the other side passes through `sock`. Waits for it. Raises OSError."""
    sock.settimeout(_SOCKETS_WITHIN)
    count, descriptors, _, _ = socket.recv_fds(sock, 1, _MOST_SOCKETS)
    taken = [socket.socket(fileno=descriptor) for descriptor in descriptors]
    if not count or count[0] != len(taken):
        raise OSError("a set of sockets came incomplete")
    for each in taken:
        each.setblocking(False)
    return taken


async def open_end(end: _Frames, sock: socket.socket) -> None:
    """Attach an end to its socket."""
    sock.setblocking(False)
    await asyncio.get_running_loop().connect_accepted_socket(lambda: end, sock)
