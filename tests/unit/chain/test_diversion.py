"""Filters that take a body in and say themselves, later, what follows."""

from __future__ import annotations

import pytest

from meshproxy.headers import Headers, RequestHeaders, ResponseHeaders
from meshproxy.plugin.context import Stream
from meshproxy.plugin.http import BUFFER, HttpFilter
from meshproxy.testing import FilterHarness


class Later(HttpFilter[None]):
    """Gives each piece back, doubled, a second after the last has come."""

    request_body = response_body = BUFFER
    lets_go = False

    def on_request_headers(self, request: RequestHeaders, stream: Stream) -> None:
        if not stream.request_end:
            self.outlet, self.pieces = stream.divert_request(self, holds_head=True), list[bytes]()

    def on_request_body(self, data: bytes, end: bool, stream: Stream) -> None:
        self._take(data, end, stream)

    def on_request_trailers(self, trailers: Headers, stream: Stream) -> None:
        stream.schedule(1.0, lambda: self._give(trailers=True))

    def on_response_headers(self, response: ResponseHeaders, stream: Stream) -> None:
        if not stream.response_end:
            self.outlet, self.pieces = stream.divert_response(self, holds_head=True), list[bytes]()

    def on_response_body(self, data: bytes, end: bool, stream: Stream) -> None:
        self._take(data, end, stream)

    def on_response_trailers(self, trailers: Headers, stream: Stream) -> None:
        stream.schedule(1.0, lambda: self._give(trailers=True))

    def _take(self, data: bytes, end: bool, stream: Stream) -> None:
        self.pieces.append(data)
        if end:
            stream.schedule(1.0, lambda: self._give(trailers=False))

    def _give(self, trailers: bool) -> None:
        self.outlet.head()
        if self.lets_go:
            self.outlet.let_go(ended=not trailers)
            return
        for piece in self.pieces:
            self.outlet.body(piece * 2, False)
        if trailers:
            self.outlet.trailers()
        else:
            self.outlet.body(b"", True)


class Fails(HttpFilter[None]):
    request_body = BUFFER

    def on_request_headers(self, request: RequestHeaders, stream: Stream) -> None:
        stream.divert_request(self, holds_head=True)

    def on_request_body(self, data: bytes, end: bool, stream: Stream) -> None:
        raise RuntimeError("no")


class LetsGo(Later):
    lets_go = True


@pytest.mark.parametrize("trailers", [{}, {"x-t": "1"}])
def test_what_comes_out_goes_on_behind(trailers: dict[str, str]) -> None:
    harness = FilterHarness(Later)
    harness.upstream.returns(chunks=[b"x", b"y"], trailers=trailers)
    exchange = harness.request("POST", "/", chunks=[b"a", b"b"], trailers=trailers)
    assert not exchange.reached_upstream
    harness.clock.advance(1)
    assert exchange.upstream_body == b"aabb"
    assert dict(exchange.upstream_trailers.items() if exchange.upstream_trailers else ()) == trailers
    assert not exchange.answered
    harness.clock.advance(1)
    assert exchange.response_body == b"xxyy"
    assert exchange.complete


def test_what_is_let_go_is_gone() -> None:
    harness = FilterHarness(LetsGo)
    exchange = harness.request("POST", "/", chunks=[b"a", b"b"])
    harness.clock.advance(1)
    assert exchange.upstream_complete
    assert exchange.upstream_body == b""


def test_a_fault_is_contained() -> None:
    assert FilterHarness(Fails).request("POST", "/", chunks=[b"a"]).status == 500


def test_a_client_that_leaves_hears_nothing_more() -> None:
    harness = FilterHarness(Later)
    exchange = harness.request("POST", "/", chunks=[b"a"])
    exchange.client_leaves()
    harness.clock.advance(2)
    assert not exchange.reached_upstream
