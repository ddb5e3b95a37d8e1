"""What clients notice of endpoints that fail and come back, beside Envoy under the same configuration.

`python -m tests.drill` prints the figures.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from tests.drill.drill import Outcome, Policy, drill
from tests.drill.endpoints import Mood

pytestmark = pytest.mark.envoy


RETRIES = Policy(retries=True)
# Beside what each of the endpoint's moods does under retries: the other policies, where they matter most.
FURTHER = [
    (Mood.DAWDLES, Policy(retries=True, hedging=True)),
    (Mood.HANGS, Policy(retries=True, hedging=True)),
    (Mood.REFUSES, Policy(checks=True)),
    (Mood.RESETS, Policy(retries=True, http2=True)),
    (Mood.CUTS, Policy(retries=True, http2=True)),
    (Mood.HANGS, Policy(retries=True, checks=True, http2=True)),
]


async def _both(mood: Mood, policy: Policy, seconds: float) -> tuple[Outcome, Outcome]:
    """Envoy's outcome and ours, at the same time, so that the machine is as busy for both."""
    envoy, ours = (drill(program, mood, policy, seconds) for program in ("envoy", "meshproxy"))
    return await asyncio.gather(envoy, ours)


def both(mood: Mood, policy: Policy) -> tuple[Outcome, Outcome]:
    return asyncio.run(_both(mood, policy, 3.0))


@pytest.mark.parametrize(
    "mood", [Mood.ERRORS, Mood.HANGS, Mood.RESETS, Mood.REFUSES], ids=lambda mood: mood.name.lower()
)
def test_with_retries_hardly_a_request_fails(mood: Mood) -> None:
    envoy, ours = both(mood, RETRIES)
    assert ours.total > 50
    assert ours.failed <= envoy.failed + ours.total // 100, (ours.answers, envoy.answers)


@pytest.mark.parametrize("mood", [Mood.ERRORS, Mood.RESETS], ids=lambda mood: mood.name.lower())
def test_without_retries_the_ejection_bounds_what_fails(mood: Mood) -> None:
    envoy, ours = both(mood, Policy())
    assert ours.failed > 0, "the endpoint wasn't asked while it was ill"
    assert ours.failed <= 2 * envoy.failed + 5, (ours.answers, envoy.answers)


def side_by_side(drills: Sequence[tuple[Mood, Policy]]) -> list[tuple[Outcome, Outcome]]:
    """Several drills at once: most of their time is waiting."""

    async def run() -> list[tuple[Outcome, Outcome]]:
        return list(await asyncio.gather(*(_both(mood, policy, 3.0) for mood, policy in drills)))

    return asyncio.run(run())


@pytest.mark.parametrize("drills", [FURTHER[:3], FURTHER[3:]], ids=["http1", "http2"])
def test_no_more_fail_than_with_envoy(drills: Sequence[tuple[Mood, Policy]]) -> None:
    for (mood, policy), (envoy, ours) in zip(drills, side_by_side(drills), strict=True):
        assert ours.total > 50, (mood, policy)
        assert ours.failed <= 2 * envoy.failed + 5, (mood, policy, ours.answers, envoy.answers)


def test_an_answer_that_has_begun_fails_as_often_as_with_envoy() -> None:
    moods = (Mood.CUTS, Mood.BREAKS_OFF, Mood.HALF_CLOSES)
    for mood, (envoy, ours) in zip(moods, side_by_side([(mood, RETRIES) for mood in moods]), strict=True):
        assert (ours.failed > 0) is (mood is not Mood.HALF_CLOSES), (mood, ours.answers)
        assert ours.failed <= 2 * envoy.failed + 5, (mood, ours.answers, envoy.answers)
