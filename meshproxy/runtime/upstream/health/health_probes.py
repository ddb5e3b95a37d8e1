"""What health checks say to a host and how its answer is judged: the protocol objects of their connections.

A probe asks when it is told to and gives one verdict for each time it asked, also when the connection ends or the time
is over first. It knows nothing of intervals and thresholds: those are `health_checker` and `balance.health_check`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from enum import Enum
from typing import Any

from meshproxy.codec.h1_encode import encode_request_head
from meshproxy.codec.h1_response import ResponseParser
from meshproxy.errors import ProtocolError
from meshproxy.headers import Headers, RequestHeaders, ResponseHeaders
from meshproxy.model.codec import Http1Options
from meshproxy.model.health_check import HttpCheck, TcpCheck
from meshproxy.plugin.mutations import apply_mutations
from meshproxy.plugin.stream_info import StreamInfo


class Verdict(Enum):
    """WELL, DEGRADED: it is well. ILL: it says that it isn't. RETRIABLE: so it says, but is to be asked again before
    that is believed. NETWORK: it couldn't be reached, or didn't answer."""

    WELL = 0
    DEGRADED = 1
    ILL = 2
    RETRIABLE = 3
    NETWORK = 4


class Probe(ABC):
    """A connection for checks. judged: called once for each time that it asked.

    reusable: it is open, and has nothing under way. status: of the last answer by HTTP, 0 for none; excluded: that said
    that the host doesn't count any more.
    """

    def __init__(self, judged: Callable[[Verdict], None]) -> None:
        self._judged = judged
        self._asking = False
        self._closed = False
        self.transport: Any = None
        self.reusable = False
        self.status = 0
        self.excluded = False

    def note(self, response: ResponseHeaders) -> None:
        """An answer by HTTP has come."""
        self.status = response.status
        self.excluded = "x-envoy-immediate-health-check-fail" in response.fields

    @abstractmethod
    def ask(self) -> None:
        """Begin a check on the open connection."""

    @abstractmethod
    def data_received(self, data: bytes) -> None: ...

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        if self._closed:
            transport.abort()
            return
        self.ask()

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, error: Exception | None) -> None:
        self.reusable = False
        self._conclude(Verdict.NETWORK)

    def pause_writing(self) -> None:  # noqa: B027  # the protocol has it; there is nothing to do
        """What checks send is short."""

    def resume_writing(self) -> None:  # noqa: B027  # the protocol has it; there is nothing to do
        """See `pause_writing`."""

    def _conclude(self, verdict: Verdict) -> None:
        if self._asking:
            self._asking = False
            self._judged(verdict)

    def close(self) -> None:
        """Close; nothing is told any more."""
        self._closed = True
        self._asking = False
        self.reusable = False
        if self.transport is not None:
            self.transport.abort()


class HttpProbe(Probe):
    """Asks for a path (the sink of its own response parser)."""

    def __init__(
        self, check: HttpCheck, authority: str, options: Http1Options, judged: Callable[[Verdict], None]
    ) -> None:
        super().__init__(judged)
        self._check = check
        self._authority = authority
        self._parser = ResponseParser(self, options)
        self._response: ResponseHeaders | None = None
        self._body = b""

    def ask(self) -> None:
        self._asking = True
        self.reusable = False
        self._response = None
        self._body = b""
        check = self._check
        request = make_request(check, self._authority)
        head, _ = encode_request_head(request, not check.send)
        self._parser.expect(check.method)
        self.transport.write(head + check.send)

    def data_received(self, data: bytes) -> None:
        self._parser.receive(data)

    def eof_received(self) -> bool:
        self._parser.receive_eof()
        return False

    def on_response(self, response: ResponseHeaders, end: bool) -> None:
        self._response = response
        if end:
            self._judge()

    def on_response_informational(self, response: ResponseHeaders) -> None:
        """Not the answer."""

    def on_response_body(self, data: bytes, end: bool) -> None:
        room = self._check.response_buffer_size or 1 << 20
        if self._check.receive and len(self._body) < room:
            self._body = (self._body + data)[:room]
        if end:
            self._judge()

    def on_response_trailers(self, trailers: Headers) -> None:
        self._judge()

    def on_response_error(self, error: ProtocolError) -> None:
        self._conclude(Verdict.NETWORK)

    def _judge(self) -> None:
        response, check = self._response, self._check
        assert response is not None
        self.reusable = self._parser.keep_alive
        self.note(response)
        self._conclude(judge_response(check, response, self._body))


def make_request(check: HttpCheck, authority: str) -> RequestHeaders:
    """The head of a check."""
    request = RequestHeaders(check.method, check.path, authority, "http", (("user-agent", "Envoy/HC"),))
    if check.send:
        request["content-length"] = str(len(check.send))
    if check.mutations is not None:
        info = StreamInfo()
        info.request = request
        apply_mutations((check.mutations,), request, info)
    return request


def judge_response(check: HttpCheck, response: ResponseHeaders, body: bytes) -> Verdict:
    """What an answer says of the host."""
    status = response.status
    if _in_ranges(status, check.expected) and contains_in_order(body, check.receive):
        service = response.fields.get("x-envoy-upstream-healthchecked-cluster", "")
        if check.service_matches is not None and not check.service_matches(service):
            return Verdict.ILL
        return Verdict.DEGRADED if "x-envoy-degraded" in response.fields else Verdict.WELL
    return Verdict.RETRIABLE if _in_ranges(status, check.retriable) else Verdict.ILL


class TcpProbe(Probe):
    """Connects, says something and waits for something, both optional. Without an answer to wait for the connection has
    served its purpose when it stands."""

    def __init__(self, check: TcpCheck, judged: Callable[[Verdict], None]) -> None:
        super().__init__(judged)
        self._check = check
        self._received = b""

    def ask(self) -> None:
        self._asking = True
        self.reusable = False
        self._received = b""
        if self._check.send:
            self.transport.write(self._check.send)
        if not self._check.receive:
            self._conclude(Verdict.WELL)

    def data_received(self, data: bytes) -> None:
        if not self._asking:
            return
        self._received = (self._received + data)[-_LONGEST:]
        if contains_in_order(self._received, self._check.receive):
            self.reusable = True
            self._conclude(Verdict.WELL)


_LONGEST = 1 << 16


def contains_in_order(data: bytes, pieces: Sequence[bytes]) -> bool:
    """Whether all pieces occur, each behind the one before it."""
    at = 0
    for piece in pieces:
        found = data.find(piece, at)
        if found < 0:
            return False
        at = found + len(piece)
    return True


def _in_ranges(status: int, ranges: Sequence[tuple[int, int]]) -> bool:
    return any(start <= status < end for start, end in ranges)
