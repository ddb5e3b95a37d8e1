"""One HTTP/2 connection (RFC 9113), what both roles share: bytes in, calls of a sink out; and the output, on demand.

`receive` cuts frames and acts on each at once. What is to be written gathers in a list that `take` joins, so that a
turn of the loop costs one write. DATA leaves only within the peer's windows and while the transport has room (`hold`);
what doesn't is queued on its stream, whose owner is told to pause at `buffer_limit`. The other direction is the owner's
to slow: bytes that it doesn't call `consumed` for aren't given back to the peer's windows.

Invariants:
- nothing that a peer sends raises an exception or grows memory without a bound: a connection holds at most one frame in
  part, one block of fields, `max_concurrent_streams` streams, and per stream a window received and a buffer to send;
- the windows add up: what was received on the connection is returned to it, consumed, dropped or of streams gone;
- a stream is in `_streams` exactly as long as one of its sides is open. After its end nothing is called for it;
- the calls that bytes cause don't depend on how the bytes were cut;
- every block of fields is decoded, also of streams that are refused: the tables of both ends must go on in step.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable

from meshproxy.codec import h2_frames as h2
from meshproxy.codec.h2_fields import read_trailers, violation
from meshproxy.codec.h2_limits import MAX_CONTINUATIONS, MAX_SETTINGS_ENTRIES, WINDOW_UPDATE_BASE, ResetBudget
from meshproxy.codec.h2_stream import Stream
from meshproxy.codec.hpack_decode import Decoder
from meshproxy.codec.hpack_encode import Encoder
from meshproxy.codec.hpack_static import Field, HpackError
from meshproxy.codec.sinks import Http2Sink
from meshproxy.errors import ProtocolError
from meshproxy.headers import Headers
from meshproxy.model.codec import Http2Options

#: Most bytes that wait on one stream before its sender is told to pause; Envoy's buffer limit of a connection.
BUFFER_LIMIT = 1024 * 1024
#: The block of a message that is too large is taken up to so many times the limit, so that only its stream fails.
BLOCK_SLACK = 4

_CONNECTION_DETAILS = "http2.protocol_error"


class Fault(Exception):
    """The peer broke the connection: GOAWAY with `code`."""

    def __init__(self, code: int, message: str, details: str = _CONNECTION_DETAILS) -> None:
        super().__init__(message)
        self.code = code
        self.details = details


class Http2Codec:
    """What both roles share. Never raises because of what it reads; `sink` is told instead.

    sid: everywhere the number of a stream. A call for a stream that is gone is ignored, so an owner needs no care about
        calls that cross.
    now: seconds that never go back; asked for the limits that are rates.
    buffer_limit: bytes queued on a stream beyond which `on_stream_blocked` tells its owner.

    failed: after a connection error, or `goaway` with a code other than 0; nothing is read any more.
    last_peer_sid: the highest stream of the peer that was taken (server role); what the second step of a drain names.
    peer_allows_connect: the peer has said that it takes extended CONNECT.
    """

    is_server: bool

    def __init__(
        self, sink: Http2Sink, options: Http2Options, now: Callable[[], float], buffer_limit: int = BUFFER_LIMIT
    ) -> None:
        self._sink = sink
        self._options = options
        self._now = now
        self._high = buffer_limit
        self._low = buffer_limit // 2
        self._max_list = options.max_headers_kb * 1024
        self._max_block = max(self._max_list * BLOCK_SLACK, 65_536)
        self.failed = False
        self.last_peer_sid = 0
        self.peer_allows_connect = False
        # Reading.
        self._preface = h2.PREFACE if self.is_server else b""
        self._pending = bytearray()
        self._needed = 0
        self._expects_settings = True
        self._decoder = Decoder(options.underscores != "ALLOW")
        self._block: list[bytes] | None = None
        self._block_size = 0
        self._block_sid = 0
        self._block_flags = 0
        # Streams; `_highest` is the highest number that the opener of streams has used.
        self._streams: dict[int, Stream] = {}
        self._highest = 0
        self._going_away = h2.MAX_SID
        self._resets = ResetBudget(now)
        # What the peer may send. Until it has acknowledged our SETTINGS it may go by the default.
        self._stream_window = max(options.initial_stream_window_size, h2.DEFAULT_WINDOW)
        self._unacknowledged = 1
        self._receive_left = options.initial_connection_window_size
        self._returnable = 0
        self._return_at = options.initial_connection_window_size // 2
        self._return_stream_at = max(options.initial_stream_window_size // 2, 1)
        # What we may send.
        self._encoder = Encoder(options.hpack_table_size)
        self._send_left = h2.DEFAULT_WINDOW
        self._peer_window = h2.DEFAULT_WINDOW
        self._peer_frame_size = h2.MAX_FRAME_SIZE
        self._peer_max_streams = 1024
        self._most_credit = 0
        self._waiting: dict[int, Stream] = {}
        self._held = False
        # The output, and how many frames of it haven't been written.
        self._out: list[bytes | memoryview] = []
        self._frames = 0
        self._control_frames = 0
        # Floods.
        self._empty_frames = 0
        self._priority_frames = 0
        self._window_updates = 0
        self._opened = 0
        self._data_frames = 0

    def _start(self, first: bytes, disable_push: bool) -> None:
        """What goes out first, as Envoy orders it."""
        options = self._options
        values = [(h2.ENABLE_PUSH, 0)] if disable_push else []
        values += [
            (h2.HEADER_TABLE_SIZE, options.hpack_table_size),
            (h2.ENABLE_CONNECT_PROTOCOL, int(options.allow_connect)),
            (h2.MAX_CONCURRENT_STREAMS, options.max_concurrent_streams),
            (h2.INITIAL_WINDOW_SIZE, options.initial_stream_window_size),
        ]
        self._out.append(first + h2.settings(values))
        more = options.initial_connection_window_size - h2.DEFAULT_WINDOW
        if more > 0:
            self._out.append(h2.window_update(0, more))

    @property
    def open_streams(self) -> int:
        """How many streams live."""
        return len(self._streams)

    # -- output

    def _emit(self, frame: bytes, body: bytes | memoryview = b"") -> None:
        self._frames += 1
        out = self._out
        if out:
            out.append(frame)
            out.append(body)
        else:
            out.append(frame)
            out.append(body)
            self._sink.on_output()
        if self._frames > self._options.max_outbound_frames:
            self._flooded("outbound_flood")

    def _emit_control(self, frame: bytes) -> None:
        """A frame that a peer can make us send at will: acknowledgements and resets."""
        self._control_frames += 1
        self._emit(frame)
        if self._control_frames > self._options.max_outbound_control_frames:
            self._flooded("outbound_control_flood")

    def _flooded(self, counter: str) -> None:
        """Too much waits to be written: the peer doesn't read, so no GOAWAY would reach it."""
        if not self.failed:
            self._sink.on_count(counter)
            self._out.clear()
            self._fail(ProtocolError(400, "http2.outbound_frames_flood", counter))

    def take(self) -> bytes:
        """All that is to be written now; b"" if nothing. What is taken counts as written unless `hold(True)`."""
        out = self._out
        if not out:
            return b""
        data = b"".join(out)
        out.clear()
        if not self._held:
            self._frames = self._control_frames = 0
        return data

    def hold(self, held: bool) -> None:
        """The transport's buffer is full (`pause_writing`), or has room again.

        While held, DATA stays queued on its streams, and `take` gives only control frames and heads, which count
        against the limits of outbound frames.
        """
        self._held = held
        if not held:
            self._frames = self._control_frames = 0
            self._pump()

    # -- input

    def receive(self, data: bytes) -> None:
        """Take bytes from the peer. Must not be called from within a hook."""
        if self.failed:
            return
        if self._preface:
            data = self._read_preface(data)
        pending = self._pending
        if pending:
            pending += data
            if len(pending) < self._needed:
                return
            data = bytes(pending)
            self._pending = bytearray()
        try:
            self._read_frames(data)
        except Fault as fault:
            if not self.failed:
                self._emit(h2.goaway(self.last_peer_sid, fault.code))
                self._fail(ProtocolError(400 if self.is_server else 502, fault.details, str(fault)))

    def _read_preface(self, data: bytes) -> bytes:
        """What follows the client's preface. Something else than the preface ends the connection without a word."""
        expected = self._preface[: len(data)]
        if data[: len(expected)] != expected:
            self._fail(ProtocolError(400, _CONNECTION_DETAILS, "not the preface of HTTP/2"))
            return b""
        self._preface = self._preface[len(expected) :]
        return data[len(expected) :]

    def _read_frames(self, data: bytes) -> None:
        position = 0
        size = len(data)
        unpack = h2.unpack_head
        while size - position >= 9:
            word, flags, sid = unpack(data, position)
            length = word >> 8
            start = position + 9
            end = start + length
            if end > size or self._expects_settings:
                self._check_head(word & 255, flags, length)
                if end > size:
                    break
            position = end
            kind = word & 255
            sid &= 0x7FFFFFFF
            if kind == h2.HEADERS and self._block is None:
                self._read_headers(flags, sid, data[start:end])
            elif kind == h2.DATA and self._block is None:
                self._read_data(flags, sid, data[start:end])
            elif length > h2.MAX_FRAME_SIZE:
                raise Fault(h2.FRAME_SIZE_ERROR, "a frame is too large")
            else:
                self._read_other(kind, flags, sid, data[start:end])
            if self.failed:
                return
        if position < size:
            self._pending = bytearray(data[position:] if position else data)
            self._needed = 9 + (int.from_bytes(self._pending[:3], "big") if size - position >= 9 else 0)

    def _check_head(self, kind: int, flags: int, length: int) -> None:
        """What can be told from the head of a frame that isn't complete, and of the first frame of all."""
        if length > h2.MAX_FRAME_SIZE:
            raise Fault(h2.FRAME_SIZE_ERROR, "a frame is too large")
        if self._expects_settings and (kind != h2.SETTINGS or flags & h2.ACK):
            raise Fault(h2.PROTOCOL_ERROR, "the first frame is no SETTINGS")

    def _read_other(self, kind: int, flags: int, sid: int, payload: bytes) -> None:
        if kind == h2.CONTINUATION:
            self._read_continuation(flags, sid, payload)
        elif self._block is not None:
            raise Fault(h2.PROTOCOL_ERROR, "a frame within a block of fields")
        elif kind == h2.WINDOW_UPDATE:
            self._read_window_update(sid, payload)
        elif kind == h2.RST_STREAM:
            self._read_reset(sid, payload)
        elif kind == h2.SETTINGS:
            self._read_settings(flags, sid, payload)
        elif kind == h2.PING:
            self._read_ping(flags, sid, payload)
        elif kind == h2.GOAWAY:
            self._read_goaway(sid, payload)
        elif kind == h2.PRIORITY:
            self._read_priority(sid, payload)
        elif kind == h2.PUSH_PROMISE:
            raise Fault(h2.PROTOCOL_ERROR, "PUSH_PROMISE")

    def _fail(self, error: ProtocolError) -> None:
        """The end of the connection."""
        if self.failed:
            return
        self.failed = True
        self._streams.clear()
        self._waiting.clear()
        self._pending = bytearray()
        self._block = None
        self._sink.on_connection_error(error)

    def _message_fault(self, sid: int, error: ProtocolError) -> None:
        """The peer's message is malformed: the end of its stream, or of the connection, without GOAWAY as in Envoy."""
        self._sink.on_count("rx_messaging_error")
        if self._options.override_stream_error_on_invalid_http_message:
            self._stream_fault(sid, h2.PROTOCOL_ERROR, error)
        else:
            self._fail(error)

    def _stream_fault(self, sid: int, code: int, error: ProtocolError) -> None:
        stream = self._streams.get(sid)
        self._emit_reset(sid, code)
        if stream is not None:
            self._close(stream, True)
            if stream.forgotten:
                return
        if not self.failed:
            self._sink.on_stream_error(sid, error)

    def _emit_reset(self, sid: int, code: int) -> None:
        self._sink.on_count("tx_reset")
        self._emit_control(h2.rst_stream(sid, code))

    def _count_empty(self, empty: bool) -> None:
        if not empty:
            self._empty_frames = 0
            return
        self._empty_frames += 1
        if self._empty_frames > self._options.max_consecutive_inbound_frames_with_empty_payload:
            self._sink.on_count("inbound_empty_frames_flood")
            raise Fault(h2.ENHANCE_YOUR_CALM, "too many empty frames", "http2.inbound_empty_frame_flood")

    # -- fields

    def _read_headers(self, flags: int, sid: int, payload: bytes) -> None:
        if not payload or self._empty_frames:
            self._count_empty(not payload and not flags & h2.END_STREAM)
        if len(payload) > h2.MAX_FRAME_SIZE:
            raise Fault(h2.FRAME_SIZE_ERROR, "a frame is too large")
        if sid == 0:
            raise Fault(h2.PROTOCOL_ERROR, "HEADERS on stream 0")
        if flags & (h2.PADDED | h2.WITH_PRIORITY):
            payload = self._strip(flags, sid, payload)
        if flags & h2.END_HEADERS:
            self._read_block(sid, flags, payload)
            return
        self._block = [payload]
        self._block_size = len(payload)
        self._block_sid = sid
        self._block_flags = flags

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

    def _read_continuation(self, flags: int, sid: int, payload: bytes) -> None:
        self._count_empty(not payload)
        block = self._block
        if block is None or sid != self._block_sid:
            raise Fault(h2.PROTOCOL_ERROR, "CONTINUATION without HEADERS")
        block.append(payload)
        self._block_size += len(payload)
        if len(block) > MAX_CONTINUATIONS or self._block_size > self._max_block:
            raise Fault(h2.ENHANCE_YOUR_CALM, "a block of fields is too large", "http2.too_many_headers")
        if flags & h2.END_HEADERS:
            self._block = None
            self._read_block(sid, self._block_flags, b"".join(block))

    def _read_block(self, sid: int, flags: int, block: bytes) -> None:
        try:
            fields = self._decoder.decode(block)
        except HpackError as error:
            raise Fault(h2.COMPRESSION_ERROR, str(error)) from None
        # The exact sum is needed only if it could be too large.
        too_large = len(fields) > self._options.max_headers_count or (
            len(fields) * self._decoder.largest + 2 * len(block) > self._max_list
            and sum(len(name) + len(value) for name, value in fields) > self._max_list
        )
        self._read_message(sid, bool(flags & h2.END_STREAM), fields, too_large)

    def _read_message(self, sid: int, end: bool, fields: list[Field], too_large: bool) -> None:
        """A head or trailers; by role."""
        raise NotImplementedError

    def _overflow(self, sid: int) -> None:
        """More fields than allowed: Envoy answers with RST_STREAM (INTERNAL_ERROR)."""
        self._sink.on_count("header_overflow")
        error = ProtocolError(431 if self.is_server else 502, "http2.too_many_headers", "too many fields, or too large")
        self._stream_fault(sid, h2.INTERNAL_ERROR, error)

    def _read_trailers(self, stream: Stream, end: bool, fields: list[Field]) -> None:
        try:
            if not end:
                raise violation("a second head")
            trailers = read_trailers(fields, self._options.underscores)
            if stream.expected > 0:
                raise violation("the body is shorter than content-length says")
        except ProtocolError as error:
            self._message_fault(stream.sid, error)
            return
        self._sink.on_count("trailers")
        self._end_remote(stream)
        self._sink.on_stream_trailers(stream.sid, trailers)

    def _end_remote(self, stream: Stream) -> None:
        stream.remote_open = False
        if not stream.local_open:
            self._close(stream, False)

    # -- bodies in

    def _read_data(self, flags: int, sid: int, payload: bytes) -> None:
        length = len(payload)
        if length > h2.MAX_FRAME_SIZE:
            raise Fault(h2.FRAME_SIZE_ERROR, "a frame is too large")
        if sid == 0:
            raise Fault(h2.PROTOCOL_ERROR, "DATA on stream 0")
        if flags & h2.PADDED:
            payload = self._strip(flags & h2.PADDED, sid, payload)
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
            self._message_fault(sid, violation("DATA ahead of the head"))
            return
        if stream.expected >= 0:
            stream.expected -= size
            if stream.expected < 0 or (end and stream.expected):
                self._message_fault(sid, violation("the body is not as long as content-length says"))
                return
        if end:
            self._end_remote(stream)
        if size or end:
            self._sink.on_stream_data(sid, payload, end)

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

    # -- other frames

    def _check_not_idle(self, sid: int, name: str) -> None:
        """A frame for a stream that was never opened breaks the connection."""
        if sid > self._highest or sid % 2 == 0:
            raise Fault(h2.PROTOCOL_ERROR, f"{name} on an idle stream")

    def _read_reset(self, sid: int, payload: bytes) -> None:
        if len(payload) != 4:
            raise Fault(h2.FRAME_SIZE_ERROR, "RST_STREAM has 4 bytes")
        if sid == 0:
            raise Fault(h2.PROTOCOL_ERROR, "RST_STREAM on stream 0")
        self._check_not_idle(sid, "RST_STREAM")
        if self.is_server and not self._resets.spend():
            raise Fault(h2.INTERNAL_ERROR, "too many resets", "http2.reset_flood")
        stream = self._streams.get(sid)
        if stream is None:
            return
        self._sink.on_count("rx_reset")
        self._close(stream, True)
        if not stream.forgotten and not self.failed:
            self._sink.on_stream_reset(sid, int.from_bytes(payload, "big"))

    def _read_priority(self, sid: int, payload: bytes) -> None:
        """Priorities are ignored, as RFC 9113 section 5.3.2 allows."""
        if len(payload) != 5:
            raise Fault(h2.FRAME_SIZE_ERROR, "PRIORITY has 5 bytes")
        if sid == 0:
            raise Fault(h2.PROTOCOL_ERROR, "PRIORITY on stream 0")
        if int.from_bytes(payload[:4], "big") & h2.MAX_SID == sid:
            raise Fault(h2.PROTOCOL_ERROR, "a stream depends on itself")
        self._priority_frames += 1
        if self._priority_frames > self._options.max_inbound_priority_frames_per_stream * (1 + self._opened):
            self._sink.on_count("inbound_priority_frames_flood")
            raise Fault(h2.ENHANCE_YOUR_CALM, "too many PRIORITY frames", "http2.inbound_priority_frames_flood")

    def _read_ping(self, flags: int, sid: int, payload: bytes) -> None:
        if len(payload) != 8:
            raise Fault(h2.FRAME_SIZE_ERROR, "PING has 8 bytes")
        if sid:
            raise Fault(h2.PROTOCOL_ERROR, "PING on a stream")
        if flags & h2.ACK:
            self._sink.on_ping_ack(payload)
        else:
            self._emit_control(h2.ping(payload, h2.ACK))

    def _read_goaway(self, sid: int, payload: bytes) -> None:
        if sid:
            raise Fault(h2.PROTOCOL_ERROR, "GOAWAY on a stream")
        if len(payload) < 8:
            raise Fault(h2.FRAME_SIZE_ERROR, "GOAWAY has 8 bytes or more")
        last = int.from_bytes(payload[:4], "big") & h2.MAX_SID
        self._peer_goes_away(last)
        if not self.failed:
            self._sink.on_goaway(last, int.from_bytes(payload[4:8], "big"))

    def _peer_goes_away(self, last_sid: int) -> None:
        """Only a client opens streams, so only it has any that the peer can leave out."""

    # -- windows of the peer

    def _read_window_update(self, sid: int, payload: bytes) -> None:
        if len(payload) != 4:
            raise Fault(h2.FRAME_SIZE_ERROR, "WINDOW_UPDATE has 4 bytes")
        self._window_updates += 1
        per_data = self._options.max_inbound_window_update_frames_per_data_frame_sent
        if self._window_updates > WINDOW_UPDATE_BASE + 2 * (self._opened + per_data * self._data_frames):
            self._sink.on_count("inbound_window_update_frames_flood")
            raise Fault(h2.ENHANCE_YOUR_CALM, "too many WINDOW_UPDATEs", "http2.inbound_window_update_frames_flood")
        count = int.from_bytes(payload, "big") & h2.MAX_WINDOW
        if sid == 0:
            if count == 0:
                raise Fault(h2.PROTOCOL_ERROR, "WINDOW_UPDATE by 0")
            self._send_left += count
            if self._send_left > h2.MAX_WINDOW:
                raise Fault(h2.FLOW_CONTROL_ERROR, "the connection's window is too large")
            self._pump()
            return
        stream = self._streams.get(sid)
        if stream is None:
            self._check_not_idle(sid, "WINDOW_UPDATE")
            return
        if count == 0:
            self._stream_fault(sid, h2.PROTOCOL_ERROR, violation("WINDOW_UPDATE by 0"))
            return
        stream.credit += count
        if stream.credit > self._most_credit:
            self._most_credit = stream.credit
        if stream.credit + self._peer_window > h2.MAX_WINDOW:
            self._stream_fault(sid, h2.FLOW_CONTROL_ERROR, violation("the stream's window is too large"))
        elif stream.queue:
            self._flush(stream)

    def _read_settings(self, flags: int, sid: int, payload: bytes) -> None:
        if sid:
            raise Fault(h2.PROTOCOL_ERROR, "SETTINGS on a stream")
        if flags & h2.ACK:
            if payload:
                raise Fault(h2.FRAME_SIZE_ERROR, "an acknowledgement is empty")
            self._settings_acknowledged()
            return
        if len(payload) % 6:
            raise Fault(h2.FRAME_SIZE_ERROR, "SETTINGS has 6 bytes for each")
        if len(payload) > 6 * MAX_SETTINGS_ENTRIES:
            raise Fault(h2.ENHANCE_YOUR_CALM, "too many settings")
        self._expects_settings = False
        for name, value in h2.iter_settings(payload):
            self._read_setting(name, value)
        self._emit_control(h2.SETTINGS_ACK)
        if not self.failed:
            self._sink.on_settings()
            self._pump()

    def _settings_acknowledged(self) -> None:
        if self._unacknowledged:
            self._unacknowledged -= 1
            self._decoder.set_limit(self._options.hpack_table_size)
            less = self._stream_window - self._options.initial_stream_window_size
            if less > 0:
                self._stream_window -= less
                for stream in self._streams.values():
                    stream.receive_left -= less

    def _read_setting(self, name: int, value: int) -> None:
        if name == h2.HEADER_TABLE_SIZE:
            self._encoder.allow(value)
        elif name == h2.ENABLE_PUSH:
            if value > 1 or (value and not self.is_server):
                raise Fault(h2.PROTOCOL_ERROR, "ENABLE_PUSH is 0 or, from a client, 1")
        elif name == h2.MAX_CONCURRENT_STREAMS:
            self._peer_max_streams = value
        elif name == h2.INITIAL_WINDOW_SIZE:
            if value > h2.MAX_WINDOW:
                raise Fault(h2.FLOW_CONTROL_ERROR, "INITIAL_WINDOW_SIZE is too large")
            self._peer_window = value
            if value + self._most_credit > h2.MAX_WINDOW and any(
                value + stream.credit > h2.MAX_WINDOW for stream in self._streams.values()
            ):
                raise Fault(h2.FLOW_CONTROL_ERROR, "INITIAL_WINDOW_SIZE makes a window too large")
        elif name == h2.MAX_FRAME_SIZE_SETTING:
            if not h2.MAX_FRAME_SIZE <= value <= h2.LARGEST_FRAME_SIZE:
                raise Fault(h2.PROTOCOL_ERROR, "MAX_FRAME_SIZE is out of its range")
            self._peer_frame_size = value
        elif name == h2.ENABLE_CONNECT_PROTOCOL:
            if value > 1 or (self.peer_allows_connect and not value):
                raise Fault(h2.PROTOCOL_ERROR, "ENABLE_CONNECT_PROTOCOL is 0 or 1, and stays 1")
            self.peer_allows_connect = bool(value)

    # -- messages out

    def _emit_fields(self, sid: int, fields: Iterable[Field], start: bytes, end: bool) -> None:
        block = self._encoder.encode(fields, start)
        flags = h2.END_STREAM if end else 0
        size = self._peer_frame_size
        if len(block) <= size:
            self._emit(h2.pack_head(len(block) << 8 | h2.HEADERS, flags | h2.END_HEADERS, sid), block)
            return
        self._emit(h2.pack_head(size << 8 | h2.HEADERS, flags, sid), block[:size])
        for position in range(size, len(block), size):
            piece = block[position : position + size]
            flags = h2.END_HEADERS if position + size >= len(block) else 0
            self._emit(h2.pack_head(len(piece) << 8 | h2.CONTINUATION, flags, sid), piece)

    def send_data(self, sid: int, data: bytes, end: bool) -> None:
        """Send body bytes, perhaps none if `end`; what the peer's windows don't allow yet is queued."""
        stream = self._streams.get(sid)
        if stream is None or not stream.local_open or stream.end_queued:
            return
        size = len(data)
        if (
            not stream.queue
            and not self._held
            and size <= self._peer_frame_size
            and size <= self._send_left
            and size <= stream.credit + self._peer_window
        ):
            if size or end:
                self._emit_data(stream, data, end)
            return
        if stream.queue is None:
            stream.queue = deque()
        stream.queue.append(memoryview(data) if size > self._peer_frame_size else data)
        stream.queued += size
        stream.end_queued = end
        self._waiting[sid] = stream
        self._flush(stream)
        if stream.queued > self._high and not stream.blocked:
            stream.blocked = True
            self._sink.on_stream_blocked(sid, True)

    def _emit_data(self, stream: Stream, data: bytes | memoryview, end: bool) -> None:
        size = len(data)
        self._send_left -= size
        stream.credit -= size
        self._data_frames += 1
        self._emit(h2.pack_head(size << 8 | h2.DATA, end, stream.sid), data)
        if end:
            self._end_local(stream)

    def _flush(self, stream: Stream) -> None:
        """Send what may be sent of a stream's queue."""
        while self._flush_frame(stream):
            pass
        self._unblock(stream)

    def _flush_frame(self, stream: Stream) -> bool:
        """Send the next frame of a stream's queue; false: there is none, or it may not go."""
        queue = stream.queue
        if not queue or self._held or self.failed:
            return False
        data = queue[0]
        size = len(data)
        room = min(self._send_left, stream.credit + self._peer_window, self._peer_frame_size)
        if size > room and size:
            if room <= 0:
                return False
            piece = data[:room]
            queue[0] = data[room:]
            stream.queued -= room
            self._emit_data(stream, piece, False)
            return True
        queue.popleft()
        stream.queued -= size
        if queue:
            if size:
                self._emit_data(stream, data, False)
            return True
        self._waiting.pop(stream.sid, None)
        if size or stream.trailers is None:
            last = stream.end_queued and stream.trailers is None
            if size or last:
                self._emit_data(stream, data, last)
        if stream.trailers is not None:
            self._emit_trailers(stream, stream.trailers)
        return False

    def _unblock(self, stream: Stream) -> None:
        if stream.blocked and stream.queued <= self._low:
            stream.blocked = False
            if stream.sid in self._streams and not stream.forgotten:
                self._sink.on_stream_blocked(stream.sid, False)

    def _pump(self) -> None:
        """There is more room on the connection: send from all streams that wait, frame by frame in turn."""
        waiting = list(self._waiting.values())
        moved = waiting
        while moved and self._send_left > 0 and not self._held:
            moved = [stream for stream in moved if self._flush_frame(stream)]
        for stream in waiting:
            self._unblock(stream)

    def send_trailers(self, sid: int, trailers: Headers) -> None:
        """End the message with trailers, behind whatever is queued."""
        stream = self._streams.get(sid)
        if stream is None or not stream.local_open or stream.end_queued:
            return
        if stream.queue:
            stream.trailers = trailers
            stream.end_queued = True
        else:
            self._emit_trailers(stream, trailers)

    def _emit_trailers(self, stream: Stream, trailers: Headers) -> None:
        if not trailers.fields:
            self._emit_data(stream, b"", True)
            return
        self._emit_fields(stream.sid, trailers.items(), b"", True)
        self._end_local(stream)

    def _end_local(self, stream: Stream) -> None:
        stream.local_open = False
        if stream.reset_code >= 0:
            self._emit_reset(stream.sid, stream.reset_code)
            self._close(stream, False)
        elif not stream.remote_open:
            self._close(stream, False)

    def reset_stream(self, sid: int, code: int) -> None:
        """End the stream with RST_STREAM and forget it, without a call of the sink.

        On a server whose response has been handed over whole, what is queued of it goes first, as in Envoy; the sink
        hears nothing more of the stream all the same.
        """
        stream = self._streams.get(sid)
        if stream is None:
            return
        if self.is_server and stream.end_queued:
            stream.forgotten = True
            if stream.remote_open:
                stream.remote_open = False
                stream.reset_code = code
            return
        self._emit_reset(sid, code)
        self._close(stream, True)

    def _close(self, stream: Stream, reset: bool) -> None:
        """Both sides have ended, or one has reset the stream."""
        if self._streams.pop(stream.sid, None) is None:
            return
        self._waiting.pop(stream.sid, None)
        stream.local_open = stream.remote_open = False
        stream.queue = None
        if stream.outstanding:
            self._return(stream.outstanding)

    def goaway(self, last_sid: int | None = None, code: int = 0) -> None:
        """Announce that no streams above `last_sid` are taken. None: 2^31-1, the first step of a drain.

        The second step names `last_peer_sid` one round trip later; from then on new streams are ignored.
        """
        if self.failed:
            return
        if last_sid is None:
            last_sid = h2.MAX_SID
        self._going_away = min(self._going_away, last_sid)
        self._sink.on_count("goaway_sent")
        self._emit(h2.goaway(self._going_away, code))
        if code:
            self.failed = True

    def ping(self, payload: bytes) -> None:
        """Send a PING with these eight bytes; `on_ping_ack` brings them back."""
        if not self.failed:
            self._emit(h2.ping(payload))
