"""The rounds of a scenario: interleaved, so that a change of the machine's mood meets both subjects.

The two share one CPU, on which nothing else should run; the load and the backend share another. What the kernel does
for a proxy's own socket calls is in the proxy's system time.
"""

from __future__ import annotations

import socket
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean

from bench import load, load_h2, load_streams, load_tls, process
from bench.client import ask, idle_connections
from bench.dress import is_secured
from bench.results import Result, Series
from bench.scenarios import Footprint, Load
from bench.subjects import Running, Subject, running

FOREIGN_LIMIT = 0.10  # of a round; the kernel's own threads take some 2 %
SPREAD_LIMIT = 1.15  # dearest round of the first subject to its cheapest, on a machine that is fit to measure on


@dataclass(frozen=True, slots=True)
class Bench:
    """What every scenario needs.

    seconds, rounds: how long and how often each subject is loaded. together: both at once, in competition for the CPU.
    """

    subjects: Sequence[Subject]
    backends: list[int]
    directory: Path
    seconds: int
    rounds: int
    proxy_cpu: int
    together: bool = False

    def start(self, subject: Subject, config: str, stack: ExitStack) -> Running:
        return stack.enter_context(running(subject, config, self.backends, self.directory, self.proxy_cpu))


@dataclass(slots=True)
class Account:
    """What one subject did in one round; `foreign_us` is what others took of the proxies' CPU meanwhile."""

    requests: int = 0
    errors: int = 0
    seconds: float = 0.0
    user_us: float = 0.0
    system_us: float = 0.0
    foreign_us: float = 0.0
    p50_ms: list[float] = field(default_factory=list)
    p99_ms: list[float] = field(default_factory=list)

    def add(self, seen: load.Seen, spent: process.CpuTime, foreign_us: float) -> None:
        self.requests += seen.requests
        self.errors += seen.errors
        self.seconds += seen.seconds
        self.user_us += spent.user
        self.system_us += spent.system
        self.foreign_us += foreign_us
        self.p50_ms.append(seen.p50_ms)
        self.p99_ms.append(seen.p99_ms)


def slices(bench: Bench, subjects: Sequence[Running], number: int) -> tuple[list[Sequence[Running]], int]:
    """Who is loaded in each slice of round `number`, and the seconds of a slice.

    A round is A B B A: a machine that grows evenly slower meanwhile is as slow for A as it is for B.
    """
    if bench.together:
        return [subjects], bench.seconds
    forth: list[Sequence[Running]] = [[one] for one in subjects]
    if bench.seconds > 1:
        return [*forth, *reversed(forth)], bench.seconds // 2
    return (forth if number % 2 else forth[::-1]), 1


def measure_round(bench: Bench, scenario: Load, subjects: Sequence[Running], number: int) -> list[Account]:
    """One account per subject."""
    accounts = {one.pid: Account() for one in subjects}
    order, seconds = slices(bench, subjects, number)
    for index, loaded in enumerate(order):
        busy, before = process.busy_us(bench.proxy_cpu), [process.cpu_time(one.pid) for one in loaded]
        ports = [one.port for one in loaded]
        seen = run_load(bench, ports, scenario, seconds, seed=number * 10 + index // 2)
        spent = [process.cpu_time(one.pid) - then for one, then in zip(loaded, before, strict=True)]
        foreign = process.busy_us(bench.proxy_cpu) - busy - sum(one.total for one in spent)
        for one, its_view, its_time in zip(loaded, seen, spent, strict=True):
            accounts[one.pid].add(its_view, its_time, foreign)
    return list(accounts.values())


def measure_load(bench: Bench, scenario: Load) -> Result:
    cpu = Series("CPU per request", "us", scenario.target, headline=True)
    user, system = Series("of it in user space", "us"), Series("of it in the kernel", "us")
    rps, p50, p99 = Series("requests per second", "1/s"), Series("latency p50", "ms"), Series("latency p99", "ms")
    result = Result(scenario.name, scenario.title, [cpu, user, system, rps, p50, p99])

    with ExitStack() as stack:
        subjects = [bench.start(subject, scenario.config, stack) for subject in bench.subjects]
        for one in subjects:
            # Fills pools, caches, memories; a thousand connections take seconds on a busy machine.
            run_load(bench, [one.port], scenario, 1 + scenario.connections // 250, seed=0)
        for number in range(1, bench.rounds + 1):
            for one, account in zip(subjects, measure_round(bench, scenario, subjects, number), strict=True):
                name, requests = one.subject.name, account.requests
                cpu.add(name, (account.user_us + account.system_us) / requests)
                user.add(name, account.user_us / requests)
                system.add(name, account.system_us / requests)
                rps.add(name, requests / account.seconds)
                p50.add(name, fmean(account.p50_ms))
                p99.add(name, fmean(account.p99_ms))
                result.warnings += doubts(account, f"round {number}, {name}")
    yardstick = cpu.values[bench.subjects[0].name]
    if max(yardstick) > SPREAD_LIMIT * min(yardstick):
        spread = f"{min(yardstick):.1f} to {max(yardstick):.1f} us"
        result.warnings.append(
            f"{bench.subjects[0].name} took {spread} a request: the machine is busy, take more rounds"
        )
    return result


def doubts(account: Account, where: str) -> list[str]:
    """What makes the figures of a round doubtful."""
    found = []
    if account.errors:
        found.append(f"{where}: {account.errors} of {account.requests} requests failed")
    foreign = account.foreign_us / (account.seconds * 1e6)
    if foreign > FOREIGN_LIMIT:
        found.append(f"{where}: others used {foreign:.0%} of the proxy's CPU")
    return found


def measure_footprint(bench: Bench, scenario: Footprint) -> Result:
    first_byte = Series("first byte after start", "ms", headline=True)
    rss = Series("RSS at rest", "MiB", scenario.target_rss, headline=True)
    per_connection = Series("RSS per idle connection", "KiB", scenario.target_per_connection, headline=True)
    result = Result(scenario.name, scenario.title, [first_byte, rss, per_connection])
    for series in result.series:
        series.values = {subject.name: [] for subject in bench.subjects}  # in this order, whoever starts first

    for number in range(bench.rounds + 1):  # the first, uncounted, brings the files into memory and compiles byte code
        for subject in bench.subjects if number % 2 else reversed(bench.subjects):
            with ExitStack() as stack:
                one = bench.start(subject, scenario.config, stack)
                time.sleep(0.5)
                at_rest = process.rss_kib(one.pid)
                with socket.create_connection(("127.0.0.1", one.port), timeout=5.0) as connection:
                    for _ in range(200):  # what the first requests allocate once isn't a connection's
                        ask(connection)
                before = process.rss_kib(one.pid)
                with idle_connections(one.port, scenario.connections):
                    time.sleep(0.3)
                    grown = process.rss_kib(one.pid) - before
            if number > 0:
                first_byte.add(subject.name, one.first_byte_ms)
                rss.add(subject.name, at_rest / 1024)
                per_connection.add(subject.name, grown / scenario.connections)
    return result


def profile(bench: Bench, scenario: Load) -> None:
    """One round with the bench's only subject; what it writes is the subject's own affair."""
    with ExitStack() as stack:
        one = bench.start(bench.subjects[0], scenario.config, stack)
        (seen,) = run_load(bench, [one.port], scenario, bench.seconds, seed=1)
        print(f"{scenario.name}: {seen.requests} requests, {seen.errors} errors", file=sys.stderr)


def run_load(bench: Bench, ports: Sequence[int], scenario: Load, seconds: int, seed: int) -> list[load.Seen]:
    """Load `ports` with whatever makes this kind of load."""
    if scenario.kind in load_h2.KINDS:
        return load_h2.run(ports, scenario.connections, seconds, seed, scenario.kind)
    if scenario.kind in load_streams.KINDS:
        return load_streams.run(ports, scenario.connections, seconds, scenario.kind)
    if scenario.kind == "handshake":
        return load_tls.run(ports, scenario.connections, seconds, bench.directory / "certs")
    scheme = "https" if is_secured(scenario.config) else "http"
    return load.run(ports, scenario.connections, scenario.kind, seconds, seed, scheme=scheme)
