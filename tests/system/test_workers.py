"""Several workers under one parent: merged statistics, and a worker that dies takes nothing with it but its own."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from pathlib import Path

from .program import Client, Program, Upstream, running, statuses

THREE = ("--concurrency", "3")


async def _workers(program: Program, count: int, without: int = 0, seconds: float = 3.0) -> float:
    """Wait until there are `count` workers and `without` is none of them; returns how long that took."""
    began = time.monotonic()
    async with asyncio.timeout(seconds):
        while True:
            workers = program.workers()
            if len(workers) == count and without not in workers:
                return time.monotonic() - began
            await asyncio.sleep(0.01)


async def test_statistics_and_clusters_are_those_of_all(tmp_path: Path) -> None:
    async with Upstream() as upstream, running(tmp_path, upstream.port, *THREE) as program:
        assert await statuses(program.port, ["/"] * 30) == [200] * 30
        assert await program.statistic(r"http\.test\.downstream_rq_2xx") == 30
        by_worker = [
            await program.statistic(rf"listener\.127\.0\.0\.1_{program.port}\.worker_{index}\.downstream_cx_total")
            for index in range(3)
        ]
        assert sum(by_worker) == 30
        assert sum(count > 0 for count in by_worker) > 1
        assert await program.statistic(r"server\.concurrency") == 3
        assert await program.statistic(r"cluster\.up\.membership_total") == 1
        assert await program.statistic(r"cluster_manager\.active_clusters") == 1
        _, clusters = await program.ask("/clusters")
        assert f"up::127.0.0.1:{upstream.port}::rq_success::30" in clusters
        _, listeners = await program.ask("/listeners")
        assert listeners == f"in::127.0.0.1:{program.port}\n"
        await program.ask("/reset_counters", "POST")
        assert await program.statistic(r"http\.test\.downstream_rq_2xx") == 0


async def test_a_killed_worker_is_replaced_and_the_others_lose_nothing(tmp_path: Path) -> None:
    async with Upstream(delay=0.01) as upstream, running(tmp_path, upstream.port, *THREE) as program:
        outcomes: list[tuple[int, bool]] = []
        end = time.monotonic() + 3

        async def load() -> None:
            """Requests on a kept connection; notes how many worked, and whether the connection was cut."""
            while time.monotonic() < end:
                client = await Client.connect(program.port)
                served = 0
                try:
                    while time.monotonic() < end:
                        assert (await client.get("/"))[0] == 200
                        served += 1
                except (OSError, asyncio.IncompleteReadError):
                    outcomes.append((served, True))
                    continue
                outcomes.append((served, False))
                client.close()

        clients = [asyncio.create_task(load()) for _ in range(12)]
        await asyncio.sleep(0.5)
        victim = program.workers()[0]
        victims = await _connections_of(victim)
        before = await program.statistic(r"http\.test\.downstream_rq_2xx")
        os.kill(victim, signal.SIGKILL)
        assert await _workers(program, 3, without=victim) < 1.0
        await asyncio.gather(*clients)
        cut = sum(was_cut for _, was_cut in outcomes)
        assert cut <= victims
        assert sum(not was_cut for _, was_cut in outcomes) == 12
        total = sum(served for served, _ in outcomes)
        assert total > 300
        assert await program.statistic(r"http\.test\.downstream_rq_2xx") >= max(before, total - 100)
        assert "signal SIGKILL" in program.output()


async def _connections_of(pid: int) -> int:
    """Established sockets of a process, upper bound for the connections of clients that it has."""
    return sum(os.readlink(f"/proc/{pid}/fd/{name}").startswith("socket:") for name in os.listdir(f"/proc/{pid}/fd"))


async def test_connections_of_a_dead_worker_wait_for_its_successor(tmp_path: Path) -> None:
    """The parent keeps the listening sockets, so what waits in their backlog isn't refused."""
    async with Upstream() as upstream, running(tmp_path, upstream.port, "--concurrency", "2") as program:
        for worker in program.workers():
            os.kill(worker, signal.SIGSTOP)
        requests = asyncio.create_task(statuses(program.port, ["/"] * 10))
        await asyncio.sleep(0.3)
        for worker in program.workers():
            os.kill(worker, signal.SIGKILL)
        assert await requests == [200] * 10


async def test_a_worker_that_comes_later_knows_what_was_said_before(tmp_path: Path) -> None:
    async with Upstream() as upstream, running(tmp_path, upstream.port, "--concurrency", "2") as program:
        await program.ask("/healthcheck/fail", "POST")
        for worker in program.workers():
            os.kill(worker, signal.SIGKILL)
        await asyncio.sleep(0.2)
        await _workers(program, 2)
        await asyncio.sleep(0.3)
        for _ in range(6):
            client = await Client.connect(program.port)
            assert (await client.get("/direct"))[1]["connection"] == "close"
            client.close()


async def test_workers_end_when_their_parent_is_killed(tmp_path: Path) -> None:
    async with Upstream() as upstream, running(tmp_path, upstream.port, *THREE) as program:
        workers = program.workers()
        program.process.kill()
        await program.process.wait()
        async with asyncio.timeout(20):
            while any(_runs(worker) for worker in workers):
                await asyncio.sleep(0.02)


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


async def test_a_worker_told_to_end_finishes_and_is_replaced(tmp_path: Path) -> None:
    async with Upstream(delay=0.6) as upstream, running(tmp_path, upstream.port, "--concurrency", "2") as program:
        requests = asyncio.create_task(statuses(program.port, ["/"] * 8))
        await asyncio.sleep(0.3)
        worker = program.workers()[0]
        os.kill(worker, signal.SIGTERM)
        assert await requests == [200] * 8
        await _workers(program, 2, without=worker)
        assert await statuses(program.port, ["/direct"] * 8) == [200] * 8


async def test_draining_listeners_stops_all_workers(tmp_path: Path) -> None:
    async with Upstream() as upstream, running(tmp_path, upstream.port, "--concurrency", "2") as program:
        assert await program.ask("/drain_listeners", "POST") == (200, "OK\n")
        assert await statuses(program.port, ["/direct"] * 6) == [0] * 6
        assert (await program.ask("/listeners"))[1] == f"in::127.0.0.1:{program.port}\n"
