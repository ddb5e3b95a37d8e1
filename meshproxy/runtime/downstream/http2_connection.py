"""The HTTP connection manager on an HTTP/2 connection: codec below, many streams above.

What the codec has to write leaves once per turn: at the end of a read, or, when something else made output, once the
loop has worked off what it had. The connection goes away in two steps (RFC 9113 section 6.8): a GOAWAY that refuses
nothing, then, a drain time later, one that names the last stream; it closes when that one's streams are over.

Invariant: `streams` holds the streams that aren't over for the filters; the codec may still have bytes of others.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from functools import partial

from meshproxy.codec.h2_server import Http2ServerCodec
from meshproxy.errors import ProtocolError
from meshproxy.headers import Headers, RequestHeaders
from meshproxy.model.route import ForwardAction
from meshproxy.plugin.context import Connection, FactoryContext, Timer
from meshproxy.plugin.replies import MISSING_HOST
from meshproxy.runtime.downstream.connection import ServerConnection
from meshproxy.runtime.downstream.http2_flushes import Http2Flushes
from meshproxy.runtime.downstream.http2_measuring import MeteredHttp2ServerCodec, MeteredHttp2ServerStream
from meshproxy.runtime.downstream.http2_stream import BY_CONNECTION, BY_STREAM, Http2ServerStream
from meshproxy.runtime.downstream.http_downstream import DownstreamConnection
from meshproxy.runtime.downstream.http_head_limit import HeadLimit
from meshproxy.runtime.downstream.http_manager import HttpManager
from meshproxy.runtime.downstream.http_stream import HttpServerStream
from meshproxy.runtime.http2_keepalive import Http2Keepalive

_UNDERSCORE = "http2.unexpected_underscore"
_GENERIC = "http2.protocol_error"
#: So many streams are abandoned in one turn of the loop.
_MOST_AT_ONCE = 16


class Http2Connection(DownstreamConnection):
    """See the module. wire: the codec."""

    wire: Http2ServerCodec
    _new_stream: type[Http2ServerStream] = Http2ServerStream
    _keepalive: Http2Keepalive | None = None

    def __init__(self, config: HttpManager, context: FactoryContext) -> None:
        super().__init__(config, context)
        self.streams: dict[int, Http2ServerStream] = {}
        self._reading = False
        self._read_on: list[Http2ServerStream] = []
        self._unread = False
        self._unfinished: list[tuple[int, int]] = []
        self._requests = 0
        self._ending = False
        # The stream whose head is waited for.
        self._coming = 0
        self._head_timer: Timer | None = None
        self._flushes: Http2Flushes | None = None

    # What the connection calls.

    def _attach(self, connection: ServerConnection) -> None:
        super()._attach(connection)
        manager = self.manager
        manager.stats.cx_http2_total.value += 1
        manager.stats.cx_http2_active.value += 1
        worker = self.worker
        options = manager.config.http2
        now = worker.loop.time
        self._reading = True  # the first bytes of the client are about to be read
        measures = worker.measures()
        codec = MeteredHttp2ServerCodec if measures else Http2ServerCodec
        if measures:
            self._new_stream = MeteredHttp2ServerStream
        self.wire = codec(self, options, now, connection.listener.per_connection_buffer_limit)
        self.wire.unwritten = connection.transport.get_write_buffer_size
        manager.stats.add_http2(self.wire)
        if options.keepalive is not None:
            self._keepalive = Http2Keepalive(worker, options.keepalive, now, self.wire.ping, self._keepalive_expired)

    def on_data(self, data: bytes, end: bool, connection: Connection) -> None:
        if end:
            # As Envoy: a client that half-closes is taken to have left.
            self._client_left()
            self.connection.close()
            return
        self.manager.stats.rx_bytes += len(data)
        if self._keepalive is not None:
            self._keepalive.heard()
        self._reading = True
        self.wire.receive(data)
        if self.wire.unfinished:
            self.connection.read_disable(True)
            self.worker.loop.call_soon(self._resume)

    def _resume(self) -> None:
        """The codec goes on with what one turn was too short for, so that others have theirs."""
        if self.connection.closed:
            return
        self._reading = True
        self.wire.resume()
        self.on_read_done(self.connection)
        if self.wire.unfinished:
            self.worker.loop.call_soon(self._resume)
        else:
            self.connection.read_disable(False)

    def on_read_done(self, connection: Connection) -> None:
        read_on = self._read_on
        if read_on:
            self._read_on = []
            for stream in read_on:
                # After its end nothing of a request is kept back to be joined with what follows.
                if not stream.request_received and not stream.done and stream.filters:
                    stream.filters[-1].on_request_read_done(stream)  # type: ignore[attr-defined]  # the last is terminal
        self._reading = False
        if self.wire.unfinished_head != self._coming:
            self._await_head()
        self._write_out()

    def end_turn(self, stream: Http2ServerStream) -> None:
        """Bytes of the stream were passed on outside of a read."""
        if not stream.request_received and not stream.done and stream.filters:
            stream.filters[-1].on_request_read_done(stream)  # type: ignore[attr-defined]  # the last one is terminal

    def on_output(self) -> None:
        if not self._reading:
            self.worker.loop.call_soon(self._write_out)

    def _write_out(self) -> None:
        if self._unfinished:
            for sid, code in self._unfinished:
                self.wire.reset_stream(sid, code)
            self._unfinished.clear()
        data = self.wire.take()
        if data and not self.connection.closed:
            self.manager.stats.tx_bytes += len(data)
            self.connection.write(data)
        if self._ending and not self.wire.open_streams:
            self._close(self.manager.config.delayed_close_timeout)

    def on_write_blocked(self, blocked: bool, connection: Connection) -> None:
        self._unread = blocked
        self.wire.hold(blocked)
        for stream in tuple(self.streams.values()):
            stream.block(BY_CONNECTION, blocked)

    def is_busy(self) -> bool:
        return self.wire.open_streams > 0

    def on_drain(self, connection: Connection) -> None:
        if not self.draining:
            self._drain_then_close()
            self._write_out()

    def on_close(self, connection: Connection) -> None:
        super().on_close(connection)
        stats = self.manager.stats
        stats.cx_http2_active.value -= 1
        self.manager.stats.http2_codecs.discard(self.wire)
        if self._keepalive is not None:
            self._keepalive.stop()
        if self._flushes is not None:
            self._flushes.stop()
        if self._head_timer is not None:
            self._head_timer.cancel()
        self._keepalive = self._flushes = self._head_timer = None
        self._client_left()
        self.wire.let_go()

    def _client_left(self) -> None:
        if self.streams:
            self.connection.info.ended = self.worker.loop.time()
            self.manager.stats.cx_destroy_active_rq.value += 1
            self.manager.stats.cx_destroy_remote_active_rq.value += 1
            self._abandon_all("downstream_remote_disconnect", "DC")

    def _abandon_all(self, details: str, flags: str) -> None:
        streams, self.streams = self.streams, {}
        self.manager.stats.rq_rx_reset.value += len(streams)
        self._abandon(deque(streams.values()), details, flags)

    def _abandon(self, streams: deque[Http2ServerStream], details: str, flags: str) -> None:
        """A thousand streams that end at once would keep everybody else waiting: some in each turn of the loop."""
        for _ in range(min(len(streams), _MOST_AT_ONCE)):
            streams.popleft().abandon(details, flags)
        if streams:
            self.worker.loop.call_soon(self._abandon, streams, details, flags)

    # What the codec calls.

    def on_stream_request(self, sid: int, request: RequestHeaders, end: bool) -> None:
        stats = self.manager.stats
        stats.started += 1
        stats.started_http2 += 1
        upgrade = self._upgrade_of(request)
        stream = self._new_stream(self, sid, request, end or upgrade != "", self.worker.loop.time())
        self.streams[sid] = stream
        if upgrade:
            # What the client sends waits until the upgrade is granted; so does the end of what it has to say.
            stream.early = [(b"", True)] if end else []
            stream.half_closed = end
        elif not end:
            self._read_on.append(stream)
        if self._unread:
            stream.block(BY_CONNECTION, True)
        if self.manager.max_requests:
            self._count_request()
        if not request.authority:
            stream.reply(MISSING_HOST)
            return
        expects = "expect" in request.fields and request["expect"].lower() == "100-continue"
        self.admit(stream, request, upgrade, expects=expects)

    @staticmethod
    def _upgrade_of(request: RequestHeaders) -> str:
        if request.method == "CONNECT":
            return "connect"
        fields = request.fields
        return fields["upgrade"].lower() if "upgrade" in fields and "connection" in fields else ""

    def _may_upgrade(self, stream: HttpServerStream, upgrade: str) -> bool:
        if super()._may_upgrade(stream, upgrade):
            return True
        self.begin_drain()  # a refused upgrade ends its connection, as in Envoy
        return False

    def _count_request(self) -> None:
        self._requests += 1
        if self._requests >= self.manager.max_requests:
            self.manager.stats.cx_max_requests_reached.value += 1
            self.begin_drain()

    def on_stream_data(self, sid: int, data: bytes, end: bool) -> None:
        stream = self.streams.get(sid)
        if stream is not None:
            stream.receive_data(data, end, self.worker.loop.time())
            if not end:
                self._read_on.append(stream)

    def on_stream_trailers(self, sid: int, trailers: Headers) -> None:
        stream = self.streams.get(sid)
        if stream is not None:
            stream.request_ended(self.worker.loop.time())
            stream.receive_trailers(trailers)

    def on_stream_reset(self, sid: int, code: int) -> None:
        stream = self.streams.pop(sid, None)
        if stream is not None:
            self.manager.stats.rq_rx_reset.value += 1
            stream.abandon("http2.remote_reset", "DR")
            self._last_end = stream.end

    def on_stream_error(self, sid: int, error: ProtocolError) -> None:
        stats = self.manager.stats
        stream = self.streams.pop(sid, None)
        if stream is None:
            stats.started += 1
            stats.started_http2 += 1
            request = error.request or RequestHeaders("", "", "")
            stream = self._new_stream(self, sid, request, False, self.worker.loop.time())
        stats.rq_rx_reset.value += 1
        # Where a limit is exceeded Envoy's codec refuses the head, which Envoy then takes for a reset by the peer.
        stream.abandon(error.details, "DR" if error.status == 431 or error.details == _UNDERSCORE else "DPE")
        self._last_end = stream.end

    def on_stream_blocked(self, sid: int, blocked: bool) -> None:
        stream = self.streams.get(sid)
        if stream is not None:
            stream.block(BY_STREAM, blocked)

    def on_goaway(self, last_sid: int, code: int) -> None:
        """The client opens no more streams, as is its right. Its connection it closes itself."""

    def on_settings(self) -> None:
        """Nothing here depends on them."""

    def on_ping_ack(self, payload: bytes) -> None:
        if self._keepalive is not None:
            self._keepalive.acknowledged(payload)

    def on_count(self, name: str) -> None:
        self.manager.stats.http2[name].value += 1

    def on_connection_error(self, error: ProtocolError) -> None:
        self.manager.stats.cx_protocol_error.value += 1
        details = error.details if error.details != _GENERIC else "codec_error:The_user_callback_function_failed"
        self.connection.stream.add_flag("DPE")
        self._abandon_all(details, "DPE")
        self._write_out()
        self._close(self.manager.config.delayed_close_timeout)

    # What streams call.

    def announce_drain(self) -> None:
        """A response is about to leave: does the connection go away, too?"""
        worker = self.worker
        if self.draining or not (worker.health_failed or worker.drain.active or worker.departures):
            return
        if worker.closes(self.connection):
            self.manager.stats.cx_drain_close.value += 1
            self._drain_then_close()
        elif worker.overload is not None and worker.overload.ends_keepalive():
            self.manager.stats.cx_overload_disable_keepalive.value += 1
            self._drain_then_close()

    def stream_finished(self, stream: HttpServerStream, cut: bool) -> None:
        assert isinstance(stream, Http2ServerStream)
        self.streams.pop(stream.sid, None)
        self._last_end = stream.end
        if not cut and (not stream.request_received or stream.early is not None):
            # Whatever else the client has to say, nobody waits for it, unless it says so in this very turn.
            if not stream.raw and not stream.request_received:
                self.manager.stats.count_early_response()
            self._unfinished.append((stream.sid, stream.tunnel_code()))
            self.on_output()
        if not cut and self.wire.is_flushing(stream.sid):
            self._watch_flush(stream)

    def replace(self, stream: HttpServerStream, successor: HttpServerStream) -> None:
        assert isinstance(successor, Http2ServerStream)
        self.manager.stats.started += 1
        self.manager.stats.started_http2 += 1
        self.streams[successor.sid] = successor

    # Timers of the connection.

    def _await_head(self) -> None:
        """Another head than before, or none, is unfinished."""
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None
        self._coming = self.wire.unfinished_head
        self._head_begun = bool(self._coming)
        limit = self.manager.head_limit
        if self._coming and limit is not None:
            self._head_timer = self.connection.schedule(limit.seconds, partial(self._head_timed_out, limit))

    def _head_timed_out(self, limit: HeadLimit) -> None:
        """Its stream is answered; the rest of the head is read all the same, for later heads refer to it."""
        self._head_timer = None
        stats = self.manager.stats
        limit.counter.value += 1
        stats.started += 1
        stats.started_http2 += 1
        sid = self.wire.open_unread()
        self._coming = 0
        self._head_begun = False
        request = RequestHeaders("", "", "")
        stream = self.streams[sid] = self._new_stream(self, sid, request, False, self.worker.loop.time())
        stream.reply(limit.reply)

    def _watch_flush(self, stream: Http2ServerStream) -> None:
        config = self.manager.config
        timeout = config.stream_idle_timeout if config.stream_flush_timeout is None else config.stream_flush_timeout
        action = stream.route.action if stream.route is not None else None
        if isinstance(action, ForwardAction) and action.flush_timeout is not None:
            timeout = action.flush_timeout
        if timeout:
            if self._flushes is None:
                self._flushes = Http2Flushes(self.worker, self.wire)
            self._flushes.watch(stream.sid, timeout)

    def live_streams(self) -> Iterable[HttpServerStream]:
        return tuple(self.streams.values())

    def _drain_then_close(self) -> None:
        if not self.draining:
            self.wire.goaway(None)
        super()._drain_then_close()

    def _drained(self) -> None:
        if self._head_begun:
            self._drain_timer = self.connection.schedule(self.manager.config.drain_timeout, self._drained)
        else:
            self._go_away()

    def _go_away(self) -> None:
        """Take no stream any more, and close when those that are open have ended."""
        if not self._ending:
            self._ending = True
            self.wire.goaway(self.wire.last_peer_sid)
            self._write_out()

    def _keepalive_expired(self) -> None:
        self.manager.stats.http2["keepalive_timeout"].value += 1
        self.connection.info.local_close_reason = "http2_ping_timeout"
        self._abandon_all("downstream_local_disconnect(http2_ping_timeout)", "DC")
        self._close(0.0)
