"""What a route does with a request (envoy.config.route.v3: RouteAction, RedirectAction, DirectResponseAction)."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from typing import Any

from meshproxy.config.http.filters import Level, compile_filter_level, merge_levels
from meshproxy.config.http.hash_policies import compile_hash_policies
from meshproxy.config.http.header_mutations import compile_level
from meshproxy.config.http.mirrors import compile_mirrors
from meshproxy.config.http.redirects import compile_internal_redirects
from meshproxy.config.http.retries import compile_hedging, compile_retry_policy
from meshproxy.config.http.rewrites import Redirect, compile_redirect, prefix_rewriter, regex_rewriter, with_path_only
from meshproxy.config.matching.matchers import compile_regex_replacer
from meshproxy.config.values.context import CompileContext
from meshproxy.config.values.data_sources import read_data_source
from meshproxy.config.values.formats import compile_substitution_format, compile_text
from meshproxy.config.values.metadata import compile_subset_metadata
from meshproxy.config.values.proxy_header import compile_proxy_header
from meshproxy.matching import wire_text
from meshproxy.model.listener import FilterSpec
from meshproxy.model.mirror import MirrorPolicy
from meshproxy.model.proxy_header import ProxyHeaderOptions
from meshproxy.model.retry import RetryPolicy
from meshproxy.model.route import (
    DirectResponseAction,
    ForwardAction,
    NonForwardingAction,
    PathMatch,
    PathRewrite,
    RedirectAction,
    ValueFormatter,
    WeightedCluster,
)
from meshproxy.plugin.view import ConfigView
from meshproxy.records import dataclass
from meshproxy.suggest import did_you_mean
from meshproxy.uri_template import compile_rewrite

Action = ForwardAction | RedirectAction | DirectResponseAction | NonForwardingAction

_REDIRECT_CODES = {
    "MOVED_PERMANENTLY": 301,
    "FOUND": 302,
    "SEE_OTHER": 303,
    "TEMPORARY_REDIRECT": 307,
    "PERMANENT_REDIRECT": 308,
}
_NOT_FOUND_CODES = {"SERVICE_UNAVAILABLE": 503, "NOT_FOUND": 404, "INTERNAL_SERVER_ERROR": 500}
_PATH_REWRITES = ("prefix_rewrite", "regex_rewrite", "path_rewrite_policy", "path_rewrite")
_EARLY_DATA = "envoy.extensions.early_data.v3.DefaultEarlyDataPolicy"
_TEMPLATE_REWRITE = "envoy.extensions.path.rewrite.uri_template.v3.UriTemplateRewriteConfig"
_MAX_WEIGHT = 2**32 - 1
_FEW = 1000
"""Clusters among which the one that was meant is looked for."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What an action needs of the levels above its route.

    levels: of `typed_per_filter_config`, the route's own first. filters: of the chain, by name. fallback: levels that
    stand behind all those.
    """

    context: CompileContext
    filters: Mapping[str, FilterSpec]
    levels: tuple[Level, ...] = ()
    fallback: tuple[Level, ...] = ()
    retry_policy: RetryPolicy | None = None
    hedges: bool = False
    mirrors: tuple[MirrorPolicy, ...] = ()
    max_direct_response_body: int = 4096
    validate_clusters: bool = True

    @property
    def known_clusters(self) -> Collection[str] | None:
        """The names that a route may use, None for any."""
        return self.context.cluster_names if self.validate_clusters else None


def compile_action(view: ConfigView, match: PathMatch, around: Surroundings) -> Action:
    """The action of a `Route`. Raises ConfigError."""
    kind = view.which("action")
    if kind == "route":
        return _compile_forward(view.required("route"), match, around)
    if kind == "redirect":
        return _compile_redirect(view.required("redirect"), match, around.context)
    if kind == "direct_response":
        return _compile_direct_response(view.required("direct_response"), around)
    if kind == "non_forwarding_action":
        return NonForwardingAction()
    view.fail(f"'{kind}' isn't supported by meshproxy" if kind else "a route needs an action", kind or "")


def _compile_forward(view: ConfigView, match: PathMatch, around: Surroundings) -> ForwardAction:
    duration = view.view("max_stream_duration")
    retry = view.view("retry_policy")
    hedging = view.view("hedge_policy")
    clusters = _compile_clusters(view, around)
    _check_early_data(view)
    return ForwardAction(
        **clusters,
        **_compile_grpc_timeouts(view, duration),
        **_compile_host_rewrite(view, around.context),
        cluster_not_found_status=_NOT_FOUND_CODES.get(view.enum("cluster_not_found_response_code"), 503),
        timeout=view.seconds("timeout", 15.0),
        idle_timeout=view.duration("idle_timeout"),
        max_stream_duration=duration.duration("max_stream_duration") if duration is not None else None,
        retry_policy=compile_retry_policy(retry, around.context) if retry is not None else around.retry_policy,
        hedges=compile_hedging(hedging) if hedging is not None else around.hedges,
        mirrors=compile_mirrors(view, around.context, around.known_clusters) or around.mirrors,
        rewrite_path=_compile_path_rewrite(view, match),
        format_path=_compile_path_format(view, around.context),
        flush_timeout=view.duration("flush_timeout"),
        append_x_forwarded_host=view.boolean("append_x_forwarded_host"),
        priority=view.enum("priority"),
        **_compile_upgrades(view, around.context),
        metadata_match=compile_subset_metadata(view, "metadata_match"),
        hash_policy=compile_hash_policies(view.views("hash_policy")),
        redirects=compile_internal_redirects(view),
    )


def _check_early_data(view: ConfigView) -> None:
    """`early_data_policy`: whether a request may go out before the handshake is over, which only HTTP/3 can."""
    policy = view.view("early_data_policy")
    typed = policy.any("typed_config") if policy is not None else None
    if policy is not None and (typed is None or typed.full_name != _EARLY_DATA):
        policy.fail(f"the only policy that there is, also in Envoy, is {_EARLY_DATA}")


def _compile_grpc_timeouts(view: ConfigView, duration: ConfigView | None) -> dict[str, Any]:
    if duration is not None:
        maximum = duration.duration("grpc_timeout_header_max")
        offset = duration.duration("grpc_timeout_header_offset")
        # Envoy looks at the older fields only without `max_stream_duration`.
        view.duration("max_grpc_timeout"), view.duration("grpc_timeout_offset")
        return {"grpc_timeout_header_max": maximum, "grpc_timeout_header_offset": offset or 0.0}
    older, offset = view.duration("max_grpc_timeout"), view.duration("grpc_timeout_offset")
    return {"max_grpc_timeout": older, "grpc_timeout_offset": offset or 0.0}


def _compile_clusters(view: ConfigView, around: Surroundings) -> dict[str, Any]:
    kind = view.which("cluster_specifier")
    if kind == "cluster":
        _check_cluster(view, "cluster", view.text("cluster"), around)
        return {"cluster": view.text("cluster")}
    if kind == "cluster_header":
        return {"cluster_header": view.text("cluster_header").lower()}
    if kind == "weighted_clusters":
        return _compile_weighted(view.required("weighted_clusters"), around)
    view.fail(f"'{kind}' isn't supported by meshproxy" if kind else "a route action needs a cluster", kind or "")


def _check_cluster(view: ConfigView, field: str, name: str, around: Surroundings) -> None:
    known = around.context.cluster_names
    if around.validate_clusters and name not in known:
        meant = did_you_mean(name, known) if len(known) <= _FEW else ""
        around.context.problems.append(view.error(f"route: unknown cluster '{name}'{meant}", field))


def _compile_weighted(view: ConfigView, around: Surroundings) -> dict[str, Any]:
    prefix = view.text("runtime_key_prefix")
    runtime = around.context.runtime
    if runtime.fixed and not runtime:
        prefix = ""  # nobody will ever say anything of it
    kind = view.which("random_value_specifier")
    clusters = tuple(_compile_weight(entry, around) for entry in view.views("clusters"))
    weights = tuple(runtime.integer(f"{prefix}.{cluster.name}", cluster.weight) for cluster in clusters if prefix)
    total = sum([weight.value for weight in weights] or [cluster.weight for cluster in clusters])
    if not 0 < total <= _MAX_WEIGHT:
        view.fail(f"the sum of weights must be greater than 0 and at most {_MAX_WEIGHT}, not {total}", "clusters")
    weights_header = view.text("header_name").lower() if kind == "header_name" else ""
    return {
        "weighted_clusters": clusters,
        "weights_header": weights_header,
        "total_weight": sum(cluster.weight for cluster in clusters) or 1,
        "weights": weights,
        "weights_by_hash": kind == "use_hash_policy" and view.boolean("use_hash_policy"),
    }


def _compile_weight(view: ConfigView, around: Surroundings) -> WeightedCluster:
    context = around.context
    name = view.text("name")
    header = view.text("cluster_header")
    if bool(name) == bool(header):
        view.fail("exactly one of 'name' and 'cluster_header' must be set", "cluster_header" if header else "")
    if name:
        _check_cluster(view, "name", name, around)
    if not view.has("weight"):
        view.fail("field 'weight' is missing")
    weight = view.integer("weight")
    own = compile_filter_level(view, around.filters, context)
    return WeightedCluster(
        name=name,
        weight=weight,
        cluster_header=header.lower(),
        request_mutations=compile_level(view, "request", context),
        response_mutations=compile_level(view, "response", context),
        host_rewrite=view.text("host_rewrite_literal"),
        metadata_match=compile_subset_metadata(view, "metadata_match"),
        per_filter_config=merge_levels((own, *around.levels), around.filters) if own else {},
    )


def _compile_host_rewrite(view: ConfigView, context: CompileContext) -> dict[str, Any]:
    kind = view.which("host_rewrite_specifier")
    if kind == "host_rewrite_literal":
        return {"host_rewrite": wire_text(view.text("host_rewrite_literal"))}
    if kind == "auto_host_rewrite":
        return {"auto_host_rewrite": view.boolean("auto_host_rewrite")}
    if kind == "host_rewrite_header":
        return {"host_rewrite_header": view.text("host_rewrite_header").lower()}
    if kind == "host_rewrite":
        return {"format_host": compile_text(view, kind, view.text(kind), context)}
    if kind == "host_rewrite_path_regex":
        return {"host_rewrite_path": with_path_only(compile_regex_replacer(view.required("host_rewrite_path_regex")))}
    if kind is not None:
        view.fail(f"'{kind}' isn't supported by meshproxy", kind)
    return {}


def _compile_path_rewrite(view: ConfigView, match: PathMatch) -> PathRewrite | None:
    prefix = view.text("prefix_rewrite")
    regex = view.view("regex_rewrite")
    policy = view.view("path_rewrite_policy")
    set_ones = [name for name in _PATH_REWRITES if view.has(name) and (name != "prefix_rewrite" or prefix)]
    if len(set_ones) > 1:
        view.fail(f"only one of '{set_ones[0]}' and '{set_ones[1]}' can be set", set_ones[1])
    if policy is not None:
        return _compile_template_rewrite(policy, match)
    if regex is not None:
        return regex_rewriter(compile_regex_replacer(regex))
    return prefix_rewriter(match, wire_text(prefix)) if prefix else None


def _compile_template_rewrite(view: ConfigView, match: PathMatch) -> PathRewrite:
    view.text("name")  # a label; the policy is found by the type of its configuration, as in Envoy
    typed = view.any("typed_config")
    if typed is None or typed.full_name != _TEMPLATE_REWRITE or typed.view is None:
        view.fail(f"the only policy that there is, also in Envoy, is {_TEMPLATE_REWRITE}")
    if match.template is None:
        view.fail("a rewrite by template needs a route that matches by template ('path_match_policy')")
    try:
        return regex_rewriter(compile_rewrite(match.template, typed.view.text("path_template_rewrite")))
    except ValueError as error:
        typed.view.fail(str(error), "path_template_rewrite")


def _compile_path_format(view: ConfigView, context: CompileContext) -> ValueFormatter | None:
    text = view.text("path_rewrite")
    return compile_text(view, "path_rewrite", text, context, omit_empty_values=True) if text else None


def _compile_upgrades(view: ConfigView, context: CompileContext) -> dict[str, Any]:
    upgrades: dict[str, bool] = {}
    ends_connect = allows_post = False
    connect_header: ProxyHeaderOptions | None = None
    for entry in view.views("upgrade_configs"):
        kind = entry.text("upgrade_type").lower()
        if kind in upgrades:
            entry.fail(f"duplicate upgrade {entry.text('upgrade_type')}", "upgrade_type")
        upgrades[kind] = entry.boolean("enabled", True)
        connect = entry.view("connect_config")
        if connect is not None:
            if kind != "connect":
                entry.fail("only CONNECT can have one", "connect_config")
            allows_post = connect.boolean("allow_post")
            header = connect.view("proxy_protocol_config")
            connect_header = compile_proxy_header(header, context) if header is not None else None
            ends_connect = True
    return {
        "upgrades": upgrades,
        "ends_connect": ends_connect,
        "tunnel_methods": ("CONNECT", "POST") if allows_post else ("CONNECT",),
        "connect_header": connect_header,
    }


def _compile_redirect(view: ConfigView, match: PathMatch, context: CompileContext) -> RedirectAction:
    format_path, rewrite_path = _compile_path_format(view, context), _redirect_rewrite(view, match)
    redirect = replace(compile_redirect(view), format_path=format_path, rewrite_path=rewrite_path)
    return RedirectAction(_REDIRECT_CODES[view.enum("response_code")], redirect.location, redirect.rewrite_path)


def _redirect_rewrite(view: ConfigView, match: PathMatch) -> Callable[[str], str] | None:
    kind = view.which("path_rewrite_specifier")
    if kind == "regex_rewrite":
        return regex_rewriter(compile_regex_replacer(view.required("regex_rewrite")))
    if kind == "prefix_rewrite" and (prefix := view.text("prefix_rewrite")):
        return prefix_rewriter(match, wire_text(prefix))
    return None


def _compile_direct_response(view: ConfigView, around: Surroundings) -> DirectResponseAction:
    body = view.view("body")
    data = b""
    if body is not None:
        data = read_data_source(body, around.context, limit=around.max_direct_response_body)
    status = view.integer("status")
    body_format = view.view("body_format")
    formatted = compile_substitution_format(body_format, around.context) if body_format is not None else None
    # Envoy sends the client to the very place it asked for.
    location = Redirect().location if status == 201 or 300 <= status <= 399 else None
    if formatted is None:
        return DirectResponseAction(status, data, location)
    return DirectResponseAction(status, data, location, formatted.make, formatted.content_type)
