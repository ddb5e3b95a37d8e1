"""Bytes of HTTP/2 messages on the wire, as Envoy counts them; see `wire_sizes`.

Each frame of a stream counts with its head, when it comes or when it goes to the transport; what waits for a window
hasn't been sent. Of a block of fields that comes in several frames only the first one's head counts, and frames that
give credit or priority don't count where they arrive.
"""

from __future__ import annotations

from collections.abc import Callable

from meshproxy.codec.h2_connection import Http2Codec
from meshproxy.codec.h2_frames import CONTINUATION, HEAD_SIZE, HEADERS, RST_STREAM
from meshproxy.codec.h2_stream import Stream
from meshproxy.codec.sinks import Http2Sink
from meshproxy.model.codec import Http2Options
from meshproxy.plugin.stream_info import StreamInfo


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

    def _read_run(self, data: bytes, view: memoryview, position: int, sid: int, most: int) -> tuple[int, int]:
        end, frames = super()._read_run(data, view, position, sid, most)
        if sid in self.accounts:
            self._count_received(self.accounts[sid], end - position, False)
        return end, frames

    def _read_data(self, flags: int, sid: int, payload: bytes | memoryview, more: bool) -> None:
        if sid in self.accounts:
            self._count_received(self.accounts[sid], HEAD_SIZE + len(payload), False)
        super()._read_data(flags, sid, payload, more)

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
