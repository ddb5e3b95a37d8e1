"""How the program ends: nothing in flight is lost, and it never takes longer than it was told to."""

from __future__ import annotations

import asyncio
import signal
import time
from pathlib import Path

import pytest

from .h2_client import H2Client
from .program import Client, Upstream, running, statuses


async def _in_flight(upstream: Upstream, count: int) -> None:
    async with asyncio.timeout(30):
        while upstream.requests < count:
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("flags", [(), ("--concurrency", "2")], ids=["one-process", "two-workers"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_no_request_in_flight_is_lost(tmp_path: Path, flags: tuple[str, ...], number: signal.Signals) -> None:
    async with Upstream(delay=1.0) as upstream, running(tmp_path, upstream.port, *flags) as program:
        requests = asyncio.create_task(statuses(program.port, ["/"] * 20))
        await _in_flight(upstream, 20)
        program.send_signal(number)
        assert await requests == [200] * 20
        assert await program.exit_code() == 0


async def test_connections_in_the_backlog_are_served(tmp_path: Path) -> None:
    async with Upstream(delay=0.3) as upstream, running(tmp_path, upstream.port) as program:
        program.send_signal(signal.SIGSTOP)  # what comes now waits in the kernel
        requests = asyncio.create_task(statuses(program.port, ["/"] * 10))
        await asyncio.sleep(0.3)
        program.send_signal(signal.SIGTERM)
        program.send_signal(signal.SIGCONT)
        assert await requests == [200] * 10
        assert await program.exit_code() == 0


async def test_idle_connections_are_closed_and_new_ones_refused(tmp_path: Path) -> None:
    async with Upstream(delay=4.0) as upstream, running(tmp_path, upstream.port) as program:
        idle = await Client.connect(program.port)
        await idle.get("/direct")
        busy = await Client.connect(program.port)
        answer = asyncio.create_task(busy.get("/"))
        await _in_flight(upstream, 1)
        await asyncio.sleep(1.1)
        program.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(idle.reader.read(), 3) == b""
        with pytest.raises(OSError):
            await Client.connect(program.port)
        status, fields, _ = await answer
        assert (status, fields["connection"]) == (200, "close")
        assert await program.exit_code() == 0


async def test_the_drain_time_bounds_the_drain(tmp_path: Path) -> None:
    flags = ("--drain-time-s", "1")
    async with Upstream(delay=30) as upstream, running(tmp_path, upstream.port, *flags) as program:
        request = asyncio.create_task(statuses(program.port, ["/"]))
        await _in_flight(upstream, 1)
        began = time.monotonic()
        program.send_signal(signal.SIGTERM)
        assert await program.exit_code() == 0
        assert 0.9 < time.monotonic() - began < 15
        assert await request == [0]


@pytest.mark.parametrize("flags", [(), ("--concurrency", "2")], ids=["one-process", "two-workers"])
async def test_a_second_signal_ends_at_once(tmp_path: Path, flags: tuple[str, ...]) -> None:
    async with Upstream(delay=30) as upstream, running(tmp_path, upstream.port, *flags) as program:
        request = asyncio.create_task(statuses(program.port, ["/"]))
        await _in_flight(upstream, 1)
        program.send_signal(signal.SIGTERM)
        await asyncio.sleep(0.3)
        assert program.process.returncode is None
        program.send_signal(signal.SIGTERM)
        assert await program.exit_code(15) == 0
        assert await request == [0]


@pytest.mark.parametrize("flags", [(), ("--concurrency", "2")], ids=["one-process", "two-workers"])
async def test_quitquitquit_ends_at_once(tmp_path: Path, flags: tuple[str, ...]) -> None:
    async with Upstream(delay=30) as upstream, running(tmp_path, upstream.port, *flags) as program:
        request = asyncio.create_task(statuses(program.port, ["/"]))
        await _in_flight(upstream, 1)
        assert await program.ask("/quitquitquit", "POST") == (200, "OK\n")
        assert await program.exit_code(15) == 0
        assert await request == [0]


async def test_a_graceful_drain_of_listeners_loses_nothing(tmp_path: Path) -> None:
    flags = ("--drain-time-s", "2", "--drain-strategy", "gradual")
    async with Upstream(delay=0.05) as upstream, running(tmp_path, upstream.port, *flags) as program:
        failed, closed, refused = 0, 0, 0
        assert await program.ask("/drain_listeners?graceful", "POST") == (200, "OK\n")
        end = time.monotonic() + 3.5

        async def load() -> None:
            nonlocal failed, closed, refused
            client: Client | None = None
            while time.monotonic() < end:
                try:
                    client = client or await Client.connect(program.port)
                except OSError:
                    refused += 1
                    return
                try:
                    _, fields, _ = await client.get("/")
                except (OSError, asyncio.IncompleteReadError):
                    failed += 1
                    return
                if fields.get("connection") == "close":
                    closed += 1
                    client = None

        await asyncio.gather(*(load() for _ in range(8)))
        assert failed == 0
        assert closed > 8
        assert refused == 8
        assert (await program.ask("/ready"))[0] == 200


async def test_health_failed_closes_connections_of_all_workers(tmp_path: Path) -> None:
    async with Upstream() as upstream, running(tmp_path, upstream.port, "--concurrency", "2") as program:
        await program.ask("/healthcheck/fail", "POST")
        assert await program.ask("/ready") == (503, "DRAINING\n")
        for _ in range(8):
            client = await Client.connect(program.port)
            assert (await client.get("/direct"))[1]["connection"] == "close"
            client.close()
        await program.ask("/healthcheck/ok", "POST")
        client = await Client.connect(program.port)
        assert "connection" not in (await client.get("/direct"))[1]
        client.close()


@pytest.mark.parametrize("flags", [(), ("--concurrency", "2")], ids=["one-process", "two-workers"])
async def test_what_the_end_cuts_off_is_logged(tmp_path: Path, flags: tuple[str, ...]) -> None:
    log = tmp_path / "access.log"
    kind = "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog"
    options = f'access_log: [{{name: f, typed_config: {{"@type": {kind}, path: {log}}}}}]'
    async with (
        Upstream(delay=30) as upstream,
        running(tmp_path, upstream.port, "--drain-time-s", "1", *flags, options=options) as program,
    ):
        client = await H2Client.open(program.port)
        for _ in range(150):
            client.start("/many")
        one = await Client.connect(program.port)
        one.writer.write(b"GET /one HTTP/1.1\r\nhost: h\r\n\r\n")
        await _in_flight(upstream, 151)
        program.send_signal(signal.SIGTERM)
        assert await program.exit_code() == 0
        await client.close()
    rows = log.read_text().splitlines()
    assert sorted({row.split()[2] for row in rows}) == ["/many", "/one"]
    assert len(rows) == 151
    assert all(" 0 DC " in row for row in rows)
