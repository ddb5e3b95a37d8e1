"""`grpc-timeout`: the deadline a gRPC client sets, as a limit of its stream.

Sources: the gRPC protocol over HTTP/2 ("Timeout"), and `max_stream_duration` of envoy.config.route.v3.RouteAction.
"""

from __future__ import annotations

import math

from meshproxy.headers import RequestHeaders
from meshproxy.model.route import ForwardAction
from meshproxy.plugin.grpc_timeout import parse_grpc_timeout

_EPSILON = 1e-6
"""In milliseconds: what a product of floating numbers may be off."""
_AT_ONCE = 1e-6


def grpc_duration(action: ForwardAction, request: RequestHeaders, otherwise: float) -> float:
    """How long the stream may last in seconds, 0 for ever: what the client asks for, within what the route grants.

    A client that has no time at all is answered at once.

    otherwise: the limit without a `grpc-timeout`.
    """
    granted = action.grpc_timeout_header_max
    if granted is None:
        return otherwise
    asked = parse_grpc_timeout(request.fields.get("grpc-timeout"))
    if asked is None:
        return otherwise
    asked = math.ceil(asked * 1000 - _EPSILON) / 1000
    if granted and asked > granted:
        asked = granted
    if action.grpc_timeout_header_offset:
        asked = max(asked - action.grpc_timeout_header_offset, 0.0)
    return asked or _AT_ONCE
