"""docs/differences.md and the cases say the same."""

from __future__ import annotations

import re
from pathlib import Path

from . import known, suite

PAGE = Path(__file__).parent.parent.parent / "docs" / "differences.md"


def titles() -> list[str]:
    rows = re.findall(r"(?m)^\| (.+?) \| (?:.+?) \| (?:.+?) \| (?:.+?) \|$", PAGE.read_text())
    return [row for row in rows if row != "what"]


def test_the_page_lists_each_known_difference_once() -> None:
    assert sorted(titles()) == sorted(known.ALL)


def test_each_known_difference_has_a_case_that_shows_it() -> None:
    shown = {case.differs.title for case in suite.load().values() if case.differs}
    shown.add(known.USAGE.title)  # test_command_line.py
    assert shown == set(known.ALL)
