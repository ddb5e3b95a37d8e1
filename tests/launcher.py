"""Starts the programs that tests run, from a small process beside the tests.

Why not from the tests' own process:

- What it starts ends with it, and it ends with the tests, however those end: each program asks the kernel to be killed
  with its parent (PR_SET_PDEATHSIG), and the launcher leaves when the socket to the tests does. Nothing is left behind
  of a run that was killed.
- meshproxy starts here in a fork of a process that has imported it already: what is run is the same, without the most
  of a second of CPU time that importing it costs each of several hundred programs. The tests of its start
  (`test_starting.py`, the agent, the demo, the meshes) run `python -m meshproxy.cli`.
- A fork of a small process with one thread costs next to nothing.

One message (SOCK_SEQPACKET) asks for one program: JSON, and with it the descriptors of a socket of its own, where its
process id and at last its exit code are told, and of its output. When the tests close that socket the program is
killed.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import functools
import gc
import importlib.metadata
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

_PR_SET_PDEATHSIG = 1
_MOST = 1 << 17
"""Bytes of a request: arguments and environment."""


class Launched(asyncio.Protocol):
    """A started program; as `asyncio.subprocess.Process`, as far as tests use that."""

    def __init__(self) -> None:
        self.pid = 0
        self.returncode: int | None = None
        self._told = b""
        self._started = asyncio.Event()
        self._ended = asyncio.Event()

    def data_received(self, data: bytes) -> None:
        self._told += data
        pid, started, rest = self._told.partition(b"\n")
        code, ended, _ = rest.partition(b"\n")
        if started:
            self.pid = int(pid)
            self._started.set()
        if ended:
            self.returncode = int(code)

    def connection_lost(self, exc: Exception | None) -> None:
        if self.returncode is None:
            self.returncode = -signal.SIGKILL  # the launcher is gone, and so the program
        self._started.set()
        self._ended.set()

    async def started(self) -> None:
        await self._started.wait()
        if not self.pid:
            raise OSError("the launcher could not start a program")

    async def wait(self) -> int:
        """The exit code once it has ended; that of a signal is negative."""
        await self._ended.wait()
        assert self.returncode is not None
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


async def start_meshproxy(
    arguments: Sequence[str], output: IO[bytes], *, env: Mapping[str, str] | None = None, cwd: Path | None = None
) -> Launched:
    """meshproxy with these arguments. output: a file for all it prints. env: instead of our own variables."""
    return await _start({"arguments": list(arguments)}, output, env, cwd)


async def start_program(
    command: Sequence[str], output: IO[bytes], *, env: Mapping[str, str] | None = None, cwd: Path | None = None
) -> Launched:
    """Any other program. It ends with code 127 if it can't be run."""
    return await _start({"command": list(command)}, output, env, cwd)


async def _start(
    what: dict[str, list[str]], output: IO[bytes], env: Mapping[str, str] | None, cwd: Path | None
) -> Launched:
    ours, theirs = socket.socketpair()
    with theirs:
        variables = dict(os.environ if env is None else env)
        request = json.dumps({**what, "env": variables, "cwd": str(cwd or Path.cwd())}).encode()
        assert len(request) <= _MOST
        # A message waits in the launcher's socket at most as long as it forks for those before it.
        socket.send_fds(_launcher(), [request], [theirs.fileno(), output.fileno()])
    _, program = await asyncio.get_running_loop().create_connection(Launched, sock=ours)
    await program.started()
    return program


@functools.cache
def _launcher() -> socket.socket:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        # Its exit is nobody's business: it leaves when `ours` is closed, at the latest by the kernel.
        root = Path(__file__).parent.parent
        process = subprocess.Popen([sys.executable, "-m", "tests.launcher"], stdin=theirs.fileno(), cwd=root)
    process.returncode = 0  # no complaint that it runs on when the interpreter ends
    return ours


class _Become(BaseException):
    """In a fork: leave the launcher's stack and be the program that was asked for."""


class _Launcher:
    def __init__(self, asked: socket.socket) -> None:
        self._asked = asked
        self._selector = selectors.DefaultSelector()
        self._running: dict[int, socket.socket] = {}  # process id -> where its end is told
        self._watched: set[int] = set()  # those for which somebody still waits, as far as we know
        self._woken, waker = os.pipe()
        os.set_blocking(waker, False)
        os.set_blocking(self._woken, False)
        self._waker = waker

    def run(self) -> None:
        """Until the tests are gone. Raises _Become in each child."""
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # from a terminal it's the tests that it is meant for
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._waker, warn_on_full_buffer=False)
        self._selector.register(self._asked, selectors.EVENT_READ)
        self._selector.register(self._woken, selectors.EVENT_READ)
        while True:
            for key, _ in self._selector.select():
                if key.fileobj is self._asked:
                    if not self._take():
                        return
                elif key.fileobj == self._woken:
                    with contextlib.suppress(BlockingIOError):
                        os.read(self._woken, 4096)
                    self._reap()
                else:
                    self._forgotten(key.data)

    def _take(self) -> bool:
        message, descriptors, _, _ = socket.recv_fds(self._asked, _MOST, 2)
        if not message:
            return False
        life, output = descriptors
        request = json.loads(message)
        if "arguments" in request:
            _import_meshproxy()
        parent = os.getpid()
        pid = os.fork()
        if pid == 0:
            self._leave_all()
            os.close(life)
            self._prepare(parent, output, request)
            raise _Become(request)
        os.close(output)
        told = socket.socket(fileno=life)
        self._running[pid] = told
        self._watched.add(pid)
        self._selector.register(told, selectors.EVENT_READ, pid)
        self._tell(told, pid)
        return True

    def _leave_all(self) -> None:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        self._selector.close()
        self._asked.close()
        for each in self._running.values():
            each.close()
        os.close(self._woken)
        os.close(self._waker)

    @staticmethod
    def _prepare(parent: int, output: int, request: dict[str, Any]) -> None:
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)  # the launcher was gone before the kernel could be asked
        nothing = os.open(os.devnull, os.O_RDONLY)
        for ours, well_known in ((nothing, 0), (output, 1), (output, 2)):
            os.dup2(ours, well_known)
        os.close(nothing)
        os.close(output)
        os.chdir(str(request["cwd"]))
        os.environ.clear()
        os.environ.update(request["env"])

    def _reap(self) -> None:
        while self._running:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                return
            told = self._running.pop(pid)
            if pid in self._watched:
                self._watched.remove(pid)
                self._selector.unregister(told)
            self._tell(told, os.waitstatus_to_exitcode(status))
            told.close()

    def _forgotten(self, pid: int) -> None:
        """Nobody asks for this program any more."""
        if pid in self._watched:
            self._watched.remove(pid)
            self._selector.unregister(self._running[pid])
            os.kill(pid, signal.SIGKILL)  # not reaped before it left `_running`, so this is it

    @staticmethod
    def _tell(told: socket.socket, number: int) -> None:
        with contextlib.suppress(OSError):  # nobody may listen any more
            told.sendall(b"%d\n" % number)


@functools.cache
def _import_meshproxy() -> None:
    """Once for all, when the first is asked for."""
    from meshproxy.cli import flags, run  # noqa: F401  # for being imported

    for point in importlib.metadata.entry_points(group="meshproxy.filters"):
        point.load()
    gc.freeze()


def main() -> int:
    """The launcher, on the socket that is its standard input."""
    asked = socket.socket(fileno=os.dup(0))
    try:
        _Launcher(asked).run()
    except _Become as become:
        (request,) = become.args
        if "command" in request:
            command = request["command"]
            try:
                os.execvpe(command[0], command, os.environ)
            except OSError as error:
                sys.stderr.write(f"{command[0]}: {error.strerror}\n")
                return 127
        from meshproxy.cli import main as meshproxy

        sys.argv = ["meshproxy", *request["arguments"]]
        return meshproxy()
    return 0


if __name__ == "__main__":
    sys.exit(main())
