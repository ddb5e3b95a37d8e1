"""`scripts/test`: makes the environment, checks the code, runs the tests, and sums up.

A part is a list of commands, or folders of tests for pytest. A folder below tests/ that no part names belongs to
`system`, so that no test is forgotten. Every part runs even if another failed.

All parts run side by side, and what each printed is shown whole when it ends. Those with real programs and real time
mostly wait; those that compute get mostly what CPU the others leave. A part of tests that need nothing of one another
is also shared out among processes. Tests of real time can lose against a busy machine, so what failed is run again
when nothing else runs; the sum says how many needed that.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import xml.etree.ElementTree as ElementTree
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from environment import ROOT, TEST_LOCK, SetupError, install_tools, prepare, say

CHECKS = {
    "lint": [["ruff", "check", "--quiet"], ["ruff", "format", "--check", "--quiet"]],
    "types": [["mypy", "--no-error-summary"]],
    "imports": [["lint-imports", "--no-cache"]],
}
TESTS = {
    "unit": ["tests/unit", "tests/fuzz", "tests/docs", "tests/contract"],
    "parity": ["tests/parity"],
    "system": ["tests/system", "tests/conformance"],
    "mesh": ["tests/mesh", "tests/demo"],  # both look at the interfaces of the machine
}
PROCESSES = {"unit": 2, "system": 3}
"""How many processes share the tests of a part, if it isn't one alone. Those of system wait more than they work."""

PATIENT = {*CHECKS, "unit"}
"""Parts that compute and don't care when: beside others they have a low priority."""

FAILED_TESTS = 1
"""pytest's exit code when tests ran and some failed."""

FEW = 100
"""More failures than these are no accident, and aren't run again."""

AGAIN = 2
"""How often a test that failed is run again: one that never passes is broken."""

LIMIT = 1500
"""Seconds after which a command is ended: it hangs."""


@dataclass
class Ended:
    """What one part came to. again: the command that runs its failed tests alone, and the report that it writes, if
    that is worth while. unstable: tests that passed only then.
    """

    part: str
    failed: bool
    seconds: float
    tests: Counter[str] = field(default_factory=Counter)
    again: tuple[list[str], str] | None = None
    unstable: int = 0

    def __str__(self) -> str:
        told = ", ".join(f"{number} {what}" for what, number in self.tests.items() if number)
        return f"{self.part:8} {'FAILED' if self.failed else 'ok':6} {self.seconds:6.1f} s  {told}".rstrip()


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/test", description="Checks and tests, in .venv, made if need be.")
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of: {' '.join([*CHECKS, *TESTS])}; default: all")
    parser.add_argument("--python", help="another Python, e.g. python3.13; its environment is .venv-3.x")
    options = parser.parse_args()
    if unknown := set(options.parts) - {*CHECKS, *TESTS}:
        parser.error(f"no part called {', '.join(sorted(unknown))}")
    parts = options.parts or [*CHECKS, *TESTS]
    signal.signal(signal.SIGTERM, lambda *_: give_up())
    started = time.monotonic()
    try:
        if os.geteuid() == 0 and not {"mesh", "system"}.isdisjoint(parts):
            install_tools()
        python = prepare(TEST_LOCK, options.python)
    except SetupError as error:
        say(f"scripts/test: {error}")
        return 2
    with tempfile.TemporaryDirectory() as kept:
        ended = side_by_side([part for part in (*CHECKS, *TESTS) if part in parts], python, kept)
        for _ in range(AGAIN):
            for part in ended:
                once_more(part)
    return summary(ended, time.monotonic() - started)


def side_by_side(parts: Sequence[str], python: Path, kept: str) -> list[Ended]:
    """Runs parts at once. One alone shows what it does; of several each is shown when it has ended."""
    if len(parts) == 1:
        ended = [run_part(parts[0], python, kept, None)]
        say(str(ended[0]))
        return ended
    say(f"--- side by side: {', '.join(parts)}")
    talk = threading.Lock()

    def one(part: str) -> Ended:
        with tempfile.TemporaryFile("w+") as output:
            done = run_part(part, python, kept, output)
            output.seek(0)
            with talk:
                say(f"{output.read()}{done}")
        return done

    with ThreadPoolExecutor(len(parts)) as threads:
        return list(threads.map(one, parts))


def run_part(part: str, python: Path, kept: str, output: IO[str] | None) -> Ended:
    """output: where it goes while others run beside it."""
    patient = output is not None and part in PATIENT
    if part in CHECKS:
        return check(part, python.parent, output, patient)
    return test(part, python, kept, output, patient)


def tell(text: str, output: IO[str] | None) -> None:
    print(text, file=output or sys.stdout, flush=True)


def check(part: str, programs: Path, output: IO[str] | None, patient: bool) -> Ended:
    """Runs a part that is silent when all is well."""
    started = time.monotonic()
    failed = False
    for command in CHECKS[part]:
        with tempfile.TemporaryFile("w+") as said:
            if run([str(programs / command[0]), *command[1:]], said, patient):
                failed = True
                said.seek(0)
                tell(f"--- {' '.join(command)}\n{said.read().rstrip()}", output)
    return Ended(part, failed, time.monotonic() - started)


def test(part: str, python: Path, kept: str, output: IO[str] | None, patient: bool) -> Ended:
    """Runs the tests of a part, with pytest's own progress. kept: a folder for what is needed to run some again."""
    folders = [folder for folder in folders_of(part) if (ROOT / folder).is_dir()]
    started = time.monotonic()
    tell(f"--- pytest {' '.join(folders)}", output)
    report = f"{kept}/{part}.xml"
    command = [
        str(python),
        "-m",
        "pytest",
        "-q",
        "--no-header",
        "-o",
        f"cache_dir={kept}/{part}",
        f"--junitxml={report}",
    ]
    processes = PROCESSES.get(part, 1)
    shared = ["-n", str(processes)] if processes > 1 else []
    code = run([*command, *shared, *folders], output, patient)
    counted = count(report)
    again = code == FAILED_TESTS and 0 < counted["failed"] <= FEW
    seconds = time.monotonic() - started
    return Ended(part, code != 0, seconds, counted, ([*command, "--last-failed", *folders], report) if again else None)


def once_more(part: Ended) -> None:
    """Runs the failed tests of a part that has some, alone."""
    if not part.failed or part.again is None:
        return
    command, report = part.again
    started = time.monotonic()
    failed = part.tests["failed"]
    say(f"--- {part.part}: {failed} failed, once more those alone")
    part.failed = run(command) != 0
    still = count(report)["failed"] if part.failed else 0
    part.tests.update(passed=failed - still, failed=still - failed)
    part.unstable += failed - still
    part.seconds += time.monotonic() - started


def folders_of(part: str) -> list[str]:
    named = {folder for folders in TESTS.values() for folder in folders}
    others = sorted(f"tests/{entry.name}" for entry in (ROOT / "tests").iterdir() if any(entry.rglob("test_*.py")))
    return [*TESTS[part], *(folder for folder in others if part == "system" and folder not in named)]


def run(command: list[str], output: IO[str] | None = None, patient: bool = False) -> int:
    """Runs a command in the root of the repository; its exit code. It and its children get LIMIT seconds.

    patient: it gets mostly what CPU others leave.
    """
    if given_up.is_set():
        return 1
    # Group of its own, so that the servers and namespaces' programs that a hanging test started end with it.
    # Bytecode is kept, whatever the caller's environment says: the tests start the program several hundred times.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    process = subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=output, stderr=output and subprocess.STDOUT,
        env=environment, start_new_session=True,
    )  # fmt: skip
    running.add(process)
    if patient:
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, process.pid, 10)
            # A kernel that shares the CPU among sessions heeds the priority of this one, too.
            Path(f"/proc/{process.pid}/autogroup").write_text("10")
    try:
        return process.wait(LIMIT)
    except subprocess.TimeoutExpired:
        tell(f"ended after {LIMIT} s: {' '.join(command)}", output)
        return 1
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        running.discard(process)


running: set[subprocess.Popen[bytes]] = set()
given_up = threading.Event()


def give_up() -> None:
    """Ends what was started, and so its waiting threads, and then this program."""
    given_up.set()
    for process in list(running):
        os.killpg(process.pid, signal.SIGKILL)
    sys.exit(143)


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


def summary(ended: Sequence[Ended], seconds: float) -> int:
    """Prints how all parts ended; the exit code. The last line is the one that machines read."""
    say(f"\n=== summary ({seconds:.0f} s)")
    for part in ended:
        say(str(part))
    failed = [part.part for part in ended if part.failed]
    say(f"failed: {', '.join(failed)}" if failed else "all is well")
    if unstable := sum(part.unstable for part in ended):
        say(f"unstable: {unstable} passed only when they were run again")
    if tests := sum((part.tests for part in ended), Counter[str]()):
        say(f"{tests['passed']} passed, {tests['failed']} failed, {tests['skipped']} skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
