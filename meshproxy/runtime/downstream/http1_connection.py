"""The HTTP connection manager on an HTTP/1 connection: codec below, streams above.

HTTP/1 serves one request after the other. While one is served the parser keeps what the client sent behind it, and the
client is stopped when that grows beyond the buffer limit; responses therefore leave in the order of their requests
and nothing is answered that wasn't asked. After a request that broke the protocol nothing more is read.
"""

from __future__ import annotations

from collections.abc import Iterable

from meshproxy.codec.h1_encode import own_names
from meshproxy.codec.h1_request import RequestParser
from meshproxy.errors import ProtocolError
from meshproxy.headers import Headers, RequestHeaders
from meshproxy.plugin.context import Connection, FactoryContext, Timer
from meshproxy.plugin.replies import MISSING_HOST, LocalReply
from meshproxy.runtime.downstream.connection import ServerConnection
from meshproxy.runtime.downstream.http1_stream import Http1ServerStream
from meshproxy.runtime.downstream.http_downstream import DownstreamConnection
from meshproxy.runtime.downstream.http_manager import HttpManager
from meshproxy.runtime.downstream.http_stream import HttpServerStream

_BODIES = {400: b"Bad Request", 426: b"Upgrade Required", 431: b"Request Header Fields Too Large"}
_BODIES[501] = b"Not Implemented"


class Http1Connection(DownstreamConnection):
    """See the module."""

    parser: RequestParser
    _requests: int = 0
    _outlived: bool = False
    _overdue: bool = False
    _stalled: bool = False

    def __init__(self, config: HttpManager, context: FactoryContext) -> None:
        super().__init__(config, context)
        self.stream: Http1ServerStream | None = None
        self.names = own_names(config.config.http1.header_key_format)
        self._head_timer: Timer | None = None
        self._unread = False
        self._parsing = False

    # What the connection calls.

    def _attach(self, connection: ServerConnection) -> None:
        super()._attach(connection)
        self.parser = RequestParser(self, self.manager.config.http1)
        if self.worker.measures():
            from meshproxy.runtime.downstream.http1_measuring import DownstreamMeter  # which imports HTTP/2

            self.meter = DownstreamMeter()
        stats = self.manager.stats
        stats.cx_http1_total.value += 1
        stats.cx_http1_active.value += 1

    def on_data(self, data: bytes, end: bool, connection: Connection) -> None:
        if end:
            self._client_ended()
            return
        self.manager.stats.rx_bytes += len(data)
        if self.meter is not None:
            self.meter.received += len(data)
        parser = self.parser
        self._parsing = True
        parser.receive(data)
        self._parsing = False
        if self.stream is None and not self._unread:
            if parser.unparsed and not self._head_begun:
                self._await_head()
        elif (
            parser.unparsed
            and not self._stalled
            and parser.buffered > self.connection.listener.per_connection_buffer_limit
        ):
            self._stalled = True
            connection.read_disable(True)

    def _await_head(self) -> None:
        self._head_begun = True
        limit = self.manager.head_limit
        if limit is not None:
            self._head_timer = self.connection.schedule(limit.seconds, self._head_timed_out)

    def _head_is_over(self) -> None:
        self._head_begun = False
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def on_read_done(self, connection: Connection) -> None:
        stream = self.stream
        # After its end nothing of a request is kept back to be joined with what follows.
        if stream is not None and not stream.request_received and not stream.done and stream.filters:
            stream.filters[-1].on_request_read_done(stream)  # type: ignore[attr-defined]  # the last one is terminal

    def _client_ended(self) -> None:
        stream = self.stream or self._unread_stream()
        if stream is not None:
            # As Envoy: a client that half-closes is taken to have left.
            self._count_left()
            stream.abandon("downstream_remote_disconnect", "DC")
            self.stream = None
        self.connection.close()

    def _unread_stream(self) -> Http1ServerStream | None:
        """A stream for a head that hasn't come to its end, so that the log tells of it; None when nothing has come."""
        if not self.parser.unparsed or self.connection.closed:
            return None
        self.manager.stats.started += 1
        return Http1ServerStream(self, RequestHeaders("", "", "", ""), False, self.worker.loop.time())

    def _count_left(self) -> None:
        self.connection.info.ended = self.worker.loop.time()
        stats = self.manager.stats
        stats.cx_destroy_active_rq.value += 1
        stats.cx_destroy_remote_active_rq.value += 1
        stats.rq_rx_reset.value += 1

    def on_write_blocked(self, blocked: bool, connection: Connection) -> None:
        self._unread = blocked
        if self.stream is not None:
            self.stream.tell_blocked(blocked)
        elif not blocked:
            self.worker.loop.call_soon(self._next_request)

    def is_busy(self) -> bool:
        stream = self.stream
        return not stream.done if stream is not None else self.parser.buffered > 0

    def on_close(self, connection: Connection) -> None:
        super().on_close(connection)
        self.manager.stats.cx_http1_active.value -= 1
        self._head_is_over()
        stream, self.stream = self.stream, None
        if stream is not None and not stream.done:
            self._count_left()
            stream.abandon("downstream_remote_disconnect", "DC")
        self.parser.close()

    def write(self, data: bytes) -> None:
        """Send bytes of a response."""
        self.manager.stats.tx_bytes += len(data)
        if self.meter is not None:
            self.meter.sent += len(data)
        self.connection.write(data)

    # What the parser calls.

    def on_request(self, request: RequestHeaders, end: bool) -> None:
        manager = self.manager
        stats = manager.stats
        stats.started += 1
        if self._head_begun:
            self._head_is_over()
        parser = self.parser
        stream = Http1ServerStream(self, request, end, self.worker.loop.time())
        self.stream = stream
        if parser.http10:
            stream.protocol = "HTTP/1.0"
        if self.meter is not None:
            self.meter.head_received(stream, request, end)
        if manager.limits_requests:
            self._limit_requests(stream)
        upgrade = "connect" if request.method == "CONNECT" else parser.upgrade
        self.admit(stream, request, upgrade, expects=parser.expect_continue)

    def _limit_requests(self, stream: Http1ServerStream) -> None:
        self._requests += 1
        most = self.manager.max_requests
        if most and self._requests >= most:
            self.manager.stats.cx_max_requests_reached.value += 1
            stream.close_after = True
        elif self._outlived:
            stream.close_after = True

    def _duration_reached(self) -> None:
        if self.manager.config.http1_safe_max_connection_duration:
            self.manager.stats.cx_max_duration_reached.value += 1
            self._outlived = True  # the next request is the last
        else:
            super()._duration_reached()

    def on_request_body(self, data: bytes, end: bool) -> None:
        stream = self.stream
        if stream is None or stream.done:
            return
        now = self.worker.loop.time()
        stream.last_activity = now
        if end:
            stream.request_ended(now)
        stream.receive_body(data, end)

    def on_request_trailers(self, trailers: Headers) -> None:
        stream = self.stream
        if stream is None or stream.done:
            return
        stream.request_ended(self.worker.loop.time())
        stream.receive_trailers(trailers)

    def on_dropped_names(self, count: int) -> None:
        self.manager.stats.dropped_underscores.value += count

    def on_request_error(self, error: ProtocolError) -> None:
        stats = self.manager.stats
        if error.details == "downstream_remote_disconnect":
            return
        headless = error.details == "missing_host_header"  # only this fault is found after Envoy has taken the head in
        if not headless:
            stats.cx_protocol_error.value += 1
        if error.details == "http1.unexpected_underscore":
            stats.rejected_underscores.value += 1
        stream = self.stream
        if stream is None or stream.done:
            if stream is not None and stream.close_after:
                return
            stats.started += 1
            request, end = RequestHeaders("", "", "", ""), False
            if headless and error.request is not None:
                request = error.request
                request.authority = ""
                end = request.fields.get("content-length", "0") == "0" and "transfer-encoding" not in request.fields
            stream = Http1ServerStream(self, request, end, self.worker.loop.time())
            self.stream = stream
        stream.close_after = True
        if headless:
            stream.reply(MISSING_HOST)
            return
        self.connection.stream.add_flag("DPE")
        body = _BODIES.get(error.status, b"Bad Request")
        stream.malformed = True
        stream.reply(LocalReply(error.status, body, details=error.details, flags="DPE", close=True))

    # What streams call.

    def stream_finished(self, stream: HttpServerStream, cut: bool) -> None:
        """A response has been written whole, or was cut off."""
        self._last_end = stream.end
        if not stream.close_after and not stream.raw:
            self.stream = None
            if self._unread:
                return  # a client that doesn't read its answers gets no more of them: see `on_write_blocked`
            if self._stalled:
                self._stalled = False
                self.connection.read_disable(False)
            if self.parser.unparsed:
                # Not from here: the upstream connection that has just answered isn't free yet.
                self.worker.loop.call_soon(self._next_request)
            else:
                self.parser.next_message()
            return
        delay = self.manager.config.delayed_close_timeout
        if stream.raw:
            self.stream = None
            self._close(delay)
        elif (
            cut
            or self._overdue
            or stream.raw_wanted
            or not stream.request_received
            or (stream.replied and self._parsing)
        ):
            self._close(delay)
        else:
            # Nothing of the client's can be on its way, so no RST can wipe the answer out. A reply of our own to a
            # request that is still being parsed is another matter: Envoy doesn't know yet that it has come whole.
            self._close(0.0)

    def replace(self, stream: HttpServerStream, successor: HttpServerStream) -> None:
        assert isinstance(successor, Http1ServerStream)
        self.manager.stats.started += 1
        self.stream = successor
        if self.meter is not None:
            self.meter.give_back(stream)

    def _next_request(self) -> None:
        if self.connection.closed or self.stream is not None or self._unread:
            return
        if self._stalled:
            self._stalled = False
            self.connection.read_disable(False)
        self._parsing = True
        self.parser.next_message()
        self._parsing = False
        if self.stream is None and self.parser.unparsed and not self._head_begun:
            self._await_head()
        self.on_read_done(self.connection)

    # Timers of the connection.

    def live_streams(self) -> Iterable[HttpServerStream]:
        stream = self.stream
        return (stream,) if stream is not None and not stream.done else ()

    def _drained(self) -> None:
        if self.stream is not None:
            self._overdue = self.stream.close_after = True
        elif self._head_begun:
            self._drain_timer = self.connection.schedule(self.manager.config.drain_timeout, self._drained)
        else:
            self._close(self.manager.config.delayed_close_timeout)

    def _head_timed_out(self) -> None:
        limit = self.manager.head_limit
        self._head_is_over()
        if self.stream is None and limit is not None:
            limit.counter.value += 1
            self.manager.stats.started += 1
            self.stream = Http1ServerStream(self, RequestHeaders("", "", "", ""), False, self.worker.loop.time())
            self.stream.reply(limit.reply)
