"""How long the router waits: from the route, and from the fields with which a client may ask for less or more.

Sources: envoy.config.route.v3.RouteAction (`timeout`, `max_stream_duration`), Envoy's router documentation on
`x-envoy-upstream-rq-timeout-ms`, `x-envoy-upstream-rq-per-try-timeout-ms` and `x-envoy-expected-rq-timeout-ms`, and the
gRPC protocol's `grpc-timeout`.
"""

from __future__ import annotations

from dataclasses import dataclass

from meshproxy.headers import RequestHeaders
from meshproxy.model.route import ForwardAction

_ASKING = frozenset(("x-envoy-upstream-rq-timeout-ms", "x-envoy-upstream-rq-per-try-timeout-ms"))
_GRPC_UNITS = {"H": 3600.0, "M": 60.0, "S": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9}


@dataclass(slots=True)
class Timeouts:
    """Seconds, 0 for none. whole: from the end of the request to the end of the response. per_try: of one attempt."""

    whole: float
    per_try: float


def milliseconds(text: str | None) -> float | None:
    """A field's value in milliseconds as seconds; None when it is absent or no number."""
    if text is None or not text.isascii() or not text.isdigit() or len(text) > 12:
        return None
    return int(text) / 1000.0


def grpc_timeout(text: str | None) -> float | None:
    """`grpc-timeout` in seconds; None when absent or malformed (at most 8 digits and a unit)."""
    if not text or len(text) > 9 or text[-1] not in _GRPC_UNITS:
        return None
    digits = text[:-1]
    if not digits.isascii() or not digits.isdigit():
        return None
    return int(digits) * _GRPC_UNITS[text[-1]]


def find_timeouts(action: ForwardAction, request: RequestHeaders, per_try: float, *, tell: bool) -> Timeouts:
    """The timeouts of a request; consumes the fields that ask for others.

    tell: set `x-envoy-expected-rq-timeout-ms` for the upstream (not with `suppress_envoy_headers`).
    """
    fields = request.fields
    timeouts = Timeouts(action.timeout, per_try)
    if action.grpc_timeout_header_max is None and _ASKING.isdisjoint(fields):
        _tell(timeouts, fields, tell)
        return timeouts
    if action.grpc_timeout_header_max is not None and "grpc-timeout" in fields:
        asked = grpc_timeout(fields["grpc-timeout"])
        if asked is not None:
            if action.grpc_timeout_header_max:
                asked = min(asked, action.grpc_timeout_header_max)
            timeouts.whole = max(asked - action.grpc_timeout_header_offset, 0.001) if asked else 0.0
    if "x-envoy-upstream-rq-timeout-ms" in fields:
        asked = milliseconds(fields.pop("x-envoy-upstream-rq-timeout-ms"))
        if asked is not None:
            timeouts.whole = asked
    if "x-envoy-upstream-rq-per-try-timeout-ms" in fields:
        asked = milliseconds(fields.pop("x-envoy-upstream-rq-per-try-timeout-ms"))
        if asked is not None:
            timeouts.per_try = asked
    if timeouts.whole and timeouts.per_try >= timeouts.whole:
        timeouts.per_try = 0.0
    _tell(timeouts, fields, tell)
    return timeouts


def _tell(timeouts: Timeouts, fields: dict[str, str], tell: bool) -> None:
    expected = timeouts.per_try or timeouts.whole
    if tell and expected > 0:
        fields["x-envoy-expected-rq-timeout-ms"] = str(int(expected * 1000 + 0.5))
