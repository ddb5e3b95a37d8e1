"""Each snippet is accepted or refused as the table says; `tests/parity` asks Envoy whether the table is right."""

import pytest

from tests.unit.config_compile.cases import CASES, Case
from tests.unit.config_compile.compiling import problems_of


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_snippet(case: Case) -> None:
    problems = problems_of(case.bootstrap)
    if case.verdict == "accepted":
        assert problems == []
    else:
        assert case.says
        assert [problem for problem in problems if case.says in problem and "envoy.yaml:" in problem], problems
