"""`python -m tests.parity.verdicts FILE`: which snippets of configuration one program takes and the other doesn't.

FILE is like `tests/unit/config_compile/cases.yaml`, except that a snippet may be its text alone and `verdict` is left
out: a list of {place, snippets}. What turns out to differ, and is mended, belongs into that table.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
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


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.parity.verdicts", description=__doc__.splitlines()[0])
    parser.add_argument("file", type=Path)
    snippets = [
        (group["place"], fill(snippet if isinstance(snippet, str) else snippet["text"]))
        for group in yaml.safe_load(parser.parse_args().file.read_text())
        for snippet in group["snippets"]
    ]
    texts = [bootstrap(place, text) for place, text in snippets]
    ours = [our_fault(text) for text in texts]
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(2) as pool:
        theirs = list(pool.map(lambda item: envoys_fault(Path(folder), *item), enumerate(texts)))
    differ = 0
    for (place, text), own, envoys in zip(snippets, ours, theirs, strict=True):
        if bool(own) != bool(envoys):
            differ += 1
            print(f"{place}: {' '.join(text.split())}")
            print(f"    envoy: {envoys or 'takes it'}\n    meshproxy: {own or 'takes it'}")
    print(f"{len(snippets) - differ} of {len(snippets)} agree")
    return 1 if differ else 0


if __name__ == "__main__":
    sys.exit(main())
