"""A new process takes over from an old one while clients call without a pause: none is refused, no answer is lost."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.system.program import Client, Program, Upstream, bootstrap, free_ports, spawn


class Load:
    """Clients that call for as long as it lasts: some keep their connection while they may, some make one each time."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.answered = 0
        self.failures: list[str] = []
        self._going = True
        self._tasks = [asyncio.ensure_future(self._call(keeps)) for keeps in (True, False) for _ in range(4)]

    async def _call(self, keeps: bool) -> None:
        client: Client | None = None
        while self._going:
            try:
                if client is None:
                    client = await Client.connect(self.port)
                status, fields, _ = await client.get()
                if status != 200:
                    self.failures.append(f"status {status}")
                self.answered += 1
                if not keeps or fields.get("connection") == "close":
                    client.close()
                    client = None
            except (OSError, asyncio.IncompleteReadError, TimeoutError) as error:
                self.failures.append(repr(error))
                client = None
            await asyncio.sleep(0.005)
        if client is not None:
            client.close()

    async def stop(self) -> None:
        self._going = False
        await asyncio.gather(*self._tasks)


@contextlib.asynccontextmanager
async def epochs(directory: Path, upstream: int) -> AsyncIterator[Epochs]:
    started = Epochs(directory, upstream)
    try:
        yield started
    finally:
        for program in started.programs:
            if program.process.returncode is None:
                for worker in program.workers():
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(worker, signal.SIGKILL)
                program.process.kill()
                await program.process.wait()


class Epochs:
    """Programs of one base id, one after the other."""

    def __init__(self, directory: Path, upstream: int) -> None:
        self.port, self.admin = free_ports(2)
        self.config = bootstrap(self.port, self.admin, upstream)
        self.programs: list[Program] = []
        self._directory = directory
        self._base_id = str(random.SystemRandom().randrange(1 << 20, 1 << 30))

    async def start(self, *flags: str) -> Program:
        epoch = len(self.programs)
        directory = self._directory / str(epoch)
        directory.mkdir()
        process, output = await spawn(
            directory, self.config, "--base-id", self._base_id, "--restart-epoch", str(epoch),
            "--drain-time-s", "20", *flags,
        )  # fmt: skip
        program = Program(process, self.port, self.admin, output)
        self.programs.append(program)
        return program


async def epoch_of(program: Program) -> str:
    with contextlib.suppress(OSError, IndexError):
        return (await program.ask("/server_info"))[1]
    return ""


@pytest.mark.parametrize("workers", ["1", "2"])
async def test_taken_over_twice_under_load(tmp_path: Path, workers: str) -> None:
    async with Upstream(delay=0.02) as upstream, epochs(tmp_path, upstream.port) as started:
        first = await started.start("--concurrency", workers)
        await first.ready()
        load = Load(started.port)
        await asyncio.sleep(0.5)
        for epoch in (1, 2):
            old = started.programs[-1]
            new = await started.start("--concurrency", workers)
            assert await old.exit_code(20) == 0
            await new.ready()
            assert f'"restart_epoch": {epoch}' in await epoch_of(new)
            await asyncio.sleep(0.3)
        await load.stop()
        assert load.failures == []
        assert load.answered > 200


async def test_a_request_in_flight_ends_at_the_old_one(tmp_path: Path) -> None:
    async with Upstream(delay=6.0) as upstream, epochs(tmp_path, upstream.port) as started:
        old = await started.start()
        await old.ready()
        client = await Client.connect(started.port)
        asking = asyncio.ensure_future(client.get())
        await asyncio.sleep(0.2)
        new = await started.start()
        await new.ready()
        status, fields, _ = await asking
        assert (status, fields["connection"]) == (200, "close")
        assert await old.exit_code(10) == 0
        client.close()


async def test_a_successor_that_cant_start_changes_nothing(tmp_path: Path) -> None:
    async with Upstream() as upstream, epochs(tmp_path, upstream.port) as started:
        old = await started.start()
        await old.ready()
        good, started.config = started.config, "static_resources: {clusters: [{nam: x}]}"
        bad = await started.start()
        assert await bad.exit_code() == 1
        started.programs.pop()
        assert (await old.ask("/ready"))[0] == 200
        client = await Client.connect(started.port)
        assert (await client.get())[0] == 200
        client.close()
        started.config = good
        (tmp_path / "1").rename(tmp_path / "bad")
        await started.start()
        assert await old.exit_code(10) == 0


async def test_a_socket_that_is_a_file_goes_with_its_process(tmp_path: Path) -> None:
    port, admin = free_ports(2)
    process, output = await spawn(tmp_path, bootstrap(port, admin, 1), "--socket-path", str(tmp_path / "restart"))
    program = Program(process, port, admin, output)
    try:
        await program.ready()
        found = tmp_path / "restart_meshproxy_0_0"
        for _ in range(50):
            if found.exists():
                break
            await asyncio.sleep(0.1)
        assert found.stat().st_mode & 0o777 == 0o600
        process.send_signal(signal.SIGTERM)
        assert await program.exit_code() == 0
        assert not found.exists()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def test_without_an_old_one_there_is_nothing_to_take_over(tmp_path: Path) -> None:
    port, admin = free_ports(2)
    config = bootstrap(port, admin, 1)
    flags = ("--base-id", str(random.SystemRandom().randrange(1 << 20, 1 << 30)), "--restart-epoch", "3")
    process, output = await spawn(tmp_path, config, *flags)
    assert await asyncio.wait_for(process.wait(), 10) == 4
    assert "no process of epoch 2" in output.read_text()
    process, output = await spawn(tmp_path, config, *flags, "--skip-hot-restart-on-no-parent")
    program = Program(process, port, admin, output)
    try:
        await program.ready()
    finally:
        process.kill()
        await process.wait()


async def test_a_dynamic_base_id_is_written_down(tmp_path: Path) -> None:
    port, admin = free_ports(2)
    path = tmp_path / "base"
    process, output = await spawn(
        tmp_path, bootstrap(port, admin, 1), "--use-dynamic-base-id", "--base-id-path", str(path)
    )
    program = Program(process, port, admin, output)
    try:
        await program.ready()
        name = f"\0envoy_domain_socket_meshproxy_{path.read_text()}_0"
        for garbage in (b"{", b'{"ask": "nothing"}', b"[]", b'{"ask": "drain", "deadline": "x"}'):
            with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as other:
                other.settimeout(5)
                other.connect(name)
                other.send(garbage)
                with contextlib.suppress(ConnectionError):
                    while other.recv(100):
                        pass
        assert (await program.ask("/ready"))[0] == 200
    finally:
        process.kill()
        await process.wait()
