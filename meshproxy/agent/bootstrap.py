"""The bootstrap that the proxy is started with: what Istio's `envoy_bootstrap.json` holds, made from the settings.

    admin 127.0.0.1:15000          as everywhere in a mesh
    listener 15021                 /healthz/ready goes to the agent, the only part that may be asked from outside
    listener 15090                 /stats/prometheus goes to the admin interface
    cluster xds-grpc, ads_config   where the configuration comes from, if there is a discovery address: the agent
    cluster sds-grpc               the workload's secrets, over a Unix socket
    cluster zipkin                 the collector of `tracing.zipkin`
    stats_config                   Istio's labels of statistics
    layered_runtime                Istio's values: a path's fragment is cut off and no reason to refuse the request
    bootstrap_extensions           listeners within the program, for HBONE

With `customConfigFile` the parts above that the file lacks are merged over it. That is how a sidecar runs without a
control plane.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from meshproxy.agent.bootstrap_stats import istio_labels, stats_config, statsd_sink
from meshproxy.agent.settings import AgentSettings, relay_socket

_HCM = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
_ROUTER = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"
_HTTP_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
_INTERNAL_LISTENERS = {
    "name": "envoy.bootstrap.internal_listener",
    "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.bootstrap.internal_listener.v3.InternalListener",
        "buffer_size_kb": 64,
    },
}
"""Without it the listeners of HBONE that istiod sends to sidecars and waypoints of an ambient mesh would be refused."""


def make_bootstrap(
    settings: AgentSettings, custom: Mapping[str, Any] | None = None, secrets: str = ""
) -> dict[str, Any]:
    """The bootstrap as the tree that its JSON stands for.

    secrets: the Unix socket that the workload's secrets come from, "" if there is none.
    custom: the tree of `customConfigFile`. Then it is only what that file lacks, to be merged over it, so that errors
    in the file name its own lines.
    """
    given = custom or {}
    given_static = _mapping(given.get("static_resources"))
    clusters = _clusters(settings)
    if secrets:
        clusters.append(_over_http2(_static_cluster("sds-grpc", {"pipe": {"path": secrets}})))
    bootstrap: dict[str, Any] = {"node": _lacking(_node(settings), _mapping(given.get("node")))}
    if "admin" not in given:
        bootstrap["admin"] = _admin(settings)
    if settings.discovery_address and "dynamic_resources" not in given:
        bootstrap["dynamic_resources"] = _dynamic(settings)
        relay = _static_cluster("xds-grpc", {"pipe": {"path": str(relay_socket(settings))}})
        clusters.append(_over_http2(relay))
    bootstrap["static_resources"] = {
        "listeners": _not_named(_listeners(settings), given_static.get("listeners")),
        "clusters": _not_named(clusters, given_static.get("clusters")),
    }
    if settings.outlier_log:
        bootstrap["cluster_manager"] = {"outlier_detection": {"event_log_path": settings.outlier_log}}
    statistics = stats_config(settings.stats_inclusions, settings.stats_buckets)
    if not settings.custom_config_file:
        statistics |= istio_labels()
    if statistics:
        bootstrap["stats_config"] = statistics
    if settings.statsd_address is not None:
        bootstrap["stats_sinks"] = [statsd_sink(*settings.statsd_address)]
    layers = _runtime_layers(settings)
    if layers:
        bootstrap["layered_runtime"] = {"layers": layers}
    if not settings.custom_config_file:
        bootstrap["bootstrap_extensions"] = [_INTERNAL_LISTENERS]
    return bootstrap


def _runtime_layers(settings: AgentSettings) -> list[dict[str, Any]]:
    if settings.custom_config_file:
        return [_static_layer(settings.runtime_values)] if settings.runtime_values else []
    values = {"envoy.reloadable_features.http_reject_path_with_fragment": False, **settings.runtime_values}
    return [_static_layer(values), {"name": "admin", "admin_layer": {}}]


def _static_layer(values: Mapping[str, Any]) -> dict[str, Any]:
    return {"name": "global config", "static_layer": dict(values)}


def _mapping(value: Any) -> Mapping[str, Any]:
    """What isn't one is for the proxy to refuse."""
    return value if isinstance(value, Mapping) else {}


def _lacking(ours: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Of ours what isn't given, mapping by mapping."""
    result = {}
    for name, value in ours.items():
        if name not in given:
            result[name] = value
        elif isinstance(value, Mapping):
            result[name] = _lacking(value, _mapping(given[name]))
    return result


def _not_named(ours: list[dict[str, Any]], given: Any) -> list[dict[str, Any]]:
    names = {entry.get("name") for entry in given or () if isinstance(entry, Mapping)}
    return [entry for entry in ours if entry["name"] not in names]


def _node(settings: AgentSettings) -> dict[str, Any]:
    return {"id": settings.node_id, "cluster": settings.service_cluster, "metadata": dict(settings.metadata)}


def _address(host: str, port: int) -> dict[str, Any]:
    return {"socket_address": {"address": host, "port_value": port}}


def _admin(settings: AgentSettings) -> dict[str, Any]:
    return {"address": _address("127.0.0.1", settings.ports.admin)}


def _static_cluster(name: str, address: dict[str, Any]) -> dict[str, Any]:
    endpoint = {"endpoint": {"address": address}}
    return {
        "name": name,
        "type": "STATIC",
        "connect_timeout": "1s",
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [endpoint]}]},
    }


def _clusters(settings: AgentSettings) -> list[dict[str, Any]]:
    clusters = []
    if settings.ports.prometheus:
        clusters.append(_static_cluster("prometheus_stats", _address("127.0.0.1", settings.ports.admin)))
    if settings.ports.ready:
        clusters.append(_static_cluster("agent", _address("127.0.0.1", settings.ports.status)))
    zipkin = (settings.tracing.get("zipkin") or {}).get("address", "")
    if zipkin:
        host, _, port = str(zipkin).rpartition(":")
        collector = _static_cluster("zipkin", _address(host, int(port)))
        clusters.append(collector | {"type": "STRICT_DNS"})  # what a control plane's tracing configuration refers to
    return clusters


def _listeners(settings: AgentSettings) -> list[dict[str, Any]]:
    listeners = []
    if settings.ports.prometheus:
        listeners.append(_relay(settings, "stats", settings.ports.prometheus, "/stats/prometheus", "prometheus_stats"))
    if settings.ports.ready:
        listeners.append(_relay(settings, "agent", settings.ports.ready, "/healthz/ready", "agent"))
    return listeners


def _relay(settings: AgentSettings, name: str, port: int, path: str, cluster: str) -> dict[str, Any]:
    """A listener that passes one path on and knows no other."""
    route = {"match": {"prefix": path}, "route": {"cluster": cluster}}
    manager = {
        "@type": _HCM,
        "codec_type": "AUTO",
        "stat_prefix": name,
        "route_config": {"virtual_hosts": [{"name": "backend", "domains": ["*"], "routes": [route]}]},
        "http_filters": [{"name": "envoy.filters.http.router", "typed_config": {"@type": _ROUTER}}],
    }
    chain = {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}
    first, other = ("::", "0.0.0.0") if ":" in settings.ip else ("0.0.0.0", "::")
    listener = {"name": name, "address": _address(first, port), "filter_chains": [chain]}
    if settings.dual_stack:
        listener["additional_addresses"] = [{"address": _address(other, port)}]
    return listener


def _dynamic(settings: AgentSettings) -> dict[str, Any]:
    source = {"ads": {}, "initial_fetch_timeout": "0s", "resource_api_version": "V3"}
    return {
        "lds_config": source,
        "cds_config": dict(source),
        "ads_config": {
            "api_type": "DELTA_GRPC" if settings.delta_xds else "GRPC",
            "set_node_on_first_message_only": True,
            "transport_api_version": "V3",
            "grpc_services": [{"envoy_grpc": {"cluster_name": "xds-grpc"}}],
        },
    }


def _over_http2(cluster: dict[str, Any]) -> dict[str, Any]:
    """What gRPC needs of a cluster."""
    protocol = {
        "@type": f"type.googleapis.com/{_HTTP_OPTIONS}",
        "explicit_http_config": {"http2_protocol_options": {}},
    }
    return {**cluster, "typed_extension_protocol_options": {_HTTP_OPTIONS: protocol}}
