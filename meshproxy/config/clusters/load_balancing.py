"""Load-balancing policies, in both forms: `lb_policy` with its options, and `load_balancing_policy` with extensions
(envoy.config.cluster.v3.Cluster, envoy.extensions.load_balancing_policies)."""

from __future__ import annotations

from dataclasses import replace

from meshproxy.config.clusters.subsets import compile_subsets
from meshproxy.config.matching.matchers import compile_runtime_double
from meshproxy.config.values.context import CompileContext
from meshproxy.matching import FractionalPercent
from meshproxy.model.cluster import ClientWeightOptions, LbOptions, OverrideSource, SlowStartOptions, ZoneOptions
from meshproxy.model.endpoint import NO_LOCALITY, HealthStatus, Locality
from meshproxy.model.subset import SubsetOptions
from meshproxy.plugin.view import ConfigView, TypedView
from meshproxy.records import dataclass
from meshproxy.runtime_values import constant

_PACKAGE = "envoy.extensions.load_balancing_policies."
_ROUND_ROBIN = _PACKAGE + "round_robin.v3.RoundRobin"
_LEAST_REQUEST = _PACKAGE + "least_request.v3.LeastRequest"
_RANDOM = _PACKAGE + "random.v3.Random"
_CLUSTER_PROVIDED = _PACKAGE + "cluster_provided.v3.ClusterProvided"
_WRR_LOCALITY = _PACKAGE + "wrr_locality.v3.WrrLocality"

_SUBSET = _PACKAGE + "subset.v3.Subset"
_RING_HASH = _PACKAGE + "ring_hash.v3.RingHash"
_MAGLEV = _PACKAGE + "maglev.v3.Maglev"

_OVERRIDE_HOST = _PACKAGE + "override_host.v3.OverrideHost"
_CLIENT_WEIGHTED = _PACKAGE + "client_side_weighted_round_robin.v3.ClientSideWeightedRoundRobin"
_ENVOYS_OWN = (_PACKAGE + "dynamic_modules.v3.DynamicModulesLoadBalancerConfig",)

_LEGACY = ("ROUND_ROBIN", "LEAST_REQUEST", "RANDOM", "RING_HASH", "MAGLEV", "CLUSTER_PROVIDED")
_HASHING = ("RING_HASH", "MAGLEV")


@dataclass(frozen=True, slots=True)
class LoadBalancing:
    """policy: ROUND_ROBIN, LEAST_REQUEST, RANDOM, RING_HASH, MAGLEV or CLUSTER_PROVIDED; within each of `subsets`."""

    policy: str
    options: LbOptions
    subsets: SubsetOptions | None = None


def compile_load_balancing(view: ConfigView, context: CompileContext) -> LoadBalancing:
    """The policy of a `Cluster`. Raises ConfigError."""
    common_view = view.view("common_lb_config")
    common = _compile_common(common_view, _local_zone(view, context), context)
    policies = view.view("load_balancing_policy")
    policy = view.enum("lb_policy")
    if policies is not None:
        _refuse_mixture(view, common_view)
        return _compile_extensions(policies, common, context)
    if policy not in _LEGACY:
        view.fail(f"{policy} isn't supported by meshproxy", "lb_policy")
    common = _with_older_options(view, policy, common, context)
    if policy in _HASHING:
        consistent = view.view("common_lb_config")
        consistent = consistent.view("consistent_hashing_lb_config") if consistent is not None else None
        common = _with_consistent_hashing(consistent, common)
    subset_view = view.view("lb_subset_config")
    subsets = compile_subsets(subset_view) if subset_view is not None else None
    if subsets is not None and policy == "CLUSTER_PROVIDED":
        view.fail("cluster: LB policy CLUSTER_PROVIDED cannot be combined with lb_subset_config", "lb_subset_config")
    if subsets is not None and subsets.locality_weight_aware and not common.locality_weighted:
        view.fail(
            "Locality weight aware subset LB requires that a locality_weighted_lb_config be set", "lb_subset_config"
        )
    return LoadBalancing(policy, common, subsets)


def _with_older_options(view: ConfigView, policy: str, common: LbOptions, context: CompileContext) -> LbOptions:
    """`lb_config`; that of another policy has no effect."""
    kind = view.which("lb_config")
    if kind is None or kind == "original_dst_lb_config":
        return common
    options = view.required(kind)
    if kind == "least_request_lb_config" and policy == "LEAST_REQUEST":
        return _with_least_request(options, common, context)
    if kind == "round_robin_lb_config" and policy == "ROUND_ROBIN":
        return _with_slow_start(options, common, context)
    if kind == "ring_hash_lb_config" and policy == "RING_HASH":
        return _with_ring(options, common)
    if kind == "maglev_lb_config" and policy == "MAGLEV":
        return _with_maglev(options, common)
    context.warnings.append(view.error(f"has no effect with lb_policy {policy}", kind))
    view.required(kind).raw()
    return common


def _refuse_mixture(view: ConfigView, common: ConfigView | None) -> None:
    partial = ("zone_aware_lb_config", "locality_weighted_lb_config", "consistent_hashing_lb_config")
    if common is not None and (mixed := [name for name in partial if common.has(name)]):
        common.fail(
            "cluster: load_balancing_policy cannot be combined with partial fields (zone_aware_lb_config, "
            "locality_weighted_lb_config, consistent_hashing_lb_config) of common_lb_config",
            mixed[0],
        )
    if view.has("lb_subset_config"):
        view.fail("cluster: load_balancing_policy cannot be combined with lb_subset_config", "lb_subset_config")


def _local_zone(view: ConfigView, context: CompileContext) -> ZoneOptions | None:
    """Routing by zone as it is where nothing is said of it: on, for all clusters but the local one."""
    local = context.cluster_manager.local_cluster_name
    node = context.node
    if not local or view.text("name") == local:
        return None
    here = Locality(node.region, node.zone, node.sub_zone)
    return _following(ZoneOptions(local, here), 100, 6, context)


def _following(zone: ZoneOptions, enabled: int, minimum: int, context: CompileContext) -> ZoneOptions:
    """With numbers that follow the runtime."""
    runtime = context.runtime
    return replace(
        zone,
        routing_enabled=runtime.share("upstream.zone_routing.enabled", FractionalPercent(enabled)),
        minimum_size=runtime.integer("upstream.zone_routing.min_cluster_size", minimum),
    )


def _compile_common(view: ConfigView | None, zone: ZoneOptions | None, context: CompileContext) -> LbOptions:
    threshold = view.view("healthy_panic_threshold") if view is not None else None
    percent = threshold.number("value") if threshold is not None else 50.0
    options = LbOptions(panic_threshold=context.runtime.number("upstream.healthy_panic_threshold", percent), zone=zone)
    if view is None:
        return options
    override = view.view("override_host_status")
    if override is not None:
        statuses = frozenset(HealthStatus[name] for name in override.enums("statuses"))
        options = replace(options, override_statuses=statuses)
    return _with_locality(view, options, context)


def _with_locality(
    view: ConfigView | None, options: LbOptions, context: CompileContext, *, extension: bool = False
) -> LbOptions:
    """`locality_config_specifier`, which both forms have."""
    kind = view.which("locality_config_specifier") if view is not None else None
    if view is None or kind is None:
        return options
    if kind == "locality_weighted_lb_config":
        return replace(options, locality_weighted=True)
    zone_aware = view.required("zone_aware_lb_config")
    options = replace(options, fail_traffic_on_panic=zone_aware.boolean("fail_traffic_on_panic"))
    zone = _compile_zone(zone_aware, options.zone or ZoneOptions("", NO_LOCALITY), context, extension=extension)
    return replace(options, zone=zone if options.zone is not None else None)


def _compile_zone(view: ConfigView, zone: ZoneOptions, context: CompileContext, *, extension: bool) -> ZoneOptions:
    enabled = view.view("routing_enabled")
    percent = round(enabled.number("value")) if enabled is not None else 100
    zone = _following(zone, percent, view.integer("min_cluster_size", 6), context)
    if not extension:
        return zone
    forced = view.view("force_local_zone")
    force_from = 1 if view.boolean("force_locality_direct_routing") else None
    if forced is not None:
        force_from = forced.integer("min_size", 1)
    by_weight = view.enum("locality_basis") == "HEALTHY_HOSTS_WEIGHT"
    return replace(zone, force_from=force_from, by_weight=by_weight)


def _with_ring(view: ConfigView, options: LbOptions) -> LbOptions:
    minimum, maximum = view.integer("minimum_ring_size", 1024), view.integer("maximum_ring_size", 1 << 23)
    if minimum > maximum:
        view.fail(f"ring hash: minimum_ring_size ({minimum}) > maximum_ring_size ({maximum})", "minimum_ring_size")
    murmur = view.enum("hash_function") == "MURMUR_HASH_2"
    return replace(options, minimum_ring_size=minimum, maximum_ring_size=maximum, murmur_ring=murmur)


def _with_maglev(view: ConfigView, options: LbOptions) -> LbOptions:
    size = view.integer("table_size", 65537)
    if size < 2 or any(size % factor == 0 for factor in range(2, int(size**0.5) + 1)):
        view.fail("The table size of maglev must be prime number", "table_size")
    return replace(options, table_size=size)


def _with_consistent_hashing(view: ConfigView | None, options: LbOptions) -> LbOptions:
    if view is None:
        return options
    return replace(
        options,
        hash_by_hostname=view.boolean("use_hostname_for_hashing"),
        hash_balance=view.integer("hash_balance_factor"),
    )


def _with_least_request(view: ConfigView, options: LbOptions, context: CompileContext) -> LbOptions:
    bias = view.view("active_request_bias")
    choices = view.integer("choice_count", 2)
    if not choices:
        view.fail("of 0 hosts none can be chosen", "choice_count")
    options = _with_slow_start(view, options, context)
    return replace(
        options,
        choice_count=choices,
        active_request_bias=compile_runtime_double(bias, context) if bias is not None else options.active_request_bias,
    )


def _with_slow_start(view: ConfigView, options: LbOptions, context: CompileContext) -> LbOptions:
    slow_start = view.view("slow_start_config")
    if slow_start is None:
        return options
    aggression = slow_start.view("aggression")
    minimum = slow_start.view("min_weight_percent")
    start = SlowStartOptions(
        slow_start.seconds("slow_start_window", 0.0),
        compile_runtime_double(aggression, context) if aggression is not None else constant(1.0),
        minimum.number("value") / 100.0 if minimum is not None else 0.1,
    )
    return replace(options, slow_start=start) if start.window else options


def _with_client_weights(view: ConfigView, options: LbOptions) -> LbOptions:
    if view.boolean("enable_oob_load_report"):
        view.fail("load reports aside from requests aren't supported by meshproxy", "enable_oob_load_report")
    view.duration("oob_reporting_period")  # of those
    weights = ClientWeightOptions(
        blackout=view.seconds("blackout_period", 10.0),
        expiration=view.seconds("weight_expiration_period", 180.0),
        update=view.seconds("weight_update_period", 1.0),
        error_penalty=view.number("error_utilization_penalty"),
        metrics=tuple(view.texts("metric_names_for_computing_utilization")),
    )
    return replace(options, client_weights=weights)


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
            if found is None and typed.full_name in _ENVOYS_OWN:
                typed.fail(f"'{typed.full_name}' isn't supported by meshproxy, and Envoy would choose it")
            if found is None:
                unknown.append(typed.full_name)
        elif typed.view is not None:
            typed.view.raw()
    if found is None:
        view.fail(f"none of these load-balancing policies is supported by meshproxy: {', '.join(unknown)}")
    return found


def _override_source(view: ConfigView) -> OverrideSource:
    header, metadata = view.text("header"), view.view("metadata")
    if not header and metadata is None:
        view.fail("Empty override source")
    if header and metadata is not None:
        view.fail("Only one override source must be set")
    if metadata is None:
        return OverrideSource(header.lower())
    return OverrideSource("", metadata.text("key"), tuple(segment.text("key") for segment in metadata.views("path")))


def _compile_extension(typed: TypedView, common: LbOptions, context: CompileContext) -> LoadBalancing | None:
    view = typed.view
    if view is None:
        return None
    name = typed.full_name
    if name == _WRR_LOCALITY:
        inner = _compile_extensions(view.required("endpoint_picking_policy"), common, context)
        if inner.options.client_weights is None:
            view.fail(f"the only policy that it takes, also in Envoy, is {_CLIENT_WEIGHTED}", "endpoint_picking_policy")
        return replace(inner, options=replace(inner.options, locality_weighted=True))
    if name == _SUBSET:
        inner = _compile_extensions(view.required("subset_lb_policy"), common, context)
        return replace(inner, subsets=compile_subsets(view, extension=True))
    if name == _OVERRIDE_HOST:
        inner = _compile_extensions(view.required("fallback_policy"), common, context)
        sources = tuple(_override_source(source) for source in view.views("override_host_sources"))
        return replace(inner, options=replace(inner.options, override_sources=sources))
    if name == _CLUSTER_PROVIDED:
        return LoadBalancing("CLUSTER_PROVIDED", common)
    if name == _ROUND_ROBIN:
        options = _with_slow_start(view, common, context)
        return LoadBalancing(
            "ROUND_ROBIN", _with_locality(view.view("locality_lb_config"), options, context, extension=True)
        )
    if name == _CLIENT_WEIGHTED:
        return LoadBalancing("ROUND_ROBIN", _with_client_weights(view, _with_slow_start(view, common, context)))
    if name == _RANDOM:
        options = _with_locality(view.view("locality_lb_config"), common, context, extension=True)
        return LoadBalancing("RANDOM", options)
    if name in (_RING_HASH, _MAGLEV):
        ring = name == _RING_HASH
        options = _with_ring(view, common) if ring else _with_maglev(view, common)
        if ring:  # the older place, which the other goes before
            options = _with_consistent_hashing(view, options)
        options = _with_consistent_hashing(view.view("consistent_hashing_lb_config"), options)
        if view.view("locality_weighted_lb_config") is not None:
            options = replace(options, locality_weighted=True)
        return LoadBalancing("RING_HASH" if ring else "MAGLEV", options)
    if name == _LEAST_REQUEST:
        options = _with_least_request(view, common, context)
        full = view.enum("selection_method") == "FULL_SCAN"
        if view.boolean("enable_full_scan"):
            full = True
        options = replace(options, full_scan=full)
        return LoadBalancing(
            "LEAST_REQUEST", _with_locality(view.view("locality_lb_config"), options, context, extension=True)
        )
    return None
