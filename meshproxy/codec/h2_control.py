"""The frames that steer a connection and its streams: SETTINGS, WINDOW_UPDATE, RST_STREAM, PING, GOAWAY, PRIORITY.

Also what becomes of faults. A `Fault` ends the connection with GOAWAY; a stream's fault ends the stream with
RST_STREAM; a malformed message ends the connection without a word, as in Envoy, unless the options make it the
stream's.
"""

from __future__ import annotations

from collections.abc import Callable

from meshproxy.codec import h2_frames as h2
from meshproxy.codec.h2_fields import violation
from meshproxy.codec.h2_limits import (
    FIELDS_SLACK,
    MAX_IDLE_FRAMES,
    MAX_SETTINGS_ENTRIES,
    WINDOW_UPDATE_BASE,
    ResetBudget,
)
from meshproxy.codec.h2_output import Output
from meshproxy.codec.hpack_decode import Decoder
from meshproxy.codec.sinks import Http2Sink
from meshproxy.errors import ProtocolError
from meshproxy.model.codec import Http2Options

CONNECTION_DETAILS = "http2.protocol_error"


class Fault(Exception):
    """The peer broke the connection: GOAWAY with `code`."""

    def __init__(self, code: int, message: str, details: str = CONNECTION_DETAILS) -> None:
        super().__init__(message)
        self.code = code
        self.details = details


class Control(Output):
    """The part of a connection that reads control frames; `Http2Codec` is the whole.

    peer_allows_connect: the peer has said that it takes extended CONNECT.
    """

    def __init__(self, sink: Http2Sink, options: Http2Options, now: Callable[[], float], buffer_limit: int) -> None:
        super().__init__(sink, options, now, buffer_limit)
        self.peer_allows_connect = False
        most = FIELDS_SLACK * max(options.max_headers_count, 100)
        self._decoder = Decoder(options.underscores != "ALLOW", most, remembers=not self.is_server)
        self._expects_settings = True
        # The highest number that the opener of streams has used.
        self._highest = 0
        self._peer_max_streams = 1024
        self._goaway_last = h2.MAX_SID
        self._priorities: int | None = None
        self._most_credit = 0
        # Until the peer has acknowledged our SETTINGS it may go by the default.
        self._stream_window = max(options.initial_stream_window_size, h2.DEFAULT_WINDOW)
        self._acknowledged = False
        # Floods.
        self._resets = ResetBudget(now)
        self._priority_frames = 0
        self._idle_frames = 0
        self._window_updates = 0
        self._opened = 0

    def _hand_on(self) -> None:
        """Hand on what was held of bodies: the read is over, or something else comes of their streams."""
        raise NotImplementedError  # the connection gives it

    def _message_fault(self, sid: int, error: ProtocolError) -> None:
        """The peer's message is malformed: the end of its stream, or of the connection, without GOAWAY as in Envoy."""
        self._hand_on()
        self._sink.on_count("rx_messaging_error")
        if self._options.override_stream_error_on_invalid_http_message:
            self._stream_fault(sid, h2.PROTOCOL_ERROR, error)
        else:
            if self.is_server and not (sid in self._streams and self._streams[sid].forgotten):
                self._sink.on_stream_error(sid, error)
            self._fail(error)

    def _stream_fault(self, sid: int, code: int, error: ProtocolError) -> None:
        stream = self._streams.get(sid)
        self._hand_on()
        self._emit_reset(sid, code)
        if stream is not None:
            self._close(stream, True)
            if stream.forgotten:
                return
        if not self.failed:
            self._sink.on_stream_error(sid, error)

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
        self._hand_on()
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
            raise Fault(h2.ENHANCE_YOUR_CALM, "too many PRIORITY frames", "codec_error:Too_many_PRIORITY_frames")

    def _read_ping(self, flags: int, sid: int, payload: bytes) -> None:
        if len(payload) != 8:
            raise Fault(h2.FRAME_SIZE_ERROR, "PING has 8 bytes")
        if sid:
            raise Fault(h2.PROTOCOL_ERROR, "PING on a stream")
        if flags & h2.ACK:
            if self._pings:
                self._pings -= 1
            else:
                self._count_idle()
            self._sink.on_ping_ack(payload)
        else:
            self._emit_control(h2.ping(payload, h2.ACK))

    def _count_idle(self) -> None:
        """A frame that says nothing: nobody needs many of them."""
        self._idle_frames += 1
        if self._idle_frames > MAX_IDLE_FRAMES * (1 + self._opened):
            raise Fault(h2.ENHANCE_YOUR_CALM, "too many frames that say nothing", "http2.idle_frames_flood")

    def _read_goaway(self, sid: int, payload: bytes) -> None:
        if sid:
            raise Fault(h2.PROTOCOL_ERROR, "GOAWAY on a stream")
        if len(payload) < 8:
            raise Fault(h2.FRAME_SIZE_ERROR, "GOAWAY has 8 bytes or more")
        self._count_idle()
        last = int.from_bytes(payload[:4], "big") & h2.MAX_SID
        # It names one of our streams, and never a later one than before.
        if last > self._goaway_last or (last and last % 2 == self.is_server):
            raise Fault(h2.PROTOCOL_ERROR, "GOAWAY names a stream that it can't")
        self._goaway_last = last
        self._sink.on_goaway(last, int.from_bytes(payload[4:8], "big"))
        if not self.failed:
            self._peer_goes_away(last)

    def _peer_goes_away(self, last_sid: int) -> None:
        """Only a client opens streams, so only it has any that the peer can leave out."""

    def _read_window_update(self, sid: int, payload: bytes) -> None:
        if len(payload) != 4:
            raise Fault(h2.FRAME_SIZE_ERROR, "WINDOW_UPDATE has 4 bytes")
        self._window_updates += 1
        per_data = self._options.max_inbound_window_update_frames_per_data_frame_sent
        if self._window_updates > WINDOW_UPDATE_BASE + 2 * (self._opened + per_data * self._data_frames):
            self._sink.on_count("inbound_window_update_frames_flood")
            raise Fault(h2.ENHANCE_YOUR_CALM, "too many WINDOW_UPDATEs", "codec_error:Too_many_WINDOW_UPDATE_frames")
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
        if self._priorities is None:
            self._priorities = 0  # RFC 9218 section 2.1: not to be changed after the first SETTINGS
        self._emit_control(h2.SETTINGS_ACK)
        if not self.failed:
            self._sink.on_settings()
            self._pump()

    def _settings_acknowledged(self) -> None:
        if self._acknowledged:
            self._count_idle()
            return
        self._acknowledged = True
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
        elif name == h2.NO_RFC7540_PRIORITIES:
            if value > 1 or self._priorities not in (None, value):
                raise Fault(h2.PROTOCOL_ERROR, "NO_RFC7540_PRIORITIES is 0 or 1, and stays so")
            self._priorities = value
        elif name == h2.ENABLE_CONNECT_PROTOCOL:
            if value > 1 or (self.peer_allows_connect and not value):
                raise Fault(h2.PROTOCOL_ERROR, "ENABLE_CONNECT_PROTOCOL is 0 or 1, and stays 1")
            self.peer_allows_connect = bool(value)
