"""Every raw message of the corpora through meshproxy; and through Envoy, to know that the judge judges right."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor

import pytest

from ..parity import suite
from ..parity.transcript import Transcript
from . import corpus, judge

# Where Envoy itself emits what it should not: it passes a status of four digits on.
ENVOYS_FAULTS = {"r-line-02"}
# Envoy answers the simple request of HTTP/0.9 and closes at once; whether the answer is seen is a matter of chance.
ENVOYS_RACES = {"line-33": {"rejected 426", "closed"}}
REQUESTS = corpus.load("requests")
RESPONSES = corpus.load("responses")


def run(program: str) -> dict[str, Transcript]:
    cases = [corpus.request_case(entry) for entry in REQUESTS.values()]
    cases += [corpus.response_case(entry) for entry in RESPONSES.values()]
    with ThreadPoolExecutor(1) as thread:
        (results,) = thread.submit(asyncio.run, suite.run([program], cases)).result()
        return results


@pytest.fixture(scope="module")
def ours() -> dict[str, Transcript]:
    return run("meshproxy")


@pytest.mark.parametrize("name", REQUESTS)
def test_request(name: str, ours: dict[str, Transcript]) -> None:
    complaints = judge.judge_request(REQUESTS[name], ours[name])
    assert not complaints, f"{REQUESTS[name].note} (rfc: {REQUESTS[name].rfc})\n{complaints}\n{ours[name].text()}"


@pytest.mark.parametrize("name", RESPONSES)
def test_response(name: str, ours: dict[str, Transcript]) -> None:
    complaints = judge.judge_response(RESPONSES[name], ours[name])
    assert not complaints, f"{RESPONSES[name].note} (rfc: {RESPONSES[name].rfc})\n{complaints}\n{ours[name].text()}"


@pytest.mark.envoy
def test_the_judge_sees_envoy_as_the_corpus_does() -> None:
    seen = run("envoy")
    complaints = {
        name: found for name, entry in REQUESTS.items() if (found := judge.judge_request(entry, seen[name]))
    } | {name: found for name, entry in RESPONSES.items() if (found := judge.judge_response(entry, seen[name]))}
    # Whether the upstream still sees the head of what is cut off at once is a matter of chance.
    pairs = {
        name: (
            judge.request_verdict(seen[name]).removeprefix("partial+"),
            entry.envoy["verdict"].removeprefix("partial+"),
        )
        for name, entry in REQUESTS.items()
    }
    verdicts = {
        name: pair for name, pair in pairs.items() if pair[0] != pair[1] and pair[0] not in ENVOYS_RACES.get(name, ())
    }
    assert set(complaints) <= ENVOYS_FAULTS, complaints
    assert not verdicts
