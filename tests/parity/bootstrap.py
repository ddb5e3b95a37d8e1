"""From cases to one Envoy bootstrap: every case gets its own listener, clusters, stat prefix and access log.

So the cases of one process can't see one another, and a few processes serve them all.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from .case import Case

_LOG_FIELDS = (
    "%PROTOCOL% %REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%",
    "rc=%RESPONSE_CODE%",
    "rf=%RESPONSE_FLAGS%",
    "rcd=%RESPONSE_CODE_DETAILS%",
    "ctd=%CONNECTION_TERMINATION_DETAILS%",
    "utf=%UPSTREAM_TRANSPORT_FAILURE_REASON%",
    "rx=%BYTES_RECEIVED% tx=%BYTES_SENT%",
    "host=%REQ(:AUTHORITY)%",
    "xff=%REQ(X-FORWARDED-FOR)%",
    "up=%UPSTREAM_HOST% %UPSTREAM_CLUSTER_RAW%",
    "local=%DOWNSTREAM_LOCAL_ADDRESS%",
    "peer=%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%",
    "route=%ROUTE_NAME%",
)
LOG_FORMAT = " ".join(_LOG_FIELDS) + "\n"

_EXTENSIONS = {
    "HttpConnectionManager": "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
    "TcpProxy": "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
    "FileAccessLog": "envoy.extensions.access_loggers.file.v3.FileAccessLog",
    "HttpProtocolOptions": "envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
    "HTTPFault": "envoy.extensions.filters.http.fault.v3.HTTPFault",
    "Buffer": "envoy.extensions.filters.http.buffer.v3.Buffer",
    "BufferPerRoute": "envoy.extensions.filters.http.buffer.v3.BufferPerRoute",
    "HeaderMutation": "envoy.extensions.filters.http.header_mutation.v3.HeaderMutation",
    "HeaderMutationPerRoute": "envoy.extensions.filters.http.header_mutation.v3.HeaderMutationPerRoute",
    "HealthCheck": "envoy.extensions.filters.http.health_check.v3.HealthCheck",
    "FilterConfig": "envoy.config.route.v3.FilterConfig",
    "Router": "envoy.extensions.filters.http.router.v3.Router",
    "UuidRequestIdConfig": "envoy.extensions.request_id.uuid.v3.UuidRequestIdConfig",
    "PreviousHostsPredicate": "envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate",
    "PreserveCaseFormatterConfig": (
        "envoy.extensions.http.header_formatters.preserve_case.v3.PreserveCaseFormatterConfig"
    ),
}
# What may stand alone in a list of filters, as `fault: {...}`: the filter's name and its configuration's type.
_FILTERS = {
    "router": ("envoy.filters.http.router", "envoy.extensions.filters.http.router.v3.Router"),
    "fault": ("envoy.filters.http.fault", _EXTENSIONS["HTTPFault"]),
    "buffer": ("envoy.filters.http.buffer", _EXTENSIONS["Buffer"]),
    "header_mutation": ("envoy.filters.http.header_mutation", _EXTENSIONS["HeaderMutation"]),
    "health_check": ("envoy.filters.http.health_check", _EXTENSIONS["HealthCheck"]),
    "hcm": ("envoy.filters.network.http_connection_manager", _EXTENSIONS["HttpConnectionManager"]),
    "tcp_proxy": ("envoy.filters.network.tcp_proxy", _EXTENSIONS["TcpProxy"]),
    "direct_response": (
        "envoy.filters.network.direct_response",
        "envoy.extensions.filters.network.direct_response.v3.Config",
    ),
    "echo": ("envoy.filters.network.echo", "envoy.extensions.filters.network.echo.v3.Echo"),
    "mongo_proxy": ("envoy.filters.network.mongo_proxy", "envoy.extensions.filters.network.mongo_proxy.v3.MongoProxy"),
    "proxy_protocol": (
        "envoy.filters.listener.proxy_protocol",
        "envoy.extensions.filters.listener.proxy_protocol.v3.ProxyProtocol",
    ),
    "original_dst": (
        "envoy.filters.listener.original_dst",
        "envoy.extensions.filters.listener.original_dst.v3.OriginalDst",
    ),
    "tls_inspector": (
        "envoy.filters.listener.tls_inspector",
        "envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector",
    ),
    "http_inspector": (
        "envoy.filters.listener.http_inspector",
        "envoy.extensions.filters.listener.http_inspector.v3.HttpInspector",
    ),
    "file_log": ("envoy.access_loggers.file", _EXTENSIONS["FileAccessLog"]),
}
_FILTER_LISTS = {"http_filters", "filters", "listener_filters", "access_log", "upstream_log"}
# Long names inside `typed_per_filter_config` and `typed_extension_protocol_options`.
_KEYS = {
    "fault": "envoy.filters.http.fault",
    "buffer": "envoy.filters.http.buffer",
    "header_mutation": "envoy.filters.http.header_mutation",
    "http": "envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
}
_KEYED = {"typed_per_filter_config", "typed_extension_protocol_options"}

_NAME = re.compile(r"\$(up\d*_port|up\d*|port\d*|admin_port|case|dir)\b")


@dataclass(frozen=True, slots=True)
class Names:
    """The values of a case's placeholders."""

    values: Mapping[str, str]

    def fill(self, text: str) -> str:
        return _NAME.sub(lambda found: self.values[found.group(1)], text)

    def load(self, text: str) -> Any:
        return yaml.load(self.fill(text), Loader=yaml.CSafeLoader) if text.strip() else None


def expand(node: Any, within: str = "") -> Any:
    """Write out the short names of filters and types."""
    if isinstance(node, list):
        return [expand(_filter(item) if within in _FILTER_LISTS else item, "") for item in node]
    if not isinstance(node, dict):
        return node
    expanded = {}
    for key, value in node.items():
        if within in _KEYED:
            key = _KEYS.get(key, key)
        if key == "@type" and "/" not in value:
            value = f"type.googleapis.com/{_EXTENSIONS.get(value, value)}"
        expanded[key] = expand(value, key)
    return expanded


def _filter(item: Any) -> Any:
    if isinstance(item, dict) and len(item) == 1:
        ((short, config),) = item.items()
        if short in _FILTERS:
            name, kind = _FILTERS[short]
            return {"name": name, "typed_config": {"@type": kind, **(config or {})}}
    return item


def merge(base: dict[str, Any], over: Mapping[str, Any] | None) -> dict[str, Any]:
    """`over` put into `base`: dictionaries recursively, everything else replaced."""
    for key, value in (over or {}).items():
        if isinstance(value, dict) and isinstance(base.get(key), dict):
            merge(base[key], value)
        else:
            base[key] = value
    return base


def file_log(names: Names, text: str) -> dict[str, Any]:
    """A file access log at $dir/$case.log; `text` is YAML of FileAccessLog, or a format, or nothing."""
    config: dict[str, Any] = {"path": names.fill("$dir/$case.log")}
    if text.lstrip().startswith("yaml:"):
        return merge(config, names.load(text.lstrip().removeprefix("yaml:")))
    config["log_format"] = {"text_format_source": {"inline_string": text or LOG_FORMAT}}
    return config


def _manager(case: Case, names: Names) -> dict[str, Any]:
    routes = names.load(case.routes)
    if routes is None:
        routes = [{"match": {"prefix": "/"}, "route": {"cluster": names.fill("$up")}}]
    hosts = names.load(case.vhosts)
    if hosts is None:
        hosts = [merge({"name": "v", "domains": ["*"], "routes": routes}, names.load(case.vhost))]
    manager: dict[str, Any] = {
        "stat_prefix": names.fill("$case"),
        "access_log": [{"file_log": file_log(names, case.log)}],
        "route_config": merge({"name": "local", "virtual_hosts": hosts}, names.load(case.route_config)),
        "http_filters": [*(names.load(case.filters) or []), {"router": names.load(case.router)}],
    }
    return merge(manager, names.load(case.hcm))


def _listeners(case: Case, names: Names) -> list[dict[str, Any]]:
    listener: dict[str, Any] = {
        "name": names.fill("$case"),
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": int(names.fill("$port"))}},
    }
    if case.listener_filters:
        listener["listener_filters"] = names.load(case.listener_filters)
    chains = names.load(case.chains)
    if chains is None:
        network = names.load(case.network) or [{"hcm": _manager(case, names)}]
        chains = [{"filters": network}]
    for chain in chains:
        _complete(chain["filters"], case, names)
    listener["filter_chains"] = chains
    merge(listener, names.load(case.listener))
    others = names.load(case.listeners) or []
    for each in [listener, *others]:
        for chain in [*each.get("filter_chains", []), *filter(None, [each.get("default_filter_chain")])]:
            _complete(chain["filters"], case, names)
    return [listener, *others]


def _complete(filters: list[Any], case: Case, names: Names) -> None:
    """In chains that a case writes itself `hcm: {}` and `tcp_proxy: {cluster: x}` get the defaults."""
    for item in filters:
        if "hcm" in item and "http_filters" not in (item["hcm"] or {}):
            item["hcm"] = merge(_manager(case, names), item["hcm"])
        elif "tcp_proxy" in item:
            defaults = {"stat_prefix": names.fill("$case"), "access_log": [{"file_log": file_log(names, case.log)}]}
            item["tcp_proxy"] = merge(defaults, item["tcp_proxy"])


def _clusters(case: Case, names: Names) -> list[dict[str, Any]]:
    found = []
    for key, upstream in case.upstreams.items():
        address = {"address": upstream.host, "port_value": int(names.values[f"{key}_port"])}
        name = names.values[key]
        cluster: dict[str, Any] = {
            "name": name,
            "type": "STATIC",
            "connect_timeout": "2s",
            "load_assignment": {
                "cluster_name": name,
                "endpoints": [{"lb_endpoints": [{"endpoint": {"address": {"socket_address": address}}}]}],
            },
        }
        merge(cluster, names.load(upstream.cluster))
        merged = merge(cluster, names.load(case.cluster) if key == "up" else None)
        if "cluster_type" in merged:
            del merged["type"]  # the two exclude each other
        found.append(merged)
    return found + (names.load(case.clusters) or [])


def build(cases: Sequence[Case], names: Mapping[str, Names], admin_port: int) -> dict[str, Any]:
    """The bootstrap that serves `cases`."""
    if cases[0].config:
        (case,) = cases
        loaded: dict[str, Any] = expand(names[case.name].load(case.config))
        return loaded
    bootstrap: dict[str, Any] = {
        "node": {"id": "parity-node", "cluster": "parity-cluster"},
        "admin": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": admin_port}}},
        "static_resources": {"listeners": [], "clusters": []},
    }
    for case in cases:
        mine = names[case.name]
        bootstrap["static_resources"]["listeners"] += _listeners(case, mine)
        bootstrap["static_resources"]["clusters"] += _clusters(case, mine)
        merge(bootstrap, mine.load(case.bootstrap))
    result: dict[str, Any] = expand(bootstrap)
    return result


def write(bootstrap: Mapping[str, Any], path: Path) -> None:
    """As JSON: what YAML takes for a boolean (`y`, `no`) differs from reader to reader."""
    path.write_text(json.dumps(dict(bootstrap)))
