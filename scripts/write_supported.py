"""Writes docs/supported.md: compiles sample configurations and lists each field that the code asked for.

Samples are the bootstraps under tests/data and those of the cases in tests/parity, so that a feature that is compared
with Envoy is on the page. A sample that isn't compiled to the end (it uses what isn't supported, or its files aren't
there) counts as far as it got. With --check nothing is written: the exit status says whether the page is up to date.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from meshproxy.config.text.bootstrap_load import Source, read_source
from meshproxy.config.text.supported import collect_support, render_support
from meshproxy.errors import ConfigError
from meshproxy.proxy import load_configuration
from tests.parity.bootstrap import Names, build
from tests.parity.case import Case
from tests.parity.suite import load

PAGE = ROOT / "docs" / "supported.md"
FOLDERS = ("bootstraps/accepted", "envoy-configs")


def compile_source(source: Source) -> None:
    try:
        load_configuration([source])
    except ConfigError as error:
        if "--verbose" in sys.argv:
            print(f"{source.name}: {error.problems[0]}", file=sys.stderr)


def files() -> Iterator[Source]:
    """The bootstraps that are files."""
    for folder in FOLDERS:
        for path in sorted((ROOT / "tests" / "data" / folder).glob("*.yaml")):
            yield read_source(path)


def cases(directory: str) -> Iterator[Source]:
    """The bootstrap of each parity case, its placeholders filled in."""
    for case in load().values():
        yield Source(case.name, json.dumps(build([case], {case.name: names_of(case, directory)}, 9901)), json=True)


def names_of(case: Case, directory: str) -> Names:
    """Some values for a case's placeholders."""
    values = {"case": case.name, "dir": directory, "admin_port": "9901", "port": "10001", "port2": "10002"}
    values["port3"] = "10003"
    for number, key in enumerate(case.upstreams):
        values[key] = f"{case.name}.{key}"
        values[f"{key}_port"] = str(11001 + number)
    return Names(values)


def main() -> int:
    with tempfile.TemporaryDirectory() as directory:
        samples = [*files(), *cases(directory)]
        page = render_support(collect_support(compile_source, samples), len(samples))
    if "--check" in sys.argv[1:]:
        if PAGE.exists() and PAGE.read_text() == page:
            return 0
        print("docs/supported.md is out of date: run scripts/supported", file=sys.stderr)
        return 1
    PAGE.write_text(page)
    return 0


if __name__ == "__main__":
    sys.exit(main())
