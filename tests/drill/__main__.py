"""`python -m tests.drill`: the figures of the fault drill as a table."""

from __future__ import annotations

import asyncio

from tests.drill.drill import Outcome, drill
from tests.drill.endpoints import Mood


def row(program: str, mood: Mood, retries: bool, outcome: Outcome) -> str:
    how = ", ".join(f"{answer}: {count}" for answer, count in sorted(outcome.answers.items()) if answer != "200")
    cells = (mood.value, "yes" if retries else "no", program, outcome.total, outcome.failed, how)
    return "| " + " | ".join(str(cell) for cell in cells) + " |"


async def main() -> None:
    print("| one endpoint of four | retries | program | requests | failed | how |")
    print("|---|---|---|--:|--:|---|")
    for retries in (True, False):
        for mood in Mood:
            for program in ("envoy", "meshproxy"):
                print(row(program, mood, retries, await drill(program, mood, retries=retries)))


asyncio.run(main())
