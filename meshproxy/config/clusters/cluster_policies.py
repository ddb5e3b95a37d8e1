"""What a cluster says of the requests to it: retries, hashes and mirrors that take the place of the route's, filters
towards hosts, what a failure is, and what is measured (HttpProtocolOptions, Cluster.track_cluster_stats)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from meshproxy.config.http.filters import compile_filter
from meshproxy.config.http.hash_policies import compile_hash_policies
from meshproxy.config.http.mirrors import compile_mirrors
from meshproxy.config.http.retries import compile_retry_policy
from meshproxy.config.http.upstream_filters import compile_upstream_filters
from meshproxy.config.matching.matchers import compile_header_matcher
from meshproxy.config.values.context import CompileContext
from meshproxy.model.cluster_policies import NO_POLICIES, ClusterPolicies
from meshproxy.plugin.view import ConfigView

_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
_Judge = Callable[[Any], bool]


def compile_cluster_policies(cluster: ConfigView, context: CompileContext) -> ClusterPolicies:
    """The policies of a `Cluster`. Raises ConfigError; problems of single mirrors are noted in the context."""
    budgets, sizes, endpoints = cluster.boolean("track_timeout_budgets"), False, False
    tracked = cluster.view("track_cluster_stats")
    if tracked is not None:
        budgets = tracked.boolean("timeout_budgets") or budgets
        sizes = tracked.boolean("request_response_sizes")
        endpoints = tracked.boolean("per_endpoint_stats")
    typed = cluster.any_map("typed_extension_protocol_options").get(_OPTIONS)
    view = typed.view if typed is not None else None
    if view is None:
        measures = budgets or sizes or endpoints
        return ClusterPolicies(timeout_budgets=budgets, sizes=sizes, endpoints=endpoints) if measures else NO_POLICIES
    retry, outlier = view.view("retry_policy"), view.view("outlier_detection")
    stats = context.stats.scope(f"cluster.{cluster.text('alt_stat_name') or cluster.text('name')}.")
    made = ClusterPolicies(
        retry=compile_retry_policy(retry, context) if retry is not None else None,
        hash_policy=compile_hash_policies(view.views("hash_policy")),
        mirrors=compile_mirrors(view, context, None),
        filters=compile_upstream_filters(
            view.views("http_filters"), lambda entry: compile_filter(entry, "HTTP", stats, context)
        ),
        judges_error=_compile_judge(outlier.view("error_matcher")) if outlier is not None else None,
        timeout_budgets=budgets,
        sizes=sizes,
        endpoints=endpoints,
    )
    said = (made.retry, made.hash_policy, made.mirrors, made.filters, made.judges_error, budgets, sizes, endpoints)
    return made if any(said) else NO_POLICIES


def _compile_judge(view: ConfigView | None) -> _Judge | None:
    """`MatchPredicate` over the head of a response."""
    return _compile_predicate(view) if view is not None else None


def _compile_predicate(view: ConfigView) -> _Judge:
    kind = view.which("rule")
    if kind in ("or_match", "and_match"):
        rules = [_compile_predicate(entry) for entry in view.required(kind).views("rules")]
        combine = any if kind == "or_match" else all
        return lambda response: combine(rule(response) for rule in rules)
    if kind == "not_match":
        inner = _compile_predicate(view.required("not_match"))
        return lambda response: not inner(response)
    if kind == "any_match":
        found = view.boolean("any_match")
        return lambda response: found
    if kind == "http_response_headers_match":
        headers = [compile_header_matcher(entry) for entry in view.required(kind).views("headers")]
        return lambda response: all(matches(response) for matches in headers)
    view.fail(f"'{kind}' says nothing of a response's head", kind or "")
