"""A meshproxy process for a test: started with a configuration, asked over its admin interface, measured, ended."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import ClassVar

from tests.launcher import Launched, start_meshproxy, start_program
from tests.ports import free_ports

__all__ = ["Client", "Program", "Upstream", "bootstrap", "free_ports", "running", "spawn", "statuses"]

_TICKS = os.sysconf("SC_CLK_TCK")


def bootstrap(port: int, admin: int, upstream: int, *, options: str = "", extra: str = "", chain: str = "") -> str:
    """One listener that sends everything to one cluster. options: more of the connection manager; chain: fields
    of the filter chain, each a line that ends in six blanks."""
    return f"""
admin: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {admin}}}}}}}
static_resources:
  listeners:
  - name: in
    address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}
    filter_chains:
    - {chain}filters:
      - name: http
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: test
          {options}
          route_config:
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes:
              - match: {{prefix: /direct}}
                direct_response: {{status: 200, body: {{inline_string: direct}}}}
              - match: {{prefix: /}}
                route: {{cluster: up, timeout: 0s}}
          http_filters:
          - name: router
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router
  clusters:
  - name: up
    connect_timeout: 1s
    load_assignment:
      cluster_name: up
      endpoints:
      - lb_endpoints:
        - endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {upstream}}}}}}}
{extra}
"""


class Program:
    """The process. port: of the listener; admin: of the admin interface."""

    def __init__(self, process: Launched, port: int, admin: int, output: Path) -> None:
        self.process = process
        self.port = port
        self.admin_port = admin
        self._output = output

    @property
    def pid(self) -> int:
        return self.process.pid

    def output(self) -> str:
        """What it has printed."""
        return self._output.read_text()

    async def ask(self, path: str, method: str = "GET", headers: str = "host: localhost\r\n") -> tuple[int, str]:
        """Status and body of an admin page."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.admin_port)
        try:
            writer.write(f"{method} {path} HTTP/1.1\r\n{headers}connection: close\r\n\r\n".encode())
            answer = await asyncio.wait_for(reader.read(), 20)
        finally:
            writer.close()
        head, _, body = answer.partition(b"\r\n\r\n")
        return int(head.split()[1]), _unchunk(body)

    async def statistic(self, name: str) -> int:
        """One counter or gauge."""
        _, text = await self.ask(f"/stats?filter=^{name}$")
        return int(text.rpartition(": ")[2])

    async def ready(self, seconds: float = 60.0) -> None:
        """Wait until it serves."""
        async with asyncio.timeout(seconds):
            while True:
                assert self.process.returncode is None, self.output()
                with contextlib.suppress(OSError, IndexError):
                    if (await self.ask("/ready"))[0] == 200:
                        return
                await asyncio.sleep(0.03)

    async def exit_code(self, seconds: float = 30.0) -> int:
        """Wait for its end."""
        return await asyncio.wait_for(self.process.wait(), seconds)

    def send_signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def workers(self) -> list[int]:
        """The processes that it has forked."""
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        return [int(child) for child in children]

    def resident(self) -> int:
        """Resident memory in bytes."""
        return int(Path(f"/proc/{self.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def cpu_seconds(self) -> float:
        """CPU time used so far."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS

    def limit_descriptors(self, count: int) -> None:
        """Change the number of files that it may have open."""
        _, most = resource.prlimit(self.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(self.pid, resource.RLIMIT_NOFILE, (count, most))


def _unchunk(body: bytes) -> str:
    out = b""
    while body:
        size, _, rest = body.partition(b"\r\n")
        length = int(size, 16)
        if not length:
            break
        out += rest[:length]
        body = rest[length + 2 :]
    return out.decode()


async def spawn(
    directory: Path, config: str, *flags: str, env: dict[str, str] | None = None, fresh: bool = False
) -> tuple[Launched, Path]:
    """Start the program on a configuration text; returns the process and the file with what it prints.

    fresh: in an interpreter of its own, for what `env` says to Python itself.
    """
    (directory / "config.yaml").write_text(config)
    output = directory / "output.txt"
    arguments = ["-c", str(directory / "config.yaml"), *flags]
    variables = {**os.environ, **(env or {})}
    with output.open("wb") as file:
        if fresh:
            command = [sys.executable, "-m", "meshproxy.cli", *arguments]
            return await start_program(command, file, env=variables), output
        return await start_meshproxy(arguments, file, env=variables), output


@contextlib.asynccontextmanager
async def serving(directory: Path, config: str, port: int, admin: int, *flags: str) -> AsyncIterator[Program]:
    """A program with this configuration that is ready; killed afterwards if it still runs."""
    process, output = await spawn(directory, config, *flags)
    program = Program(process, port, admin, output)
    try:
        await program.ready()
        yield program
    finally:
        for client in Client.opened:
            client.close()
        Client.opened.clear()
        if process.returncode is None:
            workers = program.workers()
            process.kill()
            for worker in workers:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(worker, signal.SIGKILL)
            await process.wait()


@contextlib.asynccontextmanager
async def running(
    directory: Path, upstream: int, *flags: str, options: str = "", extra: str = "", chain: str = ""
) -> AsyncIterator[Program]:
    """A program that is ready; killed afterwards if it still runs."""
    port, admin = free_ports(2)
    config = bootstrap(port, admin, upstream, options=options, extra=extra, chain=chain)
    async with serving(directory, config, port, admin, *flags) as program:
        yield program


class Upstream:
    """An HTTP/1.1 server whose answers take `delay` seconds and have `size` bytes of body."""

    def __init__(self, delay: float = 0.0, size: int = 2) -> None:
        self.delay = delay
        self.size = size
        self.port = 0
        self.requests = 0
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()

    async def __aenter__(self) -> Upstream:
        await self.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def open(self) -> None:
        """Listen, on the same port as before if there was one.

        The backlog takes all that a proxy connects in one turn: the kernel drops what is beyond it, and it comes again
        after a second, which is all that a cluster here gives it.
        """
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port, backlog=1024)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """Stop listening and cut every connection with RST."""
        if self._server is not None:
            self._server.close()
        for writer in list(self._writers):
            writer.transport.abort()
        await asyncio.sleep(0)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while True:
                await reader.readuntil(b"\r\n\r\n")
                self.requests += 1
                await asyncio.sleep(self.delay)
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % self.size)
                left = self.size
                while left:
                    piece = min(left, 65536)
                    writer.write(b"x" * piece)
                    left -= piece
                    await writer.drain()
        self._writers.discard(writer)
        writer.close()


class Client:
    """One keep-alive connection; closed at the latest with the program that it talks to."""

    opened: ClassVar[list[Client]] = []

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.opened.append(self)

    @classmethod
    async def connect(cls, port: int) -> Client:
        return cls(*await asyncio.open_connection("127.0.0.1", port))

    async def get(self, path: str = "/", seconds: float = 30.0) -> tuple[int, dict[str, str], bytes]:
        """One request and its whole answer. Raises ConnectionError or IncompleteReadError when it is cut."""
        self.writer.write(f"GET {path} HTTP/1.1\r\nhost: test\r\n\r\n".encode())
        async with asyncio.timeout(seconds):
            return await self.answer()

    async def answer(self) -> tuple[int, dict[str, str], bytes]:
        """The next answer with a content-length."""
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        fields = dict(line.lower().split(": ", 1) for line in head[1:] if line)
        body = await self.reader.readexactly(int(fields.get("content-length", "0")))
        return int(head[0].split()[1]), fields, body

    def close(self) -> None:
        self.writer.close()


async def statuses(port: int, paths: Sequence[str]) -> list[int]:
    """The statuses of requests that are sent at once, each on its own connection; 0 for one that got no answer."""

    async def one(path: str) -> int:
        try:
            client = await Client.connect(port)
            try:
                return (await client.get(path))[0]
            finally:
                client.close()
        except (OSError, asyncio.IncompleteReadError, TimeoutError):
            return 0

    return await asyncio.gather(*(one(path) for path in paths))
