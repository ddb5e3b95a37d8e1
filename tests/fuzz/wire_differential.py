"""The same mutated messages to Envoy and to meshproxy, and what they made of them: run by hand.

    python -m tests.fuzz.wire_differential [--seed 1] [--requests 2000] [--responses 1000] [--mesh]

Prints one line for each kind of difference with how often it was seen, and examples. What is listed in
docs/differences.md shows up too; to be looked at is what is more permissive than Envoy.
"""

from __future__ import annotations

import argparse
import asyncio
import collections
import contextlib
import random
import tempfile
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..parity.subject import Subject
from ..system.program import free_ports
from . import wire_seeds
from .wire_rig import VARYING, Lane, LaneUpstream, Outcome, bootstrap

LANES = 12


@dataclass(slots=True)
class Trial:
    """pieces: what the client sends. script: what the upstream answers, None for a plain answer."""

    number: int
    pieces: list[bytes]
    script: list[bytes] | None = None
    closes: bool = False

    def __str__(self) -> str:
        text = f"{self.number}: {self.pieces!r}"
        return text if self.script is None else f"{text}\n      -> {self.script!r} closes={self.closes}"


@contextlib.asynccontextmanager
async def lanes_of(program: str, count: int, mesh: bool) -> AsyncIterator[tuple[Subject, list[Lane]]]:
    with tempfile.TemporaryDirectory() as name:
        upstreams = [LaneUpstream() for _ in range(count)]
        for upstream in upstreams:
            await upstream.open()
        admin, *ports = free_ports(count + 1)
        lanes = [Lane(port, upstream) for port, upstream in zip(ports, upstreams, strict=True)]
        config = Path(name) / "config.json"
        config.write_text(bootstrap([(lane.port, lane.upstream.port) for lane in lanes], admin, mesh=mesh))
        subject = Subject(program, Path(name), admin)
        await subject.start(config)
        try:
            yield subject, lanes
        finally:
            await subject.stop()
            for upstream in upstreams:
                upstream.close()
            output = (Path(name) / "output.txt").read_text(errors="replace").splitlines()
            for line, times in collections.Counter(line[-600:] for line in output).most_common(5):
                print(f"--- {program} printed {times} x {line}")


def request_trials(seed: int, count: int) -> list[Trial]:
    rng = random.Random(seed)
    seeds = wire_seeds.request_seeds()
    made = (wire_seeds.mutate(rng, rng.choice(seeds), "request") for _ in range(count))
    return [Trial(number, wire_seeds.segments(rng, data)) for number, data in enumerate(made) if data]


def response_trials(seed: int, count: int) -> list[Trial]:
    rng = random.Random(seed)
    seeds = wire_seeds.response_seeds()
    asks = wire_seeds.RESPONSE_REQUESTS
    trials = []
    for number in range(count):
        data = wire_seeds.mutate(rng, rng.choice(seeds), "response")
        trials.append(Trial(number, [rng.choice(asks)], wire_seeds.segments(rng, data), rng.random() < 0.4))
    return trials


async def run(program: str, trials: list[Trial], mesh: bool, quiet: float, lanes: int = LANES) -> dict[int, Outcome]:
    outcomes: dict[int, Outcome] = {}
    async with lanes_of(program, lanes, mesh) as (_, all_lanes):
        waiting = iter(trials)

        async def work(lane: Lane) -> None:
            for trial in waiting:
                if trial.script is None:
                    outcomes[trial.number] = await lane.try_request(trial.pieces, quiet)
                else:
                    outcomes[trial.number] = await lane.try_response(trial.pieces[0], trial.script, trial.closes, quiet)

        await asyncio.gather(*(work(lane) for lane in all_lanes))
    return outcomes


def seen_upstream(outcome: Outcome) -> list[tuple[str, ...]]:
    return [
        (m.start, *(h for h in m.headers if not h.startswith(VARYING)), bytes(m.body).hex(), str(m.complete))
        for m in outcome.requests
    ]


def differences(ours: Outcome, envoys: Outcome, probe: bool) -> list[str]:
    found = [f"ANOMALY {odd}" for odd in ours.anomalies if odd not in envoys.anomalies]
    mine = [m for m in ours.requests if m.complete]
    theirs = [m for m in envoys.requests if m.complete]
    if len(mine) > len(theirs):
        found.append(f"MORE requests upstream: {len(mine)} > {len(theirs)}")
    elif len(mine) < len(theirs):
        found.append("fewer requests upstream")
    elif mine and seen_upstream(ours) != seen_upstream(envoys):
        found.append("upstream saw other bytes")
    for index in range(len(ours.answers)):
        name = "probe" if index else "client"
        one, other = ours.statuses(index), envoys.statuses(index)
        if one != other:
            found.append(f"{name} statuses {one} != {other}")
        else:
            for a, b in zip(ours.answers[index].messages, envoys.answers[index].messages, strict=True):
                if (a.body, a.complete) != (b.body, b.complete):
                    found.append(f"{name} body or completeness")
                if sorted(_stable(a.headers)) != sorted(_stable(b.headers)):
                    found.append(f"{name} headers {sorted(set(_stable(a.headers)) ^ set(_stable(b.headers)))}")
            if bytes(ours.answers[index].raw) != bytes(envoys.answers[index].raw):
                found.append(f"{name} raw bytes")
        if (ours.ends[index] == "open") != (envoys.ends[index] == "open"):
            found.append(f"{name} end {ours.ends[index]} != {envoys.ends[index]}")
    if probe and (not ours.upstream_ends) != (not envoys.upstream_ends):
        found.append(f"upstream connection kept: {bool(ours.upstream_ends)} != {bool(envoys.upstream_ends)}")
    return found


def _stable(headers: list[str]) -> list[str]:
    return [line for line in headers if not line.startswith(VARYING)]


def show(outcome: Outcome) -> str:
    lines = [f"        up   {each}" for each in seen_upstream(outcome)]
    for index, reader in enumerate(outcome.answers):
        lines.append(
            f"        c{index}   {[(m.status, bytes(m.body)[:40], m.complete) for m in reader.messages]}"
            f" raw={bytes(reader.raw)[:40]!r} {outcome.ends[index]}"
        )
    return "\n".join([*lines, f"        odd  {outcome.anomalies}"])


async def compare(trials: list[Trial], mesh: bool, examples: int) -> None:
    probe = trials[0].script is not None
    seen = {program: await run(program, trials, mesh, 0.15) for program in ("envoy", "meshproxy")}
    unsure = [t for t in trials if differences(seen["meshproxy"][t.number], seen["envoy"][t.number], probe)]
    # What differed is tried again with more patience: only what differs twice counts.
    again = {program: await run(program, unsure, mesh, 0.4, 6) for program in ("envoy", "meshproxy")} if unsure else {}
    kinds: dict[str, list[str]] = collections.defaultdict(list)
    for trial in unsure:
        ours, envoys = again["meshproxy"][trial.number], again["envoy"][trial.number]
        for kind in differences(ours, envoys, probe):
            kinds[kind].append(f"{trial}\n      meshproxy\n{show(ours)}\n      envoy\n{show(envoys)}")
    print(f"=== {len(trials)} {'responses' if probe else 'requests'}, mesh={mesh}: {len(unsure)} differ")
    for kind, where in sorted(kinds.items(), key=lambda pair: -len(pair[1])):
        print(f"\n## {len(where)} x {kind}")
        for example in where[:examples]:
            print("   ", example)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--requests", type=int, default=2000)
    parser.add_argument("--responses", type=int, default=1000)
    parser.add_argument("--examples", type=int, default=2)
    parser.add_argument("--mesh", action="store_true")
    options = parser.parse_args()
    jobs: list[tuple[Callable[[int, int], list[Trial]], int]] = [
        (request_trials, options.requests),
        (response_trials, options.responses),
    ]

    async def everything() -> None:
        work: list[Coroutine[Any, Any, None]] = [
            compare(make(options.seed, count), options.mesh, options.examples) for make, count in jobs if count
        ]
        for each in work:
            await each

    asyncio.run(everything())


if __name__ == "__main__":
    main()
