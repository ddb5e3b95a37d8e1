"""Body hooks that give a piece part by part (`Parted`): nothing is lost, told twice or out of order."""

from __future__ import annotations

from typing import Any

import pytest

from meshproxy.headers import Headers
from meshproxy.plugin.context import Stream
from meshproxy.plugin.http import BUFFER, HttpFilter, Parted
from meshproxy.testing import Exchange, FilterHarness


class Dripping(HttpFilter[float]):
    """Lets one byte go on each `config` seconds, at once for 0."""

    def on_request_body(self, data: bytes, end: bool, stream: Stream) -> Parted | None:
        return self._part(data, stream)

    def on_response_body(self, data: bytes, end: bool, stream: Stream) -> Parted | None:
        return self._part(data, stream)

    def _part(self, data: bytes, stream: Stream) -> Parted | None:
        if len(data) < 2:
            return None

        async def rest() -> Parted | bytes:
            if self.config:
                await stream.sleep(self.config)
            return self._part(data[1:], stream) or data[1:]

        return Parted(data[:1], rest)


class Slow(HttpFilter[float]):
    """Waits for each piece that it sees."""

    async def on_request_body(self, data: bytes, end: bool, stream: Stream) -> None:
        await stream.sleep(self.config)

    async def on_response_body(self, data: bytes, end: bool, stream: Stream) -> None:
        await stream.sleep(self.config)


class Ending(HttpFilter[None]):
    """Gives a response trailers of its own."""

    def on_response_body(self, data: bytes, end: bool, stream: Stream) -> Parted | None:
        return Parted(data, Headers([("t", "own")])) if end else None


class Whole(HttpFilter[None]):
    request_body = BUFFER
    response_body = BUFFER

    def on_request_body(self, data: bytes, end: bool, stream: Stream) -> Parted:
        return Parted(data, Headers())

    def on_response_body(self, data: bytes, end: bool, stream: Stream) -> Parted:
        return Parted(data, Headers())


def run(harness: FilterHarness, exchange: Exchange) -> None:
    for _ in range(200):
        if exchange.complete:
            return
        harness.clock.advance(0.1)


@pytest.mark.parametrize("trailers", [{}, {"t": "1"}])
@pytest.mark.parametrize("others", [[], [(Slow, 0.1)], [(Slow, 0.0)], [(Dripping, 0.1)]])
@pytest.mark.parametrize("pieces", [[b"abcdef"], [b"ab", b"cd"], [b"a"]])
@pytest.mark.parametrize("seconds", [0.0, 0.1])
def test_all_parts_arrive_in_order(
    seconds: float, pieces: list[bytes], others: list[Any], trailers: dict[str, str]
) -> None:
    harness = FilterHarness(Dripping, seconds, before=others, after=others)
    harness.upstream.returns(chunks=pieces, trailers=trailers)
    exchange = harness.request("POST", chunks=pieces, trailers=trailers)
    run(harness, exchange)
    assert exchange.complete
    assert exchange.upstream_complete
    single = [bytes([byte]) for byte in b"".join(pieces)]
    assert exchange.upstream_chunks == single == exchange.response_chunks
    for got in (exchange.upstream_trailers, exchange.response_trailers):
        assert dict(got.items() if got is not None else ()) == trailers


def test_a_part_goes_on_before_its_rest_is_asked_for() -> None:
    harness = FilterHarness(Dripping, 1.0)
    exchange = harness.request("POST", body=b"abc")
    assert exchange.upstream_chunks == [b"a"]
    assert exchange.paused
    harness.clock.advance(1)
    assert exchange.upstream_chunks == [b"a", b"b"]
    exchange.client_leaves()
    harness.clock.advance(5)
    assert exchange.upstream_chunks == [b"a", b"b"]


def test_trailers_may_follow_a_body_that_had_none() -> None:
    harness = FilterHarness(Ending, None, before=[(Slow, 0.1)], after=[(Dripping, 0.1)])
    harness.upstream.returns(chunks=[b"ab", b"c"])
    exchange = harness.request()
    run(harness, exchange)
    assert exchange.response_body == b"abc"
    assert exchange.response_trailers is not None
    assert exchange.response_trailers["t"] == "own"


def test_whoever_has_the_body_whole_can_not_part_it() -> None:
    harness = FilterHarness(Whole, None)
    assert harness.request("POST", body=b"x").status == 500
    harness.upstream.returns(body=b"x")
    assert harness.request().status == 500
