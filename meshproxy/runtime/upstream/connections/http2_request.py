"""One request on an HTTP/2 connection to a host: what the router holds of one stream.

- A response that its receiver can't take (`read_disable`) isn't read: what has come already is held, no credit is given
  for it, and so the host stops after a window.
- A request whose bytes the host doesn't take tells its sender to stop (`on_upstream_blocked`): because the stream's
  window is used up, or because the whole transport is full.

Invariant: `sink` is set as long as it may hear something; whoever ends the request takes it out first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from meshproxy.headers import Headers, RequestHeaders, ResponseHeaders
from meshproxy.plugin.replies import ResetReason
from meshproxy.plugin.upstream import HttpUpstreamSink
from meshproxy.runtime.upstream.connections.pending_request import Starts

if TYPE_CHECKING:
    from meshproxy.runtime.upstream.connections.http2_upstream import Http2Upstream


class Http2Request(Starts):
    """See the module."""

    __slots__ = (
        "_answered",
        "_asks_tunnel",
        "_blocked",
        "_held",
        "_paused",
        "_resuming",
        "_told",
        "connection",
        "connection_id",
        "host",
        "local_address",
        "sent",
        "sid",
        "sink",
        "tls",
    )
    protocol = "HTTP/2"

    def __init__(self, connection: Http2Upstream) -> None:
        self.connection = connection
        self.host = connection.host
        self.local_address = connection.local_address
        self.connection_id = connection.connection_id
        self.tls = connection.tls
        self.sid = 0
        self.sink: HttpUpstreamSink | None = None
        self.sent = False
        self._blocked = False
        self._told = False
        self._paused = False
        self._resuming = False
        self._asks_tunnel = self._answered = False
        self._held: list[tuple[bytes | Headers, bool]] | None = None

    def start(self, request: RequestHeaders, end: bool, sink: HttpUpstreamSink) -> None:
        """Send the head. Raises ValueError for one that can't be written; then nothing was."""
        connection = self.connection
        if connection.keepalive is not None:
            connection.keepalive.before_request()
        if request.method == "CONNECT" or "upgrade" in request.fields:
            end = False  # what ends is only what will be a tunnel
            self._asks_tunnel = request.method != "CONNECT"
        try:
            self.sid = sid = connection.codec.send_request(request, end)
        except Exception:  # whatever it was, it goes on; the place on the connection is given back
            connection.ended()
            raise
        self.sink = sink
        self.sent = end
        connection.requests[sid] = self
        if connection.blocked:
            self.update_blocked()

    # What the router calls.

    def send_body(self, data: bytes, end: bool) -> None:
        if self.sink is not None:
            if end:
                if self._asks_tunnel:
                    end = False
                else:
                    self.sent = True
            self.connection.codec.send_data(self.sid, data, end)
            if self.sent and self._answered:
                self.sink = None
                self.connection.response_ended(self)

    def send_trailers(self, trailers: Headers) -> None:
        if self.sink is not None:
            self.sent = True
            self.connection.codec.send_trailers(self.sid, trailers)

    def flush(self) -> None:
        """Everything is written at the end of the loop's turn."""

    def read_disable(self, disable: bool) -> None:
        self._paused = disable
        if not disable and self._held and not self._resuming:
            self._resuming = True
            self.connection.pool.cluster.worker.loop.call_soon(self._resume)

    def reset(self) -> None:
        if self.sink is not None:
            self.sink = None
            self.connection.give_up(self)

    # What the connection calls.

    def update_blocked(self) -> None:
        """Tell the sender whether it may go on, if that has changed."""
        blocked = self._blocked or self.connection.blocked
        if blocked != self._told and not (blocked and self.sent):
            self._told = blocked
            if self.sink is not None:
                self.sink.on_upstream_blocked(blocked)

    def answered(self, response: ResponseHeaders) -> None:
        """The final response's head is here."""
        status = response.status
        if self._asks_tunnel and (status == 101 or status < 300):
            self._asks_tunnel = False

    def set_blocked(self, blocked: bool) -> None:
        """The stream's own queue is full, or has room again."""
        self._blocked = blocked
        self.update_blocked()

    def receive(self, piece: bytes | Headers, end: bool) -> None:
        """A piece of the response, or its trailers."""
        if self._paused or self._held:
            if self._held is None:
                self._held = []
            self._held.append((piece, end))
        else:
            self._hand_over(piece, end)

    def _hand_over(self, piece: bytes | Headers, end: bool) -> None:
        sink = self.sink
        if sink is None:
            return
        if end:
            # A tunnel's directions end each by itself; of any other request nothing more is wanted now.
            self._answered = not self.sent and getattr(sink, "half_open", False)
            if not self._answered:
                self.sink = None
        if isinstance(piece, Headers):
            sink.on_upstream_trailers(piece)
        else:
            sink.on_upstream_body(piece, end)
            if piece and not end:
                self.connection.codec.consumed(self.sid, len(piece))
        if end and self.sink is None:
            self.connection.response_ended(self)

    def _resume(self) -> None:
        self._resuming = False
        held = self._held
        while held and not self._paused and self.sink is not None:
            piece, end = held.pop(0)
            self._hand_over(piece, end)
        if self.sink is not None:
            self.sink.on_upstream_read_done()

    def fail(self, reason: ResetReason, detail: str = "") -> None:
        """The stream is gone; what had come is of no use any more."""
        sink, self.sink = self.sink, None
        if sink is not None:
            sink.on_upstream_reset(reason, detail)
