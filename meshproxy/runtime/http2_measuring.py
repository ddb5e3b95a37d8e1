"""HTTP/2 connections whose streams know their bytes on the wire, for access logs that ask for them; see `measuring`.

Sizes are Envoy's: each frame of a stream counts with its head, when it comes or when it goes to the transport; what
waits for a window hasn't been sent. Of a block of fields that comes in several frames only the first one's head counts,
and frames that give credit or priority don't count where they arrive.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from meshproxy.codec.h2_client import Http2ClientCodec
from meshproxy.codec.h2_connection import Http2Codec
from meshproxy.codec.h2_frames import CONTINUATION, HEAD_SIZE, HEADERS, RST_STREAM
from meshproxy.codec.h2_server import Http2ServerCodec
from meshproxy.codec.h2_stream import Stream
from meshproxy.codec.sinks import Http2Sink
from meshproxy.headers import Headers, RequestHeaders, ResponseHeaders
from meshproxy.model.codec import Http2Options
from meshproxy.plugin.stream_info import StreamInfo
from meshproxy.plugin.upstream import HttpUpstreamSink
from meshproxy.runtime.http2_request import Http2Request
from meshproxy.runtime.http2_stream import Http2ServerStream
from meshproxy.runtime.http2_upstream import Http2Upstream

if TYPE_CHECKING:
    from meshproxy.runtime.http2_connection import Http2Connection

_STATUS = len(":status200")


def _plain(headers: Headers) -> int:
    return sum(len(name) + len(value) for name, value in headers.items())


def _plain_request(request: RequestHeaders) -> int:
    pseudo = (
        (":method", request.method),
        (":path", request.path),
        (":scheme", request.scheme),
        (":authority", request.authority),
    )
    return sum(len(name) + len(value) for name, value in pseudo if value) + _plain(request)


class _Metered(Http2Codec):
    """Shares out the bytes of a connection among its streams.

    accounts: who is told of a stream's bytes. fresh: bytes of the head of a stream that nobody knows yet.
    """

    def __init__(self, sink: Http2Sink, options: Http2Options, now: Callable[[], float], buffer_limit: int) -> None:
        super().__init__(sink, options, now, buffer_limit)
        self.accounts: dict[int, StreamInfo] = {}
        self.fresh = 0

    def _count_received(self, info: StreamInfo, size: int, block: bool) -> None:
        raise NotImplementedError  # each end counts for its own statistics

    def _count_sent(self, info: StreamInfo, size: int, block: bool) -> None:
        raise NotImplementedError  # each end counts for its own statistics

    def _emit(self, frame: bytes, body: bytes | memoryview = b"") -> None:
        info = self.accounts.get(int.from_bytes(frame[5:HEAD_SIZE], "big"))
        if info is not None:
            self._count_sent(info, len(frame) + len(body), frame[3] in (HEADERS, CONTINUATION))
        super()._emit(frame, body)

    def _read_headers(self, flags: int, sid: int, payload: bytes) -> None:
        self.fresh = HEAD_SIZE + len(payload)
        if sid in self.accounts:
            self._count_received(self.accounts[sid], self.fresh, True)
        super()._read_headers(flags, sid, payload)

    def _read_data(self, flags: int, sid: int, payload: bytes) -> None:
        if sid in self.accounts:
            self._count_received(self.accounts[sid], HEAD_SIZE + len(payload), False)
        super()._read_data(flags, sid, payload)

    def _read_other(self, kind: int, flags: int, sid: int, payload: bytes) -> None:
        if kind == CONTINUATION:
            self.fresh += len(payload)
            if sid in self.accounts:
                self._count_received(self.accounts[sid], len(payload), True)
        elif kind == RST_STREAM and sid in self.accounts:
            self._count_received(self.accounts[sid], HEAD_SIZE + len(payload), False)
        super()._read_other(kind, flags, sid, payload)

    def _close(self, stream: Stream, reset: bool) -> None:
        super()._close(stream, reset)
        self.accounts.pop(stream.sid, None)

    def let_go(self) -> None:
        super().let_go()
        self.accounts.clear()


class MeteredHttp2ServerCodec(_Metered, Http2ServerCodec):
    """The clients' side."""

    def _count_received(self, info: StreamInfo, size: int, block: bool) -> None:
        info.downstream_wire_bytes_received += size
        if block:
            info.downstream_header_bytes_received += size

    def _count_sent(self, info: StreamInfo, size: int, block: bool) -> None:
        info.downstream_wire_bytes_sent += size
        if block:
            info.downstream_header_bytes_sent += size

    def send_response(self, sid: int, response: ResponseHeaders, end: bool) -> None:
        self._note_head(sid, response)
        super().send_response(sid, response, end)

    def send_informational(self, sid: int, response: ResponseHeaders) -> None:
        self._note_head(sid, response)
        super().send_informational(sid, response)

    def _note_head(self, sid: int, response: ResponseHeaders) -> None:
        if sid in self.accounts:
            self.accounts[sid].downstream_decompressed_header_bytes_sent += _STATUS + _plain(response)

    def send_trailers(self, sid: int, trailers: Headers) -> None:
        if sid in self.accounts:
            self.accounts[sid].downstream_decompressed_header_bytes_sent += _plain(trailers)
        super().send_trailers(sid, trailers)


class MeteredHttp2ServerStream(Http2ServerStream):
    """Has an account with the codec."""

    def __init__(self, owner: Http2Connection, sid: int, request: RequestHeaders, end: bool, now: float) -> None:
        super().__init__(owner, sid, request, end, now)
        wire = owner.wire
        assert isinstance(wire, MeteredHttp2ServerCodec)
        self.downstream_header_bytes_received = self.downstream_wire_bytes_received = wire.fresh
        self.downstream_decompressed_header_bytes_received = _plain_request(request)
        wire.accounts[sid] = self

    def receive_trailers(self, trailers: Headers) -> None:
        self.downstream_decompressed_header_bytes_received += _plain(trailers)
        super().receive_trailers(trailers)


class MeteredHttp2ClientCodec(_Metered, Http2ClientCodec):
    """The hosts' side. asking: whose request is sent next."""

    asking: StreamInfo | None = None

    def _count_received(self, info: StreamInfo, size: int, block: bool) -> None:
        info.upstream_wire_bytes_received += size
        if block:
            info.upstream_header_bytes_received += size

    def _count_sent(self, info: StreamInfo, size: int, block: bool) -> None:
        info.upstream_wire_bytes_sent += size
        if block:
            info.upstream_header_bytes_sent += size

    def send_request(self, request: RequestHeaders, end: bool) -> int:
        if self.asking is not None:
            self.accounts[self._highest + 2] = self.asking
        return super().send_request(request, end)


class MeteredHttp2Request(Http2Request):
    """Notes bytes and times in the stream whose request it carries, if the sink names one (`stream_info`).

    The bytes of several attempts add up.
    """

    _info: StreamInfo | None = None

    def start(self, request: RequestHeaders, end: bool, sink: HttpUpstreamSink) -> None:
        codec = self.connection.codec
        assert isinstance(codec, MeteredHttp2ClientCodec)
        codec.asking = self._info = info = getattr(sink, "stream_info", None)
        if info is not None:
            info.first_upstream_tx = info.last_upstream_tx = self._now()
            info.upstream_decompressed_header_bytes_sent += _plain_request(request)
        super().start(request, end, sink)

    def _now(self) -> float:
        return self.connection.pool.cluster.worker.loop.time()

    def send_body(self, data: bytes, end: bool) -> None:
        if self._info is not None:
            self._info.last_upstream_tx = self._now()
        super().send_body(data, end)

    def send_trailers(self, trailers: Headers) -> None:
        if self._info is not None:
            self._info.last_upstream_tx = self._now()
            self._info.upstream_decompressed_header_bytes_sent += _plain(trailers)
        super().send_trailers(trailers)

    def answered(self, response: ResponseHeaders) -> None:
        if self._info is not None:
            self._info.last_upstream_rx = self._now()
            self._info.upstream_decompressed_header_bytes_received += _STATUS + _plain(response)
        super().answered(response)

    def answered_first(self, response: ResponseHeaders) -> None:
        """A 1xx is here."""
        if self._info is not None:
            self._info.upstream_decompressed_header_bytes_received += _STATUS + _plain(response)

    def receive(self, piece: bytes | Headers, end: bool) -> None:
        if self._info is not None:
            self._info.last_upstream_rx = self._now()
            if isinstance(piece, Headers):
                self._info.upstream_decompressed_header_bytes_received += _plain(piece)
        super().receive(piece, end)


class MeteredHttp2Upstream(Http2Upstream):
    """One whose requests note what they are."""

    _make_codec = MeteredHttp2ClientCodec
    make_request = MeteredHttp2Request

    def on_stream_informational(self, sid: int, response: ResponseHeaders) -> None:
        request = self.requests.get(sid)
        if isinstance(request, MeteredHttp2Request):
            request.answered_first(response)
        super().on_stream_informational(sid, response)
