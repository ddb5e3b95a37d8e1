"""Bootstraps as files in tests/data/bootstraps: `accepted`, and `refused` with the problems expected of each.

A refused one ends in a line of dashes and then one line per problem. Adding a case is adding a file.
"""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).parents[2] / "data" / "bootstraps"
_DASHES = "----------\n"


def names(kind: str) -> list[str]:
    """The cases of a kind, "accepted" or "refused"."""
    found = sorted(path.stem for path in (FOLDER / kind).glob("*.yaml"))
    assert found, f"no cases in {FOLDER / kind}"
    return found


def case(kind: str, name: str) -> tuple[str, list[str]]:
    """The text of a case, and the problems expected."""
    text, _, problems = (FOLDER / kind / f"{name}.yaml").read_text().partition(_DASHES)
    return text, problems.splitlines()
