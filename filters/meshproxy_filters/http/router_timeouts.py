"""How long the router waits: from the route, and from the fields with which a client may ask for less or more.

Sources: envoy.config.route.v3.RouteAction (`timeout`, `max_stream_duration`), Envoy's router documentation on
`x-envoy-upstream-rq-timeout-ms`, `x-envoy-upstream-rq-per-try-timeout-ms` and `x-envoy-expected-rq-timeout-ms`.
"""

from __future__ import annotations

from dataclasses import dataclass

from meshproxy.headers import RequestHeaders
from meshproxy.model.route import ForwardAction

_ASKING = frozenset(("x-envoy-upstream-rq-timeout-ms", "x-envoy-upstream-rq-per-try-timeout-ms"))


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


def find_timeouts(action: ForwardAction, request: RequestHeaders, per_try: float, *, tell: bool) -> Timeouts:
    """The timeouts of a request; consumes the fields that ask for others.

    tell: set `x-envoy-expected-rq-timeout-ms` for the upstream (not with `suppress_envoy_headers`).
    """
    fields = request.fields
    # `max_stream_duration` takes the place of `timeout` where a route has it.
    replaced = action.max_stream_duration is not None or action.grpc_timeout_header_max is not None
    timeouts = Timeouts(0.0 if replaced else action.timeout, per_try)
    if _ASKING.isdisjoint(fields):
        _tell(timeouts, fields, tell)
        return timeouts
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
    hedging = fields.pop("x-envoy-hedge-on-per-try-timeout", "") == "true"
    expected = timeouts.whole if hedging else timeouts.per_try or timeouts.whole
    if tell and expected > 0:
        fields["x-envoy-expected-rq-timeout-ms"] = str(int(expected * 1000 + 0.5))
