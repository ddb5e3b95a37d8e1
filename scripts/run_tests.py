"""`scripts/test`: makes the environment, checks the code, runs the tests, part after part, and sums up.

A part is a list of commands, or folders of tests for pytest; the quick ones come first. A folder below tests/ that no
part names belongs to `system`, so that no test is forgotten. Every part runs even if one before it failed.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ElementTree
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from environment import ROOT, TEST_LOCK, SetupError, install_tools, prepare, say

CHECKS = {
    "lint": [["ruff", "check", "--quiet"], ["ruff", "format", "--check", "--quiet"]],
    "types": [["mypy", "--no-error-summary"], ["mypy", "--no-error-summary", "scripts", "examples/demo"]],
    "imports": [["lint-imports", "--no-cache"]],
}
TESTS = {
    "unit": ["tests/unit", "tests/fuzz", "tests/docs", "tests/contract"],
    "parity": ["tests/conformance", "tests/parity"],
    "system": ["tests/system"],
    "mesh": ["tests/mesh"],
}
FAILED_TESTS = 1
"""pytest's exit code when tests ran and some failed."""

FEW = 12
"""More failures than these are no accident, and aren't run again."""

LIMIT = 900
"""Seconds after which a command is ended: it hangs."""


@dataclass
class Outcome:
    """What the parts came to."""

    lines: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    tests: Counter[str] = field(default_factory=Counter)
    unstable: int = 0


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/test", description="Checks and tests, in .venv, made if need be.")
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of: {' '.join([*CHECKS, *TESTS])}; default: all")
    parser.add_argument("--python", help="another Python, e.g. python3.13; its environment is .venv-3.x")
    options = parser.parse_args()
    if unknown := set(options.parts) - {*CHECKS, *TESTS}:
        parser.error(f"no part called {', '.join(sorted(unknown))}")
    parts = options.parts or [*CHECKS, *TESTS]
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that `run` ends what it started
    started = time.monotonic()
    try:
        if os.geteuid() == 0 and not {"mesh", "system"}.isdisjoint(parts):
            install_tools()
        python = prepare(TEST_LOCK, options.python)
    except SetupError as error:
        say(f"scripts/test: {error}")
        return 2
    outcome = Outcome()
    for part in parts:
        if part in CHECKS:
            check(part, python.parent, outcome)
        else:
            test(part, python, outcome)
    return summary(outcome, time.monotonic() - started)


def check(part: str, programs: Path, outcome: Outcome) -> None:
    """Runs a part that is silent when all is well."""
    started = time.monotonic()
    failed = False
    for command in CHECKS[part]:
        with tempfile.TemporaryFile("w+") as output:
            if run([str(programs / command[0]), *command[1:]], output.fileno()):
                failed = True
                output.seek(0)
                say(f"--- {' '.join(command)}\n{output.read().rstrip()}")
    note(part, failed, time.monotonic() - started, "", outcome)


def test(part: str, python: Path, outcome: Outcome) -> None:
    """Runs the tests of a part, with pytest's own progress."""
    folders = [folder for folder in folders_of(part) if (ROOT / folder).is_dir()]
    if not folders:
        note(part, False, 0.0, "no tests", outcome)
        return
    started = time.monotonic()
    say(f"--- pytest {' '.join(folders)}")
    with tempfile.TemporaryDirectory() as kept:
        report = f"{kept}/report.xml"
        options = ["-q", "--no-header", "-o", f"cache_dir={kept}/cache", f"--junitxml={report}"]
        code = run([str(python), "-m", "pytest", *options, *folders])
        counted = count(report)
        if code == FAILED_TESTS and counted["failed"] <= FEW:
            # Tests with real programs and real time can lose against a busy machine; one that fails twice is broken.
            say(f"--- {counted['failed']} failed: once more, those alone")
            code = run([str(python), "-m", "pytest", *options, "--last-failed", *folders])
            again = count(report)
            outcome.unstable += counted["failed"] - again["failed"]
            counted.update(passed=again["passed"], failed=again["failed"] - counted["failed"])
    outcome.tests += counted
    told = ", ".join(f"{number} {what}" for what, number in counted.items() if number)
    note(part, code != 0, time.monotonic() - started, told, outcome)


def folders_of(part: str) -> list[str]:
    named = {folder for folders in TESTS.values() for folder in folders}
    others = sorted(f"tests/{entry.name}" for entry in (ROOT / "tests").iterdir() if any(entry.rglob("test_*.py")))
    return [*TESTS[part], *(folder for folder in others if part == "system" and folder not in named)]


def run(command: list[str], output: int | None = None) -> int:
    """Runs a command in the root of the repository; its exit code. It and its children get LIMIT seconds."""
    # Group of its own, so that the servers and namespaces' programs that a hanging test started end with it.
    # Bytecode is kept, whatever the caller's environment says: the tests start the program several hundred times.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    process = subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=output, stderr=output and subprocess.STDOUT,
        env=environment, start_new_session=True,
    )  # fmt: skip
    try:
        return process.wait(LIMIT)
    except subprocess.TimeoutExpired:
        say(f"ended after {LIMIT} s: {' '.join(command)}")
        return 1
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def count(report: str) -> Counter[str]:
    """Passed, failed and skipped tests of a JUnit report; nothing if pytest could not write one."""
    counted: Counter[str] = Counter(passed=0, failed=0, skipped=0)
    try:
        suites = ElementTree.parse(report).getroot().iter("testsuite")
    except (ElementTree.ParseError, OSError):
        return counted
    for suite in suites:
        failed = int(suite.get("failures", 0)) + int(suite.get("errors", 0))
        skipped = int(suite.get("skipped", 0))
        counted.update(failed=failed, skipped=skipped, passed=int(suite.get("tests", 0)) - failed - skipped)
    return counted


def note(part: str, failed: bool, seconds: float, told: str, outcome: Outcome) -> None:
    line = f"{part:8} {'FAILED' if failed else 'ok':6} {seconds:6.1f} s  {told}".rstrip()
    outcome.lines.append(line)
    if failed:
        outcome.failed.append(part)
    say(line)


def summary(outcome: Outcome, seconds: float) -> int:
    """Prints how all parts ended; the exit code. The last line is the one that machines read."""
    say(f"\n=== summary ({seconds:.0f} s)")
    for line in outcome.lines:
        say(line)
    say(f"failed: {', '.join(outcome.failed)}" if outcome.failed else "all is well")
    if outcome.unstable:
        say(f"unstable: {outcome.unstable} passed only when they were run again")
    if outcome.tests:
        tests = outcome.tests
        say(f"{tests['passed']} passed, {tests['failed']} failed, {tests['skipped']} skipped")
    return 1 if outcome.failed else 0


if __name__ == "__main__":
    sys.exit(main())
