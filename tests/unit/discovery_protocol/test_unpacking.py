"""What is in force is unpacked once, however often it is sent; what was refused or is gone isn't remembered."""

from __future__ import annotations

import pytest

from meshproxy.model.discovery import ENDPOINTS
from meshproxy.steps import Steps
from meshproxy.xds.watch import Unpacked
from tests.unit.discovery_protocol.talk import RecordingSink, Talk, decode, endpoints


class Counting:
    """A decoder that notes what it is given."""

    def __init__(self) -> None:
        self.unpacked = 0

    def __call__(self, type_url: str, packed: bytes) -> Steps[Unpacked]:
        self.unpacked += 1
        return decode(type_url, packed)


@pytest.fixture(params=[False, True], ids=["sotw", "delta"])
def talk(request: pytest.FixtureRequest) -> Talk:
    return Talk(delta=request.param)


def test_what_is_sent_again_is_unpacked_once(talk: Talk) -> None:
    talk.mux.decoder = counting = Counting()
    sink = RecordingSink()
    talk.mux.watch(ENDPOINTS, ("a", "b"), sink)
    talk.connect()
    for number in (1, 2, 3):
        talk.answer(ENDPOINTS, f"v{number}", f"n{number}", endpoints("a"), endpoints("b"))
    assert counting.unpacked == 2
    assert sink.told == [f"v{number}: +a@v{number} +b@v{number}" for number in (1, 2, 3)]


def test_refused_resource_is_unpacked_each_time(talk: Talk) -> None:
    talk.mux.decoder = counting = Counting()
    talk.mux.watch(ENDPOINTS, ("a",), RecordingSink(refuses=["a"]))
    talk.connect()
    for number in (1, 2):
        talk.answer(ENDPOINTS, f"v{number}", f"n{number}", endpoints("a"))
    assert counting.unpacked == 2


def test_resource_that_nobody_wants_any_more_is_forgotten(talk: Talk) -> None:
    talk.mux.decoder = counting = Counting()
    watch = talk.mux.watch(ENDPOINTS, ("a",), RecordingSink())
    talk.connect()
    talk.answer(ENDPOINTS, "v1", "n1", endpoints("a"))
    watch.close()
    talk.mux.watch(ENDPOINTS, ("a",), RecordingSink())
    talk.answer(ENDPOINTS, "v1", "n2", endpoints("a"))
    assert counting.unpacked == 2
