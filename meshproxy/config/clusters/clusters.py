"""Clusters (envoy.config.cluster.v3.Cluster)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from meshproxy.config.clusters.alike_clusters import CompiledPatterns, patterned, patterns_of
from meshproxy.config.clusters.cluster_policies import compile_cluster_policies
from meshproxy.config.clusters.endpoints import compile_assignment
from meshproxy.config.clusters.health_checks import compile_health_check
from meshproxy.config.clusters.load_balancing import compile_load_balancing
from meshproxy.config.clusters.outlier import compile_outlier_detection
from meshproxy.config.clusters.upstream_http import compile_upstream_http, names_in_tls
from meshproxy.config.clusters.upstream_sockets import compile_bind, compile_happy_eyeballs, compile_keepalive
from meshproxy.config.tls.transport_sockets import compile_transport_socket_matches, compile_upstream_socket
from meshproxy.config.values.context import CompileContext
from meshproxy.config.values.discovery import compile_config_source
from meshproxy.config.values.dns import DNS_CLUSTER, DNS_TYPES, compile_dns, compile_dns_cluster
from meshproxy.config.values.forwarding import AGGREGATE, FORWARD, compile_aggregate, compile_forward
from meshproxy.config.values.metadata import compile_metadata
from meshproxy.messages.istio import METADATA_EXCHANGE
from meshproxy.model.cluster import (
    CircuitBreakerThresholds,
    ClusterConfig,
    OriginalDstOptions,
    PeerExchange,
    PreconnectOptions,
)
from meshproxy.model.discovery import EndpointDiscovery
from meshproxy.model.dns import DnsOptions
from meshproxy.model.endpoint import Assignment
from meshproxy.model.forwarding import ForwardOptions
from meshproxy.plugin.peer_exchange import own_part
from meshproxy.plugin.view import ConfigView
from meshproxy.records import dataclass
from meshproxy.suggest import unsupported_extension

_TYPES = ("STATIC", "EDS", "STRICT_DNS", "LOGICAL_DNS", "ORIGINAL_DST")
_NAMED_TYPES = {f"envoy.cluster.{name.lower()}": name for name in _TYPES}
_CLUSTER_PROVIDED = ("ORIGINAL_DST", "AGGREGATE", "DYNAMIC_FORWARD_PROXY")
_GENERIC_POOL = "envoy.extensions.upstreams.http.generic.v3.GenericConnectionPoolProto"
_MEBIBYTE = 1 << 20
_NO_LIMIT = 2**64 - 1


def compile_clusters(views: Sequence[ConfigView], context: CompileContext) -> dict[str, ClusterConfig]:
    """All static clusters by name. Problems are noted in the context."""
    clusters: dict[str, ClusterConfig] = {}
    patterns = patterns_of(context)
    for view in views:
        with view.collect(context.problems):
            cluster = _compile_alike(view, context, patterns)
            if cluster.name in clusters:
                view.fail(f"cluster manager: duplicate cluster '{cluster.name}'", "name")
            clusters[cluster.name] = cluster
    return clusters


def _compile_alike(view: ConfigView, context: CompileContext, patterns: CompiledPatterns) -> ClusterConfig:
    """A cluster of the bootstrap, which was checked with it. Raises ConfigError."""
    alike = patterned(view.peek())
    if alike is None:
        return compile_cluster(view, context)
    found = patterns.compile(alike, context, checked=True)
    if found is not None:
        view.raw()
        return found
    before = len(context.problems), len(context.warnings)
    cluster = compile_cluster(view, context)
    if (len(context.problems), len(context.warnings)) == before and not view.unread_problems():
        patterns.keep(alike, cluster, context)
    return cluster


def _check_pool(view: ConfigView | None) -> None:
    """`upstream_config`: the pool that tells by the route what to speak is the one that there is, and the default."""
    typed = view.any("typed_config") if view is not None else None
    if view is not None and (typed is None or typed.full_name != _GENERIC_POOL):
        view.fail(unsupported_extension(typed.full_name if typed is not None else "", (_GENERIC_POOL,)))


def compile_cluster(view: ConfigView, context: CompileContext) -> ClusterConfig:
    """One cluster. Raises ConfigError."""
    extension = _compile_extension(view, context)
    kind = extension.type if extension is not None else _compile_type(view)
    balancing = compile_load_balancing(view, context)
    if (kind in _CLUSTER_PROVIDED) != (balancing.policy == "CLUSTER_PROVIDED"):
        view.fail(f"cluster: LB policy {balancing.policy} is not valid for cluster type {kind}", "lb_policy")
    assignment = _compile_endpoints(view, kind, context)
    http = compile_upstream_http(view, forwards=kind == "DYNAMIC_FORWARD_PROXY")
    common = view.view("common_lb_config")
    hashing = common.view("consistent_hashing_lb_config") if common is not None else None
    if hashing is not None and (extension is not None or kind != "STRICT_DNS"):
        _check_hashing(hashing, "" if extension is not None else kind)
    upstream = compile_upstream_socket(view.view("transport_socket"), context)
    _check_pool(view.view("upstream_config"))
    older_limit = view.integer("max_requests_per_connection")
    if older_limit and http.common.max_requests_per_connection:
        view.fail(
            "only one of max_requests_per_connection from Cluster or HttpProtocolOptions can be specified",
            "max_requests_per_connection",
        )
    return ClusterConfig(
        name=view.text("name"),
        type=kind,
        lb_policy=balancing.policy,
        endpoints=assignment.endpoints,
        connect_timeout=view.seconds("connect_timeout", 5.0),
        alt_stat_name=view.text("alt_stat_name"),
        overprovisioning_factor=assignment.overprovisioning_factor,
        drop_overload=assignment.drop_overload,
        load_metrics=_compile_load_metrics(view, context),
        policies=compile_cluster_policies(view, context),
        lb=balancing.options,
        subsets=balancing.subsets,
        eds=_compile_eds(view, kind, context),
        dns=(extension and extension.dns) or compile_dns(view, kind, context.dns_resolver),
        aggregate=extension.aggregate if extension is not None else (),
        forward=extension.forward if extension is not None else None,
        original_dst=_compile_original_dst(view),
        thresholds=_compile_thresholds(view, "DEFAULT", context),
        thresholds_high=_compile_thresholds(view, "HIGH", context),
        http1=http.http1,
        http2=http.http2,
        protocol=http.protocol,
        idle_timeout=http.common.idle_timeout,
        max_connection_duration=http.common.max_connection_duration,
        max_connection_duration_jitter=http.common.max_connection_duration_jitter,
        max_stream_duration=http.common.max_stream_duration,
        max_requests_per_connection=http.common.max_requests_per_connection or older_limit,
        per_connection_buffer_limit=view.integer("per_connection_buffer_limit_bytes", _MEBIBYTE),
        bind=compile_bind(view.view("upstream_bind_config")) or context.cluster_manager.bind,
        tcp_keepalive=compile_keepalive(view.view("upstream_connection_options")),
        outlier=compile_outlier_detection(view.view("outlier_detection")),
        health_check=compile_health_check(
            view.views("health_checks"), context, view.text("name"), http2=http.protocol != "HTTP1"
        ),
        transport_socket=upstream.socket,
        proxy_header=upstream.header,
        passing=upstream.passing,
        auto_sni=http.auto_sni,
        transport_socket_matches=compile_transport_socket_matches(view, context),
        metadata=compile_metadata(view, "metadata"),
        preconnect=_compile_preconnect(view.view("preconnect_policy"), http.protocol),
        pool_per_connection=view.boolean("connection_pool_per_downstream_connection"),
        happy_eyeballs=compile_happy_eyeballs(view.view("upstream_connection_options")),
        peer_exchange=_compile_filters(view, context),
        outlier_log=context.cluster_manager.outlier_event_log_path,
        ignore_health_on_host_removal=view.boolean("ignore_health_on_host_removal"),
        close_on_health_failure=view.boolean("close_connections_on_host_health_failure"),
        ignore_new_hosts=common.boolean("ignore_new_hosts_until_first_hc") if common is not None else False,
        close_on_change=common.boolean("close_connections_on_host_set_change") if common is not None else False,
    )


def _compile_load_metrics(view: ConfigView, context: CompileContext) -> tuple[str, ...]:
    """`lrs_report_endpoint_metrics`: of no use where no load is reported."""
    names = tuple(view.texts("lrs_report_endpoint_metrics"))
    return names if context.cluster_manager.load_reports is not None else ()


@dataclass(frozen=True, slots=True)
class _Extension:
    """A cluster type that is an extension: the type it is here, and its own options."""

    type: str
    dns: DnsOptions | None = None
    aggregate: tuple[str, ...] = ()
    forward: ForwardOptions | None = None


def _compile_filters(view: ConfigView, context: CompileContext) -> PeerExchange | None:
    """`filters`, of which there is but one kind: Istio's exchange of metadata."""
    found = None
    for entry in view.views("filters"):
        typed = entry.any("typed_config")
        if typed is None or typed.view is None or typed.full_name != METADATA_EXCHANGE:
            entry.fail(f"the only filters of upstream connections are {METADATA_EXCHANGE}", "typed_config")
        typed.view.ignore("enable_discovery")
        entry.text("name")
        labels = tuple(typed.view.texts("additional_labels"))
        own = context.shared_objects.setdefault(
            (METADATA_EXCHANGE, labels), own_part(context.node.id, context.node.metadata, labels)
        )
        found = PeerExchange(typed.view.text("protocol"), own, labels)
    return found


def _compile_extension(view: ConfigView, context: CompileContext) -> _Extension | None:
    """None for a cluster that has `type`."""
    if view.which("cluster_discovery_type") != "cluster_type":
        return None
    extension = view.required("cluster_type")
    name = extension.text("name")
    typed = extension.any("typed_config")
    if typed is None and name in _NAMED_TYPES:
        return _Extension(_NAMED_TYPES[name])
    # Otherwise the name is a label; the type is found by that of its configuration, as in Envoy.
    if typed is None or typed.view is None or typed.full_name not in (DNS_CLUSTER, AGGREGATE, FORWARD):
        known = ", ".join((DNS_CLUSTER, AGGREGATE, FORWARD))
        extension.fail(f"the only clusters of an extension type are {known}", "typed_config")
    if typed.full_name == AGGREGATE:
        return _Extension("AGGREGATE", aggregate=compile_aggregate(typed.view))
    if typed.full_name == FORWARD:
        return _Extension("DYNAMIC_FORWARD_PROXY", forward=_compile_forward(view, typed.view, context))
    kind, dns = compile_dns_cluster(typed.view, context.dns_resolver)
    return _Extension(kind, dns)


def _compile_forward(cluster: ConfigView, view: ConfigView, context: CompileContext) -> ForwardOptions:
    sni, checks = names_in_tls(cluster)
    if not (view.boolean("allow_insecure_cluster_options") or (sni and checks)):
        cluster.fail(
            "dynamic_forward_proxy cluster must have auto_sni and auto_san_validation true unless "
            "allow_insecure_cluster_options is set."
        )
    return compile_forward(view, context)


def _compile_type(view: ConfigView) -> str:
    kind = view.enum("type")
    if kind not in _TYPES:
        view.fail(f"clusters of type {kind} aren't supported by meshproxy yet", "type")
    return kind


def _check_hashing(view: ConfigView, kind: str) -> None:
    """Only hosts of STRICT_DNS, so named, are hashed by name."""
    if view.boolean("use_hostname_for_hashing"):
        name = f"envoy.cluster.{kind.lower()}" if kind else ""
        view.fail(
            f"Cannot use hostname for consistent hashing loadbalancing for cluster of type: '{name}'",
            "use_hostname_for_hashing",
        )


def _compile_endpoints(view: ConfigView, kind: str, context: CompileContext) -> Assignment:
    load_assignment = view.view("load_assignment")
    if load_assignment is None:
        if kind == "LOGICAL_DNS":
            view.fail("LOGICAL_DNS clusters must have a single locality_lb_endpoint and a single lb_endpoint")
        return Assignment()
    if kind == "EDS":
        view.fail("the endpoints of an EDS cluster come from eds_config", "load_assignment")
    if kind in _CLUSTER_PROVIDED:
        view.fail(f"{kind} clusters must have no load assignment configured", "load_assignment")
    count = len(context.problems)
    assignment = compile_assignment(load_assignment, context, names=kind in DNS_TYPES)
    if assignment.stale_after:
        load_assignment.fail("endpoint_stale_after is for endpoints that come by discovery", "policy")
    single = len(assignment.endpoints) == 1 and assignment.localities == 1
    if kind == "LOGICAL_DNS" and not single and len(context.problems) == count:
        load_assignment.fail("LOGICAL_DNS clusters must have a single locality_lb_endpoint and a single lb_endpoint")
    return assignment


def _compile_eds(view: ConfigView, kind: str, context: CompileContext) -> EndpointDiscovery | None:
    eds = view.view("eds_cluster_config")
    if kind != "EDS":
        if eds is not None:
            view.fail("eds_cluster_config set in a non-EDS cluster", "eds_cluster_config")
        return None
    source = eds.view("eds_config") if eds is not None else None
    if eds is None or source is None:
        view.fail("cannot create an EDS cluster without an EDS config", "eds_cluster_config")
    return EndpointDiscovery(compile_config_source(source, context), eds.text("service_name") or view.text("name"))


def _compile_original_dst(view: ConfigView) -> OriginalDstOptions:
    cleanup = view.seconds("cleanup_interval", 5.0)
    if view.which("lb_config") != "original_dst_lb_config":
        return OriginalDstOptions(cleanup_interval=cleanup)
    options = view.required("original_dst_lb_config")
    if options.text("http_header_name") and not options.boolean("use_http_header"):
        options.fail("http_header_name needs use_http_header", "http_header_name")
    return OriginalDstOptions(
        use_http_header=options.boolean("use_http_header"),
        http_header_name=options.text("http_header_name").lower() or "x-envoy-original-dst-host",
        metadata_key=_compile_metadata_key(options.view("metadata_key")),
        port_override=options.integer("upstream_port_override"),
        cleanup_interval=cleanup,
    )


def _compile_preconnect(view: ConfigView | None, protocol: str) -> PreconnectOptions | None:
    if view is None:
        return None
    per_host, ahead = view.view("per_upstream_preconnect_ratio"), view.view("predictive_preconnect_ratio")
    options = PreconnectOptions(
        per_host.number("value") if per_host is not None else 1.0, ahead.number("value") if ahead is not None else 0.0
    )
    if protocol not in ("HTTP1", "HTTP2"):
        view.fail("meshproxy connects before requests come only where it knows what hosts speak")
    return options if options.per_host > 1.0 or options.ahead > 1.0 else None


def _compile_metadata_key(view: ConfigView | None) -> tuple[str, tuple[str, ...]] | None:
    if view is None:
        return None
    return view.text("key"), tuple(segment.text("key") for segment in view.views("path"))


def _compile_thresholds(view: ConfigView, priority: str, context: CompileContext) -> CircuitBreakerThresholds:
    breakers = view.view("circuit_breakers")
    found = None
    for entry in breakers.views("thresholds") if breakers is not None else ():
        if entry.enum("priority") != priority:
            continue
        if found is not None:
            entry.raw()
            context.warnings.append(
                entry.error(f"priority {priority} has its thresholds already: these have no effect")
            )
        else:
            found = _compile_threshold(entry)
    found = found or CircuitBreakerThresholds()
    per_host = _compile_per_host(breakers, priority) if breakers is not None else None
    return found if per_host is None else replace(found, max_connections_per_host=per_host)


def _compile_per_host(breakers: ConfigView, priority: str) -> int | None:
    """The `max_connections` of the first `per_host_thresholds` of a priority; None for no limit."""
    found = None
    for entry in breakers.views("per_host_thresholds"):
        others = ("max_pending_requests", "max_requests", "max_retries", "max_connection_pools", "retry_budget")
        if set_ones := [name for name in others if entry.has(name)]:
            entry.fail("Unsupported field in per_host_thresholds", set_ones[0])
        entry.boolean("track_remaining")
        limit = entry.integer("max_connections", _NO_LIMIT)
        if entry.enum("priority") == priority and found is None:
            found = limit
    return found


def _compile_threshold(view: ConfigView) -> CircuitBreakerThresholds:
    budget = view.view("retry_budget")
    percent = budget.view("budget_percent") if budget is not None else None
    default = CircuitBreakerThresholds()
    return CircuitBreakerThresholds(
        max_connections=view.integer("max_connections", default.max_connections),
        max_pending_requests=view.integer("max_pending_requests", default.max_pending_requests),
        max_requests=view.integer("max_requests", default.max_requests),
        max_retries=view.integer("max_retries", default.max_retries),
        max_connection_pools=view.integer("max_connection_pools", default.max_connection_pools),
        track_remaining=view.boolean("track_remaining"),
        retry_budget_percent=(percent.number("value") if percent is not None else 20.0) if budget else None,
        retry_budget_min_concurrency=budget.integer("min_retry_concurrency", 3) if budget else 3,
    )
