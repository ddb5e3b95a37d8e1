"""Local replies: what the proxy answers by itself. One table, so that the same cause always gives the same bytes.

Status, body, response-code details and flags are Envoy's (its documentation: "Response Code Details" and
`%RESPONSE_FLAGS%`), because dashboards and alerts are written against them.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import replace

from meshproxy.headers import check_name, check_value
from meshproxy.records import dataclass


@dataclass(frozen=True, slots=True)
class LocalReply:
    """An answer that a filter gives instead of the upstream. Returned from a hook, it ends the request there.

    status: HTTP status code. body: sent as `text/plain` unless `headers` say otherwise.
    details: `%RESPONSE_CODE_DETAILS%`, blanks become "_". flags: short response flags, joined by ",".
    grpc_status: for gRPC requests; None derives it from `status`.
    close: close the connection after it, as for a message whose end can't be trusted.
    as_is: an answer of its own making: neither `local_reply_config` nor what gRPC asks of an error changes it.
    Raises ValueError for what can't be sent: a status that ends no request, a malformed header, a body of other than
    bytes.
    """

    status: int
    body: bytes = b""
    headers: Sequence[tuple[str, str]] = ()
    details: str = ""
    flags: str = ""
    grpc_status: int | None = None
    close: bool = False
    as_is: bool = False

    def __post_init__(self) -> None:
        if type(self.status) is not int or not 200 <= self.status <= 999 or not isinstance(self.body, bytes):
            raise ValueError(f"not a status and a body: {self.status!r} {self.body!r}")
        for name, value in self.headers:
            check_name(name)
            check_value(value)


class ResponseReplaced(Exception):
    """Raised by a response hook: the client gets `reply` instead; the stream is cut if the response's head is out."""

    def __init__(self, reply: LocalReply) -> None:
        super().__init__(reply.details)
        self.reply = reply


NOT_FOUND = LocalReply(404, details="route_not_found", flags="NR")
NO_HEALTHY_UPSTREAM = LocalReply(503, b"no healthy upstream", details="no_healthy_upstream", flags="UH")
RESPONSE_TIMEOUT = LocalReply(504, b"upstream request timeout", details="response_timeout", flags="UT")
RETRY_BUFFER_EXCEEDED = LocalReply(
    507,
    b"exceeded request buffer limit while retrying upstream",
    details="request_payload_exceeded_retry_buffer_limit",
)
DROP_OVERLOAD = LocalReply(
    503, b"drop overload", (("x-envoy-drop-overload", "true"),), details="drop_overload", flags="DO"
)
UNCONDITIONAL_DROP_OVERLOAD = LocalReply(
    503,
    b"unconditional drop overload",
    (("x-envoy-unconditional-drop-overload", "true"),),
    details="unconditional_drop_overload",
    flags="UDO",
)
MAINTENANCE_MODE = LocalReply(
    503, b"maintenance mode", (("x-envoy-overloaded", "true"),), details="maintenance_mode", flags="UO"
)
PER_TRY_TIMEOUT = LocalReply(504, b"upstream request timeout", details="upstream_per_try_timeout", flags="UT")
PER_TRY_IDLE_TIMEOUT = LocalReply(504, b"upstream request timeout", details="upstream_per_try_idle_timeout", flags="UT")
STREAM_IDLE_TIMEOUT = LocalReply(504, b"stream timeout", details="stream_idle_timeout", flags="SI")
REQUEST_IDLE_TIMEOUT = LocalReply(408, b"stream timeout", details="stream_idle_timeout", flags="SI")
MAX_DURATION_TIMEOUT = LocalReply(504, b"downstream duration timeout", details="max_duration_timeout", grpc_status=4)
REQUEST_DURATION_TIMEOUT = replace(MAX_DURATION_TIMEOUT, status=408)
MAX_UPSTREAM_DURATION = LocalReply(
    504, b"upstream max stream duration reached", details="upstream_max_stream_duration_reached", flags="UMSDR"
)
REQUEST_UPSTREAM_DURATION = replace(MAX_UPSTREAM_DURATION, status=408)
REQUEST_TIMEOUT = LocalReply(408, b"request timeout", details="request_overall_timeout", close=True)
REQUEST_HEADERS_TIMEOUT = LocalReply(408, b"request header timeout", details="request_header_timeout", close=True)
PAYLOAD_TOO_LARGE = LocalReply(413, b"Payload Too Large", details="request_payload_too_large", close=True)
RESPONSE_TOO_LARGE = LocalReply(500, b"Internal Server Error", details="response_payload_too_large")
UPGRADE_FAILED = LocalReply(403, details="upgrade_failed", close=True)
MISSING_HOST = LocalReply(400, details="missing_host_header", close=True)
QUERY_WITHOUT_TYPE = LocalReply(400, details="query_missing_content_type", close=True)
PATH_NORMALIZATION_FAILED = LocalReply(400, details="path_normalization_failed", close=True)
ABSOLUTE_PATH_REJECTED = LocalReply(404, details="absolute_path_rejected")
FILTER_FAILED = LocalReply(500, b"Internal Server Error", details="filter_failed")


def cluster_not_found(status: int) -> LocalReply:
    """The reply for a route whose cluster doesn't exist; `status` is the route's `cluster_not_found_response_code`."""
    return LocalReply(status, details="cluster_not_found", flags="NC")


class ResetReason(enum.Enum):
    """Why an upstream stream ended before its response did. Values: Envoy's text, flag and status of the reply."""

    CONNECT_FAILURE = ("remote connection failure", "UF", 503)
    CONNECT_TIMEOUT = ("connection timeout", "UF", 503)
    CONNECTION_TERMINATION = ("connection termination", "UC", 503)
    REMOTE_RESET = ("remote reset", "UR", 503)
    REMOTE_REFUSED_STREAM = ("remote refused stream reset", "UR", 503)
    CONNECT_ERROR = ("remote error with CONNECT request", "UR", 503)
    LOCAL_RESET = ("local reset", "LR", 503)
    PROTOCOL_ERROR = ("protocol error", "UPE", 502)
    OVERFLOW = ("overflow", "UO", 503)
    QUEUE_OVERFLOW = ("overflow", "UO", 503, "before a connection was chosen")
    NO_POOL = ("no connection pool", "UH", 503)

    def __init__(self, text: str, flag: str, status: int, _: str = "") -> None:
        self.text = text
        self.flag = flag
        self.status = status


def upstream_reset(
    reason: ResetReason, transport_detail: str = "", *, retried: bool = False, informed: bool = False
) -> LocalReply:
    """The reply when an upstream stream was reset before its response began.

    transport_detail: what the transport said, such as `delayed connect error: Connection refused`; only in details.
    informed: whether there was a 1xx, with which the response has begun as far as the details are concerned.
    """
    if reason is ResetReason.NO_POOL:
        return NO_HEALTHY_UPSTREAM
    again = "retried and the latest reset reason" if retried else "reset reason"
    text = f"upstream connect error or disconnect/reset before headers. {again}: {reason.text}"
    cause = f"{reason.text}|{transport_detail}" if transport_detail else reason.text
    return LocalReply(
        reason.status,
        text.encode(),
        headers=(("x-envoy-overloaded", "true"),) if reason.flag == "UO" else (),
        details=f"upstream_reset_{'after' if informed else 'before'}_response_started{{{cause}}}".replace(" ", "_"),
        flags=reason.flag,
    )
