"""The process never spins or dies, and its memory stays bounded, whatever the two sides do."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from pathlib import Path

from .program import Client, Upstream, running, statuses


async def test_out_of_descriptors(tmp_path: Path) -> None:
    """Connections beyond the limit wait, the process idles meanwhile, and all is well once there is room again."""
    async with Upstream() as upstream, running(tmp_path, upstream.port) as program:
        kept = await Client.connect(program.port)
        assert (await kept.get("/"))[0] == 200
        program.limit_descriptors(60)
        crowd = [socket.create_connection(("127.0.0.1", program.port)) for _ in range(120)]
        await asyncio.sleep(0.5)
        began = program.cpu_seconds()
        await asyncio.sleep(1.0)
        assert program.cpu_seconds() - began < 0.2
        for _ in range(20):
            assert (await kept.get("/"))[0] == 200
        for sock in crowd:
            sock.close()
        async with asyncio.timeout(20):
            while await statuses(program.port, ["/"]) != [200]:
                await asyncio.sleep(0.05)
        assert (await program.ask("/ready"))[0] == 200
        assert "accepting paused" in program.output()


async def test_no_descriptor_left_for_the_upstream(tmp_path: Path) -> None:
    async with Upstream() as upstream, running(tmp_path, upstream.port) as program:
        clients = [await Client.connect(program.port) for _ in range(20)]
        for client in clients:
            assert (await client.get("/direct"))[0] == 200
        program.limit_descriptors(20)
        assert [(await client.get("/"))[0] for client in clients] == [503] * 20
        program.limit_descriptors(1000)
        assert [(await client.get("/"))[0] for client in clients] == [200] * 20


async def test_the_upstream_vanishes_and_comes_back(tmp_path: Path) -> None:
    async with Upstream(delay=0.02) as upstream, running(tmp_path, upstream.port) as program:
        seen: list[int] = []
        end = time.monotonic() + 2.5

        async def load() -> None:
            client = await Client.connect(program.port)
            while time.monotonic() < end:
                seen.append((await client.get("/"))[0])
                await asyncio.sleep(0.01)
            client.close()

        clients = [asyncio.create_task(load()) for _ in range(8)]
        await asyncio.sleep(0.5)
        await upstream.close()
        await asyncio.sleep(0.7)
        await upstream.open()
        await asyncio.sleep(0.3)
        mark = len(seen)
        await asyncio.gather(*clients)
        assert set(seen) == {200, 503}
        assert set(seen[mark:]) == {200}


async def test_clients_that_leave_at_any_moment(tmp_path: Path) -> None:
    async with Upstream(delay=0.03, size=200_000) as upstream, running(tmp_path, upstream.port) as program:
        request = b"GET / HTTP/1.1\r\nhost: test\r\n\r\n"

        async def leave(cut: int, wait: float, reset: bool) -> None:
            with contextlib.suppress(OSError):
                _, writer = await asyncio.open_connection("127.0.0.1", program.port)
                writer.write(request[:cut])
                await asyncio.sleep(wait)
                if reset:
                    writer.transport.abort()
                writer.close()

        assert len(request) == 30
        for wait in (0.0, 0.01, 0.03, 0.05):
            await asyncio.gather(
                *(leave(cut, wait, reset) for cut in (*range(1, 30, 4), *[30] * 8) for reset in (False, True))
            )
        assert await statuses(program.port, ["/"] * 5) == [200] * 5
        async with asyncio.timeout(20):
            while await program.statistic(r"http\.test\.downstream_cx_active"):
                await asyncio.sleep(0.05)
        assert await program.statistic(r"http\.test\.downstream_rq_active") == 0
        assert await program.statistic(r"cluster\.up\.upstream_rq_active") == 0
        assert "Traceback" not in program.output()


async def test_slow_readers_take_bounded_memory(tmp_path: Path) -> None:
    count, size = 20, 20_000_000
    async with Upstream(size=size) as upstream, running(tmp_path, upstream.port) as program:
        await statuses(program.port, ["/direct"])
        before = program.resident()
        readers = []
        for _ in range(count):
            sock = socket.socket()
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16384)
            sock.setblocking(False)
            await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", program.port))
            sock.send(b"GET / HTTP/1.1\r\nhost: test\r\n\r\n")
            readers.append(sock)
        await asyncio.sleep(2.0)
        assert upstream.requests == count
        assert (program.resident() - before) / count < 2_500_000
        began = program.cpu_seconds()
        await asyncio.sleep(0.5)
        assert program.cpu_seconds() - began < 0.1
        assert await statuses(program.port, ["/direct"] * 5) == [200] * 5
        for sock in readers:
            sock.close()


async def test_slow_writers_are_cut_off_when_told_to(tmp_path: Path) -> None:
    options = "request_headers_timeout: 1s"
    async with Upstream() as upstream, running(tmp_path, upstream.port, options=options) as program:
        began = time.monotonic()
        slow = [await Client.connect(program.port) for _ in range(50)]
        for client in slow:
            client.writer.write(b"GET / HTTP/1.1\r\nhost: te")
        assert await statuses(program.port, ["/"] * 5) == [200] * 5
        answers = await asyncio.wait_for(asyncio.gather(*(client.answer() for client in slow)), 4)
        assert {status for status, _, _ in answers} == {408}
        assert 0.9 < time.monotonic() - began < 3.5
        for client in slow:
            client.close()
        assert await program.statistic(r"http\.test\.downstream_rq_header_timeout") == 50
