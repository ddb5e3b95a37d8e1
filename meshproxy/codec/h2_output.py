"""What an HTTP/2 connection sends: frames gather in a list, within the peer's windows (RFC 9113 sections 4, 5.2, 6.9).

`take` joins what has gathered, so that a turn of the loop costs one write. DATA leaves only within the peer's windows
and while the transport has room (`hold`); what doesn't is queued on its stream, whose owner is told to pause at
`buffer_limit`. When a window opens, the streams that wait send frame by frame in turn.

Invariants:
- a stream is in `_waiting` exactly as long as its queue isn't empty;
- a frame counts against the limits until its last byte has left the transport's buffer;
- frames of one stream leave in the order in which they were handed over, trailers behind the queue.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable

from meshproxy.codec import h2_frames as h2
from meshproxy.codec.h2_stream import Stream
from meshproxy.codec.hpack_encode import Encoder
from meshproxy.codec.hpack_static import Field
from meshproxy.codec.sinks import NOBODY, Http2Sink
from meshproxy.errors import ProtocolError
from meshproxy.headers import Headers
from meshproxy.model.codec import Http2Options

#: Most bytes that wait on one stream before its sender is told to pause; Envoy's buffer limit of a connection.
BUFFER_LIMIT = 1024 * 1024

#: After so many pieces of output it's looked up which of them have been written.
_MANY = 32


class Output:
    """The sending half of a connection; `Http2Codec` is the whole.

    unwritten: how many of the bytes that were taken wait in the transport; None: nobody knows, so they never do.
    failed: after a connection error, or `goaway` with a code other than 0; nothing is read any more.
    """

    is_server: bool
    unwritten: Callable[[], int] | None = None

    def __init__(self, sink: Http2Sink, options: Http2Options, now: Callable[[], float], buffer_limit: int) -> None:
        self._sink = sink
        self._options = options
        self._now = now
        self._high = buffer_limit
        self._low = buffer_limit // 2
        self.failed = False
        self._streams: dict[int, Stream] = {}
        self._going_away = h2.MAX_SID
        # What we may send.
        self._encoder = Encoder(options.hpack_table_size)
        self._send_left = h2.DEFAULT_WINDOW
        self._peer_window = h2.DEFAULT_WINDOW
        self._peer_frame_size = h2.MAX_FRAME_SIZE
        self._waiting: dict[int, Stream] = {}
        self._held = False
        # PINGs of ours without an answer yet.
        self._pings = 0
        # The output, and how many frames haven't been written: of it, and of what was taken, by where it ended.
        self._out: list[bytes | memoryview] = []
        self._most_frames = options.max_outbound_frames
        self._frames = 0
        self._control_frames = 0
        self._new_frames = 0
        self._new_control_frames = 0
        self._controls_sent = 0
        self._taken: deque[tuple[int, int, int]] = deque()
        self._bytes_taken = 0
        self._data_frames = 0

    def _fail(self, error: ProtocolError) -> None:
        """The end of the connection."""
        if self.failed:
            return
        self.failed = True
        self._streams.clear()
        self._waiting.clear()
        self._sink.on_connection_error(error)

    def let_go(self) -> None:
        """The owner has ended the connection: nothing is read or told any more, and the owner isn't referred to."""
        self.failed = True
        self._sink = NOBODY
        self.unwritten = None
        self._streams.clear()
        self._waiting.clear()

    def is_flushing(self, sid: int) -> bool:
        """Has the whole message been handed over, and waits for the peer's window?"""
        stream = self._streams.get(sid)
        return stream is not None and stream.end_queued

    def end_flush(self, sid: int) -> None:
        """The peer has had its time: drop what waits on the stream and reset it, without a call of the sink."""
        stream = self._streams.get(sid)
        if stream is not None and stream.end_queued:
            self._sink.on_count("tx_flush_timeout")
            self._emit_reset(sid, h2.INTERNAL_ERROR)
            self._close(stream, True)

    def _close(self, stream: Stream, reset: bool) -> None:
        """Both sides of the stream have ended, or one has reset it."""
        raise NotImplementedError  # the connection gives it

    def _emit(self, frame: bytes, body: bytes | memoryview = b"") -> None:
        self._new_frames += 1
        out = self._out
        first = not out
        out.append(frame)
        out.append(body)
        if first:
            self._sink.on_output()
        most = self._most_frames
        if self._frames + self._new_frames > most and self.backlog()[0] > most:
            self._flooded("outbound_flood")

    def _emit_control(self, frame: bytes) -> None:
        """A frame that a peer can make us send at will: acknowledgements and resets."""
        self._new_control_frames += 1
        self._controls_sent += 1
        self._emit(frame)
        most = self._options.max_outbound_control_frames
        if self._control_frames + self._new_control_frames > most and self.backlog()[1] > most:
            self._flooded("outbound_control_flood")

    def backlog(self) -> tuple[int, int]:
        """How many frames haven't reached the network yet, and how many of them are control frames."""
        taken = self._taken
        if taken:
            written = self._bytes_taken - (self.unwritten() if self.unwritten is not None else 0)
            while taken and taken[0][0] <= written:
                _, frames, control_frames = taken.popleft()
                self._frames -= frames
                self._control_frames -= control_frames
        return self._frames + self._new_frames, self._control_frames + self._new_control_frames

    def _flooded(self, counter: str) -> None:
        """Too much waits to be written: the peer doesn't read, so no GOAWAY would reach it."""
        if not self.failed:
            self._sink.on_count(counter)
            self._out.clear()
            self._fail(ProtocolError(400, "http2.outbound_frames_flood", counter))

    def _emit_reset(self, sid: int, code: int) -> None:
        self._sink.on_count("tx_reset")
        self._emit_control(h2.rst_stream(sid, code))

    def take(self) -> bytes:
        """All that is to be written now; b"" if nothing."""
        out = self._out
        if not out:
            return b""
        data = b"".join(out)
        out.clear()
        frames, control_frames = self._new_frames, self._new_control_frames
        self._bytes_taken += len(data)
        self._taken.append((self._bytes_taken, frames, control_frames))
        self._frames += frames
        self._control_frames += control_frames
        self._new_frames = self._new_control_frames = 0
        if len(self._taken) > _MANY:
            self.backlog()  # forgets what has been written
        return data

    def hold(self, held: bool) -> None:
        """The transport's buffer is full (`pause_writing`), or has room again.

        While held, DATA stays queued on its streams, and `take` gives only control frames and heads.
        """
        self._held = held
        if not held:
            self._pump()

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
            and size <= self._send_left
            and size <= stream.credit + self._peer_window
        ):
            if size > self._peer_frame_size:
                self._emit_in_frames(stream, memoryview(data), end)
            elif size or end:
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

    def _emit_in_frames(self, stream: Stream, data: memoryview, end: bool) -> None:
        frame_size = self._peer_frame_size
        last = (len(data) - 1) // frame_size * frame_size
        for start in range(0, last, frame_size):
            self._emit_data(stream, data[start : start + frame_size], False)
            if self.failed:
                return
        self._emit_data(stream, data[last:], end)

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
            self._pings += 1
            self._emit(h2.ping(payload))
