"""`grpc-timeout`: the deadline a gRPC client sets, as a limit of its stream.

Sources: the gRPC protocol over HTTP/2 ("Timeout"), and `max_stream_duration` of envoy.config.route.v3.RouteAction.
"""

from __future__ import annotations

from meshproxy.headers import RequestHeaders
from meshproxy.model.route import ForwardAction

_UNITS = {"H": 3600.0, "M": 60.0, "S": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9}
_LONGEST_DIGITS = 8


def parse_grpc_timeout(text: str | None) -> float | None:
    """Seconds; None when absent or malformed (at most eight digits and a unit)."""
    if not text or text[-1] not in _UNITS:
        return None
    digits = text[:-1]
    if not digits.isascii() or not digits.isdigit() or len(digits) > _LONGEST_DIGITS:
        return None
    return int(digits) * _UNITS[text[-1]]


def grpc_duration(action: ForwardAction, request: RequestHeaders, otherwise: float) -> float:
    """How long the stream may last in seconds, 0 for ever: what the client asks for, within what the route grants.

    otherwise: the limit without a `grpc-timeout`.
    """
    granted = action.grpc_timeout_header_max
    if granted is None:
        return otherwise
    asked = parse_grpc_timeout(request.fields.get("grpc-timeout"))
    if asked is None:
        return otherwise
    if granted and (asked > granted or asked == 0):
        asked = granted
    if asked and action.grpc_timeout_header_offset:
        asked = max(asked - action.grpc_timeout_header_offset, 0.001)
    return asked
