"""How long the router waits: from the route, and from the fields with which a client may ask for less or more.

Sources: envoy.config.route.v3.RouteAction (`timeout`, `max_stream_duration`), Envoy's router documentation on
`x-envoy-upstream-rq-timeout-ms`, `x-envoy-upstream-rq-per-try-timeout-ms` and `x-envoy-expected-rq-timeout-ms`.
"""

from __future__ import annotations

from functools import lru_cache

from meshproxy.headers import RequestHeaders
from meshproxy.model.route import ForwardAction
from meshproxy.plugin.grpc_timeout import format_grpc_timeout, parse_grpc_timeout
from meshproxy.records import dataclass


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds, 0 for none. whole: from the end of the request to the end of the response. per_try: of one attempt.

    per_try_idle: between two signs of life of an attempt. limits_tries: an attempt has a timeout of its own.
    expected: the value of `x-envoy-expected-rq-timeout-ms`, "" for none.
    """

    whole: float
    per_try: float
    expected: str = ""
    per_try_idle: float = 0.0
    limits_tries: bool = False


NO_TIMEOUTS = Timeouts(0.0, 0.0)


@lru_cache(maxsize=4096)
def route_timeouts(action: ForwardAction) -> Timeouts:
    """What a route grants to requests that ask for nothing, without a retry policy."""
    # `max_stream_duration` takes the place of `timeout` where a route has it.
    replaced = action.max_stream_duration is not None or action.grpc_timeout_header_max is not None
    whole = 0.0 if replaced else action.timeout
    return Timeouts(whole, 0.0, _milliseconds_text(whole))


@lru_cache(maxsize=4096)
def retry_timeouts(action: ForwardAction) -> Timeouts:
    """The same for a route with a retry policy, and without hedging."""
    policy = action.retry_policy
    assert policy is not None
    whole = route_timeouts(action).whole
    per_try = 0.0 if whole and policy.per_try_timeout >= whole else policy.per_try_timeout
    idle = policy.per_try_idle_timeout
    return Timeouts(whole, per_try, _milliseconds_text(per_try or whole), idle, bool(per_try or idle))


def milliseconds(text: str | None) -> float | None:
    """A field's value in milliseconds as seconds; None when it is absent or no number."""
    digits = text.removeprefix("+") if text is not None else ""
    if not digits.isascii() or not digits.isdigit() or len(digits) > 12:
        return None
    return int(digits) / 1000.0


def find_timeouts(
    action: ForwardAction, request: RequestHeaders, *, hedges: bool, tell: bool, respects: bool = False
) -> Timeouts:
    """The timeouts of a request; consumes the fields that ask for others.

    hedges: an attempt goes on after its own timeout.
    respects: the field with which a proxy before us told what it expects counts as the route's timeout.
    tell: set `x-envoy-expected-rq-timeout-ms` for the upstream (not with `suppress_envoy_headers`).
    """
    fields = request.fields
    policy = action.retry_policy
    per_try = policy.per_try_timeout if policy is not None else 0.0
    idle = policy.per_try_idle_timeout if policy is not None else 0.0
    whole = route_timeouts(action).whole
    by_grpc = action.max_grpc_timeout is not None and is_grpc(request)
    if by_grpc:
        whole = _grpc_timeout(action, request)
    given = fields.get("x-envoy-expected-rq-timeout-ms") if respects else None
    if given is not None:
        asked = milliseconds(given)
        if asked is not None:
            whole = asked
    elif "x-envoy-upstream-rq-timeout-ms" in fields:
        asked = milliseconds(fields.pop("x-envoy-upstream-rq-timeout-ms"))
        if asked is not None:
            whole = asked
    if "x-envoy-upstream-rq-per-try-timeout-ms" in fields:
        asked = milliseconds(fields.pop("x-envoy-upstream-rq-per-try-timeout-ms"))
        if asked is not None:
            per_try = asked
    if whole and per_try >= whole:
        per_try = 0.0
    expected = _milliseconds_text(whole if hedges else per_try or whole)
    if tell and expected:
        fields["x-envoy-expected-rq-timeout-ms"] = expected
    if by_grpc and expected:
        fields["grpc-timeout"] = format_grpc_timeout(int(expected) / 1000)
    return Timeouts(whole, per_try, expected, idle, bool(per_try or idle))


def is_grpc(request: RequestHeaders) -> bool:
    """Whether it says so of its content."""
    content_type = request.fields.get("content-type", "")
    return content_type.startswith("application/grpc") and content_type[16:17] in ("", "+")


def _grpc_timeout(action: ForwardAction, request: RequestHeaders) -> float:
    """`max_grpc_timeout`: what the client asks for, within what the route grants; 0 for no limit."""
    asked = parse_grpc_timeout(request.fields.get("grpc-timeout")) or 0.0
    if action.grpc_timeout_offset < asked:
        asked -= action.grpc_timeout_offset
    granted = action.max_grpc_timeout or 0.0
    return granted if granted and (not asked or asked > granted) else asked


def _milliseconds_text(seconds: float) -> str:
    return str(int(seconds * 1000 + 0.5)) if seconds > 0 else ""
