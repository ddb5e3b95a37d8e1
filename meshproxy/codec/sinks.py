"""What the parsers of HTTP/1 and HTTP/2 call as they go; both sides of a connection implement it. Hooks don't raise."""

from __future__ import annotations

from typing import Any, Protocol

from meshproxy.errors import ProtocolError
from meshproxy.headers import Headers, RequestHeaders, ResponseHeaders


class RequestSink(Protocol):
    """What becomes of the requests of a client."""

    def on_request(self, request: RequestHeaders, end: bool) -> None:
        """The head is complete. end: no body follows."""

    def on_request_body(self, data: bytes, end: bool) -> None:
        """Body bytes: all that one `receive` found. end: these (perhaps none) are the last."""

    def on_request_trailers(self, trailers: Headers) -> None:
        """The message ends with these trailers; called only with `enable_trailers` and if there are any."""

    def on_dropped_names(self, count: int) -> None:
        """So many names of a head were left out because of an underscore (`DROP_HEADER`)."""

    def on_request_error(self, error: ProtocolError) -> None:
        """The client broke the protocol. Nothing follows."""


class ResponseSink(Protocol):
    """What becomes of the responses of an upstream."""

    def on_response(self, response: ResponseHeaders, end: bool) -> None:
        """The head of the final response, or of 101. end: no body follows."""

    def on_response_informational(self, response: ResponseHeaders) -> None:
        """A 1xx other than 101; the final response follows."""

    def on_response_body(self, data: bytes, end: bool) -> None:
        """Body bytes: all that one `receive` found. end: these (perhaps none) are the last."""

    def on_response_trailers(self, trailers: Headers) -> None:
        """The message ends with these trailers; called only with `enable_trailers` and if there are any."""

    def on_response_error(self, error: ProtocolError) -> None:
        """The upstream broke the protocol, or its connection did. Nothing follows; the connection is not to be used."""


class Http2Sink(Protocol):
    """What both roles of an HTTP/2 codec call; see `Http2ServerSink` and `Http2ClientSink`.

    Each hook may be called from within `receive`, and from within what the owner itself calls (`send_data` may find the
    stream blocked). A hook may call the codec back. After `on_stream_reset` or `on_stream_error` nothing more is
    called for that stream; after `on_connection_error` nothing more at all.
    """

    def on_output(self) -> None:
        """There is output where there was none: call `take` soon, best once per turn of the loop."""

    def on_stream_data(self, sid: int, data: bytes, end: bool) -> None:
        """Body bytes, perhaps none if `end`. They count against the windows until `consumed` is called for them."""

    def on_stream_trailers(self, sid: int, trailers: Headers) -> None:
        """The message ends with these trailers."""

    def on_stream_reset(self, sid: int, code: int) -> None:
        """The peer ended the stream with this code; REFUSED_STREAM also for those that its GOAWAY leaves out."""

    def on_stream_error(self, sid: int, error: ProtocolError) -> None:
        """The peer's message is malformed or beyond a limit. RST_STREAM is in the output; the stream is gone.

        On a server it may be a stream that was never announced; `error.request` is its head, if there was one. There it
        is also called ahead of `on_connection_error` for the stream that is to blame for it.
        """

    def on_stream_blocked(self, sid: int, blocked: bool) -> None:
        """More than the buffer limit waits to be sent on the stream (true), or half of it or less again (false)."""

    def on_goaway(self, last_sid: int, code: int) -> None:
        """The peer takes no streams above `last_sid`; no new one can be opened (`can_open` is false)."""

    def on_settings(self) -> None:
        """The peer's SETTINGS have taken effect (`peer`, `can_open`)."""

    def on_ping_ack(self, payload: bytes) -> None:
        """The answer to `ping(payload)`."""

    def on_count(self, name: str) -> None:
        """Something happened for which Envoy has a counter `http2.<name>`: `rx_reset`, `outbound_control_flood`..."""

    def on_connection_error(self, error: ProtocolError) -> None:
        """The connection is of no use any more: write what `take` gives (a GOAWAY if one is due) and close.

        All streams are gone without a call of their own. `error.details` is Envoy's name of the fault. Envoy closes
        after its delayed close timeout.
        """


class Http2ServerSink(Http2Sink, Protocol):
    """What becomes of the requests of a client that speaks HTTP/2."""

    def on_stream_request(self, sid: int, request: RequestHeaders, end: bool) -> None:
        """A request. end: no body follows.

        Extended CONNECT (RFC 8441) comes as the upgrade it is in HTTP/1, as in Envoy: GET, `upgrade: <protocol>`,
        `connection: upgrade`; answer it with 101, which is written as 200.
        """


class Http2ClientSink(Http2Sink, Protocol):
    """What becomes of the responses of an upstream that speaks HTTP/2."""

    def on_stream_response(self, sid: int, response: ResponseHeaders, end: bool) -> None:
        """The final response. end: no body follows. To an upgrade sent as extended CONNECT a 200 comes as 101."""

    def on_stream_informational(self, sid: int, response: ResponseHeaders) -> None:
        """A 1xx; the final response follows."""


class _Nobody:
    """Hears and does nothing."""

    def _ignore(self, *args: Any, **kwargs: Any) -> None:
        return None

    on_output = on_settings = on_goaway = on_ping_ack = on_count = on_connection_error = _ignore
    on_stream_request = on_stream_response = on_stream_informational = _ignore
    on_stream_data = on_stream_trailers = on_stream_reset = on_stream_error = on_stream_blocked = _ignore


NOBODY = _Nobody()
"""The sink of a codec whose owner is gone."""
