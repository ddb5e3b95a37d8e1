"""A new version of the program takes over from an old one: `--restart-epoch`, without a refused connection.

    old (epoch N)   listens on a Unix socket that its base id and epoch name
    new (epoch N+1) asks it for its listening sockets         -> the same sockets, not copies of the addresses
                    asks it to stop its admin interface       -> so that the port is free
                    serves, and only then asks it to drain    -> it finishes what is in flight, and ends

Both accept from the same queues between the last two steps, so that no connection is without somebody who takes it. The
old one is ended at the latest after `--parent-shutdown-time-s`. Each question is one packet of JSON over a SEQPACKET
socket, answered in turn, listening sockets as SCM_RIGHTS; only a process of the same user is answered.

Envoy shares memory as well, so that its statistics go on; here they start anew.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import os
import socket
import struct
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from meshproxy.address import BoundAddress, PipeAddress
from meshproxy.plugin.context import Logger
from meshproxy.runtime.process.options import Options

_PATIENCE = 5.0
_PACKET = 65536
_TRIES = 1000
_DESCRIPTORS = 200
"""Of one packet; the kernel takes 253 (unix(7))."""


class HotRestartError(Exception):
    """The old process can't be taken over from; the text says why and what to do."""


class Inherited:
    """Listening sockets of an older process, until somebody takes them or `close` gives them up."""

    def __init__(self, sockets: Iterable[socket.socket] = ()) -> None:
        self._sockets: dict[Any, list[socket.socket]] = {}
        for sock in sockets:
            sock.setblocking(False)
            self._sockets.setdefault((sock.family, _name(sock.getsockname())), []).append(sock)

    def take(self, address: BoundAddress) -> socket.socket | None:
        """A socket that is bound to an address and listening; None if there is none left."""
        if isinstance(address, PipeAddress):
            key: Any = (socket.AF_UNIX, _name(address.bind_name))
        else:
            key = (socket.AF_INET6 if address.is_v6 else socket.AF_INET, (address.ip, address.port))
        found = self._sockets.get(key)
        return found.pop(0) if found else None

    def close(self) -> None:
        """Close those that nobody wanted."""
        for sockets in self._sockets.values():
            for sock in sockets:
                sock.close()
        self._sockets.clear()


def _name(name: Any) -> Any:
    """`getsockname` in a form of its own: abstract names are bytes there, and IPv6 has more than two parts."""
    if isinstance(name, bytes):
        return name.decode("latin-1")
    return name if isinstance(name, str) else tuple(name[:2])


def socket_name(options: Options, epoch: int) -> str:
    """Where the process of an epoch listens; a leading "@" stands for an abstract name, as in Envoy."""
    name = f"{options.socket_path}_meshproxy_{options.base_id}_{epoch}"
    return "\0" + name[1:] if name.startswith("@") else name


def _bind(options: Options, base_id: int) -> socket.socket:
    """The socket on which a successor is waited for. Raises OSError."""
    name = socket_name(replace(options, base_id=base_id), options.restart_epoch)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK)
    try:
        if not name.startswith("\0"):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(name)
        sock.bind(name)
        if not name.startswith("\0"):
            os.chmod(name, options.socket_mode)
        sock.listen(1)
    except OSError:
        sock.close()
        raise
    return sock


class OldProcess:
    """The new process's view of the old one."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock

    @classmethod
    def find(cls, options: Options) -> OldProcess | None:
        """The process to take over from. None for the first one. Raises HotRestartError."""
        if options.disable_hot_restart or options.restart_epoch == 0:
            return None
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        sock.settimeout(_PATIENCE)
        try:
            sock.connect(socket_name(options, options.restart_epoch - 1))
        except OSError as error:
            sock.close()
            if options.skip_hot_restart_on_no_parent:
                return None
            raise HotRestartError(
                f"--restart-epoch {options.restart_epoch}: no process of epoch {options.restart_epoch - 1} with"
                f" --base-id {options.base_id} answers ({error.strerror or error})"
            ) from None
        return cls(sock)

    def listening_sockets(self) -> Inherited:
        """All that it listens on. Raises HotRestartError."""
        sockets: list[socket.socket] = []
        try:
            self._socket.send(b'{"ask": "sockets"}')
            more = True
            while more:
                data, descriptors, _, _ = socket.recv_fds(self._socket, _PACKET, _DESCRIPTORS)
                sockets += [socket.socket(fileno=descriptor) for descriptor in descriptors]
                more = bool(json.loads(data)["more"])
        except (OSError, ValueError, KeyError) as error:
            for sock in sockets:
                sock.close()
            raise HotRestartError(f"the old process did not hand its sockets over: {error}") from None
        return Inherited(sockets)

    def stop_admin(self) -> None:
        """Have it close its admin interface. Raises HotRestartError."""
        self._ask({"ask": "stop_admin"})

    def drain(self, deadline: float) -> None:
        """Have it finish what is in flight, within `deadline` seconds, and end. Raises HotRestartError."""
        self._ask({"ask": "drain", "deadline": deadline})
        self._socket.close()

    def _ask(self, question: dict[str, Any]) -> None:
        try:
            self._socket.send(json.dumps(question).encode())
            if not self._socket.recv(_PACKET):
                raise ConnectionResetError("it has hung up")
        except OSError as error:
            raise HotRestartError(f"the old process did not answer '{question['ask']}': {error}") from None


class Takeover:
    """The steps of the new process. `sockets`: what it has from the old one; nothing for a first process."""

    def __init__(self, options: Options) -> None:
        """Raises HotRestartError."""
        self._deadline = options.parent_shutdown_time
        self._old = OldProcess.find(options)
        self.sockets = Inherited()
        if self._old is not None:
            self.sockets = self._old.listening_sockets()
            self._old.stop_admin()

    def complete(self) -> None:
        """We serve: the old process may go. One that has gone by itself meanwhile is no loss."""
        if self._old is not None:
            with contextlib.suppress(HotRestartError):
                self._old.drain(self._deadline)
            self._old = None
        self.sockets.close()


class Succession:
    """The old process's side: waits for the next epoch and does what it asks for."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        log: Logger,
        *,
        sockets: Callable[[], Iterable[socket.socket]],
        stop_admin: Callable[[], object],
        drain: Callable[[float], Coroutine[Any, Any, None]],
    ) -> None:
        """sockets: what is listened on. drain: begin to end, within so many seconds."""
        self._loop = loop
        self._log = log
        self._sockets = sockets
        self._stop_admin = stop_admin
        self._drain = drain
        self._listening: socket.socket | None = None
        self._successors: set[socket.socket] = set()
        self._draining: asyncio.Task[None] | None = None

    def listen(self, options: Options) -> None:
        """Be there for a successor; without one if the name is taken by somebody else's base id."""
        if options.disable_hot_restart:
            return
        base_id = options.base_id
        try:
            if options.use_dynamic_base_id:
                base_id, sock = self._dynamic(options)
            else:
                sock = _bind(options, base_id)
        except OSError as error:
            self._log.info("no hot restart", base_id=base_id, reason=error.strerror)
            return
        if options.base_id_path:
            Path(options.base_id_path).write_text(str(base_id))
        self._listening = sock
        self._loop.add_reader(sock.fileno(), self._accept)

    @staticmethod
    def _dynamic(options: Options) -> tuple[int, socket.socket]:
        """A base id that nobody has. Raises OSError."""
        for base_id in range(os.getpid(), os.getpid() + _TRIES):
            with contextlib.suppress(OSError):
                return base_id, _bind(options, base_id)
        raise OSError(errno.EADDRINUSE, "no base id is free")

    def close(self) -> None:
        if self._listening is not None:
            self._loop.remove_reader(self._listening.fileno())
            name = self._listening.getsockname()
            self._listening.close()
            if isinstance(name, str) and name:  # a path; abstract names are bytes, and go by themselves
                with contextlib.suppress(OSError):
                    os.unlink(name)
            self._listening = None
        for sock in tuple(self._successors):
            self._forget(sock)

    def _accept(self) -> None:
        assert self._listening is not None
        try:
            sock, _ = self._listening.accept()
        except OSError:
            return
        _, uid, _ = struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        if uid not in (0, os.geteuid()):
            self._log.warning("somebody else's process asked for our sockets", uid=uid)
            sock.close()
            return
        sock.settimeout(_PATIENCE)  # of what is sent; it is read when there is something
        self._successors.add(sock)
        self._loop.add_reader(sock.fileno(), self._asked, sock)

    def _asked(self, sock: socket.socket) -> None:
        try:
            data = sock.recv(_PACKET)
            if not data:
                raise ConnectionResetError
            self._answer(sock, json.loads(data))
        except (OSError, ValueError, KeyError, TypeError):
            self._forget(sock)

    def _answer(self, sock: socket.socket, question: dict[str, Any]) -> None:
        kind = question["ask"]
        if kind == "sockets":
            self._pass_sockets(sock)
        elif kind == "stop_admin":
            self._stop_admin()
            sock.send(b"{}")
        elif kind == "drain":
            deadline = float(question["deadline"])
            sock.send(b"{}")
            self._log.info("a successor has taken over")
            self._draining = self._loop.create_task(self._drain(deadline))
            self.close()
        else:
            raise ValueError(kind)

    def _pass_sockets(self, sock: socket.socket) -> None:
        descriptors = [each.fileno() for each in self._sockets()]
        while True:
            now, descriptors = descriptors[:_DESCRIPTORS], descriptors[_DESCRIPTORS:]
            answer = json.dumps({"more": bool(descriptors)}).encode()
            if now:
                socket.send_fds(sock, [answer], now)
            else:
                sock.send(answer)
            if not descriptors:
                return

    def _forget(self, sock: socket.socket) -> None:
        self._successors.discard(sock)
        self._loop.remove_reader(sock.fileno())
        sock.close()
