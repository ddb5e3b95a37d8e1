"""Retry policies of routes and virtual hosts (envoy.config.route.v3.RetryPolicy)."""

from __future__ import annotations

from typing import Any

from meshproxy.config.http.retry_hosts import compile_host_refusals, compile_retry_priority
from meshproxy.config.matching.matchers import compile_header_matcher
from meshproxy.config.values.context import CompileContext
from meshproxy.matching import HeaderMatcher
from meshproxy.model.retry import CONDITIONS, RetryPolicy
from meshproxy.model.route import RequestPredicate
from meshproxy.plugin.view import ConfigView
from meshproxy.suggest import did_you_mean


def compile_retry_policy(view: ConfigView, context: CompileContext) -> RetryPolicy:
    """`RetryPolicy`. Raises ConfigError."""
    base, longest = _compile_back_off(view)
    sets_none = not view.has("retry_back_off") and not context.runtime.fixed
    resets, longest_reset = _compile_reset_headers(view.view("rate_limited_retry_back_off"))
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
        default_back_off=context.runtime.integer("upstream.base_retry_backoff_ms", 25) if sets_none else None,
        host_selection_max_attempts=view.integer("host_selection_retry_max_attempts") or 1,
        host_refusals=compile_host_refusals(view.views("retry_host_predicate")),
        priority_update_frequency=compile_retry_priority(view.view("retry_priority")),
        reset_headers=resets,
        reset_max_interval=longest_reset,
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


def _compile_reset_headers(view: ConfigView | None) -> tuple[tuple[tuple[str, str], ...], float]:
    if view is None:
        return (), 0.0
    headers = tuple((entry.text("name").lower(), entry.enum("format")) for entry in view.views("reset_headers"))
    return headers, view.seconds("max_interval", 300.0)


def compile_hedging(view: ConfigView) -> bool:
    """`HedgePolicy`: whether it hedges on a per-try timeout. Raises ConfigError for what Envoy hasn't implemented."""
    if view.integer("initial_requests", 1) != 1:
        view.fail("more than one initial request isn't supported, as in Envoy", "initial_requests")
    chance = view.view("additional_request_chance")
    if chance is not None and chance.integer("numerator"):
        view.fail("additional requests by chance aren't supported, as in Envoy", "additional_request_chance")
    return view.boolean("hedge_on_per_try_timeout")
