"""The bodies that come in on an HTTP/2 connection, and the credit for them (RFC 9113 sections 5.2 and 6.1).

Large pieces of a body, and small ones with DATA of any stream behind them, are handed on together at the end of the
read or with what ends the stream: whoever passes a body on pays for each piece, and peers cut a mebibyte into sixty
pieces, or into a thousand. The messages of thirty calls that come in turn cost a fifth less so; where no two of a read
are of one call, holding them costs a twenty-fifth.

Invariant: the windows add up. What was received on the connection is returned to it, consumed, dropped or of streams
that are gone.
"""

from __future__ import annotations

from collections.abc import Callable

from meshproxy.codec import h2_frames as h2
from meshproxy.codec.h2_control import Control, Fault
from meshproxy.codec.h2_fields import violation
from meshproxy.codec.h2_stream import Stream
from meshproxy.codec.sinks import Http2Sink
from meshproxy.model.codec import Http2Options

#: Pieces of body from this size on wait for the end of the read; a shorter one that ends the read, as a message of gRPC
#: mostly does, doesn't.
JOINED = 1024


class Bodies(Control):
    """The part of a connection that reads DATA; `Http2Codec` is the whole."""

    def __init__(self, sink: Http2Sink, options: Http2Options, now: Callable[[], float], buffer_limit: int) -> None:
        super().__init__(sink, options, now, buffer_limit)
        self._empty_frames = 0
        self._receive_left = options.initial_connection_window_size
        self._returnable = 0
        self._return_at = options.initial_connection_window_size // 2
        self._return_stream_at = max(options.initial_stream_window_size // 2, 1)
        self._holding: list[Stream] = []

    def _count_empty(self, empty: bool) -> None:
        if not empty:
            self._empty_frames = 0
            return
        self._empty_frames += 1
        if self._empty_frames > self._options.max_consecutive_inbound_frames_with_empty_payload:
            self._sink.on_count("inbound_empty_frames_flood")
            raise Fault(h2.ENHANCE_YOUR_CALM, "too many empty frames", "http2.inbound_empty_frames_flood")

    def _strip(self, flags: int, sid: int, payload: bytes) -> bytes:
        """The payload without padding and priority."""
        start = 0
        end = len(payload)
        if flags & h2.PADDED:
            if not payload:
                raise Fault(h2.FRAME_SIZE_ERROR, "no room for the length of the padding")
            start = 1
            end -= payload[0]
        if flags & h2.WITH_PRIORITY:
            if len(payload) < start + 5:
                raise Fault(h2.FRAME_SIZE_ERROR, "no room for the priority")
            if int.from_bytes(payload[start : start + 4], "big") & h2.MAX_SID == sid:
                raise Fault(h2.PROTOCOL_ERROR, "a stream depends on itself")
            start += 5
        if end < start:
            raise Fault(h2.PROTOCOL_ERROR, "more padding than payload")
        return payload[start:end]

    def _read_run(self, data: bytes, view: memoryview, position: int, sid: int, most: int) -> tuple[int, int]:
        """Take the DATA frames of one stream from `position` on whose heads differ in length alone, `most` at most.

        What has a fault, or could have one, is left to `_read_data`. Accounted for together, they cost a third of what
        they cost one by one. Returns where they end, and how many they are.
        """
        stream = self._streams.get(sid)
        if stream is None or not stream.remote_open or not (stream.answered or self.is_server):
            return position, 0
        room = min(self._receive_left, stream.receive_left)
        if stream.expected >= 0:
            room = min(room, stream.expected)
        held: list[bytes | memoryview] = []
        begin, alike, size, left = position, data[position + 3 : position + 9], len(data), room
        while len(held) < most and data.startswith(alike, position + 3):
            length = int.from_bytes(data[position : position + 3], "big")
            end = position + 9 + length
            left -= length
            if end > size or left < 0 or not 0 < length <= h2.MAX_FRAME_SIZE:
                left += length
                break
            held.append(data[position + 9 : end] if length < JOINED else view[position + 9 : end])
            position = end
        if not held:
            return begin, 0
        self._empty_frames = 0
        total = room - left
        self._receive_left -= total
        stream.receive_left -= total
        stream.outstanding += total
        if stream.expected >= 0:
            stream.expected -= total
        count = len(held)
        if stream.held is None:
            self._holding.append(stream)
        else:
            held = [*stream.held, *held] if isinstance(stream.held, list) else [stream.held, *held]
        stream.held = held
        return position, count

    def _read_data(self, flags: int, sid: int, payload: bytes | memoryview, more: bool) -> None:
        """more: another frame of DATA is behind it in this read."""
        length = len(payload)
        if length > h2.MAX_FRAME_SIZE:
            raise Fault(h2.FRAME_SIZE_ERROR, "a frame is too large")
        if sid == 0:
            raise Fault(h2.PROTOCOL_ERROR, "DATA on stream 0")
        if flags & h2.PADDED:
            payload = self._strip(flags & h2.PADDED, sid, bytes(payload))
        end = bool(flags & h2.END_STREAM)
        size = len(payload)
        if not size or self._empty_frames:
            self._count_empty(not size and not end)
        self._receive_left -= length
        if self._receive_left < 0:
            raise Fault(h2.FLOW_CONTROL_ERROR, "more DATA than the connection's window")
        stream = self._streams.get(sid)
        if stream is None or not stream.remote_open:
            self._check_not_idle(sid, "DATA")
            self._return(length)
            if stream is not None and not stream.forgotten:
                self._stream_fault(sid, h2.STREAM_CLOSED, violation("DATA after the end"))
            return
        stream.receive_left -= length
        stream.outstanding += length
        if stream.receive_left < 0:
            self._stream_fault(sid, h2.FLOW_CONTROL_ERROR, violation("more DATA than the stream's window"))
            return
        if size != length:
            self.consumed(sid, length - size)
        if not stream.answered and not self.is_server:
            raise Fault(h2.PROTOCOL_ERROR, "DATA ahead of the head")
        if stream.expected >= 0:
            stream.expected -= size
            if stream.expected < 0 or (end and stream.expected):
                self._wrong_length(sid)
                return
        if (size >= JOINED or more or stream.held is not None) and size and not end:
            held = stream.held
            if held is None:
                stream.held = payload
                self._holding.append(stream)
            elif isinstance(held, list):
                held.append(payload)
            else:
                stream.held = [held, payload]
            return
        data = bytes(payload)
        if stream.held is not None:
            data = _joined(stream.held) + data
            stream.held = None
        if end:
            self._end_remote(stream)
        if (size or end) and not self.failed:
            self._sink.on_stream_data(sid, data, end)

    def _wrong_length(self, sid: int) -> None:
        """DATA is not as long as content-length says. That ends the stream alone, as nghttp2 has it; Envoy then takes
        it for a reset by the peer. (Where HEADERS show it, they are a malformed message.)"""
        error = violation("the body is not as long as content-length says", "http2.remote_reset")
        self._stream_fault(sid, h2.PROTOCOL_ERROR, error)

    def _hand_on(self) -> None:
        holding, self._holding = self._holding, []
        for stream in holding:
            held, stream.held = stream.held, None
            if held is not None and not self.failed and stream.sid in self._streams:
                self._sink.on_stream_data(stream.sid, _joined(held), False)

    def _end_remote(self, stream: Stream) -> None:
        stream.remote_open = False
        if not stream.local_open:
            self._close(stream, False)

    def consumed(self, sid: int, count: int) -> None:
        """So many body bytes of the stream have found their way: the peer may send as many more.

        WINDOW_UPDATEs go out when half a window has gathered. Bytes of streams that are gone need no call.
        """
        stream = self._streams.get(sid)
        if stream is None:
            return
        count = min(count, stream.outstanding)
        stream.outstanding -= count
        if stream.remote_open:
            stream.returnable += count
            if stream.returnable >= self._return_stream_at:
                self._emit(h2.window_update(sid, stream.returnable))
                stream.receive_left += stream.returnable
                stream.returnable = 0
        self._return(count)

    def _return(self, count: int) -> None:
        """Give bytes back to the connection's window."""
        self._returnable += count
        if self._returnable >= self._return_at and not self.failed:
            self._emit(h2.window_update(0, self._returnable))
            self._receive_left += self._returnable
            self._returnable = 0

    def _close(self, stream: Stream, reset: bool) -> None:
        """Both sides have ended, or one has reset the stream."""
        if self._streams.pop(stream.sid, None) is None:
            return
        self._waiting.pop(stream.sid, None)
        stream.local_open = stream.remote_open = False
        stream.queue = None
        if stream.outstanding:
            self._return(stream.outstanding)


def _joined(held: bytes | memoryview | list[bytes | memoryview]) -> bytes:
    return b"".join(held) if isinstance(held, list) else bytes(held)
