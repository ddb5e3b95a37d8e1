"""Management servers (envoy.config.core.v3.ApiConfigSource)."""

from __future__ import annotations

from meshproxy.config.values.context import CompileContext
from meshproxy.config.values.grpc_services import compile_grpc_service
from meshproxy.model.grpc_service import ApiSource
from meshproxy.plugin.view import ConfigView

_KINDS = {"REST": "rest", "GRPC": "grpc", "DELTA_GRPC": "delta_grpc"}
_MAX_REQUESTS = 100
_FILL_RATE = 10.0


def compile_api_config_source(view: ConfigView, context: CompileContext) -> ApiSource:
    """Compile one source. Raises ConfigError."""
    name = view.enum("api_type")
    kind = _KINDS.get(name)
    if kind is None:
        view.fail(f"api_type {name} isn't supported by meshproxy", "api_type")
    if view.enum("transport_api_version") != "V3":
        view.fail("only version V3 of the protocol is left", "transport_api_version")
    if not context.node.id or not context.node.cluster:
        view.fail("a management server must be told who asks: 'node.id' and 'node.cluster' are required")
    node_once = view.boolean("set_node_on_first_message_only")
    if kind == "rest":
        return _compile_rest(view, context, node_once=node_once)
    if view.has("cluster_names"):
        view.fail(f"{name} must not have a cluster name specified", "cluster_names")
    services = view.views("grpc_services")
    if len(services) != 1:
        view.fail(f"{name} must have a single gRPC service specified", "grpc_services")
    service = compile_grpc_service(services[0], context)
    if service.own is None and service.cluster not in context.cluster_names:
        services[0].fail(f"no cluster '{service.cluster}'", "envoy_grpc")
    # Both are for REST, and Envoy lets them stand here, too.
    view.duration("refresh_delay")
    view.duration("request_timeout")
    limits = view.view("rate_limit_settings")
    max_requests, fill_rate = 0, 0.0
    if limits is not None:
        max_requests = limits.integer("max_tokens", _MAX_REQUESTS)
        fill_rate = limits.number("fill_rate", _FILL_RATE)
    return ApiSource(
        kind=kind,
        cluster=service.cluster,
        grpc=service,
        max_requests=max_requests,
        fill_rate=fill_rate,
        node_once=node_once,
    )


def compile_ads_source(view: ConfigView, context: CompileContext) -> ApiSource:
    """Compile the source of the aggregated service (`ads_config`), which is a stream. Raises ConfigError."""
    if view.enum("api_type") == "REST":
        view.fail("the aggregated discovery service is gRPC: GRPC or DELTA_GRPC", "api_type")
    return compile_api_config_source(view, context)


def _compile_rest(view: ConfigView, context: CompileContext, *, node_once: bool) -> ApiSource:
    if view.has("grpc_services"):
        view.fail("REST must not have a gRPC service specified", "grpc_services")
    names = view.texts("cluster_names")
    if len(names) != 1:
        view.fail("REST must have a singleton cluster name specified", "cluster_names")
    if names[0] not in context.cluster_names:
        view.fail(f"no cluster '{names[0]}'", "cluster_names")
    refresh = view.duration("refresh_delay")
    if refresh is None:
        view.fail("REST must have a refresh_delay", "refresh_delay")
    if view.view("rate_limit_settings") is not None:
        view.fail("a limit of requests is for gRPC; REST asks once in each refresh_delay", "rate_limit_settings")
    return ApiSource(
        kind="rest",
        cluster=names[0],
        refresh_delay=refresh,
        request_timeout=view.seconds("request_timeout", 1.0),
        node_once=node_once,
    )
