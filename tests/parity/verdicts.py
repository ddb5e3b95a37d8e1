"""`python -m tests.parity.verdicts FILE...`: which configurations one program takes and the other doesn't.

A FILE is a whole bootstrap, or like `tests/unit/config_compile/cases.yaml`, except that a snippet may be its text
alone and `verdict` is left out: a list of {place, snippets}. What differs, and is mended, belongs into that table.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import yaml

from meshproxy.config.text.bootstrap_load import Source
from meshproxy.errors import ConfigError
from meshproxy.proxy import load_configuration
from tests.unit.config_compile.cases import bootstrap, fill

ENVOY = Path(sys.executable).with_name("envoy")


def envoys_fault(folder: Path, number: int, text: str) -> str:
    """What Envoy has against a bootstrap, "" for nothing."""
    path = folder / f"{number}.yaml"
    path.write_text(text)
    options = ["--mode", "validate", "--use-dynamic-base-id", "--concurrency", "1", "-l", "error"]
    ended = subprocess.run([ENVOY, *options, "-c", path], capture_output=True, text=True, timeout=60, check=False)
    return "" if ended.returncode == 0 else ended.stderr.strip() or "refused"


def our_fault(text: str) -> str:
    """The same of meshproxy; what isn't a `ConfigError` is a crash, and comes out."""
    try:
        load_configuration([Source("envoy.yaml", text)])
    except ConfigError as error:
        return "; ".join(str(problem) for problem in error.problems)
    return ""


def configurations(path: Path) -> Iterator[tuple[str, str]]:
    """What a file holds: a title, and the whole bootstrap."""
    text = path.read_text()
    try:
        groups = yaml.load(text, Loader=yaml.CSafeLoader)
    except yaml.YAMLError:
        groups = None  # for the programs to judge
    if not isinstance(groups, list):
        yield str(path), text
        return
    for group in groups:
        for snippet in group["snippets"]:
            filled = fill(snippet if isinstance(snippet, str) else snippet["text"])
            yield f"{group['place']}: {' '.join(filled.split())}", bootstrap(group["place"], filled)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.parity.verdicts", description=__doc__.splitlines()[0])
    parser.add_argument("files", nargs="+", type=Path)
    found = [each for path in parser.parse_args().files for each in configurations(path)]
    texts = [text for _, text in found]
    ours = [our_fault(text) for text in texts]
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(2) as pool:
        theirs = list(pool.map(lambda item: envoys_fault(Path(folder), *item), enumerate(texts)))
    differ = 0
    for (title, _), own, envoys in zip(found, ours, theirs, strict=True):
        if bool(own) != bool(envoys):
            differ += 1
            print(title)
            print(f"    envoy: {envoys or 'takes it'}\n    meshproxy: {own or 'takes it'}")
    print(f"{len(found) - differ} of {len(found)} agree")
    return 1 if differ else 0


if __name__ == "__main__":
    sys.exit(main())
