"""`python -m tests.drill`: the figures of the fault drill as a table."""

from __future__ import annotations

import asyncio

from tests.drill.drill import Outcome, Policy, drill
from tests.drill.endpoints import Mood

POLICIES = {
    "none": Policy(),
    "retries": Policy(retries=True),
    "retries, hedging": Policy(retries=True, hedging=True),
    "retries, health checks": Policy(retries=True, checks=True),
    "none, HTTP/2": Policy(http2=True),
    "retries, HTTP/2": Policy(retries=True, http2=True),
}


def row(mood: Mood, policy: str, envoy: Outcome, ours: Outcome) -> str:
    how = ", ".join(f"{answer}: {count}" for answer, count in sorted(ours.answers.items()) if answer != "200")
    cells = (mood.value, policy, envoy.total, envoy.failed, ours.total, ours.failed, how)
    return "| " + " | ".join(str(cell) for cell in cells) + " |"


async def main() -> None:
    print("| one endpoint of four | policies | Envoy: requests | failed | meshproxy: requests | failed | how |")
    print("|---|---|--:|--:|--:|--:|---|")
    for name, policy in POLICIES.items():
        for mood in Mood:
            envoy, ours = await asyncio.gather(*(drill(each, mood, policy) for each in ("envoy", "meshproxy")))
            print(row(mood, name, envoy, ours), flush=True)


asyncio.run(main())
