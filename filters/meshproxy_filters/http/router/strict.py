"""`strict_check_headers`: requests whose control fields say nothing that can be obeyed are refused (Envoy: router)."""

from __future__ import annotations

from collections.abc import Callable

from meshproxy.headers import RequestHeaders
from meshproxy.plugin.replies import LocalReply

_HTTP_CONDITIONS = frozenset(
    {
        *("5xx", "gateway-error", "reset", "reset-before-request", "connect-failure", "envoy-ratelimited"),
        *("retriable-4xx", "refused-stream", "retriable-status-codes", "retriable-headers"),
        "http3-post-connect-failure",
    }
)
_GRPC_CONDITIONS = frozenset(("cancelled", "deadline-exceeded", "internal", "resource-exhausted", "unavailable"))
_LARGEST = 2**64 - 1


def _is_number(value: str) -> bool:
    digits = value.strip(" \t").removeprefix("+")
    return digits.isascii() and digits.isdigit() and len(digits) <= 20 and int(digits) <= _LARGEST


def _all_of(known: frozenset[str]) -> Callable[[str], bool]:
    return lambda value: all(name.strip(" \t") in known for name in value.split(",") if name.strip(" \t"))


_CHECKS: dict[str, Callable[[str], bool]] = {
    "x-envoy-upstream-rq-timeout-ms": _is_number,
    "x-envoy-upstream-rq-per-try-timeout-ms": _is_number,
    "x-envoy-max-retries": _is_number,
    "x-envoy-retry-on": _all_of(_HTTP_CONDITIONS),
    "x-envoy-retry-grpc-on": _all_of(_GRPC_CONDITIONS),
}


def strict_refusal(names: tuple[str, ...], request: RequestHeaders) -> LocalReply | None:
    """The answer to a request one of whose fields `names` has no good value."""
    for name in names:
        value = request.get(name)
        if value is not None and not _CHECKS[name](value):
            body = f"invalid header '{name}' with value '{value}'".encode("latin-1")
            details = f"request_headers_failed_strict_check{{{name}}}"
            return LocalReply(400, body, details=details, flags="IH", close=True)
    return None
