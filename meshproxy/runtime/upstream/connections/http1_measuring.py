"""HTTP/1 connections to hosts that note bytes and times in the stream whose request they carry; see `wire_sizes`."""

from __future__ import annotations

from meshproxy.headers import Headers, RequestHeaders, ResponseHeaders
from meshproxy.plugin.stream_info import StreamInfo
from meshproxy.plugin.upstream import HttpUpstreamSink
from meshproxy.runtime.upstream.connections.http1_upstream import Http1Upstream
from meshproxy.runtime.upstream.measuring import note_body, note_connection
from meshproxy.runtime.wire_sizes import size_of_received, size_of_sent


class MeteredHttp1Upstream(Http1Upstream):
    """Notes bytes and times in the stream whose request it carries, if the sink names one (`stream_info`).

    The bytes of several attempts add up; of the times the last attempt's are told.
    """

    _info: StreamInfo | None = None

    def start(self, request: RequestHeaders, end: bool, sink: HttpUpstreamSink) -> None:
        self._info = info = getattr(sink, "stream_info", None)
        if info is not None:
            note_connection(info, self)
        super().start(request, end, sink)
        if end:
            self._sent()

    def send_body(self, data: bytes, end: bool) -> None:
        super().send_body(data, end)
        if end:
            self._sent()

    def send_trailers(self, trailers: Headers) -> None:
        super().send_trailers(trailers)
        self._sent()

    def _sent(self) -> None:
        if self._info is not None:
            self._info.last_upstream_tx = self._now()

    def _now(self) -> float:
        return self.pool.cluster.worker.loop.time()

    def _write(self, data: bytes) -> None:
        info = self._info
        if info is not None and self._sink is not None:
            if not info.first_upstream_tx:
                info.first_upstream_tx = self._now()
                size = size_of_sent(data)
                info.upstream_header_bytes_sent += size
                info.upstream_decompressed_header_bytes_sent += size
            info.upstream_wire_bytes_sent += len(data)
        super()._write(data)

    def data_received(self, data: bytes) -> None:
        info = self._info
        if info is not None and self._sink is not None:
            info.upstream_wire_bytes_received += len(data)
        super().data_received(data)

    def on_response(self, response: ResponseHeaders, end: bool) -> None:
        info = self._info
        if info is not None and self._sink is not None:
            size = size_of_received(response, not self._parser.is_chunked)
            info.upstream_header_bytes_received += size
            info.upstream_decompressed_header_bytes_received += size
            if end:
                info.last_upstream_rx = self._now()
        super().on_response(response, end)

    def on_response_body(self, data: bytes, end: bool) -> None:
        info = self._info
        if info is not None and self._sink is not None:
            note_body(info, self._now(), end)
        super().on_response_body(data, end)

    def on_response_trailers(self, trailers: Headers) -> None:
        if self._info is not None and self._sink is not None:
            self._info.last_upstream_rx = self._now()
        super().on_response_trailers(trailers)
