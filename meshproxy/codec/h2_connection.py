"""One HTTP/2 connection (RFC 9113), either role: bytes in, calls of a sink out; and what is to be written, on demand.

Skeleton: the calls and their meaning are settled, the body comes next.
"""

from __future__ import annotations

from collections.abc import Callable

from meshproxy.codec.sinks import Http2ClientSink, Http2ServerSink, Http2Sink
from meshproxy.headers import Headers, RequestHeaders, ResponseHeaders
from meshproxy.model.codec import Http2Options

#: Most bytes that wait on one stream before its sender is told to pause; Envoy's buffer limit of a connection.
BUFFER_LIMIT = 1024 * 1024


class Http2Codec:
    """What both roles share. Never raises because of what it reads; `sink` is told instead.

    sid: everywhere the number of a stream. A call for a stream that is gone is ignored, so an owner needs no care about
        calls that cross.
    now: seconds that never go back; asked for the limits that are rates.
    buffer_limit: bytes queued on a stream beyond which `on_stream_blocked` tells its owner.
    """

    def __init__(
        self, sink: Http2Sink, options: Http2Options, now: Callable[[], float], buffer_limit: int = BUFFER_LIMIT
    ) -> None:
        raise NotImplementedError

    #: After a connection error, or `goaway` with a code other than 0: nothing is read any more.
    failed: bool
    #: The highest stream that the peer has opened (server role); what the second step of a drain names.
    last_peer_sid: int
    #: The peer has said that it supports extended CONNECT (client role).
    peer_allows_connect: bool

    @property
    def open_streams(self) -> int:
        """How many streams live."""
        raise NotImplementedError

    def receive(self, data: bytes) -> None:
        """Take bytes from the peer. Must not be called from within a hook."""
        raise NotImplementedError

    def take(self) -> bytes:
        """All that is to be written now; b"" if nothing. What is taken counts as written unless `hold(True)`."""
        raise NotImplementedError

    def hold(self, held: bool) -> None:
        """The transport's buffer is full (`pause_writing`), or has room again.

        While held, DATA stays queued on its streams, and `take` gives only control frames and heads, which count
        against the limits of outbound frames.
        """
        raise NotImplementedError

    def send_data(self, sid: int, data: bytes, end: bool) -> None:
        """Send body bytes, perhaps none if `end`; what the peer's windows don't allow yet is queued."""
        raise NotImplementedError

    def send_trailers(self, sid: int, trailers: Headers) -> None:
        """End the message with trailers, behind whatever is queued."""
        raise NotImplementedError

    def reset_stream(self, sid: int, code: int) -> None:
        """End the stream with RST_STREAM and forget it, without a call of the sink.

        On a server whose response has been handed over whole, what is queued of it goes first, as in Envoy; the sink
        hears nothing more of the stream all the same.
        """
        raise NotImplementedError

    def consumed(self, sid: int, count: int) -> None:
        """So many body bytes of the stream have found their way: the peer may send as many more.

        WINDOW_UPDATEs go out when half a window has gathered. Bytes of streams that are gone need no call.
        """
        raise NotImplementedError

    def goaway(self, last_sid: int | None = None, code: int = 0) -> None:
        """Announce that no streams above `last_sid` are taken. None: 2^31-1, the first step of a drain.

        The second step names `last_peer_sid` one round trip later; from then on new streams are ignored.
        """
        raise NotImplementedError

    def ping(self, payload: bytes) -> None:
        """Send a PING with these eight bytes; `on_ping_ack` brings them back."""
        raise NotImplementedError


class Http2ServerCodec(Http2Codec):
    """The side that answers. SETTINGS are in the output from the start; `receive` expects the client's preface."""

    def __init__(
        self, sink: Http2ServerSink, options: Http2Options, now: Callable[[], float], buffer_limit: int = BUFFER_LIMIT
    ) -> None:
        super().__init__(sink, options, now, buffer_limit)

    def send_response(self, sid: int, response: ResponseHeaders, end: bool) -> None:
        """Send the final head. Fields of one HTTP/1 connection are left out; 101 goes as 200 (RFC 8441)."""
        raise NotImplementedError

    def send_informational(self, sid: int, response: ResponseHeaders) -> None:
        """Send a 1xx head; the final one follows."""
        raise NotImplementedError


class Http2ClientCodec(Http2Codec):
    """The side that asks. The preface and SETTINGS are in the output from the start."""

    def __init__(
        self, sink: Http2ClientSink, options: Http2Options, now: Callable[[], float], buffer_limit: int = BUFFER_LIMIT
    ) -> None:
        super().__init__(sink, options, now, buffer_limit)

    @property
    def can_open(self) -> bool:
        """May one more stream be opened now (the peer's MAX_CONCURRENT_STREAMS, GOAWAY, the room for numbers)?"""
        raise NotImplementedError

    @property
    def max_streams(self) -> int:
        """How many streams the peer lets us have at once."""
        raise NotImplementedError

    def send_request(self, request: RequestHeaders, end: bool) -> int:
        """Open a stream with this head and return its number. Needs `can_open`.

        A request with `connection: upgrade` goes as extended CONNECT if its `upgrade` names a protocol.
        """
        raise NotImplementedError
