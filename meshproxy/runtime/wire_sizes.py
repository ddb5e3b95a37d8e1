"""What Envoy counts as the bytes of a message on the wire, for access logs that ask for them.

Few logs do, and noting bytes costs something with every read and write, so connections get a meter only if some format
has one of those operators (`Worker.measures`). The meters of clients' connections are in the
package `downstream`, those of hosts' connections in `upstream`.

HTTP/1: a head counts without its first line and its end; of a head that was received each field counts its name, its
value and three bytes more, whatever stood between them on the wire.

HTTP/2: each frame of a stream counts with its head, when it comes or when it goes to the transport; what waits for a
window hasn't been sent. Of a block of fields that comes in several frames only the first one's head counts, and frames
that give credit or priority don't count where they arrive.
"""

from __future__ import annotations

from collections.abc import Callable

from meshproxy.codec.h2_connection import Http2Codec
from meshproxy.codec.h2_frames import CONTINUATION, HEAD_SIZE, HEADERS, RST_STREAM
from meshproxy.codec.h2_stream import Stream
from meshproxy.codec.sinks import Http2Sink
from meshproxy.headers import Headers, RequestHeaders
from meshproxy.model.codec import Http2Options
from meshproxy.plugin.stream_info import StreamInfo

_BESIDE_FIELD = 3
SIZE_OF_STATUS = len(":status200")


def size_of_received(head: Headers, end: bool) -> int:
    """What Envoy counts of a head that was received. end: no body follows."""
    size = sum(len(name) + len(value) + _BESIDE_FIELD for name, value in head.items())
    if isinstance(head, RequestHeaders) and head.authority:
        size += len("host") + len(head.authority) + _BESIDE_FIELD
    if not end and "content-length" not in head.fields:
        size += len("transfer-encoding") + len("chunked") + _BESIDE_FIELD  # which the codec has taken out
    return size


def size_of_sent(head: bytes) -> int:
    """What Envoy counts of a head that was sent; `head` may have a body behind it."""
    return head.index(b"\r\n\r\n") - head.index(b"\r\n")


def size_of_fields(headers: Headers) -> int:
    """What Envoy counts of fields before HPACK made them smaller."""
    return sum(len(name) + len(value) for name, value in headers.items())


def size_of_request_fields(request: RequestHeaders) -> int:
    """The same of a whole head, pseudo-headers included."""
    pseudo = (
        (":method", request.method),
        (":path", request.path),
        (":scheme", request.scheme),
        (":authority", request.authority),
    )
    return sum(len(name) + len(value) for name, value in pseudo if value) + size_of_fields(request)


class MeteredHttp2Codec(Http2Codec):
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
