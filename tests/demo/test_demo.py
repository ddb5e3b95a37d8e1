"""The demo as a newcomer meets it: it tells its story, and nothing of it is left, however it ends."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.mesh.interception.pods import why_not

ROOT = Path(__file__).resolve().parents[2]
KINDS = [pytest.param([], id="pods", marks=pytest.mark.root), pytest.param(["--loopback"], id="loopback")]


def need_pods(arguments: list[str]) -> None:
    if "--loopback" not in arguments and why_not():
        pytest.skip(why_not())


def command(arguments: list[str]) -> list[str]:
    return [sys.executable, "-m", "examples.demo", *arguments]


FIRST_HOP = re.compile("  1 ")
STAYS = re.compile("sidecar of shop .*http://")

sessions: set[int] = set()
"""The demos of one test, each with what it starts in a session of its own."""


@contextlib.contextmanager
def running(arguments: list[str], until: re.Pattern[str]) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The demo, once it has said a line of the form `until`; with what it said."""
    process = subprocess.Popen(
        command(arguments),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    sessions.add(process.pid)
    try:
        assert process.stdout is not None
        said = ""
        for line in process.stdout:
            said += line
            if until.search(line):
                break
        yield process, said
    finally:
        if process.poll() is None:  # else what is left is for `clean` to find
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def descendants() -> set[int]:
    """Processes that this test's demos started, themselves left out: others may show a demo on this machine, too."""
    found = set()
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            session = int(entry.read_text().rpartition(")")[2].split()[3])
            if session in sessions and (process := int(entry.parent.name)) != session:
                found.add(process)
    return found


def links() -> str:
    """The network interfaces of this machine, which the demo has no business with."""
    return subprocess.run(["ip", "-brief", "link"], capture_output=True, text=True).stdout if not why_not() else ""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where this test's demos put their files."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    return tmp_path


@pytest.fixture
def clean(folder: Path) -> Iterator[None]:
    """Whatever a test does with demos: nothing of them is left."""
    sessions.clear()
    interfaces = links()
    yield
    deadline = time.monotonic() + 20
    while left := descendants():
        assert time.monotonic() < deadline, left
        time.sleep(0.05)
    assert links() == interfaces
    assert not list(folder.iterdir())


@pytest.mark.parametrize("arguments", KINDS)
def test_tells_each_hop_and_stays_until_it_is_told_to_go(arguments: list[str], clean: None) -> None:
    need_pods(arguments)
    with running(arguments, STAYS) as (process, story):
        assert descendants()
        door = re.findall(r"http://127\.0\.0\.1:\d+/", story)[0]
        with urllib.request.urlopen(f"{door}ready", timeout=10) as answer:
            assert answer.read() == b"LIVE\n"
        process.terminate()
        assert process.wait(30) == 0
    assert "\x1b" not in story
    hops = dict(re.findall(r"\n  (\d) .*\n((?:    .*\n)*)", story))
    assert list(hops) == ["1", "2", "3", "4", "5", "6"]
    facts = {number: dict(re.findall(r"    (\S.*?)  +(\S.*)\n", text)) for number, text in hops.items()}
    asked = facts["1"]["connects to"].partition(",")[0]
    assert facts["2"]["original destination"] == asked
    assert facts["2"]["listener"] == f"0.0.0.0_{asked.rpartition(':')[2]}"
    assert (facts["2"]["filter chain"], facts["2"]["route"]) == ("outbound-http", "canary")
    endpoint, source = facts["2"]["endpoint"].split(", connected from ")
    assert facts["4"]["original destination"] == endpoint
    assert facts["4"]["accepted on"].endswith(f" from {source}")
    assert facts["4"]["listener"] == "virtualInbound"
    assert facts["3"]["mutual TLS"].startswith("TLSv1.")
    assert facts["3"]["web finds"] == "spiffe://cluster.local/ns/default/sa/shop"
    assert facts["3"]["shop finds"] == "spiffe://cluster.local/ns/default/sa/web"
    assert facts["4"]["endpoint"].split(", connected from ")[1].startswith("127.0.0.6:")
    assert facts["5"]["is called from"].startswith("127.0.0.6:")
    first, second = (int(number) for number in re.findall(r"\n    v[12] +(\d+) #*", story))
    assert first + second == 100
    hosts = re.findall(r"v1 is answered from (\S+) and (\S+)\n", story)
    assert len(set(hosts[0])) == 2
    shifted = re.findall(r"of a hundred requests (\d+) go to v1 and (\d+) to v2", story)
    assert 30 <= int(shifted[0][0]) <= 70
    old, new = re.findall(r"the shop saw serial \.\.\.(\w+), now sees \.\.\.(\w+)", story)[0]
    assert old != new
    assert 60 <= first <= 99


@pytest.mark.parametrize("arguments", KINDS)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL], ids=lambda number: number.name)
def test_leaves_nothing_behind(arguments: list[str], number: signal.Signals, folder: Path, clean: None) -> None:
    need_pods(arguments)
    with running(arguments, FIRST_HOP if number == signal.SIGKILL else STAYS) as (process, _):
        if number == signal.SIGINT:
            os.killpg(process.pid, number)  # as a terminal does
        else:
            process.send_signal(number)
        assert process.wait(30) == (-number if number == signal.SIGKILL else 0)
        assert process.stdout is not None
        assert "Traceback" not in process.stdout.read()
    if number == signal.SIGKILL and list(folder.iterdir()):  # the kernel removes no files; the next run does
        with running(["--loopback"], FIRST_HOP) as (process, _):
            process.terminate()
            assert process.wait(30) == 0


def test_leaves_after_the_story_if_asked_to(clean: None) -> None:
    with running(["--loopback", "--once"], re.compile(r"\Z.")) as (process, said):
        assert process.wait(30) == 0
    assert "Traceback" not in said
    assert not STAYS.search(said)
