"""What each flood costs others, beside Envoy: memory of the proxy, and how long a bystander waits. Run by hand.

    python -m tests.conformance.flood_table [--rounds 3] [--rate 4] [--only f.ping]

Proxy, attacker and bystander are processes of their own, on whatever processors there are; the attacker sends no more
than `--rate` megabytes a second, for a second. The bystander asks once in two milliseconds. A cell has the 99th
percentile of its waiting before and during the attack, the median of the rounds.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import socket
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import IO

from .h2_floods import FLOODS
from .h2_rig import serving
from .h2_wire import PREFACE, Seen, headers, request, settings, window_update

BY_NAME = {flood.name: flood for flood in FLOODS}
CHUNK = 16_384
ATTACK_S = 1.0


def bystand(port: int) -> None:
    """Ask again and again; for each line on stdin print the 99th percentile of the times since the last one, in ms."""
    os.set_blocking(0, False)
    seen, sid = Seen(), 1
    connection = socket.create_connection(("127.0.0.1", port))
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.sendall(PREFACE + settings())
    waits: list[float] = []
    while True:
        began = time.perf_counter()
        connection.sendall(headers(sid, request(path="/direct")))
        while sid not in seen.ended:
            received = connection.recv(65_536)
            if not received:
                raise SystemExit("the bystander's connection was closed")
            seen.feed(received)
        waits.append(time.perf_counter() - began)
        sid += 2
        if sid % 2000 == 1:
            connection.sendall(window_update(0, 60_000))
        with contextlib.suppress(BlockingIOError):
            if not os.read(0, 100):
                return
            waits.sort()
            print(waits[min(len(waits) - 1, len(waits) * 99 // 100)] * 1000, flush=True)
            waits = []
        time.sleep(0.002)


def attack(port: int, name: str, rate: float) -> None:
    """Send the flood, at most `rate` megabytes a second, for a second; then say whether the server ended it."""
    flood = BY_NAME[name]
    sent = PREFACE + settings() + flood.send
    connection = socket.create_connection(("127.0.0.1", port))
    connection.setblocking(False)
    began = time.perf_counter()
    position, closed = 0, False
    try:
        while (passed := time.perf_counter() - began) < ATTACK_S:
            allowed = int(passed * rate * 1e6)
            with contextlib.suppress(BlockingIOError):
                while position < min(allowed, len(sent)):
                    position += connection.send(sent[position : min(position + CHUNK, allowed)])
            if flood.reads:
                with contextlib.suppress(BlockingIOError):
                    while connection.recv(65_536):
                        pass
                    closed = True
                    break
            time.sleep(0.001)
        connection.settimeout(2.0)
        while flood.end == "closed" and not closed:
            closed = not connection.recv(65_536)
    except TimeoutError:
        pass
    except OSError:
        closed = True
    print("closed" if closed else "open", flush=True)


def _memory(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096


async def measure(program: str, names: list[str], rounds: int, rate: float) -> dict[str, tuple[str, int, float, float]]:
    """By flood: how the connection ended, bytes of growth, and the bystander's times before and during it."""
    me = [sys.executable, "-m", __spec__.name]
    found: dict[str, tuple[str, int, float, float]] = {}
    async with serving(program) as (port, subject):
        pid = subject.pid
        by = subprocess.Popen([*me, "bystander", str(port)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert by.stdin is not None
        assert by.stdout is not None

        def waited(ask: IO[str] = by.stdin, told: IO[str] = by.stdout) -> float:
            ask.write("\n")
            ask.flush()
            return float(told.readline())

        try:
            for name in names:
                ends, growth, quiet, during = [], [], [], []
                for number in range(rounds + 1):  # the first isn't counted: what is built on first use isn't growth
                    await asyncio.sleep(0.2)
                    await asyncio.to_thread(waited)
                    await asyncio.sleep(ATTACK_S)
                    before, start = await asyncio.to_thread(waited), _memory(pid)
                    command = [*me, "attacker", str(port), name, str(rate)]
                    attacker = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
                    highest = start
                    until = time.monotonic() + ATTACK_S
                    while attacker.poll() is None or time.monotonic() < until:
                        await asyncio.sleep(0.02)
                        highest = max(highest, _memory(pid))
                    after = await asyncio.to_thread(waited)
                    if number:
                        assert attacker.stdout is not None
                        ends.append(attacker.stdout.read().strip())
                        growth.append(highest - start)
                        quiet.append(before)
                        during.append(after)
                print(program, name, ends, max(growth), quiet, during, file=sys.stderr, flush=True)
                found[name] = max(ends), max(growth), statistics.median(quiet), statistics.median(during)
        finally:
            by.stdin.close()
            by.wait(5)
    return found


def table(rounds: int, rate: float, only: str) -> None:
    names = [name for name in BY_NAME if only in name]
    figures = {program: asyncio.run(measure(program, names, rounds, rate)) for program in ("envoy", "meshproxy")}
    print("| flood | | Envoy: growth | p99, ms | meshproxy: growth | p99, ms |")
    print("|---|---|--:|--:|--:|--:|")
    for name in names:
        cells = [name, BY_NAME[name].what]
        for program in ("envoy", "meshproxy"):
            end, growth, quiet, during = figures[program][name]
            cells += [f"{growth / 1e6:.1f} MB, {end}", f"{quiet:.1f} -> {during:.1f} ({during / quiet:.1f})"]
        print("| " + " | ".join(cells) + " |")


def main() -> None:
    if sys.argv[1:2] == ["bystander"]:
        return bystand(int(sys.argv[2]))
    if sys.argv[1:2] == ["attacker"]:
        return attack(int(sys.argv[2]), sys.argv[3], float(sys.argv[4]))
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rate", type=float, default=4.0, help="megabytes a second")
    parser.add_argument("--only", default="")
    options = parser.parse_args()
    return table(options.rounds, options.rate, options.only)


if __name__ == "__main__":
    main()
