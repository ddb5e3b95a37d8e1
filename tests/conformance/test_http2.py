"""HTTP/2 as RFC 9113 and RFC 7541 have it, frame by frame: the codec, the program, and Envoy under the same judge."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor

import pytest

from .h2_cases import CASES, Case, Expect
from .h2_rig import judge, run_codec, run_program
from .h2_wire import Seen, get, settings

BY_NAME = {case.name: case for case in CASES}
# Envoy ignores priorities altogether, also those that can't be.
ENVOYS_FAULTS = {"h.5.3.1.2", "h.6.3.1"}


def test_the_corpus_covers_each_section() -> None:
    assert len(BY_NAME) == len(CASES) >= 200
    sections = {name.rsplit(".", 1)[0] for name in BY_NAME}
    assert {f"h.6.{n}" for n in range(1, 11)} <= sections


@pytest.mark.parametrize("name", BY_NAME)
def test_codec(name: str) -> None:
    case = BY_NAME[name]
    complaint = judge(case.expect, run_codec(case))
    assert not complaint, f"{case.what}\n{complaint}"


@pytest.mark.parametrize("name", BY_NAME)
def test_codec_by_pieces(name: str) -> None:
    """How bytes are cut changes nothing."""
    case = BY_NAME[name]
    for size in (8191,) if len(case.send) > 10_000 else (1, 7):
        complaint = judge(case.expect, run_codec(case, size))
        assert not complaint, f"{case.what}, {size} bytes at a time\n{complaint}"


def run(program: str) -> dict[str, Seen]:
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, run_program(program, CASES)).result()


def complaints(seen: dict[str, Seen]) -> dict[str, str]:
    found = {case.name: judge(case.expect, seen[case.name]) for case in CASES}
    return {name: f"{BY_NAME[name].what}\n{complaint}" for name, complaint in found.items() if complaint}


def test_program() -> None:
    wrong = complaints(run("meshproxy"))
    assert not wrong, "\n\n".join(f"{name}: {text}" for name, text in wrong.items())


@pytest.mark.envoy
def test_the_judge_sees_envoy_as_we_know_it() -> None:
    wrong = complaints(run("envoy"))
    assert set(wrong) <= ENVOYS_FAULTS, "\n\n".join(f"{name}: {text}" for name, text in wrong.items())


FLUSH = Case("flush", "a client that opens no window", settings((4, 0)) + get(), Expect("stream", ("INTERNAL_ERROR",)))


@pytest.mark.parametrize("program", ["meshproxy", pytest.param("envoy", marks=pytest.mark.envoy)])
def test_a_finished_response_has_its_time(program: str) -> None:
    with ThreadPoolExecutor(1) as thread:
        running = run_program(program, [FLUSH], "stream_idle_timeout: 1s")
        seen = thread.submit(asyncio.run, running).result()["flush"]
    assert not judge(FLUSH.expect, seen)
