"""When and how the router tries again (envoy.config.route.v3.RetryPolicy)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from meshproxy.records import dataclass
from meshproxy.runtime_values import Live

HostRefusal = Callable[[Any, tuple[Any, ...]], bool]
"""`retry_host_predicate`: whether a retry must not go to a host. Arguments: the host, and those tried before."""

CONDITIONS = frozenset(
    {
        *("5xx", "gateway-error", "reset", "reset-before-request", "connect-failure", "envoy-ratelimited"),
        *("retriable-4xx", "refused-stream", "retriable-status-codes", "retriable-headers"),
        *("http3-post-connect-failure", "cancelled", "deadline-exceeded", "internal", "resource-exhausted"),
        "unavailable",
    }
)
"""What `retry_on` can name: "x-envoy-retry-on" and "x-envoy-retry-grpc-on" in the router's documentation."""


@dataclass(frozen=True, slots=True, eq=False)
class RetryPolicy:
    """Times in seconds.

    host_refusals: a host that one of them refuses is drawn again, up to `host_selection_max_attempts` times.
    priority_update_frequency: after so many attempts the priorities tried are left out; 0: never.
    default_back_off: milliseconds in place of back_off_base, and ten times that in place of back_off_max.
    reset_headers: (name, "SECONDS" or "UNIX_TIMESTAMP") of response fields that say when to come again.
    """

    retry_on: frozenset[str] = frozenset()
    num_retries: int = 1
    per_try_timeout: float = 0.0
    per_try_idle_timeout: float = 0.0
    retriable_status_codes: frozenset[int] = frozenset()
    retriable_headers: tuple[Callable[[Any], bool], ...] = ()
    retriable_request_headers: tuple[Callable[[Any, Any], bool], ...] = ()
    back_off_base: float = 0.025
    back_off_max: float = 0.25
    default_back_off: Live[int] | None = None
    host_selection_max_attempts: int = 1
    host_refusals: tuple[HostRefusal, ...] = ()
    priority_update_frequency: int = 0
    reset_headers: tuple[tuple[str, str], ...] = ()
    reset_max_interval: float = 300.0
