"""Load-balancing policies, in both forms: `lb_policy` with its options, and `load_balancing_policy` with extensions
(envoy.config.cluster.v3.Cluster, envoy.extensions.load_balancing_policies)."""

from __future__ import annotations

from dataclasses import dataclass, replace

from meshproxy.config.context import CompileContext
from meshproxy.config.matchers import compile_runtime_double
from meshproxy.model.cluster import LbOptions
from meshproxy.plugin.view import ConfigView, TypedView

_PACKAGE = "envoy.extensions.load_balancing_policies."
_ROUND_ROBIN = _PACKAGE + "round_robin.v3.RoundRobin"
_LEAST_REQUEST = _PACKAGE + "least_request.v3.LeastRequest"
_RANDOM = _PACKAGE + "random.v3.Random"
_CLUSTER_PROVIDED = _PACKAGE + "cluster_provided.v3.ClusterProvided"
_WRR_LOCALITY = _PACKAGE + "wrr_locality.v3.WrrLocality"

_LEGACY = ("ROUND_ROBIN", "LEAST_REQUEST", "RANDOM", "CLUSTER_PROVIDED")


@dataclass(frozen=True, slots=True)
class LoadBalancing:
    """policy: ROUND_ROBIN, LEAST_REQUEST, RANDOM or CLUSTER_PROVIDED."""

    policy: str
    options: LbOptions


def compile_load_balancing(view: ConfigView, context: CompileContext) -> LoadBalancing:
    """The policy of a `Cluster`. Raises ConfigError."""
    common = _compile_common(view.view("common_lb_config"))
    policies = view.view("load_balancing_policy")
    policy = view.enum("lb_policy")
    if policies is not None:
        return _compile_extensions(policies, common, context)
    if policy not in _LEGACY:
        view.fail(f"{policy} isn't supported by meshproxy", "lb_policy")
    kind = view.which("lb_config")
    if kind == "least_request_lb_config":
        common = _with_least_request(view.required(kind), common, context)
    elif kind == "round_robin_lb_config":
        view.required(kind)
    return LoadBalancing(policy, common)


def _compile_common(view: ConfigView | None) -> LbOptions:
    if view is None:
        return LbOptions()
    threshold = view.view("healthy_panic_threshold")
    options = LbOptions(panic_threshold=threshold.number("value") if threshold is not None else 50.0)
    return _with_locality(view, options)


def _with_locality(view: ConfigView | None, options: LbOptions) -> LbOptions:
    """`locality_config_specifier`, which both forms have."""
    kind = view.which("locality_config_specifier") if view is not None else None
    if view is None or kind is None:
        return options
    if kind == "locality_weighted_lb_config":
        return replace(options, locality_weighted=True)
    zone_aware = view.required("zone_aware_lb_config")
    # Without a local cluster (`cluster_manager.local_cluster_name`) Envoy doesn't route by zone either.
    return replace(options, fail_traffic_on_panic=zone_aware.boolean("fail_traffic_on_panic"))


def _with_least_request(view: ConfigView, options: LbOptions, context: CompileContext) -> LbOptions:
    bias = view.view("active_request_bias")
    return replace(
        options,
        choice_count=view.integer("choice_count", 2),
        active_request_bias=compile_runtime_double(bias, context) if bias is not None else 1.0,
    )


def _compile_extensions(view: ConfigView, common: LbOptions, context: CompileContext) -> LoadBalancing:
    """The first policy of the list that is known, as in Envoy. Raises ConfigError when none is."""
    found = None
    unknown = []
    for policy in view.views("policies"):
        extension = policy.required("typed_extension_config")
        typed = extension.any("typed_config")
        if typed is None:
            extension.fail("'typed_config' is required")
        if found is None:
            found = _compile_extension(typed, common, context)
            if found is None:
                unknown.append(typed.full_name)
        elif typed.view is not None:
            typed.view.raw()
    if found is None:
        view.fail(f"none of these load-balancing policies is supported by meshproxy: {', '.join(unknown)}")
    return found


def _compile_extension(typed: TypedView, common: LbOptions, context: CompileContext) -> LoadBalancing | None:
    view = typed.view
    if view is None:
        return None
    name = typed.full_name
    if name == _WRR_LOCALITY:
        inner = _compile_extensions(view.required("endpoint_picking_policy"), common, context)
        return LoadBalancing(inner.policy, replace(inner.options, locality_weighted=True))
    if name == _CLUSTER_PROVIDED:
        return LoadBalancing("CLUSTER_PROVIDED", common)
    if name == _ROUND_ROBIN:
        return LoadBalancing("ROUND_ROBIN", _with_locality(view.view("locality_lb_config"), common))
    if name == _RANDOM:
        return LoadBalancing("RANDOM", _with_locality(view.view("locality_lb_config"), common))
    if name == _LEAST_REQUEST:
        options = _with_least_request(view, common, context)
        return LoadBalancing("LEAST_REQUEST", _with_locality(view.view("locality_lb_config"), options))
    return None
