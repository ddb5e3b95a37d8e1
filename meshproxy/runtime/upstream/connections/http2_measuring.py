"""HTTP/2 connections to hosts whose requests note bytes and times in their streams; see `wire_sizes`."""

from __future__ import annotations

from meshproxy.codec.h2_client import Http2ClientCodec
from meshproxy.headers import Headers, RequestHeaders, ResponseHeaders
from meshproxy.plugin.stream_info import StreamInfo
from meshproxy.plugin.upstream import HttpUpstreamSink
from meshproxy.runtime.http2_sizes import MeteredHttp2Codec
from meshproxy.runtime.upstream.connections.http2_request import Http2Request
from meshproxy.runtime.upstream.connections.http2_upstream import Http2Upstream
from meshproxy.runtime.upstream.measuring import note_body, note_connection
from meshproxy.runtime.wire_sizes import SIZE_OF_STATUS, size_of_fields, size_of_request_fields


class MeteredHttp2ClientCodec(MeteredHttp2Codec, Http2ClientCodec):
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
            note_connection(info, self.connection)
            info.first_upstream_tx = self._now()
            if end:
                info.last_upstream_tx = info.first_upstream_tx
            info.upstream_decompressed_header_bytes_sent += size_of_request_fields(request)
        super().start(request, end, sink)

    def _now(self) -> float:
        return self.connection.pool.cluster.worker.loop.time()

    def send_body(self, data: bytes, end: bool) -> None:
        if self._info is not None and end:
            self._info.last_upstream_tx = self._now()
        super().send_body(data, end)

    def send_trailers(self, trailers: Headers) -> None:
        if self._info is not None:
            self._info.last_upstream_tx = self._now()
            self._info.upstream_decompressed_header_bytes_sent += size_of_fields(trailers)
        super().send_trailers(trailers)

    def answered(self, response: ResponseHeaders) -> None:
        if self._info is not None:
            self._info.upstream_decompressed_header_bytes_received += SIZE_OF_STATUS + size_of_fields(response)
        super().answered(response)

    def answered_whole(self) -> None:
        """The final response is a head and nothing else."""
        if self._info is not None:
            self._info.last_upstream_rx = self._now()

    def answered_first(self, response: ResponseHeaders) -> None:
        """A 1xx is here."""
        if self._info is not None:
            self._info.upstream_decompressed_header_bytes_received += SIZE_OF_STATUS + size_of_fields(response)

    def receive(self, piece: bytes | Headers, end: bool) -> None:
        if self._info is not None:
            if isinstance(piece, Headers):
                self._info.last_upstream_rx = self._now()
                self._info.upstream_decompressed_header_bytes_received += size_of_fields(piece)
            else:
                note_body(self._info, self._now(), end)
        super().receive(piece, end)


class MeteredHttp2Upstream(Http2Upstream):
    """One whose requests note what they are."""

    _make_codec = MeteredHttp2ClientCodec
    make_request = MeteredHttp2Request

    def on_stream_response(self, sid: int, response: ResponseHeaders, end: bool) -> None:
        if end:
            request = self.requests.get(sid)
            if isinstance(request, MeteredHttp2Request):
                request.answered_whole()
        super().on_stream_response(sid, response, end)

    def on_stream_informational(self, sid: int, response: ResponseHeaders) -> None:
        request = self.requests.get(sid)
        if isinstance(request, MeteredHttp2Request):
            request.answered_first(response)
        super().on_stream_informational(sid, response)
