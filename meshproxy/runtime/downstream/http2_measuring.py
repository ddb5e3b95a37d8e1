"""A client's HTTP/2 connection whose streams know their bytes on the wire; sizes as `wire_sizes` says."""

from __future__ import annotations

from typing import TYPE_CHECKING

from meshproxy.codec.h2_server import Http2ServerCodec
from meshproxy.headers import Headers, RequestHeaders, ResponseHeaders
from meshproxy.plugin.stream_info import StreamInfo
from meshproxy.runtime.downstream.http2_stream import Http2ServerStream
from meshproxy.runtime.http2_sizes import MeteredHttp2Codec
from meshproxy.runtime.wire_sizes import SIZE_OF_STATUS, size_of_fields, size_of_request_fields

if TYPE_CHECKING:
    from meshproxy.runtime.downstream.http2_connection import Http2Connection


class MeteredHttp2ServerCodec(MeteredHttp2Codec, Http2ServerCodec):
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
            self.accounts[sid].downstream_decompressed_header_bytes_sent += SIZE_OF_STATUS + size_of_fields(response)

    def send_trailers(self, sid: int, trailers: Headers) -> None:
        if sid in self.accounts:
            self.accounts[sid].downstream_decompressed_header_bytes_sent += size_of_fields(trailers)
        super().send_trailers(sid, trailers)


class MeteredHttp2ServerStream(Http2ServerStream):
    """Has an account with the codec."""

    def __init__(self, owner: Http2Connection, sid: int, request: RequestHeaders, end: bool, now: float) -> None:
        super().__init__(owner, sid, request, end, now)
        wire = owner.wire
        assert isinstance(wire, MeteredHttp2ServerCodec)
        self.downstream_header_bytes_received = self.downstream_wire_bytes_received = wire.fresh
        self.downstream_decompressed_header_bytes_received = size_of_request_fields(request)
        wire.accounts[sid] = self

    def receive_trailers(self, trailers: Headers) -> None:
        self.downstream_decompressed_header_bytes_received += size_of_fields(trailers)
        super().receive_trailers(trailers)
