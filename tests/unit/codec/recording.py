"""Sinks that write down what a parser calls, and ways to cut what it is fed."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import pairwise

from meshproxy.codec.h1_request import RequestParser
from meshproxy.codec.h1_response import ResponseParser
from meshproxy.errors import ProtocolError
from meshproxy.headers import Headers, RequestHeaders, ResponseHeaders
from meshproxy.model.codec import Http1Options

Fields = list[tuple[str, str]]
Cut = Callable[[bytes], list[bytes]]


def whole(data: bytes) -> list[bytes]:
    return [data]


def byte_by_byte(data: bytes) -> list[bytes]:
    return [data[n : n + 1] for n in range(len(data))]


def in_threes(data: bytes) -> list[bytes]:
    return [data[n : n + 3] for n in range(0, len(data), 3)]


def cut_at(*positions: int) -> Cut:
    def cut(data: bytes) -> list[bytes]:
        edges = [0, *sorted(position % (len(data) + 1) for position in positions), len(data)]
        return [data[a:b] for a, b in pairwise(edges) if a < b]

    return cut


CUTS: dict[str, Cut] = {"whole": whole, "byte by byte": byte_by_byte, "in threes": in_threes}


class Recorder:
    """The messages that came out, in a form that compares equal however the input was cut."""

    def __init__(self) -> None:
        self.heads: list[RequestHeaders | ResponseHeaders] = []
        self.informational: list[int] = []
        self.bodies: list[bytes] = []
        self.trailers: list[Fields] = []
        self.ended: list[bool] = []
        self.error: ProtocolError | None = None
        self.pieces = 0

    def _head(self, head: RequestHeaders | ResponseHeaders, end: bool) -> None:
        assert self.error is None
        assert all(self.ended), "a head before the end of the last message"
        self.heads.append(head)
        self.bodies.append(b"")
        self.trailers.append([])
        self.ended.append(end)

    def _body(self, data: bytes, end: bool) -> None:
        assert self.error is None
        assert not self.ended[-1], "body behind the end"
        assert data or end
        self.pieces += 1
        self.bodies[-1] += data
        self.ended[-1] = end

    def _trailers(self, trailers: Headers) -> None:
        assert not self.ended[-1]
        self.trailers[-1] = list(trailers.items())
        self.ended[-1] = True

    def _error(self, error: ProtocolError) -> None:
        assert self.error is None, "two errors"
        self.error = error

    @property
    def complete(self) -> int:
        return sum(self.ended)

    def summary(self) -> object:
        """All that was called, but for the pieces of bodies."""
        error = self.error and (self.error.status, self.error.details)
        heads = [repr(head) for head in self.heads]
        return heads, self.informational, self.bodies, self.trailers, self.ended, error


class RequestRecorder(Recorder):
    """A server that answers at once: each complete request is followed by `next_message`."""

    on_request_body = Recorder._body
    on_request_trailers = Recorder._trailers
    on_request_error = Recorder._error
    dropped_names = 0

    def on_dropped_names(self, count: int) -> None:
        self.dropped_names += count

    def __init__(self, options: Http1Options = Http1Options()) -> None:  # noqa: B008  (immutable)
        super().__init__()
        self.parser = RequestParser(self, options)
        self.facts: list[tuple[bool, bool, str, bool, int]] = []

    def on_request(self, request: RequestHeaders, end: bool) -> None:
        self._head(request, end)
        parser = self.parser
        self.facts.append((parser.http10, parser.keep_alive, parser.upgrade, parser.expect_continue, parser.head_bytes))

    def summary(self) -> object:
        return super().summary(), self.facts

    def feed(self, pieces: Iterable[bytes], eof: bool = False) -> RequestRecorder:
        """Feed, and go on after each message as long as its connection would be kept."""
        for piece in pieces:
            self.parser.receive(piece)
            self._go_on()
        if eof:
            self.parser.receive_eof()
        return self

    def _go_on(self) -> None:
        done = -1
        while done != self.complete and self.ended and self.ended[-1] and not self.error:
            done = self.complete
            if not self.parser.keep_alive or self.parser.upgrade:
                break
            self.parser.next_message()


class ResponseRecorder(Recorder):
    """A client that has asked once."""

    on_response_body = Recorder._body
    on_response_trailers = Recorder._trailers
    on_response_error = Recorder._error

    def __init__(self, method: str = "GET", upgrade: bool = False, options: Http1Options | None = None) -> None:
        super().__init__()
        self.parser = ResponseParser(self, options or Http1Options(max_headers_kb=80))
        self.parser.expect(method, upgrade)

    def on_response(self, response: ResponseHeaders, end: bool) -> None:
        self._head(response, end)

    def on_response_informational(self, response: ResponseHeaders) -> None:
        assert not self.heads
        self.informational.append(response.status)

    def feed(self, pieces: Iterable[bytes], eof: bool = False) -> ResponseRecorder:
        for piece in pieces:
            self.parser.receive(piece)
        if eof:
            self.parser.receive_eof()
        return self
