"""What holds for all clusters (envoy.config.bootstrap.v3.ClusterManager)."""

from __future__ import annotations

from collections.abc import Collection

from meshproxy.config.clusters.upstream_sockets import compile_bind
from meshproxy.config.values.api_source import compile_api_config_source
from meshproxy.config.values.context import CompileContext
from meshproxy.model.grpc_service import GrpcService
from meshproxy.model.snapshot import ClusterManagerConfig
from meshproxy.plugin.view import ConfigView


def compile_cluster_manager(
    view: ConfigView | None, cluster_names: Collection[str], context: CompileContext
) -> ClusterManagerConfig:
    """`cluster_manager`. cluster_names: of the static clusters. Problems are noted in the context."""
    if view is None:
        return ClusterManagerConfig()
    config = ClusterManagerConfig()
    with view.collect(context.problems):
        local = view.text("local_cluster_name")
        if local and local not in cluster_names:
            context.problems.append(view.error(f"local cluster '{local}' must be defined", "local_cluster_name"))
        outlier = view.view("outlier_detection")
        config = ClusterManagerConfig(
            local_cluster_name=local,
            outlier_event_log_path=_event_log(outlier, context) if outlier is not None else "",
            bind=compile_bind(view.view("upstream_bind_config")),
            load_reports=_load_reports(view.view("load_stats_config"), context),
        )
    return config


def _load_reports(view: ConfigView | None, context: CompileContext) -> GrpcService | None:
    """`load_stats_config`. Envoy's service is a stream of gRPC, whatever flavour of it the configuration names."""
    if view is None:
        return None
    if view.enum("api_type") == "REST":
        view.fail("load is reported over gRPC", "api_type")
    return compile_api_config_source(view, context).grpc


def _event_log(view: ConfigView, context: CompileContext) -> str:
    path = view.text("event_log_path")
    if path:
        context.log_files.setdefault(path, view.error(f"unable to open file '{path}'", "event_log_path"))
    return path
