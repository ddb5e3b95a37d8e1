"""One HTTP/2 connection to a host: the protocol object of its transport and the sink of its codec.

The requests on it are `Http2Request`s. Output of one turn of the loop is written at once: at the end of a read, else by
a callback of the next turn.

Invariants:
- a request is in `requests` exactly as long as the codec knows its stream; whoever takes it out tells the pool once;
- bytes of a response are `consumed` when they have been handed over, or when nobody is there to take them;
- what is `closed` is referred to by nothing that it refers to, so it's freed without the collector.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from meshproxy.codec.h2_client import Http2ClientCodec
from meshproxy.errors import ProtocolError
from meshproxy.headers import Headers, ResponseHeaders
from meshproxy.plugin.context import Timer
from meshproxy.plugin.replies import ResetReason
from meshproxy.runtime.http2_keepalive import Http2Keepalive
from meshproxy.runtime.upstream.connections.connect import TransportFailure
from meshproxy.runtime.upstream.connections.http2_request import Http2Request

if TYPE_CHECKING:
    from meshproxy.balance.host import Host
    from meshproxy.runtime.upstream.connections.http2_pool import Http2Pool

INTERNAL_ERROR = 2
"""With this code Envoy resets what it gives up."""

_REASONS = {1: ResetReason.PROTOCOL_ERROR, 7: ResetReason.REMOTE_REFUSED_STREAM, 10: ResetReason.CONNECT_ERROR}


class Http2Upstream:
    """One connection; see the module. alpn_fallback: what is offered when the configuration names no protocol."""

    _make_codec: type[Http2ClientCodec] = Http2ClientCodec
    make_request: type[Http2Request] = Http2Request

    def __init__(self, pool: Http2Pool, alpn_fallback: str = "h2") -> None:
        config = pool.cluster.config
        self.pool = pool
        self.alpn_fallback = alpn_fallback
        self.host: Host = pool.host
        self.tls: Any = None
        self.transport: Any = None
        self.requests: dict[int, Http2Request] = {}
        self.started = 0
        self.allowed = config.max_requests_per_connection or -1
        self.draining = False
        self.blocked = False
        self.closed = False
        self.connect_began = self.handshake_began = self.opened = 0.0
        self.idle_since = 0.0
        self.local_address = ""
        self.connection_id = 0
        self.keepalive: Http2Keepalive | None = None
        self._loop = pool.cluster.worker.loop
        self.codec = self._make_codec(self, config.http2, self._loop.time, config.per_connection_buffer_limit)
        self._touched: list[Http2Request] = []
        self._reading = False
        self._flush_planned = False
        self._expires: Timer | None = None
        self._count = pool.stats.count_http2
        self._rx_bytes = pool.stats.upstream_cx_rx_bytes_total
        self._tx_bytes = pool.stats.upstream_cx_tx_bytes_total

    @property
    def ready(self) -> bool:
        """Whether one more request may be sent on it now."""
        return (
            not self.draining
            and self.started != self.allowed
            and len(self.requests) < self.pool.most_streams
            and self.codec.can_open
        )

    def expire(self, seconds: float) -> None:
        """Take no more requests `seconds` from now, and end with the last one."""
        self._expires = self.pool.cluster.worker.schedule(seconds, self._expire)

    def _expire(self) -> None:
        self._expires = None
        self.pool.stats.upstream_cx_max_duration_reached.value += 1
        self.drain()

    def drain(self) -> None:
        """Take no more requests, and end with the last one."""
        self.draining = True
        self.pool.check(self)
        if not self.requests:
            self._leave()

    # What requests call.

    def give_up(self, request: Http2Request) -> None:
        """Its owner wants no more of it."""
        if self.requests.pop(request.sid, None) is None:
            return
        self.pool.stats.upstream_rq_tx_reset.value += 1
        self.codec.reset_stream(request.sid, INTERNAL_ERROR)
        self.ended()

    def response_ended(self, request: Http2Request) -> None:
        """The response has been handed over whole. What is left of the request, nobody wants."""
        if self.requests.pop(request.sid, None) is None:
            return
        if not request.sent:
            self.pool.stats.upstream_rq_tx_reset.value += 1
            self.codec.reset_stream(request.sid, INTERNAL_ERROR)
        self.ended()

    def ended(self) -> None:
        """One request less."""
        self.pool.ended(self)
        if not self.requests:
            self.idle_since = self._loop.time()
            if self.draining:
                self._leave()

    # What the transport calls.

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.codec.unwritten = transport.get_write_buffer_size
        config = self.pool.cluster.config
        transport.set_write_buffer_limits(high=config.per_connection_buffer_limit)
        self.idle_since = self._loop.time()
        self.pool.connected(self)
        if config.http2.keepalive is not None and not self.closed:
            self.keepalive = Http2Keepalive(
                self.pool.cluster.worker, config.http2.keepalive, self._loop.time, self._ping, self._keepalive_expired
            )
        self._write()

    def _ping(self, payload: bytes) -> None:
        self.codec.ping(payload)

    def _keepalive_expired(self) -> None:
        self._count("keepalive_timeout")
        self.close(ResetReason.CONNECTION_TERMINATION)

    def data_received(self, data: bytes) -> None:
        self._rx_bytes.value += len(data)
        if self.keepalive is not None:
            self.keepalive.heard()
        self._reading = True
        self.codec.receive(data)
        self._reading = False
        touched = self._touched
        if touched:
            self._touched = []
            for request in touched:
                if request.sink is not None:
                    request.sink.on_upstream_read_done()
        self._write()

    def eof_received(self) -> bool:
        return False

    def pause_writing(self) -> None:
        self.codec.hold(True)
        self._set_blocked(True)

    def resume_writing(self) -> None:
        self.codec.hold(False)
        self._set_blocked(False)
        self._write()

    def _set_blocked(self, blocked: bool) -> None:
        self.blocked = blocked
        for request in tuple(self.requests.values()):
            request.update_blocked()

    def connection_lost(self, error: Exception | None) -> None:
        if not self.closed:
            detail = error.text if isinstance(error, TransportFailure) else ""
            self._over(ResetReason.CONNECTION_TERMINATION, detail, remote=True)

    # The end.

    def let_go(self) -> None:
        """It's over: take away what refers back to it."""
        self.closed = self.draining = True
        if self._expires is not None:
            self._expires.cancel()
            self._expires = None
        if self.keepalive is not None:
            self.keepalive.stop()
            self.keepalive = None
        self.codec.let_go()

    def discard(self) -> None:
        """See `Pooled`."""
        self.let_go()
        if self.transport is not None:
            self.transport.abort()

    def _leave(self) -> None:
        """Close behind what has been said: nothing is under way any more."""
        self._write()
        if not self.closed:
            self._over(ResetReason.CONNECTION_TERMINATION, "", remote=False)
            self.transport.close()

    def close(self, reason: ResetReason = ResetReason.CONNECTION_TERMINATION) -> None:
        """Close at once; requests that are under way hear `reason`."""
        if not self.closed:
            self._over(reason, "", remote=False)
            self.transport.abort()

    def _over(self, reason: ResetReason, detail: str, *, remote: bool) -> None:
        self.let_go()
        requests, self.requests = self.requests, {}
        terminated = reason is ResetReason.CONNECTION_TERMINATION
        self.pool.forget(self, active=bool(requests) and terminated, remote=remote)
        stats = self.pool.stats
        monitor = self.host.monitor
        for request in requests.values():
            (stats.upstream_rq_pending_failure_eject if terminated else stats.upstream_rq_tx_reset).value += 1
            self.pool.count_end()
            if monitor is not None:
                monitor.on_failure(connected=True, timeout=False)
            request.fail(reason, detail)
        self.pool.forgotten()

    # Output.

    def on_output(self) -> None:
        if not self._reading and not self._flush_planned:
            self._flush_planned = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flush_planned = False
        self._write()

    def _write(self) -> None:
        if self.closed or self.transport is None or self.transport.is_closing():
            return
        data = self.codec.take()
        if data:
            self._tx_bytes.value += len(data)
            self.transport.write(data)

    # What the codec tells.

    def on_stream_response(self, sid: int, response: ResponseHeaders, end: bool) -> None:
        request = self.requests.get(sid)
        if request is None or request.sink is None:
            return
        monitor = self.host.monitor
        if monitor is not None:
            monitor.on_response(response)
        sink = request.sink
        request.answered(response)
        self._touched.append(request)
        if end:
            request.sink = None
            sink.on_upstream_response(response, True)
            self.response_ended(request)
        else:
            sink.on_upstream_response(response, False)

    def on_stream_informational(self, sid: int, response: ResponseHeaders) -> None:
        request = self.requests.get(sid)
        if request is not None and request.sink is not None:
            request.sink.on_upstream_informational(response)

    def on_stream_data(self, sid: int, data: bytes, end: bool) -> None:
        request = self.requests.get(sid)
        if request is None:
            return
        touched = self._touched
        if not touched or touched[-1] is not request:
            touched.append(request)
        request.receive(data, end)

    def on_stream_trailers(self, sid: int, trailers: Headers) -> None:
        request = self.requests.get(sid)
        if request is not None:
            request.receive(trailers, True)

    def on_stream_reset(self, sid: int, code: int) -> None:
        self._end_stream(sid, _REASONS.get(code, ResetReason.REMOTE_RESET))

    def on_stream_error(self, sid: int, error: ProtocolError) -> None:
        # Envoy takes a head beyond the limits for a reset by the host, and everything else for what it is.
        limits = "overflow" in error.details or "too_many" in error.details or "too_large" in error.details
        self._end_stream(sid, ResetReason.REMOTE_RESET if limits else ResetReason.PROTOCOL_ERROR)

    def _end_stream(self, sid: int, reason: ResetReason) -> None:
        request = self.requests.pop(sid, None)
        if request is None:
            return
        stats = self.pool.stats
        if reason is ResetReason.REMOTE_RESET:
            stats.upstream_rq_rx_reset.value += 1
        elif reason is ResetReason.PROTOCOL_ERROR:
            stats.upstream_rq_tx_reset.value += 1
        monitor = self.host.monitor
        if monitor is not None:
            monitor.on_failure(connected=True, timeout=False)
        request.fail(reason)
        self.ended()

    def on_stream_blocked(self, sid: int, blocked: bool) -> None:
        request = self.requests.get(sid)
        if request is not None:
            request.set_blocked(blocked)

    def on_goaway(self, last_sid: int, code: int) -> None:
        self.pool.stats.upstream_cx_close_notify.value += 1
        self.drain()

    def on_settings(self) -> None:
        self.pool.check(self)

    def on_ping_ack(self, payload: bytes) -> None:
        if self.keepalive is not None:
            self.keepalive.acknowledged(payload)

    def on_count(self, name: str) -> None:
        self._count(name)

    def on_connection_error(self, error: ProtocolError) -> None:
        self.pool.stats.upstream_cx_protocol_error.value += 1
        data = self.codec.take()
        if data and not self.transport.is_closing():
            self.transport.write(data)  # a GOAWAY, if one is due
        self._over(ResetReason.PROTOCOL_ERROR, "", remote=False)
        self.transport.close()
