"""One HTTP/2 connection (RFC 9113), what both roles share: bytes in, calls of a sink out; and the output, on demand.

`receive` cuts frames and acts on each at once; this file reads HEADERS, `h2_body` DATA, `h2_control` the others,
`h2_output` sends, and the roles are in `h2_server` and `h2_client`. How fast a peer may send is the owner's to say:
bytes that it doesn't call `consumed` for aren't given back to the peer's windows.

Invariants:
- nothing that a peer sends raises an exception or grows memory without a bound: a connection holds at most one frame in
  part, one block of fields, `max_concurrent_streams` streams, and per stream a window received and a buffer to send;
- a stream is in `_streams` exactly as long as one of its sides is open. After its end nothing is called for it;
- the calls that bytes cause don't depend on how the bytes were cut, but for the pieces that a body comes in;
- every block of fields is decoded, also of streams that are refused: the tables of both ends must go on in step.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import NoReturn

from meshproxy.codec import h2_frames as h2
from meshproxy.codec.h2_body import JOINED, Bodies
from meshproxy.codec.h2_control import CONNECTION_DETAILS, Fault
from meshproxy.codec.h2_fields import read_trailers, violation
from meshproxy.codec.h2_limits import BLOCK_SLACK, MAX_CONTINUATIONS
from meshproxy.codec.h2_output import BUFFER_LIMIT
from meshproxy.codec.h2_stream import Stream
from meshproxy.codec.hpack_decode import TooManyFieldsError
from meshproxy.codec.hpack_static import Field, HpackError
from meshproxy.codec.sinks import Http2Sink
from meshproxy.errors import ProtocolError
from meshproxy.model.codec import Http2Options

#: How much a server does for one client before others have their turn: a frame is one, a head HEAD_COST more, and each
#: two bytes of it, which may name two fields, are one again; control frames, of which most are answered or change
#: windows, cost double and by their length. This is a millisecond or two, and as much again for what heads set off.
#: Who has more than MANY_STREAMS open and sends more at once than a turn is worth gets shorter ones: a flood, mostly.
TURN = 1500
MANY_STREAMS = 100
SHORT_TURN = 400
HEAD_COST = 80
_LARGE_READ = 65_536


class Http2Codec(Bodies):
    """What both roles share. Never raises because of what it reads; `sink` is told instead.

    sid: everywhere the number of a stream. A call for a stream that is gone is ignored, so an owner needs no care about
        calls that cross.
    now: seconds that never go back; asked for the limits that are rates.
    buffer_limit: bytes queued on a stream beyond which `on_stream_blocked` tells its owner.

    unfinished: `receive` has had its turn, and whole frames may be left (server role): call `resume` in the loop's next
        turn, and `receive` nothing until then.
    last_peer_sid: the highest stream of the peer that was taken (server role); what the second step of a drain names.
    """

    def __init__(
        self, sink: Http2Sink, options: Http2Options, now: Callable[[], float], buffer_limit: int = BUFFER_LIMIT
    ) -> None:
        super().__init__(sink, options, now, buffer_limit)
        self.last_peer_sid = 0
        self._max_list = options.max_headers_kb * 1024
        self._max_block = max(self._max_list * BLOCK_SLACK, 65_536)
        self.unfinished = False
        self._controls_before = 0
        self._turn = TURN if self.is_server else sys.maxsize
        self._preface = h2.PREFACE if self.is_server else b""
        self._pending = bytearray()
        self._needed = 0
        self._rest = b""
        self._rest_start = 0
        self._block: list[bytes] | None = None
        self._block_size = 0
        self._block_sid = 0
        self._block_flags = 0

    def _start(self, first: bytes, disable_push: bool) -> None:
        """What goes out first, as Envoy orders it."""
        options = self._options
        push = [(h2.ENABLE_PUSH, 0)] if disable_push else []
        values = [setting for setting in options.custom_settings if setting not in push] + push
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

    @property
    def queued_bytes(self) -> int:
        """How many bytes of body wait for the peer's windows or for the transport."""
        return sum(stream.queued for stream in self._waiting.values())

    def receive(self, data: bytes) -> None:
        """Take bytes from the peer. Must not be called from within a hook."""
        if self.failed:
            return
        self._controls_before = self._controls_sent
        if self._preface:
            data = self._read_preface(data)
        first, position = b"", 0
        pending = self._pending
        if pending:
            if len(pending) + len(data) < self._needed:
                pending += data
                return
            self._pending = bytearray()
            if self._needed > 9 and len(data) > _LARGE_READ:
                # The one frame by itself: to copy the whole read behind it would cost as much as all of its frames.
                position = self._needed - len(pending)
                first = bytes(pending + data[:position])
            else:
                data = b"".join((pending, data))
        self._act(first, data, position, self._turn)

    def resume(self) -> None:
        """Go on with what `receive` has left (`unfinished`), one turn of the loop later."""
        rest, self._rest = self._rest, b""
        self.unfinished = False
        if not self.failed:
            self._act(b"", rest, self._rest_start, SHORT_TURN if len(self._streams) > MANY_STREAMS else self._turn)

    def _act(self, first: bytes, data: bytes, position: int, turn: int) -> None:
        """Act on the frame `first`, if there is one, and then on those in `data` from `position` on."""
        try:
            if first:
                self._read_frames(first, 0, turn)
                if self.failed:
                    return
            self._read_frames(data, position, turn)
            if self._holding:
                self._hand_on()
        except Fault as fault:
            if not self.failed:
                self._hand_on()
                self._emit(h2.goaway(self.last_peer_sid, fault.code))
                self._fail(ProtocolError(400 if self.is_server else 502, fault.details, str(fault)))
        # What was read at once is answered at once, however many turns it takes.
        if self._controls_sent - self._controls_before > self._options.max_outbound_control_frames:
            self._flooded("outbound_control_flood")

    def _read_preface(self, data: bytes) -> bytes:
        """What follows the client's preface. Something else than the preface ends the connection without a word."""
        expected = self._preface[: len(data)]
        if data[: len(expected)] != expected:
            self._out.clear()
            self._fail(ProtocolError(400, CONNECTION_DETAILS, "not the preface of HTTP/2"))
            return b""
        self._preface = self._preface[len(expected) :]
        return data[len(expected) :]

    def _read_frames(self, data: bytes, position: int, left: int) -> None:
        size = len(data)
        unpack = h2.unpack_head
        view = memoryview(data)
        while size - position >= 9 and left > 0:
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
            left -= 1
            if kind == h2.HEADERS and self._block is None:
                left -= HEAD_COST + (length >> 1)
                self._read_headers(flags, sid, data[start:end])
            elif kind == h2.DATA and self._block is None:
                more = size - end >= 9 and data[end + 3] == h2.DATA
                if more and not flags and data.startswith(data[start - 5 : start], end + 4):
                    position, frames = self._read_run(data, view, start - 9, sid, left + 1)
                    if frames:
                        left -= frames - 1
                        continue
                    position = end
                self._read_data(flags, sid, data[start:end] if length < JOINED else view[start:end], more)
            elif length > h2.MAX_FRAME_SIZE:
                raise Fault(h2.FRAME_SIZE_ERROR, "a frame is too large")
            else:
                left -= 1 + (length >> 2)
                self._read_other(kind, flags, sid, data[start:end])
            if self.failed:
                return
        if position == size:
            return
        if left <= 0:
            self._rest, self._rest_start, self.unfinished = data, position, True
        else:
            self._pending = bytearray(data[position:] if position else data)
            self._needed = 9 + (int.from_bytes(self._pending[:3], "big") if size - position >= 9 else 0)

    def _check_head(self, kind: int, flags: int, length: int) -> None:
        """What can be told from the head of a frame that isn't complete, and of the first frame of all."""
        if length > h2.MAX_FRAME_SIZE:
            raise Fault(h2.FRAME_SIZE_ERROR, "a frame is too large")
        if kind == h2.PUSH_PROMISE:
            raise Fault(h2.PROTOCOL_ERROR, "PUSH_PROMISE")
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
        else:
            self._count_idle()

    def _fail(self, error: ProtocolError) -> None:
        """The end of the connection."""
        self._pending = bytearray()
        self._block = None
        super()._fail(error)

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

    def _read_continuation(self, flags: int, sid: int, payload: bytes) -> None:
        self._count_empty(not payload)
        block = self._block
        if block is None or sid != self._block_sid:
            raise Fault(h2.PROTOCOL_ERROR, "CONTINUATION without HEADERS")
        block.append(payload)
        self._block_size += len(payload)
        if len(block) > MAX_CONTINUATIONS or self._block_size > self._max_block:
            self._too_large(sid)
        if flags & h2.END_HEADERS:
            self._block = None
            self._read_block(sid, self._block_flags, b"".join(block))

    def _too_large(self, sid: int) -> NoReturn:
        if self.is_server and sid > self._highest:
            self._sink.on_stream_error(sid, violation("a block of fields is too large", "http2.too_many_headers"))
        raise Fault(h2.ENHANCE_YOUR_CALM, "a block of fields is too large", "http2.too_many_headers")

    def _read_block(self, sid: int, flags: int, block: bytes) -> None:
        try:
            fields = self._decoder.decode(block)
        except TooManyFieldsError:
            self._sink.on_count("header_overflow")
            self._too_large(sid)
        except HpackError as error:
            raise Fault(h2.COMPRESSION_ERROR, str(error)) from None
        # The exact sum is needed only if it could be too large.
        excess = ""
        if len(fields) > self._options.max_headers_count:
            excess = "http2.too_many_headers"
        elif (
            len(fields) * self._decoder.largest + 2 * len(block) > self._max_list
            and sum(len(name) + len(value) for name, value in fields) > self._max_list
        ):
            excess = "http2.header_list_size_too_large"
        self._read_message(sid, bool(flags & h2.END_STREAM), fields, excess)

    def _read_message(self, sid: int, end: bool, fields: list[Field], excess: str) -> None:
        """A head or trailers; by role. excess: which limit it exceeds, in Envoy's words, or ""."""
        raise NotImplementedError  # each role gives its own

    def _overflow(self, sid: int, excess: str) -> None:
        """More fields than allowed: Envoy answers with RST_STREAM (INTERNAL_ERROR)."""
        self._sink.on_count("header_overflow" if excess == "http2.too_many_headers" else "header_list_size_too_large")
        error = ProtocolError(431 if self.is_server else 502, excess, "too many fields, or too large")
        self._stream_fault(sid, h2.INTERNAL_ERROR, error)

    def _read_trailers(self, stream: Stream, end: bool, fields: list[Field]) -> None:
        try:
            if not end:
                raise violation("a second head")
            trailers = read_trailers(fields, self._decoder.odd, self._options.underscores)
            if stream.expected > 0:
                raise violation("the body is shorter than content-length says")
        except ProtocolError as error:
            self._message_fault(stream.sid, error)
            return
        if self.is_server:
            self._sink.on_count("trailers")
        if stream.held is not None:
            self._hand_on()
        self._end_remote(stream)
        self._sink.on_stream_trailers(stream.sid, trailers)
