"""Retry policies of routes and virtual hosts (envoy.config.route.v3.RetryPolicy)."""

from __future__ import annotations

from typing import Any

from meshproxy.config.context import CompileContext
from meshproxy.config.matchers import compile_header_matcher
from meshproxy.matching import HeaderMatcher
from meshproxy.model.route import RequestPredicate, RetryPolicy
from meshproxy.plugin.suggest import did_you_mean
from meshproxy.plugin.view import ConfigView

_PREVIOUS_HOSTS = "envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate"

CONDITIONS = frozenset(
    {
        *("5xx", "gateway-error", "reset", "reset-before-request", "connect-failure", "envoy-ratelimited"),
        *("retriable-4xx", "refused-stream", "retriable-status-codes", "retriable-headers"),
        *("http3-post-connect-failure", "cancelled", "deadline-exceeded", "internal", "resource-exhausted"),
        "unavailable",
    }
)
"""What `retry_on` can name: "x-envoy-retry-on" and "x-envoy-retry-grpc-on" in the router's documentation."""


def compile_retry_policy(view: ConfigView, context: CompileContext) -> RetryPolicy:
    """`RetryPolicy`. Raises ConfigError."""
    base, longest = _compile_back_off(view)
    return RetryPolicy(
        retry_on=_compile_conditions(view, context),
        num_retries=view.integer("num_retries", 1),
        per_try_timeout=view.seconds("per_try_timeout", 0.0),
        per_try_idle_timeout=view.seconds("per_try_idle_timeout", 0.0),
        retriable_status_codes=frozenset(view.integers("retriable_status_codes")),
        retriable_headers=tuple(compile_header_matcher(entry) for entry in view.views("retriable_headers")),
        retriable_request_headers=tuple(
            of_request(compile_header_matcher(entry)) for entry in view.views("retriable_request_headers")
        ),
        back_off_base=base,
        back_off_max=longest,
        host_selection_max_attempts=view.integer("host_selection_retry_max_attempts") or 1,
        avoid_previous_hosts=_compile_host_predicates(view),
    )


def of_request(matches: HeaderMatcher) -> RequestPredicate:
    """A header matcher as a condition of a route."""

    def condition(request: Any, stream: Any) -> bool:
        return matches(request)

    return condition


def _compile_conditions(view: ConfigView, context: CompileContext) -> frozenset[str]:
    named = [name.strip() for name in view.text("retry_on").split(",") if name.strip()]
    for name in named:
        if name not in CONDITIONS:
            # Envoy passes over it in silence; a policy that never applies deserves a word.
            message = f"retry_on: there is no condition '{name}', it has no effect{did_you_mean(name, CONDITIONS)}"
            context.warnings.append(view.error(message, "retry_on"))
    return CONDITIONS.intersection(named)


def _compile_back_off(view: ConfigView) -> tuple[float, float]:
    back_off = view.view("retry_back_off")
    if back_off is None:
        return 0.025, 0.25
    base = max(back_off.seconds("base_interval", 0.025), 0.001)
    longest = back_off.duration("max_interval")
    if longest is None:
        return base, base * 10
    longest = max(longest, 0.001)
    if longest < base:
        back_off.fail("max_interval must be greater than or equal to the base_interval", "max_interval")
    return base, longest


def _compile_host_predicates(view: ConfigView) -> bool:
    predicates = view.views("retry_host_predicate")
    for predicate in predicates:
        typed = predicate.any("typed_config")
        if typed is None or typed.full_name != _PREVIOUS_HOSTS:
            predicate.fail(f"the only retry_host_predicate of meshproxy is {_PREVIOUS_HOSTS}")
    return bool(predicates)
