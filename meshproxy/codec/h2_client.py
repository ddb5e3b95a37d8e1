"""The asking side of HTTP/2: requests out, responses in."""

from __future__ import annotations

from collections.abc import Callable

from meshproxy.codec import h2_frames as h2
from meshproxy.codec.framing import connection_options
from meshproxy.codec.h2_connection import Http2Codec
from meshproxy.codec.h2_fields import read_response, violation
from meshproxy.codec.h2_output import BUFFER_LIMIT
from meshproxy.codec.h2_stream import Stream
from meshproxy.codec.hpack_static import FIELD_INDEX, Field
from meshproxy.codec.sinks import NOBODY, Http2ClientSink
from meshproxy.errors import ProtocolError
from meshproxy.headers import RequestHeaders, ResponseHeaders
from meshproxy.model.codec import Http2Options

_NO_CONTENT = 204
_NOT_MODIFIED = 304

# Method and scheme -> their fields, encoded by index.
_STARTS = {
    (method, scheme): bytes((128 + FIELD_INDEX[":method", method], 128 + FIELD_INDEX[":scheme", scheme]))
    for method in ("GET", "POST")
    for scheme in ("http", "https")
}


class Http2ClientCodec(Http2Codec):
    """The side that asks. The preface and SETTINGS are in the output from the start."""

    is_server = False

    def __init__(
        self, sink: Http2ClientSink, options: Http2Options, now: Callable[[], float], buffer_limit: int = BUFFER_LIMIT
    ) -> None:
        super().__init__(sink, options, now, buffer_limit)
        self._responses: Http2ClientSink = sink
        self._goaway_received = False
        self._highest = -1
        self._start(h2.PREFACE, True)

    def let_go(self) -> None:
        super().let_go()
        self._responses = NOBODY

    @property
    def can_open(self) -> bool:
        """May one more stream be opened now (the peer's MAX_CONCURRENT_STREAMS, GOAWAY, the room for numbers)?"""
        return (
            len(self._streams) < self._peer_max_streams
            and not self._goaway_received
            and not self.failed
            and self._highest < h2.MAX_SID - 1
        )

    @property
    def max_streams(self) -> int:
        """How many streams the peer lets us have at once."""
        return self._peer_max_streams

    def send_request(self, request: RequestHeaders, end: bool) -> int:
        """Open a stream with this head and return its number. Needs `can_open`.

        A request with `connection: upgrade` goes as extended CONNECT if its `upgrade` names a protocol.
        """
        self._highest = sid = self._highest + 2
        self._opened += 1
        stream = self._streams[sid] = Stream(sid, self._stream_window)
        method = request.method
        stream.is_head = method == "HEAD"
        fields = request.fields
        pairs: list[Field]
        start = _STARTS.get((method, request.scheme))
        if "upgrade" in fields and "upgrade" in connection_options(request.get("connection") or ""):
            stream.upgrade = fields["upgrade"]
            start = b""
            pairs = [(":method", "CONNECT"), (":protocol", stream.upgrade), (":scheme", request.scheme)]
            pairs += [(":authority", request.authority), (":path", request.path)]
        elif method == "CONNECT":
            start = b""
            stream.upgrade = method
            pairs = [(":method", method), (":authority", request.authority)]
        elif start is not None:
            pairs = [(":authority", request.authority), (":path", request.path)]
        else:
            start = b""
            pairs = [(":method", method), (":scheme", request.scheme)]
            pairs += [(":authority", request.authority), (":path", request.path)]
        pairs += request.items()
        if "te" in fields and fields["te"] != "trailers":
            pairs = [pair for pair in pairs if pair[0] != "te"]
        self._emit_fields(sid, pairs, start, end)
        if end:
            self._end_local(stream)
        return sid

    def _read_message(self, sid: int, end: bool, fields: list[Field], excess: str) -> None:
        stream = self._streams.get(sid)
        if stream is None:
            self._check_not_idle(sid, "HEADERS")
        elif not stream.remote_open:
            self._stream_fault(sid, h2.STREAM_CLOSED, violation("HEADERS after the end"))
        elif excess:
            self._overflow(sid, excess)
        elif stream.answered:
            self._read_trailers(stream, end, fields)
        else:
            self._read_head(stream, end, fields)

    def _read_head(self, stream: Stream, end: bool, fields: list[Field]) -> None:
        sid = stream.sid
        try:
            response = read_response(fields, self._decoder.odd)
            status = response.status
            if status < 200:
                if end or status == 101 or "content-length" in response.fields:
                    raise violation("a 1xx that ends the stream, or has a length, or 101")
                self._responses.on_stream_informational(sid, response)
                return
            self._measure(stream, response)
            if end and stream.expected > 0:
                raise violation("content-length without a body")
        except ProtocolError as error:
            self._message_fault(sid, error)
            return
        stream.answered = True
        if stream.upgrade and status == 200 and stream.upgrade != "CONNECT":
            response.status = 101
            response["upgrade"] = stream.upgrade
            response["connection"] = "upgrade"
        if end:
            self._end_remote(stream)
        self._responses.on_stream_response(sid, response, end)

    def _measure(self, stream: Stream, response: ResponseHeaders) -> None:
        """How long the body will be. Raises ProtocolError."""
        status = response.status
        if stream.is_head or status == _NOT_MODIFIED:
            stream.expected = 0
        elif status == _NO_CONTENT:
            if response.fields.pop("content-length", "0") != "0":
                raise violation("204 with a content-length")
            stream.expected = 0
        elif stream.upgrade and status < 300:
            response.fields.pop("content-length", None)  # a tunnel has none (RFC 9110 section 9.3.6)
        elif "content-length" in response.fields:
            stream.expected = int(response.fields["content-length"])

    def _peer_goes_away(self, last_sid: int) -> None:
        """Those that the peer won't treat are as good as never sent."""
        self._goaway_received = True
        for sid in [sid for sid in self._streams if sid > last_sid]:
            stream = self._streams.get(sid)
            if stream is not None:
                self._close(stream, True)
                self._sink.on_stream_reset(sid, h2.REFUSED_STREAM)
