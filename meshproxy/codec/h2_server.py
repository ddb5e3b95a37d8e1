"""The answering side of HTTP/2: requests in, responses out."""

from __future__ import annotations

from collections.abc import Callable

from meshproxy.codec import h2_frames as h2
from meshproxy.codec.h2_connection import Http2Codec
from meshproxy.codec.h2_control import Fault
from meshproxy.codec.h2_fields import read_request, violation
from meshproxy.codec.h2_limits import PREMATURE_RESET_LIFETIME, PrematureResets
from meshproxy.codec.h2_output import BUFFER_LIMIT
from meshproxy.codec.h2_stream import Stream
from meshproxy.codec.hpack_static import FIELD_INDEX, Field
from meshproxy.codec.sinks import NOBODY, Http2ServerSink
from meshproxy.errors import ProtocolError
from meshproxy.headers import ResponseHeaders
from meshproxy.model.codec import Http2Options

_SWITCHING = 101

# Status -> its field, encoded: by index, or as a literal that isn't indexed.
_STATUS = {status: b"\x08\x03%d" % status for status in range(100, 1000)}
_STATUS |= {int(value): bytes((128 + index,)) for (name, value), index in FIELD_INDEX.items() if name == ":status"}


class Http2ServerCodec(Http2Codec):
    """The side that answers. SETTINGS are in the output from the start; `receive` expects the client's preface."""

    is_server = True

    def __init__(
        self, sink: Http2ServerSink, options: Http2Options, now: Callable[[], float], buffer_limit: int = BUFFER_LIMIT
    ) -> None:
        super().__init__(sink, options, now, buffer_limit)
        self._requests: Http2ServerSink = sink
        self._premature = PrematureResets()
        self._start(b"", False)

    def let_go(self) -> None:
        super().let_go()
        self._requests = NOBODY

    @property
    def unfinished_head(self) -> int:
        """The new stream of which only a part of the head has come (HEADERS without all CONTINUATIONs), or 0."""
        return self._block_sid if self._block is not None and self._block_sid > self._highest else 0

    def open_unread(self) -> int:
        """Open the stream of the unfinished head, to answer it without waiting for the rest. Returns its number."""
        sid = self.last_peer_sid = self._highest = self._block_sid
        self._opened += 1
        stream = self._streams[sid] = Stream(sid, self._stream_window)
        stream.created = self._now()
        return sid

    def _read_message(self, sid: int, end: bool, fields: list[Field], excess: str) -> None:
        stream = self._streams.get(sid)
        if stream is not None:
            if stream.forgotten:
                return
            if not stream.remote_open:
                self._stream_fault(sid, h2.STREAM_CLOSED, violation("HEADERS after the end"))
            elif excess:
                self._overflow(sid, excess)
            else:
                self._read_trailers(stream, end, fields)
            return
        if not sid & 1:
            raise Fault(h2.PROTOCOL_ERROR, "a client's stream has an odd number")
        if sid <= self._highest:
            # Closed, or skipped. Envoy ignores it; so do we, but not for ever.
            if not self._resets.spend():
                raise Fault(h2.ENHANCE_YOUR_CALM, "too many HEADERS on closed streams")
            return
        self._highest = sid
        self._opened += 1
        if sid > self._going_away:
            return
        self.last_peer_sid = sid
        if len(self._streams) >= self._options.max_concurrent_streams:
            self._sink.on_count("stream_refused_errors")
            self._emit_reset(sid, h2.REFUSED_STREAM)
            self._count_end(True)
            return
        if excess:
            self._overflow(sid, excess)
            self._count_end(True)
            return
        self._read_head(sid, end, fields)

    def _read_head(self, sid: int, end: bool, fields: list[Field]) -> None:
        options = self._options
        stream = Stream(sid, self._stream_window)
        try:
            request = read_request(fields, self._decoder.odd, options.underscores, options.allow_connect)
            if "content-length" in request.fields:
                stream.expected = int(request.fields["content-length"])
            if end and stream.expected > 0:
                raise violation("content-length without a body")
        except ProtocolError as error:
            self._refuse(sid, error)
            return
        if options.underscores == "DROP_HEADER" and self._decoder.odd:
            for name, _ in fields:
                if "_" in name:
                    self._sink.on_count("dropped_headers_with_underscores")
        stream.created = self._now()
        stream.remote_open = not end
        self._streams[sid] = stream
        self._requests.on_stream_request(sid, request, end)

    def _refuse(self, sid: int, error: ProtocolError) -> None:
        """A head that was never announced."""
        if error.details == "http2.unexpected_underscore":
            self._sink.on_count("requests_rejected_with_underscores_in_headers")
            self._stream_fault(sid, h2.INTERNAL_ERROR, error)
        else:
            self._message_fault(sid, error)
        self._count_end(True)

    def _close(self, stream: Stream, reset: bool) -> None:
        super()._close(stream, reset)
        if reset:
            soon = self._now() - stream.created < PREMATURE_RESET_LIFETIME
            self._count_end(soon and not stream.answered)
        else:
            self._premature.ended += 1

    def _count_end(self, premature: bool) -> None:
        """Most streams are reset before they could be answered (CVE-2023-44487): whoever does that wants no answers."""
        if not self._premature.add(premature) and not self.failed:
            self._emit(h2.goaway(self.last_peer_sid, h2.ENHANCE_YOUR_CALM))
            self._fail(ProtocolError(400, "too_many_premature_resets"))

    def send_response(self, sid: int, response: ResponseHeaders, end: bool) -> None:
        """Send the final head. Fields of one HTTP/1 connection are left out; 101 goes as 200 (RFC 8441)."""
        stream = self._streams.get(sid)
        if stream is None or stream.answered:
            return
        stream.answered = True
        status = response.status
        start = _STATUS[200 if status == _SWITCHING else status]
        self._emit_fields(sid, response.items(), start, end)
        if end:
            self._end_local(stream)

    def send_informational(self, sid: int, response: ResponseHeaders) -> None:
        """Send a 1xx head; the final one follows."""
        stream = self._streams.get(sid)
        if stream is not None and not stream.answered:
            self._emit_fields(sid, response.items(), _STATUS[response.status], False)
