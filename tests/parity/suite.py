"""All cases, in groups that share a process, and how to run them on both programs."""

from __future__ import annotations

import asyncio
import importlib
import pkgutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from . import cases as package
from .case import Case
from .runner import run_group
from .transcript import Transcript, differences

PER_PROCESS = 40
PROCESSES_AT_ONCE = 6


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

    @property
    def differences(self) -> dict[str, list[str]]:
        return differences(self.case, self.ours, self.envoy)

    def missing(self) -> list[str]:
        """What the case says Envoy shows, and Envoy didn't."""
        shows = (self.case.shows,) if isinstance(self.case.shows, str) else self.case.shows
        text = self.envoy.text()
        return [each for each in shows if each not in text]


def groups(cases: Iterable[Case]) -> list[list[Case]]:
    """Cases that may share a process, by area; those with `alone` or an own configuration have one each."""
    together: dict[str, list[Case]] = {}
    alone = []
    for case in cases:
        if case.alone or case.config or case.refused:
            alone.append([case])
        else:
            together.setdefault(case.area, []).append(case)
    pieces = [area[i : i + PER_PROCESS] for area in together.values() for i in range(0, len(area), PER_PROCESS)]
    return sorted(pieces, key=len, reverse=True) + alone


async def run(program: str, cases: Sequence[Case], gate: asyncio.Semaphore) -> dict[str, Transcript]:
    """Run `cases` on `program`."""

    async def one(group: list[Case]) -> dict[str, Transcript]:
        async with gate:
            return await run_group(program, group)

    results: dict[str, Transcript] = {}
    for part in await asyncio.gather(*(one(group) for group in groups(cases))):
        results |= part
    return results


async def compare(cases: Sequence[Case], ours: str = "meshproxy") -> dict[str, Outcome]:
    """Run `cases` on Envoy and on `ours`."""
    gate = asyncio.Semaphore(PROCESSES_AT_ONCE)
    envoy, mine = await asyncio.gather(run("envoy", cases, gate), run(ours, cases, gate))
    return {case.name: Outcome(case, envoy[case.name], mine[case.name]) for case in cases}
