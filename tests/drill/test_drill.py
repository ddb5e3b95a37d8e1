"""What clients notice of endpoints that fail and come back, beside Envoy under the same configuration.

`python -m tests.drill` prints the figures.
"""

from __future__ import annotations

import asyncio

import pytest

from tests.drill.drill import Outcome, drill
from tests.drill.endpoints import Mood

pytestmark = pytest.mark.envoy


def both(mood: Mood, *, retries: bool) -> tuple[Outcome, Outcome]:
    """Envoy's outcome and ours, at the same time, so that the machine is as busy for both."""

    async def run() -> tuple[Outcome, Outcome]:
        return await asyncio.gather(drill("envoy", mood, retries=retries), drill("meshproxy", mood, retries=retries))

    return asyncio.run(run())


@pytest.mark.parametrize("mood", [mood for mood in Mood if mood is not Mood.GOOD], ids=lambda mood: mood.name.lower())
def test_with_retries_hardly_a_request_fails(mood: Mood) -> None:
    envoy, ours = both(mood, retries=True)
    assert ours.total > 50
    assert ours.failed <= envoy.failed + ours.total // 100, (ours.answers, envoy.answers)


@pytest.mark.parametrize("mood", [Mood.ERRORS, Mood.RESETS], ids=lambda mood: mood.name.lower())
def test_without_retries_the_ejection_bounds_what_fails(mood: Mood) -> None:
    envoy, ours = both(mood, retries=False)
    assert ours.failed > 0, "the endpoint wasn't asked while it was ill"
    assert ours.failed <= 2 * envoy.failed + 5, (ours.answers, envoy.answers)
