"""`python -m tests.drill`: the figures of the fault drill as a table."""

from __future__ import annotations

import asyncio

from tests.drill.drill import drill
from tests.drill.endpoints import Mood


async def main() -> None:
    print("| one endpoint of four | retries | program | requests | failed | how |")
    print("|---|---|---|--:|--:|---|")
    for retries in (True, False):
        for mood in Mood:
            for program in ("envoy", "meshproxy"):
                outcome = await drill(program, mood, retries=retries)
                how = ", ".join(
                    f"{answer}: {count}" for answer, count in sorted(outcome.answers.items()) if answer != "200"
                )
                print(
                    f"| {mood.value} | {'yes' if retries else 'no'} | {program} | {outcome.total} | {outcome.failed} | {how} |"
                )


asyncio.run(main())
