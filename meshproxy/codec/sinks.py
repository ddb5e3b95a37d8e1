"""What the HTTP/1 parsers call as they go; the two sides of a connection implement it. The hooks must not raise."""

from __future__ import annotations

from typing import Protocol

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
