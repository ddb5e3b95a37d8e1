"""A whole bootstrap to one snapshot (envoy.config.bootstrap.v3.Bootstrap).

The order matters: node, the names of clusters and runtime first, which others read, and what statistics are kept; then
clusters and listeners. At the end every field that is set and that nothing has
read is a problem too.
"""

from __future__ import annotations

from typing import Any

from meshproxy.config.bootstrap.admin import compile_admin
from meshproxy.config.bootstrap.bootstrap_extensions import check_extensions, check_ignored, compile_default_resolver
from meshproxy.config.bootstrap.overload import compile_connection_limit, compile_overload
from meshproxy.config.bootstrap.runtime_layers import compile_layers
from meshproxy.config.bootstrap.watchdogs import compile_watchdogs
from meshproxy.config.clusters.cluster_manager import compile_cluster_manager
from meshproxy.config.clusters.clusters import compile_cluster, compile_clusters
from meshproxy.config.clusters.endpoints import compile_locality
from meshproxy.config.listeners.listeners import compile_listeners
from meshproxy.config.reporting.stats import compile_stats_config
from meshproxy.config.reporting.stats_sinks import compile_stats_sinks
from meshproxy.config.reporting.tracing import compile_provider
from meshproxy.config.tls.tls_secrets import compile_static_secrets
from meshproxy.config.values.api_source import compile_ads_source
from meshproxy.config.values.context import CompileContext
from meshproxy.config.values.discovery import compile_config_source
from meshproxy.errors import ConfigError, Problem
from meshproxy.model.cluster import ClusterConfig
from meshproxy.model.snapshot import DynamicConfig, Node, Snapshot
from meshproxy.plugin.view import ConfigView


def compile_bootstrap(view: ConfigView, context: CompileContext) -> Snapshot:
    """Compile everything. Raises ConfigError with every problem of the whole, in the order of the file."""
    snapshot = _compile(view, context)
    problems = [*context.problems, *view.unread_problems()]
    if problems:
        raise ConfigError(sorted(dict.fromkeys(problems), key=_place))
    return snapshot


def _place(problem: Problem) -> tuple[str, int, int]:
    return problem.source, problem.line, problem.column


def _compile(view: ConfigView, context: CompileContext) -> Snapshot:
    context.node = _compile_node(view.view("node"), context.node)
    context.surroundings.node = context.node
    static = view.view("static_resources")
    cluster_views = static.views("clusters") if static is not None else []
    context.cluster_names.update(cluster.text("name") for cluster in cluster_views)
    dynamic_view = view.view("dynamic_resources")
    context.compile_own_cluster = _compile_own_cluster
    context.has_ads = dynamic_view is not None and dynamic_view.has("ads_config")
    layers = compile_layers(view.view("layered_runtime"), context)
    stats = compile_stats_config(view, context)
    context.configure_stats(stats)
    check_extensions(view, context)
    check_ignored(view, context)
    main_watchdog, worker_watchdog = compile_watchdogs(view, context)
    context.dns_resolver = compile_default_resolver(view, context)
    context.overload = compile_overload(view.view("overload_manager"), context)
    context.cluster_manager = compile_cluster_manager(view.view("cluster_manager"), context.cluster_names, context)
    dynamic = _compile_dynamic(dynamic_view, context)
    if static is not None:
        context.secrets = compile_static_secrets(static.views("secrets"), context)
    context.tracing_provider = _compile_tracing(view.view("tracing"), context)
    clusters = compile_clusters(cluster_views, context)
    listeners = compile_listeners(static.views("listeners") if static is not None else [], context)
    return Snapshot(
        node=context.node,
        admin=compile_admin(view.view("admin"), context),
        listeners=listeners,
        clusters=clusters,
        stats=stats,
        layers=layers,
        runtime=context.runtime,
        flags_path=view.text("flags_path"),
        dynamic=dynamic,
        cluster_manager=context.cluster_manager,
        overload=context.overload,
        connection_limit=compile_connection_limit(context),
        stats_sinks=compile_stats_sinks(view, context),
        own_clusters=context.own_clusters,
        main_watchdog=main_watchdog,
        worker_watchdog=worker_watchdog,
    )


def _compile_own_cluster(message: Any, context: CompileContext) -> ClusterConfig:
    return compile_cluster(ConfigView(message, source=f"cluster '{message.name}'"), context)


def _compile_node(view: ConfigView | None, default: Node) -> Node:
    """default: what the command line says (`--service-node` and its like); the bootstrap wins."""
    if view is None:
        return default
    locality = compile_locality(view.view("locality"))
    metadata = view.struct("metadata")
    return Node(
        id=view.text("id") or default.id,
        cluster=view.text("cluster") or default.cluster,
        region=locality.region or default.region,
        zone=locality.zone or default.zone,
        sub_zone=locality.sub_zone or default.sub_zone,
        metadata=metadata.value if metadata is not None else default.metadata,
    )


def _compile_tracing(view: ConfigView | None, context: CompileContext) -> ConfigView | None:
    """`tracing`: the provider of connection managers that trace and name none. Problems are noted in the context."""
    provider = view.view("http") if view is not None else None
    if provider is not None:
        with provider.collect(context.problems):
            compile_provider(provider, context)  # also when nobody uses it
    return provider


def _compile_dynamic(view: ConfigView | None, context: CompileContext) -> DynamicConfig:
    """`dynamic_resources`. Problems are noted in the context."""
    if view is None:
        return DynamicConfig()
    found: dict[str, Any] = {}
    ads = view.view("ads_config")
    if ads is not None:
        with view.collect(context.problems):
            found["ads"] = compile_ads_source(ads, context)
    for name, field in (("listeners", "lds_config"), ("clusters", "cds_config")):
        source = view.view(field)
        if source is not None:
            with source.collect(context.problems):
                found[name] = compile_config_source(source, context)
    for problem in view.unsupported("lds_resources_locator", "cds_resources_locator"):
        context.problems.append(problem)
    return DynamicConfig(**found)
