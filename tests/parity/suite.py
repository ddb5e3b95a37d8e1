"""All cases, in groups that share a process, and how to run them on both programs."""

from __future__ import annotations

import asyncio
import importlib
import pkgutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from . import cases as package
from .case import Case
from .runner import Session
from .transcript import Transcript, differences

PER_PROCESS = 64
LARGE_AT_ONCE = 4
SMALL_AT_ONCE = 16
STARTS_AT_ONCE = 3
SECOND_LOOKS = 200


def load() -> dict[str, Case]:
    """Name -> case, of every module in `cases`; the module's name is the case's area."""
    found: dict[str, Case] = {}
    for info in sorted(pkgutil.iter_modules(package.__path__), key=lambda info: info.name):
        module = importlib.import_module(f"{package.__name__}.{info.name}")
        for case in module.CASES:
            if case.name in found:
                raise ValueError(f"two cases are called {case.name}")
            found[case.name] = replace(case, area=info.name)
    return found


@dataclass(frozen=True, slots=True)
class Outcome:
    """A case, run on both."""

    case: Case
    envoy: Transcript
    ours: Transcript
    again: bool = False

    @property
    def differences(self) -> dict[str, list[str]]:
        return differences(self.case, self.ours, self.envoy)

    def missing(self) -> list[str]:
        """What the case says Envoy shows, and Envoy didn't."""
        shows = (self.case.shows,) if isinstance(self.case.shows, str) else self.case.shows
        text = self.envoy.text()
        return [each for each in shows if each not in text]

    def unexpected(self) -> bool:
        """Whether it fails: differs, or no longer differs where the case says so, or does not show what it should."""
        found = set(self.differences)
        if self.case.differs is None:
            return bool(self.missing() or found)
        # Another answer comes at another time: that alone is no further difference.
        times = set(self.ours.timings) | set(self.envoy.timings)
        known = set(self.case.differs.sections)
        return bool(self.missing()) or not known <= found or not found <= known | times


def groups(cases: Iterable[Case]) -> list[list[Case]]:
    """Cases that share a process, the long ones with the long; some need one of their own."""
    ordered = sorted(cases, key=duration, reverse=True)
    alone = [[case] for case in ordered if case.alone or case.config or case.refused]
    together = [case for case in ordered if [case] not in alone]
    return [together[i : i + PER_PROCESS] for i in range(0, len(together), PER_PROCESS)] + alone


def duration(case: Case) -> float:
    """About how many seconds a case waits."""
    if case.refused:
        return 0.0
    times = ([float(op) for op in client.ops if isinstance(op, float | int)] for client in case.all_clients())
    return max(
        client.start + sum(waits) + client.quiet for client, waits in zip(case.all_clients(), times, strict=True)
    )


async def run(programs: Sequence[str], cases: Sequence[Case]) -> list[dict[str, Transcript]]:
    """Run `cases` on each of `programs`, side by side; the results stand in the same order."""
    results: list[dict[str, Transcript]] = [{} for _ in programs]
    for batch in batches(groups(cases)):
        numbered = [(i, Session(program, group)) for i, program in enumerate(programs) for group in batch]
        for i, session in await _run_batch(numbered):
            results[i] |= session.results
    return results


def batches(pending: Sequence[list[Case]]) -> Iterable[list[list[Case]]]:
    """Groups that run side by side: a few large ones, or a good many of the small."""
    large = [group for group in pending if len(group) > 1]
    small = [group for group in pending if len(group) == 1]
    for kind, size in ((large, LARGE_AT_ONCE), (small, SMALL_AT_ONCE)):
        yield from (list(kind[i : i + size]) for i in range(0, len(kind), size))


async def _run_batch(sessions: list[tuple[int, Session]]) -> list[tuple[int, Session]]:
    gate = asyncio.Semaphore(STARTS_AT_ONCE)

    async def start(number: int, session: Session) -> list[tuple[int, Session]]:
        async with gate:
            others = await session.start()
        started = await asyncio.gather(*(start(number, other) for other in others))
        return [(number, session), *(each for part in started for each in part)]

    parts = await asyncio.gather(*(start(number, session) for number, session in sessions))
    everyone = [each for part in parts for each in part]
    await asyncio.gather(*(session.run() for _, session in everyone))
    await asyncio.gather(*(session.finish() for _, session in everyone))
    return everyone


async def compare(cases: Sequence[Case], ours: str = "meshproxy") -> dict[str, Outcome]:
    """Run `cases` on Envoy and on `ours`; when that is Envoy too, no difference is known.

    A few that differ are run once more: what chance made differ on a busy machine does not differ twice.
    """
    if ours == "envoy":
        cases = [replace(case, differs=None) for case in cases]
    envoy, mine = await run(("envoy", ours), cases)
    outcomes = {case.name: Outcome(case, envoy[case.name], mine[case.name]) for case in cases}
    doubtful = [outcome.case for outcome in outcomes.values() if outcome.unexpected()]
    if 0 < len(doubtful) <= SECOND_LOOKS:
        envoy, mine = await run(("envoy", ours), doubtful)
        outcomes |= {case.name: Outcome(case, envoy[case.name], mine[case.name], again=True) for case in doubtful}
    return outcomes
