"""Whether the router tries again, and when.

Source: Envoy's router documentation (`x-envoy-retry-on`, `x-envoy-retry-grpc-on` and what belongs to them) and
envoy.config.route.v3.RetryPolicy. The decision is pure: facts in, a delay or None out.
"""

from __future__ import annotations

import random
from functools import lru_cache

from meshproxy.clock import Clock
from meshproxy.headers import RequestHeaders, ResponseHeaders
from meshproxy.model.retry import RetryPolicy
from meshproxy.plugin.replies import ResetReason
from meshproxy.plugin.upstream import Host, HostChoice

_GRPC_CONDITIONS = {
    "cancelled": "1",
    "deadline-exceeded": "4",
    "internal": "13",
    "resource-exhausted": "8",
    "unavailable": "14",
}
_CONNECT = (ResetReason.CONNECT_FAILURE, ResetReason.CONNECT_TIMEOUT)
RETRY_FIELDS = (
    "x-envoy-retry-on",
    "x-envoy-retry-grpc-on",
    "x-envoy-max-retries",
    "x-envoy-retriable-status-codes",
    "x-envoy-retriable-header-names",
)


class RetryRules:
    """After what another attempt is wanted. It never changes: requests that ask for nothing themselves share that of
    their route's policy, and the state of retries (`RetryState`) comes to be with the first.

    left: how many attempts there may be besides the first.
    """

    __slots__ = ("_by_headers", "_conditions", "_from_500", "_grpc", "_header_names", "_statuses", "left", "policy")

    def __init__(
        self,
        policy: RetryPolicy,
        conditions: frozenset[str],
        statuses: frozenset[int],
        header_names: tuple[str, ...],
        left: int,
    ) -> None:
        wanted = set(statuses) if "retriable-status-codes" in conditions else set()
        if "gateway-error" in conditions:
            wanted |= {502, 503, 504}
        if "retriable-4xx" in conditions:
            wanted.add(409)
        self.policy = policy
        self.left = left
        self._conditions = conditions
        self._statuses = frozenset(wanted)
        self._from_500 = "5xx" in conditions
        self._by_headers = "retriable-headers" in conditions
        self._header_names = header_names
        self._grpc = frozenset(code for name, code in _GRPC_CONDITIONS.items() if name in conditions)

    def wants_response(self, response: ResponseHeaders) -> bool:
        """Whether a response with this head is one to try again after."""
        status = response.status
        fields = response.fields
        if "x-envoy-ratelimited" in fields:
            return "envoy-ratelimited" in self._conditions
        if status in self._statuses or (status >= 500 and self._from_500):
            return True
        if self._by_headers and (
            any(matches(response) for matches in self.policy.retriable_headers)
            or any(name in fields for name in self._header_names)
        ):
            return True
        return "grpc-status" in fields and fields["grpc-status"] in self._grpc

    def wants_reset(self, reason: ResetReason, *, sent: bool) -> bool:
        """Whether to try again after an upstream went away; `sent`: it had got the head."""
        conditions = self._conditions
        if reason.flag == "UO":
            return False
        if "reset" in conditions or "5xx" in conditions or "gateway-error" in conditions:
            return True
        if "reset-before-request" in conditions and not sent:
            return True
        if "connect-failure" in conditions and reason in _CONNECT:
            return True
        return "refused-stream" in conditions and reason is ResetReason.REMOTE_REFUSED_STREAM

    def wants_timeout(self) -> bool:
        """Whether to try again after a per-try timeout."""
        return not self._conditions.isdisjoint(("5xx", "gateway-error", "reset"))


class RetryState:
    """The retries of one request. left: how many there may still be.

    reset_interval: seconds after which the upstream said to come again, 0.0 if it didn't; for the next retry only.
    """

    __slots__ = (
        "_attempt",
        "_clock",
        "_forgotten",
        "_left_out",
        "_left_out_at",
        "_policy",
        "_rng",
        "left",
        "reset_interval",
    )

    def __init__(self, rules: RetryRules, rng: random.Random, clock: Clock) -> None:
        self._policy = rules.policy
        self._rng = rng
        self._clock = clock
        self._attempt = 0
        self._left_out: set[int] = set()
        self._left_out_at = 0
        self._forgotten = 0
        self.left = rules.left
        self.reset_interval = 0.0

    def hear(self, response: ResponseHeaders) -> None:
        """Note when this response, which is tried again after, says to come again."""
        if self._policy.reset_headers:
            self.reset_interval = self._find_reset_interval(response)

    def _find_reset_interval(self, response: ResponseHeaders) -> float:
        """What the first usable of `reset_headers` says, in seconds; 0.0 for nothing (Envoy: ResetHeaderParser)."""
        for name, form in self._policy.reset_headers:
            text = (response.get(name) or "").strip()
            if not text.isascii() or not text.isdigit() or len(text) > 18:
                continue
            seconds = float(text)
            if form == "UNIX_TIMESTAMP":
                seconds -= int(self._clock.wall())
            if 0.001 < seconds <= self._policy.reset_max_interval:
                return seconds
        return 0.0

    def next_delay(self) -> float:
        """Seconds to wait before the next attempt: what the upstream said and up to half as much again, or else
        exponential with full jitter."""
        self.left -= 1
        if self.reset_interval:
            interval, self.reset_interval = self.reset_interval, 0.0
            return interval * (1.0 + self._rng.random() / 2)
        self._attempt += 1
        policy = self._policy
        base, longest = policy.back_off_base, policy.back_off_max
        if policy.default_back_off is not None:
            base = (policy.default_back_off.value or 1) / 1000
            longest = base * 10
        ceiling: float = min(base * (2**self._attempt - 1), longest)
        return self._rng.random() * ceiling

    def choice(self, tried: tuple[Host, ...]) -> HostChoice | None:
        """What the next attempt asks of its host; None for nothing. tried: those that failed."""
        policy = self._policy
        frequency = policy.priority_update_frequency
        if not frequency:
            refusals = policy.host_refusals
            return HostChoice(refusals, tried, policy.host_selection_max_attempts) if refusals else None
        if self._left_out_at and not self._left_out:
            self._forgotten = self._left_out_at  # every priority has had its turn, so those tried count anew
        since = tried[self._forgotten :]
        self._left_out_at = 0
        if since and len(since) % frequency == 0:
            self._left_out.update(host.priority for host in since)
        if self._left_out:
            self._left_out_at = len(tried)
        return HostChoice(policy.host_refusals, tried, policy.host_selection_max_attempts, self._left_out)


def find_retry_rules(policy: RetryPolicy | None, request: RequestHeaders) -> RetryRules | None:
    """What route and request ask for together; None for no retries. Consumes the request's fields."""
    fields = request.fields
    conditions: frozenset[str] = policy.retry_on if policy is not None else frozenset()
    statuses = policy.retriable_status_codes if policy is not None else frozenset()
    left = policy.num_retries if policy is not None else 1
    names: tuple[str, ...] = ()
    if any(name in fields for name in RETRY_FIELDS):
        asked = f"{fields.get('x-envoy-retry-on', '')},{fields.get('x-envoy-retry-grpc-on', '')}"
        conditions |= {condition.strip() for condition in asked.split(",") if condition.strip()}
        maximum = fields.get("x-envoy-max-retries", "")
        if maximum.isascii() and maximum.isdigit() and len(maximum) < 10:
            left = int(maximum)
        listed = [item.strip() for item in fields.get("x-envoy-retriable-status-codes", "").split(",")]
        statuses |= {int(item) for item in listed if item.isascii() and item.isdigit() and len(item) == 3}
        listed = fields.get("x-envoy-retriable-header-names", "").split(",")
        names = tuple(item.strip().lower() for item in listed if item.strip())
        for name in RETRY_FIELDS:
            request.remove(name)
    if not conditions or (policy is not None and not _is_retriable(policy, request)):
        return None
    return RetryRules(policy or RetryPolicy(), conditions, statuses, names, left)


def route_retry_rules(policy: RetryPolicy, request: RequestHeaders) -> RetryRules | None:
    """The same for a request that asks for nothing itself: it has none of `RETRY_FIELDS`."""
    rules = _policy_rules(policy)
    return rules if not policy.retriable_request_headers or _is_retriable(policy, request) else None


@lru_cache(maxsize=4096)
def _policy_rules(policy: RetryPolicy) -> RetryRules | None:
    if not policy.retry_on:
        return None
    return RetryRules(policy, policy.retry_on, policy.retriable_status_codes, (), policy.num_retries)


def _is_retriable(policy: RetryPolicy, request: RequestHeaders) -> bool:
    conditions = policy.retriable_request_headers
    return not conditions or any(matches(request, None) for matches in conditions)
