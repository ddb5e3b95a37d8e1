"""Every case on Envoy and on meshproxy; what differs is a bug, or declared in the case and in docs/differences.md."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from . import suite
from .suite import Outcome

CASES = suite.load()


@pytest.fixture(scope="session")
def outcomes(request: pytest.FixtureRequest) -> Iterator[dict[str, Outcome]]:
    """All the collected cases, run at once: most of their time is waiting."""
    here = [item for item in request.session.items if item.nodeid.split("::")[0].endswith("parity/test_parity.py")]
    names = {item.callspec.params["name"] for item in here if hasattr(item, "callspec")}
    with ThreadPoolExecutor(1) as thread:
        yield thread.submit(asyncio.run, suite.compare([CASES[name] for name in sorted(names)])).result()


@pytest.mark.envoy
@pytest.mark.parametrize("name", CASES)
def test_same_as_envoy(name: str, outcomes: dict[str, Outcome]) -> None:
    outcome = outcomes[name]
    assert not outcome.missing(), f"the case does not test what it says:\n{outcome.envoy.text()}"
    diff = "\n".join(f"{section}:\n" + "\n".join(lines) for section, lines in outcome.differences.items())
    declared = f" (declared to differ in {outcome.case.differs.sections})" if outcome.case.differs else ""
    assert not outcome.unexpected(), f"- Envoy, + meshproxy{declared}\n{diff}"


def test_there_are_enough_cases() -> None:
    assert len(CASES) >= 150
