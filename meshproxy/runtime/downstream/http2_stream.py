"""One request on an HTTP/2 connection: the stream with this codec's wire under it.

The codec frames, queues and flushes; what is left here is to say when. Back-pressure works on the stream alone, so that
its siblings go on: to stop the client its bytes aren't called consumed, and whoever answers is told to stop while the
codec holds more of the response than the buffer limit.

An upgrade (extended CONNECT) carries bytes as a body, but they mustn't go to a host that hasn't agreed yet: for the
filters the request ends with its head, as on HTTP/1, and what the client sends is kept until the upgrade is granted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from meshproxy.codec.h2_frames import CONNECT_ERROR, INTERNAL_ERROR, NO_ERROR
from meshproxy.headers import Headers, RequestHeaders, ResponseHeaders
from meshproxy.runtime.downstream.http_stream import HttpServerStream

if TYPE_CHECKING:
    from meshproxy.runtime.downstream.http2_connection import Http2Connection

BY_STREAM, BY_CONNECTION, BY_HOOK = 1, 2, 4
"""Why the response has to wait: the stream's queue is full, the connection's is, or a hook has the response."""

_HOSTS_FAULTS = frozenset(("UC", "UF"))


class Http2ServerStream(HttpServerStream):
    """See the module. sid: the stream's number. early: what came of an upgrade's bytes before it was granted."""

    codec = "HTTP/2"
    owner: Http2Connection
    sid: int
    early: list[tuple[bytes, bool]] | None = None
    _read_disabled: int = 0
    _unconsumed: int = 0
    _blocked_by: int = 0
    _bodiless: bool = False

    def __init__(self, owner: Http2Connection, sid: int, request: RequestHeaders, end: bool, now: float) -> None:
        super().__init__(owner, request, end, now)
        self.sid = sid

    # The request's bytes.

    def receive_data(self, data: bytes, end: bool, now: float) -> None:
        """A piece of the request has come."""
        self.last_activity = now
        if self.early is not None:
            self.early.append((data, end))
            self._unconsumed += len(data)
            return
        if end:
            self.request_ended(now)
        self.receive_body(data, end)
        if self._read_disabled:
            self._unconsumed += len(data)
        elif data:
            self.owner.wire.consumed(self.sid, len(data))

    def request_ended(self, now: float) -> None:
        self.request_received = True
        self.request_complete = now

    def make_successor(self, end: bool) -> Http2ServerStream:
        self._read_disabled = 0
        self._consume()
        successor = type(self)(self.owner, self.sid, self.request, end, self.last_activity)
        successor._blocked_by = self._blocked_by
        return successor

    def read_disable(self, disable: bool) -> None:
        if disable:
            self._read_disabled += 1
        elif self._read_disabled:
            self._read_disabled -= 1
            if not self._read_disabled:
                self._consume()

    def _consume(self) -> None:
        if self._unconsumed:
            self.owner.wire.consumed(self.sid, self._unconsumed)
            self._unconsumed = 0

    def accept_upgrade(self) -> None:
        super().accept_upgrade()
        self.owner.worker.loop.call_soon(self._pass_early)

    def _pass_early(self) -> None:
        """The head of the answer is out, so what the client has sent meanwhile may go on."""
        early, self.early = self.early, None
        now = self.owner.worker.loop.time()
        for data, end in early or ():
            if not self.done:
                self._unconsumed -= len(data)
                self.receive_data(data, end, now)
        self.owner.end_turn(self)

    # Back-pressure of the response.

    def block(self, reason: int, blocked: bool) -> None:
        """Stop whoever answers as long as there is a reason to."""
        before = self._blocked_by
        self._blocked_by = before | reason if blocked else before & ~reason
        if bool(before) != bool(self._blocked_by):
            self.tell_blocked(blocked)

    def block_response(self, blocked: bool) -> None:
        self.block(BY_HOOK, blocked)

    # The response's bytes.

    def send_informational(self, response: ResponseHeaders) -> None:
        if not self.owner.manager.config.proxy_100_continue and not self.expected_here:
            return  # as Envoy: a 1xx of the upstream ends here unless it was asked for
        if not self.done and not self.on_wire:
            self.owner.wire.send_informational(self.sid, response)
            self.owner.manager.stats.codes[response.status] += 1
            self.response_code = response.status

    def encode_headers(self, response: ResponseHeaders, end: bool) -> None:
        owner = self.owner
        upgraded = self.raw and response.status == 101
        now = owner.worker.loop.time()
        self.complete_head(response, now, upgraded=upgraded)
        self.response_code = status = response.status
        if status < 200 and not upgraded:
            self._replace_unwritable(f"{status} ends no request")
            return
        owner.announce_drain()
        self._bodiless = self.request.method == "HEAD" or status == 204 or status == 304
        owner.manager.stats.codes[status] += 1
        owner.wire.send_response(self.sid, response, end)
        if end:
            self._finish(now)

    def _replace_unwritable(self, reason: str) -> None:
        """Nothing of the response has been written: say that something went wrong."""
        self.owner.worker.log.error("response can't be written", error=reason, request_id=self.request_id)
        self.details = "response_unwritable"
        self.response_code = 500
        self.response = ResponseHeaders(500)
        self.owner.manager.stats.codes[500] += 1
        self.owner.wire.send_response(self.sid, self.response, True)
        self._finish(self.owner.worker.loop.time())

    def encode_body(self, data: bytes, end: bool) -> None:
        if self._bodiless:
            data = b""
        self.bytes_sent += len(data)
        owner = self.owner
        owner.wire.send_data(self.sid, data, end)
        now = owner.worker.loop.time()
        if end:
            self._finish(now)
        else:
            self.last_activity = now

    def encode_trailers(self, trailers: Headers) -> None:
        self.owner.wire.send_trailers(self.sid, trailers)
        self._finish(self.owner.worker.loop.time())

    def flush(self) -> None:
        """The connection writes once per turn of the loop; see `Http2Connection.on_output`."""

    def cut(self) -> None:
        self.owner.manager.stats.rq_rx_reset.value += 1  # as Envoy, which takes its own reset for one
        self.owner.wire.reset_stream(self.sid, INTERNAL_ERROR if self.tunnel_code() == NO_ERROR else CONNECT_ERROR)
        self._finish(self.owner.worker.loop.time(), cut=True)

    def tunnel_code(self) -> int:
        """CONNECT_ERROR if the stream was to be a tunnel and its host is to blame (RFC 9113 section 8.5)."""
        if self.raw_wanted and not _HOSTS_FAULTS.isdisjoint(self.flags.split(",")):
            return CONNECT_ERROR
        return NO_ERROR

    def _finish(self, now: float, cut: bool = False) -> None:
        """The response has been handed over: tell everybody."""
        if not cut:
            self.last_downstream_tx = now
        self._complete(now)
        self.owner.stream_finished(self, cut)

    def share_bytes(self) -> None:
        """The codec's to tell."""
