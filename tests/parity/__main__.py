"""`python -m tests.parity [pattern ...]`: run cases by hand and see what differs.

python -m tests.parity --only envoy host-*      what Envoy does
python -m tests.parity --list                   all cases
python -m tests.parity --ours envoy             Envoy against itself: the test of the harness
"""

from __future__ import annotations

import argparse
import asyncio
import fnmatch
import re
import sys
import time
from pathlib import Path

from . import suite
from .suite import Outcome


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.parity", description=__doc__.splitlines()[0])
    parser.add_argument("patterns", nargs="*", default=["*"], help="names of cases, or areas, with * and ?")
    parser.add_argument("--only", choices=["envoy", "meshproxy"], help="run one program and print what it did")
    parser.add_argument("--ours", default="meshproxy", help="the program that stands for meshproxy")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--quiet", action="store_true", help="no diffs")
    parser.add_argument("--work-list", type=Path, help="write what differs to this file")
    options = parser.parse_args()
    cases = [
        case
        for case in suite.load().values()
        if any(fnmatch.fnmatch(case.name, each) or case.area == each for each in options.patterns)
    ]
    if options.list:
        for case in cases:
            print(f"{case.area:20} {case.name}")
        print(len(cases), "cases")
        return 0
    if options.only:
        (results,) = asyncio.run(suite.run([options.only], cases))
        for name, transcript in results.items():
            print(f"=== {name}\n{transcript.text()}\n")
        return 0
    began = time.monotonic()
    outcomes = asyncio.run(suite.compare(cases, options.ours))
    failed = [outcome for outcome in outcomes.values() if report(outcome, options.quiet)]
    print(f"{len(outcomes) - len(failed)} of {len(outcomes)} cases agree, {time.monotonic() - began:.0f} s")
    if options.work_list:
        options.work_list.write_text(work_list(failed))
    return 1 if failed else 0


def report(outcome: Outcome, quiet: bool) -> bool:
    """Print one line, and the differences. Returns whether the case fails."""
    found, failed = outcome.differences, outcome.unexpected()
    verdict = "FAIL" if failed else "known" if outcome.case.differs else "again" if outcome.again else "ok"
    print(f"{verdict:6}{outcome.case.area:20} {outcome.case.name:45} {', '.join(found)}")
    if failed and not quiet:
        print(work_item(outcome))
    return failed


def work_item(outcome: Outcome) -> str:
    lines = [f"## {outcome.case.name} ({outcome.case.area})"]
    lines += [f"Envoy does not show: {each!r}" for each in outcome.missing()]
    for section, diff in outcome.differences.items():
        lines += [f"{section}:", *("    " + line for line in diff)]
    return "\n".join(lines) + "\n"


def short(changed: list[str]) -> list[str]:
    """Of a line and the line that stands for it only the words that differ."""
    result: list[str] = []
    for line in changed:
        before = result[-1].split(" ") if result and result[-1][0] == "-" and line[0] == "+" else []
        after = line.split(" ")
        if len(before) == len(after) > 8:
            differs = [i for i, (left, right) in enumerate(zip(before, after, strict=True)) if left[1:] != right[1:]]
            result[-1] = "-" + " ".join(before[i].removeprefix("-") for i in differs)
            line = "+" + " ".join(after[i].removeprefix("+") for i in differs)
        result.append(line)
    return result


def work_list(failed: list[Outcome]) -> str:
    """What differs, with the cases that differ alike under one heading; the most common first."""
    alike: dict[str, list[str]] = {}
    for outcome in failed:
        lines = [f"Envoy does not show: {each!r}" for each in outcome.missing()]
        for section, diff in outcome.differences.items():
            changed = short([line[:400] for line in diff if line[:1] in "+-"])
            lines += [f"{section}:", *changed[:12], *(["..."] if len(changed) > 12 else [])]
        text = re.sub(r"\d+\.\d{3,}", lambda found: f"{float(found[0]):.1f}", "\n".join(lines))
        alike.setdefault(text.replace(outcome.case.name, "CASE"), []).append(outcome.case.name)
    parts = [f"{len(failed)} cases differ: - is Envoy, + is meshproxy. See one: python -m tests.parity NAME\n"]
    for text, names in sorted(alike.items(), key=lambda item: -len(item[1])):
        parts.append(f"## {len(names)}: {' '.join(names)}\n{text}\n")
    return "\n".join(parts)


if __name__ == "__main__":
    sys.exit(main())
