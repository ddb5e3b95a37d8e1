"""What follows from the heads and trailers of a stream and is asked for in more than one place: sizes, gRPC status."""

from __future__ import annotations

from meshproxy.headers import Headers, RequestHeaders, ResponseHeaders
from meshproxy.plugin.stream_info import StreamInfo

_GRPC_OF_HTTP = {400: 13, 401: 16, 403: 7, 404: 12, 429: 14, 502: 14, 503: 14, 504: 14}
_GRPC_UNKNOWN = 2


def trailer_bytes(headers: Headers | None) -> int:
    """The bytes of all names and values, as `%RESPONSE_TRAILERS_BYTES%` counts them."""
    if headers is None:
        return 0
    return sum([len(name) + len(value) for name, value in headers.items()])


def request_bytes(request: RequestHeaders | None) -> int:
    """Like `trailer_bytes`, with the pseudo-fields."""
    if request is None:
        return 0
    pseudo = (
        (":method", request.method),
        (":path", request.path),
        (":scheme", request.scheme),
        (":authority", request.authority),
    )
    return trailer_bytes(request) + sum([len(name) + len(value) for name, value in pseudo if value])


def response_bytes(response: ResponseHeaders | None) -> int:
    """Like `trailer_bytes`, with `:status`."""
    return 0 if response is None else trailer_bytes(response) + len(":status") + 3


def response_grpc_status(info: StreamInfo) -> int | None:
    """The gRPC status of the trailers, the headers, or else of the HTTP status; -1 for a malformed one."""
    for message in (info.response_trailers, info.response):
        value = message.fields.get("grpc-status") if message is not None else None
        if value is not None:
            return int(value) if value.isascii() and value.isdigit() and len(value) < 10 else -1
    return grpc_status_of_http(info.response_code) if info.response_code else None


def grpc_status_of_http(status: int) -> int:
    """What a client of gRPC makes of an HTTP status (gRPC, "HTTP to gRPC Status Code Mapping")."""
    return _GRPC_OF_HTTP.get(status, _GRPC_UNKNOWN)
