"""An HTTP/2 connection whose streams know their bytes on the wire, for access logs that ask for them; see `measuring`.

Sizes are Envoy's: frames with their heads. Of DATA, what passed between the filters and the codec is counted, padding
not.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from meshproxy.codec.h2_frames import HEAD_SIZE, MAX_FRAME_SIZE
from meshproxy.codec.h2_server import Http2ServerCodec
from meshproxy.headers import Headers, RequestHeaders, ResponseHeaders
from meshproxy.model.codec import Http2Options
from meshproxy.runtime.http2_stream import Http2ServerStream

if TYPE_CHECKING:
    from meshproxy.runtime.http2_connection import Http2Connection


def _framed(size: int) -> int:
    """The bytes of frames that carry `size` bytes."""
    return size + HEAD_SIZE * max(1, -(-size // MAX_FRAME_SIZE))


def _plain(headers: Headers) -> int:
    return sum(len(name) + len(value) for name, value in headers.items())


class MeteredHttp2ServerStream(Http2ServerStream):
    """Notes what comes."""

    def __init__(self, owner: Http2Connection, sid: int, request: RequestHeaders, end: bool, now: float) -> None:
        super().__init__(owner, sid, request, end, now)
        self._block_received()
        pseudo = sum(
            len(name) + len(value)
            for name, value in (
                (":method", request.method),
                (":path", request.path),
                (":scheme", request.scheme),
                (":authority", request.authority),
            )
            if value
        )
        self.downstream_decompressed_header_bytes_received = pseudo + _plain(request)

    def _block_received(self) -> None:
        size = _framed(self.owner.wire.block_received)
        self.downstream_header_bytes_received += size
        self.downstream_wire_bytes_received += size

    def receive_data(self, data: bytes, end: bool, now: float) -> None:
        self.downstream_wire_bytes_received += _framed(len(data))
        super().receive_data(data, end, now)

    def receive_trailers(self, trailers: Headers) -> None:
        self._block_received()
        self.downstream_decompressed_header_bytes_received += _plain(trailers)
        super().receive_trailers(trailers)


class MeteredHttp2ServerCodec(Http2ServerCodec):
    """Notes in its streams what it sends of them."""

    def __init__(
        self, owner: Http2Connection, options: Http2Options, now: Callable[[], float], buffer_limit: int
    ) -> None:
        super().__init__(owner, options, now, buffer_limit)
        self._owner = owner

    def _note_block(self, sid: int, headers: Headers, pseudo: int) -> None:
        stream = self._owner.streams.get(sid)
        if stream is not None:
            size = _framed(self.block_sent)
            stream.downstream_header_bytes_sent += size
            stream.downstream_wire_bytes_sent += size
            stream.downstream_decompressed_header_bytes_sent += pseudo + _plain(headers)

    def send_response(self, sid: int, response: ResponseHeaders, end: bool) -> None:
        super().send_response(sid, response, end)
        self._note_block(sid, response, len(":status200"))

    def send_informational(self, sid: int, response: ResponseHeaders) -> None:
        super().send_informational(sid, response)
        self._note_block(sid, response, len(":status100"))

    def send_data(self, sid: int, data: bytes, end: bool) -> None:
        super().send_data(sid, data, end)
        stream = self._owner.streams.get(sid)
        if stream is not None and (data or end):
            stream.downstream_wire_bytes_sent += _framed(len(data))

    def send_trailers(self, sid: int, trailers: Headers) -> None:
        self.block_sent = 0
        super().send_trailers(sid, trailers)
        self._note_block(sid, trailers, 0)
