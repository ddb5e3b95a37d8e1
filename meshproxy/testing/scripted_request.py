"""One request to a scripted cluster: what was sent, and how it is answered.

An answer is given on the stepped loop, never from within the call that sends the request, as a socket would do it; so
the order in which a filter hears of things is that of the program.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from meshproxy.headers import Headers, RequestHeaders, ResponseHeaders
from meshproxy.plugin.replies import ResetReason
from meshproxy.plugin.upstream import (
    Host,
    HttpUpstream,
    HttpUpstreamSink,
)
from meshproxy.records import dataclass
from meshproxy.testing.loop import SteppedLoop

Fields = Mapping[str, str] | Sequence[tuple[str, str]]


def pairs(fields: Fields) -> list[tuple[str, str]]:
    """Header fields in either notation, as a list."""
    return list(fields.items()) if isinstance(fields, Mapping) else list(fields)


@dataclass(slots=True)
class Answer:
    """What a request is answered with: a response, or a reset, or (both None) nothing."""

    status: int | None = None
    headers: Sequence[tuple[str, str]] = ()
    body: bytes = b""
    trailers: Sequence[tuple[str, str]] = ()
    reset: ResetReason | None = None
    detail: str = ""
    after: float = 0.0


@dataclass(slots=True)
class Received:
    """A request that a scripted cluster was sent."""

    headers: RequestHeaders
    body: bytes = b""
    trailers: Headers | None = None
    complete: bool = False
    was_reset: bool = False

    @property
    def grpc_message(self) -> bytes:
        """The serialised message of a gRPC call."""
        return self.body[5:]

    @property
    def method(self) -> str:
        return self.headers.method

    @property
    def path(self) -> str:
        return self.headers.path


class Nobody(HttpUpstreamSink):
    """The sink of a copy: nobody looks at its response."""

    def on_upstream_ready(self, upstream: HttpUpstream) -> None: ...
    def on_upstream_response(self, response: ResponseHeaders, end: bool) -> None: ...
    def on_upstream_informational(self, response: ResponseHeaders) -> None: ...
    def on_upstream_body(self, data: bytes, end: bool) -> None: ...
    def on_upstream_trailers(self, trailers: Headers) -> None: ...
    def on_upstream_reset(self, reason: ResetReason, detail: str) -> None: ...
    def on_upstream_blocked(self, blocked: bool) -> None: ...
    def on_upstream_read_done(self) -> None: ...


class ScriptedRequest(HttpUpstream):
    """One request to a scripted cluster."""

    protocol = "HTTP/1.1"

    def __init__(self, host: Host, received: Received, sink: HttpUpstreamSink, loop: SteppedLoop) -> None:
        self.host = host
        self.received = received
        self.on_complete: Callable[[], object] = lambda: None
        self.conversation: Callable[[bytes], Sequence[bytes] | None] | None = None
        self._sink: HttpUpstreamSink | None = sink
        self._loop = loop
        self._begun = False
        loop.call_soon(self._ready)

    def _ready(self) -> None:
        if self._sink is not None:
            self._sink.on_upstream_ready(self)

    def answer(self, answer: Answer) -> None:
        sink = self._sink
        if sink is None or (answer.status is None and answer.reset is None):
            return
        self._sink = None
        if answer.reset is not None:
            sink.on_upstream_reset(answer.reset, answer.detail)
            return
        assert answer.status is not None
        more = bool(answer.trailers)
        sink.on_upstream_response(ResponseHeaders(answer.status, answer.headers), not answer.body and not more)
        if answer.body:
            sink.on_upstream_body(answer.body, not more)
        if more:
            sink.on_upstream_trailers(Headers(answer.trailers))
        sink.on_upstream_read_done()

    def _converse(self, message: bytes) -> None:
        sink, answer = self._sink, self.conversation
        if sink is None or answer is None:
            return
        if not self._begun:
            self._begun = True
            sink.on_upstream_response(ResponseHeaders(200, [("content-type", "application/grpc")]), False)
        messages = answer(message)
        if messages is None:
            self._sink = None
            sink.on_upstream_trailers(Headers([("grpc-status", "0")]))
            return
        for each in messages:
            sink.on_upstream_body(b"\0" + len(each).to_bytes(4, "big") + each, False)

    def send_body(self, data: bytes, end: bool) -> None:
        if self.conversation is not None:
            if data:
                self._loop.call_soon(self._converse, data[5:])
            return
        self.received.body += data
        if end:
            self._complete()

    def send_trailers(self, trailers: Headers) -> None:
        self.received.trailers = trailers
        self._complete()

    def _complete(self) -> None:
        self.received.complete = True
        self.on_complete()

    def flush(self) -> None:
        """Nothing is joined up here."""

    def read_disable(self, disable: bool) -> None:
        """A script isn't read."""

    def reset(self) -> None:
        self._sink = None
        self.received.was_reset = True
