"""One HTTP/1 connection to a host: the protocol object of its transport and, while it serves one, the request's handle.

HTTP/1 serves one request at a time, so the connection itself is the `HttpUpstream` that the router holds; nothing is
made per request. Head and body that come in the same turn are joined and written once.

Invariants:
- `_sink` is set exactly while a request is served; whoever ends it (response complete, reset, connection lost) takes
  it out first, so no sink hears anything after its end;
- the connection goes back to its pool only when the response is complete, the request was sent whole, the parser is
  idle and nothing else may be read; every other way ends in a close. What an upstream sends unasked can therefore never
  be taken for the answer to the next request.
"""

from __future__ import annotations

import select
from typing import TYPE_CHECKING, Any

from meshproxy.codec.h1_encode import LAST_CHUNK, encode_chunk, encode_request_head, encode_trailers, own_names
from meshproxy.codec.h1_response import ResponseParser
from meshproxy.errors import ProtocolError
from meshproxy.headers import Headers, RequestHeaders, ResponseHeaders
from meshproxy.plugin.context import Timer
from meshproxy.plugin.replies import ResetReason
from meshproxy.plugin.upstream import HttpUpstreamSink
from meshproxy.runtime.upstream.connections.connect import TransportFailure
from meshproxy.runtime.upstream.connections.pending_request import Starts

if TYPE_CHECKING:
    from meshproxy.balance.host import Host
    from meshproxy.runtime.upstream.connections.http1_pool import Http1Pool

_JOIN_BELOW = 65536


class Http1Upstream(Starts):
    """See the module."""

    protocol = "HTTP/1.1"
    host: Host
    alpn_fallback = "http/1.1"

    def __init__(self, pool: Http1Pool) -> None:
        self.pool = pool
        self.host = pool.host
        self.transport: Any = None
        self.tls = None
        self.requests_left = self._allowed = pool.cluster.config.max_requests_per_connection or -1
        self.idle_since = 0.0
        self.connect_began = self.handshake_began = self.opened = 0.0
        self.local_address = ""
        self.connection_id = 0
        self._parser = ResponseParser(self, pool.cluster.config.http1)
        self._names = own_names(pool.cluster.config.http1.header_key_format)
        self._fully_qualified = pool.cluster.config.http1.send_fully_qualified_url
        self._sink: HttpUpstreamSink | None = None
        self._head = b""
        self._chunked = False
        self._raw = False
        self._switched = False
        self._connect = self._tunnel = False
        self._left = 0
        self._request_sent = True
        self._complete = False
        self._paused = False
        self._closed = False
        self._ended_by_host = False
        self._poll: select.poll | None = None
        self._expires: Timer | None = None
        self.expired = False
        self.unusable = False
        self._rx_bytes = pool.stats.upstream_cx_rx_bytes_total
        self._tx_bytes = pool.stats.upstream_cx_tx_bytes_total

    # Requests.

    def start(self, request: RequestHeaders, end: bool, sink: HttpUpstreamSink) -> None:
        """Send a request head; the connection is connected and free."""
        method = request.method
        connect = self._connect = method == "CONNECT"
        upgrade = "upgrade" in request.fields and not connect
        try:
            # A body that comes with a request for an upgrade is framed like any other: until the host has agreed,
            # bytes without framing would be its next request.
            head, self._chunked = encode_request_head(
                request, end, request.written or self._names, self._fully_qualified
            )
            if not end and not self._chunked and not connect:
                self._left = int(request.fields["content-length"])
        except (
            Exception
        ):  # whatever filters have made of the head, it can't be written; nothing was, so all is well here
            self.pool.release(self)
            raise
        self._sink = sink
        self._parser.expect(method, upgrade)
        self._raw = upgrade or connect
        self._switched = self._tunnel = False
        self._complete = False
        self._request_sent = end
        self.requests_left -= 1
        if end:
            self._write(head)
        else:
            self._head = head

    def send_body(self, data: bytes, end: bool) -> None:
        if self._sink is None:
            return
        if self._chunked:
            data = (encode_chunk(data) if data else b"") + (LAST_CHUNK if end else b"")
        elif not self._tunnel:
            self._left -= len(data)
            if self._left < 0 or (end and self._left):
                self._refuse_body()
                return
        if self._head:
            head, self._head = self._head, b""
            if len(data) < _JOIN_BELOW:
                data = head + data
            else:
                self._write(head)
        if data:
            self._write(data)
        if end:
            self._request_sent = True
            # As Envoy: an upgraded protocol has an end of its own; only a tunnel of CONNECT has none but FIN.
            if self._tunnel and self._connect and self.transport.can_write_eof():
                self.transport.write_eof()

    def _refuse_body(self) -> None:
        """A filter has made the body longer or shorter than the head says: the rest would be the next request."""
        sink, self._sink = self._sink, None
        assert sink is not None
        self._head = b""
        self.close(active=True)
        sink.on_upstream_reset(ResetReason.LOCAL_RESET, "the body is not as long as its Content-Length")

    def send_trailers(self, trailers: Headers) -> None:
        if self._sink is None:
            return
        if not self._chunked or not self.pool.cluster.config.http1.enable_trailers:
            self.send_body(b"", True)
            return
        self.flush()
        self._write(encode_trailers(trailers, self._names))
        self._request_sent = True

    def flush(self) -> None:
        if self._head:
            head, self._head = self._head, b""
            self._write(head)

    def _write(self, data: bytes) -> None:
        transport = self.transport
        if not transport.is_closing():
            transport.write(data)
            self._tx_bytes.value += len(data)

    def read_disable(self, disable: bool) -> None:
        if disable != self._paused and not self._closed:
            self._paused = disable
            if disable:
                self.transport.pause_reading()
            else:
                self.transport.resume_reading()

    def reset(self) -> None:
        if self._sink is not None:
            self._sink = None
            self.close(active=True)

    def close(self, *, active: bool = False) -> None:
        """Close at once; an unfinished request hears nothing. active: there is one."""
        self._closed = True
        self._over(active=active, remote=self._ended_by_host)
        self.transport.abort()

    def discard(self) -> None:
        """See `Pooled`."""
        self._closed = True
        if self.transport is not None:
            self.transport.abort()

    def has_input(self) -> bool:
        """Whether something, or the end, waits to be read: then this connection is no good for a request.

        Over TLS only the end counts: a ticket may come at any time.
        """
        if self._poll is None:
            self._poll = select.poll()
            events = select.POLLRDHUP if self.pool.cluster.tls is not None else select.POLLIN | select.POLLRDHUP
            self._poll.register(self.transport.get_extra_info("socket").fileno(), events)
        return bool(self._poll.poll(0))

    def expire(self, seconds: float) -> None:
        """Let the connection end `seconds` from now, or with the request that it then serves."""
        self._expires = self.pool.cluster.worker.schedule(seconds, self._expire)

    @property
    def started(self) -> int:
        """How many requests it was given."""
        return self._allowed - self.requests_left

    def _expire(self) -> None:
        self._expires = None
        self.expired = True
        self._allowed -= self.requests_left
        self.requests_left = 0
        self.pool.stats.upstream_cx_max_duration_reached.value += 1
        if self.pool.is_idle(self):
            self.close()

    def _report_failure(self) -> None:
        if self.host.monitor is not None:
            self.host.monitor.on_failure(connected=True, timeout=False)

    def _over(self, *, active: bool, remote: bool) -> None:
        if self._expires is not None:
            self._expires.cancel()
            self._expires = None
        self.pool.forget(self, active=active, remote=remote)

    # What the transport calls.

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        transport.set_write_buffer_limits(high=self.pool.cluster.config.per_connection_buffer_limit)
        self.pool.connected(self)

    def data_received(self, data: bytes) -> None:
        self._rx_bytes.value += len(data)
        self._parser.receive(data)
        if self._complete:
            self._finish()
        elif self._sink is not None:
            self._sink.on_upstream_read_done()
        elif not self._closed:
            # Bytes on an idle connection: whatever they are, they are no answer to a request that is still to come.
            self.pool.stats.upstream_cx_protocol_error.value += 1
            self.close()

    def eof_received(self) -> bool:
        self._ended_by_host = True
        sink = self._sink
        if sink is not None:
            if self._raw and self._tunnel:
                # The end of a tunnel: as in Envoy a reset, for nothing says that it was the intended end.
                self._sink = None
                self._over(active=True, remote=True)
                sink.on_upstream_reset(ResetReason.CONNECTION_TERMINATION, "")
                return False
            self._parser.receive_eof()
            if self._complete:
                self._finish()
        return False

    def pause_writing(self) -> None:
        if self._sink is not None:
            self._sink.on_upstream_blocked(True)

    def resume_writing(self) -> None:
        if self._sink is not None:
            self._sink.on_upstream_blocked(False)

    def connection_lost(self, error: Exception | None) -> None:
        self._closed = self._ended_by_host = True
        self._over(active=self._sink is not None, remote=True)
        if self._sink is not None:
            # An RST may stand behind a response that only the end of the connection delimits.
            self._parser.receive_eof()
        sink = self._sink
        if sink is not None:
            self._sink = None
            self._report_failure()
            detail = error.text if isinstance(error, TransportFailure) else ""
            sink.on_upstream_reset(ResetReason.CONNECTION_TERMINATION, detail)

    def _finish(self) -> None:
        """The response is complete: keep the connection, or close it."""
        self._complete = False
        if self._closed:
            return
        if (
            self._request_sent
            and self._parser.idle()
            and not self._raw
            and self.requests_left != 0
            and not self.transport.is_closing()
        ):
            if self._paused:
                self.read_disable(False)
            self.pool.release(self)
        else:
            self._count_retirement()
            self.close(active=not self._request_sent)

    def _count_retirement(self) -> None:
        stats = self.pool.stats
        if self.requests_left == 0:
            if not self.expired:
                stats.upstream_cx_max_requests.value += 1
        elif self._parser.exceeded:
            stats.upstream_cx_protocol_error.value += 1
        elif not (self._parser.keep_alive or self._raw or self._ended_by_host):
            stats.upstream_cx_close_notify.value += 1

    # What the parser calls.

    def on_response(self, response: ResponseHeaders, end: bool) -> None:
        sink = self._sink
        if sink is None:
            return
        if self.host.monitor is not None:
            self.host.monitor.on_response(response)
        if end:
            self._sink = None
            self._complete = True
        if self._raw:
            self._switched = response.status == 101
            self._raw = self._switched or response.status < 300
            if self._switched or (self._raw and self._connect):
                self._tunnel = True
                self._chunked = False
        sink.on_upstream_response(response, end)

    def on_response_informational(self, response: ResponseHeaders) -> None:
        if self._sink is not None:
            self._sink.on_upstream_informational(response)

    def on_response_body(self, data: bytes, end: bool) -> None:
        sink = self._sink
        if sink is None:
            return
        if end:
            self._sink = None
            self._complete = True
        sink.on_upstream_body(data, end)

    def on_response_trailers(self, trailers: Headers) -> None:
        sink = self._sink
        if sink is not None:
            self._sink = None
            self._complete = True
            sink.on_upstream_trailers(trailers)

    def on_response_error(self, error: ProtocolError) -> None:
        sink = self._sink
        if sink is None:
            return
        self._sink = None
        self.close(active=True)
        self._report_failure()
        if error.status == 503:
            sink.on_upstream_reset(ResetReason.CONNECTION_TERMINATION, "")
        else:
            self.pool.stats.upstream_cx_protocol_error.value += 1
            sink.on_upstream_reset(ResetReason.PROTOCOL_ERROR, "")
