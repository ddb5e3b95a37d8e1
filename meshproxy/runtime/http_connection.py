"""The HTTP connection manager on one connection: codec below, streams above.

HTTP/1 serves one request after the other. While one is served the parser keeps what the client sent behind it, and the
client is stopped when that grows beyond the buffer limit; responses therefore leave in the order of their requests
and nothing is answered that wasn't asked. After a request that broke the protocol nothing more is read.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar

from meshproxy.codec.h1_encode import NameWriter
from meshproxy.codec.h1_request import RequestParser
from meshproxy.errors import ProtocolError
from meshproxy.headers import Headers, RequestHeaders, ResponseHeaders
from meshproxy.plugin.context import Connection, FactoryContext, Timer
from meshproxy.plugin.network import NetworkFilter
from meshproxy.plugin.replies import MISSING_HOST, REQUEST_HEADERS_TIMEOUT, UPGRADE_FAILED, LocalReply
from meshproxy.plugin.stats import StatsScope
from meshproxy.runtime.connection import ServerConnection
from meshproxy.runtime.http_manager import HttpManager
from meshproxy.runtime.http_stream import HttpServerStream
from meshproxy.runtime.measuring import DownstreamMeter

_BODIES = {400: b"Bad Request", 426: b"Upgrade Required", 431: b"Request Header Fields Too Large"}
_BODIES[501] = b"Not Implemented"


class HttpConnection(NetworkFilter[HttpManager]):
    """See the module."""

    terminal: ClassVar[bool] = True
    connection: ServerConnection
    parser: RequestParser
    meter: DownstreamMeter | None = None

    def __init__(self, config: HttpManager, context: FactoryContext) -> None:
        super().__init__(config, context)
        self.manager = config
        self.stream: HttpServerStream | None = None
        self.draining = False
        self.names = NameWriter(None) if config.config.http1.header_key_format == "proper_case" else None
        self._requests = 0
        self._last_end = 0.0
        self._idle_timer: Timer | None = None
        self._headers_timer: Timer | None = None
        self._stalled = False
        self._unread = False
        self._local_close = False

    @classmethod
    def for_worker(cls, config: Any, context: FactoryContext, listener_stats: StatsScope) -> HttpManager:
        """The compiled options (`HttpConnectionManagerConfig`) become what this worker's connections share."""
        manager = HttpManager(config, context)
        manager.attach_to_listener(listener_stats)
        return manager

    # What the connection calls.

    def on_new_connection(self, connection: Connection) -> None:
        assert isinstance(connection, ServerConnection)
        self.connection = connection
        self.worker = connection.worker
        config = self.manager.config
        self.parser = RequestParser(self, config.http1)
        if self.worker.measures():
            self.meter = DownstreamMeter()
        stats = self.manager.stats
        stats.cx_total.value += 1
        stats.cx_active.value += 1
        stats.cx_http1_total.value += 1
        stats.cx_http1_active.value += 1
        self._last_end = connection.stream.start
        if self.manager.look_after:
            self._idle_timer = connection.schedule(self.manager.look_after, self._look)
        if config.max_connection_duration:
            connection.schedule(config.max_connection_duration, self._duration_reached)

    def on_data(self, data: bytes, end: bool, connection: Connection) -> None:
        if end:
            self._client_ended()
            return
        self.manager.stats.rx_bytes += len(data)
        if self.meter is not None:
            self.meter.received += len(data)
        parser = self.parser
        parser.receive(data)
        if self.stream is None and not self._unread:
            if self.manager.config.request_headers_timeout and parser.unparsed:
                self._await_head()
        elif (
            parser.unparsed
            and not self._stalled
            and parser.buffered > self.connection.listener.per_connection_buffer_limit
        ):
            self._stalled = True
            connection.read_disable(True)

    def _await_head(self) -> None:
        if self._headers_timer is None:
            timeout = self.manager.config.request_headers_timeout
            self._headers_timer = self.connection.schedule(timeout, self._headers_timed_out)

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

    def _unread_stream(self) -> HttpServerStream | None:
        """A stream for a head that hasn't come to its end, so that the log tells of it; None when nothing has come."""
        if not self.parser.unparsed or self.connection.closed:
            return None
        self.manager.stats.started += 1
        return HttpServerStream(self, RequestHeaders("", "", ""), False, self.worker.loop.time())

    def _count_left(self) -> None:
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
        stats = self.manager.stats
        stats.cx_active.value -= 1
        stats.cx_http1_active.value -= 1
        stats.cx_destroy.value += 1
        (stats.cx_destroy_local if self._local_close else stats.cx_destroy_remote).value += 1
        if self.connection.outwaited:
            stats.cx_delayed_close_timeout.value += 1
        stats.cx_length_ms.record((self.worker.loop.time() - self.connection.stream.start) * 1000)
        for timer in (self._idle_timer, self._headers_timer):
            if timer is not None:
                timer.cancel()
        stream, self.stream = self.stream, None
        if stream is not None and not stream.done:
            self._count_left()
            stream.abandon("downstream_remote_disconnect", "DC")

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
        if self._headers_timer is not None:
            self._headers_timer.cancel()
            self._headers_timer = None
        parser = self.parser
        stream = HttpServerStream(self, request, end, self.worker.loop.time())
        self.stream = stream
        if parser.http10:
            stream.protocol = "HTTP/1.0"
        if self.meter is not None:
            self.meter.head_received(stream, request, end)
        if manager.max_requests:
            self._requests += 1
            if self._requests >= manager.max_requests:
                stats.cx_max_requests_reached.value += 1
                stream.close_after = True
        refusal = manager.edge.check_target(request, stream.connection)
        if refusal is not None:
            if refusal.status == 404:
                stats.rq_non_relative_path.value += 1
            if refusal.close and manager.config.stream_error_on_invalid_http_message:
                refusal = replace(refusal, close=False)
            stream.reply(refusal)
            return
        upgrade = "connect" if request.method == "CONNECT" else parser.upgrade
        trust = manager.edge.mutate(request, stream.connection, upgrade != "")
        if trust is not None:
            stream.internal, stream.remote_address = trust
            if stream.internal and "x-envoy-force-trace" in request.fields:
                stream.tells_request_id = True
        given = request.fields.get("x-request-id")
        if given is None or manager.replaces_ids:
            self._identify(stream, request, given)
        else:
            stream.request_id = given
        if manager.client_certificate is not None:
            manager.client_certificate.apply(request, stream.connection)
        if manager.requires_tls and manager.routes.requires_tls(request):
            stream.reply(_to_https(request))
            return
        stream.choose_route()
        if upgrade and not self._may_upgrade(stream, upgrade):
            return
        if parser.expect_continue:
            self._treat_expectation(stream, request)
        route = stream.route
        if manager.plans_differ:
            stream.plan = manager.plan(route, stream.weighted, upgrade)
        if manager.stream_timers or route in manager.timed_routes:
            stream.arm()
        stream.begin()

    def _identify(self, stream: HttpServerStream, request: RequestHeaders, given: str | None) -> None:
        """X-Request-ID: kept from whom we trust, else made (Envoy: uuid request id extension)."""
        if self.manager.config.generate_request_id and (given is None or not stream.internal):
            given = self.manager.new_request_id()
            if request.repeated:
                request["x-request-id"] = given
            else:
                request.fields["x-request-id"] = given
        stream.request_id = given or ""

    def _may_upgrade(self, stream: HttpServerStream, upgrade: str) -> bool:
        if upgrade == "connect" and stream.route is None:
            stream.close_after = True
            return True  # answered by the router: no route
        if self.manager.allows_upgrade(stream.route, upgrade):
            stream.raw_wanted = upgrade
            return True
        self.manager.stats.rq_ws_on_non_ws_route.value += 1
        stream.reply(UPGRADE_FAILED)
        return False

    def _treat_expectation(self, stream: HttpServerStream, request: RequestHeaders) -> None:
        if self.manager.config.proxy_100_continue:
            return
        request.remove("expect")
        stream.expected_here = True
        stream.send_informational(ResponseHeaders(100))
        stream.expected_here = False

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
        stats.cx_protocol_error.value += 1
        if error.details == "http1.unexpected_underscore":
            stats.rejected_underscores.value += 1
        stream = self.stream
        if stream is None or stream.done:
            if stream is not None and stream.close_after:
                return
            stats.started += 1
            request = RequestHeaders("", "", "")
            if error.request is not None and error.details == "missing_host_header":
                request = error.request  # only this fault is found after Envoy has taken the head in
                request.authority = ""
            stream = HttpServerStream(self, request, False, self.worker.loop.time())
            self.stream = stream
        stream.close_after = True
        if error.details == "missing_host_header":
            stream.reply(MISSING_HOST)
            return
        stats.rq_rx_reset.value += 1  # as Envoy, whose codec resets the stream that it has just answered
        body = _BODIES.get(error.status, b"Bad Request")
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
            self._close(delay if cut else 0.0)
        elif cut or stream.replied or stream.raw_wanted or not stream.request_received:
            self._close(delay)
        else:
            self._close(0.0)  # nothing of the client's can be on its way, so no RST can wipe the answer out

    def _next_request(self) -> None:
        if self.connection.closed or self.stream is not None or self._unread:
            return
        if self._stalled:
            self._stalled = False
            self.connection.read_disable(False)
        self.parser.next_message()
        if self.stream is None and self.parser.unparsed and self.manager.config.request_headers_timeout:
            self._await_head()
        self.on_read_done(self.connection)

    def _close(self, delay: float) -> None:
        self._local_close = True
        self.connection.close(delay=delay, give_up=self.manager.config.delayed_close_timeout)

    # Timers of the connection.

    def _look(self) -> None:
        """Has the stream, or the connection without one, been idle for too long? One timer serves both questions.

        What begins between two looks is looked at early, and then again when its own time is up.
        """
        config = self.manager.config
        now = self.worker.loop.time()
        stream = self.stream
        due = []
        if stream is not None and not stream.done:
            if config.stream_idle_timeout and not stream.idle_timeout_of_route:
                stream.check_idle(config.stream_idle_timeout)
                due.append(stream.last_activity + config.stream_idle_timeout)
            if config.idle_timeout:
                due.append(now + config.idle_timeout)
        else:
            if config.stream_idle_timeout:
                due.append(now + config.stream_idle_timeout)
            if config.idle_timeout:
                due.append(self._last_end + config.idle_timeout)
                if due[-1] <= now + 0.001:
                    self._idle_too_long()
                    return
        if not self.connection.closed and due:
            self._idle_timer = self.connection.schedule(max(min(due) - now, 0.01), self._look)

    def _idle_too_long(self) -> None:
        self.manager.stats.cx_idle_timeout.value += 1
        if self._last_end == self.connection.stream.start and not self.parser.buffered:
            self._close(0.0)  # it never sent anything, so there is no last request to wait for
        else:
            self._drain_then_close()

    def _duration_reached(self) -> None:
        self.manager.stats.cx_max_duration_reached.value += 1
        self._drain_then_close()

    def begin_drain(self) -> None:
        """A response has said that the connection goes away: give the client the drain time to leave by itself."""
        if not self.draining:
            self._drain_then_close()

    def _drain_then_close(self) -> None:
        """As Envoy: a last request may come within the drain time, then the connection closes."""
        self.draining = True
        if self._idle_timer is not None:
            self._idle_timer.cancel()
        self._idle_timer = self.connection.schedule(self.manager.config.drain_timeout, self._drained)

    def _drained(self) -> None:
        if self.stream is None:
            self._close(self.manager.config.delayed_close_timeout)

    def _headers_timed_out(self) -> None:
        self._headers_timer = None
        if self.stream is None:
            self.manager.stats.rq_header_timeout.value += 1
            self.manager.stats.started += 1
            self.stream = HttpServerStream(self, RequestHeaders("", "", ""), False, self.worker.loop.time())
            self.stream.reply(REQUEST_HEADERS_TIMEOUT)


def _to_https(request: RequestHeaders) -> LocalReply:
    """`require_tls`: the same address under https (Envoy: SslRedirectRoute)."""
    location = f"https://{request.authority}{request.path}"
    return LocalReply(301, headers=(("location", location),), details="direct_response")
