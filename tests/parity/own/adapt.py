"""A configuration of one's own, changed so that both programs can run it here, beside each other and on loopback.

Listeners get ports of ours, hosts of clusters become recorders that answer with their cluster's name, certificates are
those of the tests, files of access logs lie in the directory of the case. What chance decides is settled: a fraction
becomes the whole, of weighted clusters the first one gets all, and a log says no durations.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from tests.certificates import folder

from ..case import Upstream
from ..h2_peer import Data, Head
from .samples import of_domain

_TYPES = "type.googleapis.com/envoy.extensions"
_FILE_LOG = f"{_TYPES}.access_loggers.file.v3.FileAccessLog"
_MANAGER = "http_connection_manager.v3.HttpConnectionManager"
_HTTP_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
_LOG_FORMAT = (
    "%PROTOCOL% %REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% rc=%RESPONSE_CODE% rf=%RESPONSE_FLAGS% "
    "rcd=%RESPONSE_CODE_DETAILS% rx=%BYTES_RECEIVED% tx=%BYTES_SENT% host=%REQ(:AUTHORITY)% up=%UPSTREAM_CLUSTER% "
    "route=%ROUTE_NAME% n=%REQ(X-NUMBER)%\n"
)
_CAMEL = re.compile("(?<=[a-z0-9])[A-Z]")
_NAMES = """
    additional_addresses address case_sensitive codec_type common_tls_context connect_matcher contains_match
    default_filter_chain domains dynamic_resources exact_match explicit_http_config filter_chain_match filter_chains
    health_check_config http2_protocol_options internal_listener invert_match json_format lb_endpoints load_assignment
    log_format path_match_policy path_separated_prefix path_template port_value prefix_match present_match
    query_parameters range_match require_client_certificate route_config runtime_fraction safe_regex server_names
    socket_address static_resources string_match suffix_match transport_socket transport_socket_matches typed_config
    typed_extension_protocol_options typed_json_format virtual_hosts weighted_clusters default_value safe_regex_match
"""
_FIELDS = frozenset(_NAMES.split())
_DENOMINATORS = {"HUNDRED": 100, "TEN_THOUSAND": 10_000, "MILLION": 1_000_000}


@dataclass(frozen=True, slots=True)
class Entrance:
    """A filter chain with an HTTP connection manager. to: its listener's port, as a `Client` names it."""

    to: str
    manager: Mapping[str, Any]
    tls: bool = False
    server_name: str = ""


@dataclass(slots=True)
class Adapted:
    """config: with the placeholders of a `Case`."""

    config: dict[str, Any]
    upstreams: dict[str, Upstream] = field(default_factory=dict)
    entrances: list[Entrance] = field(default_factory=list)
    ports: list[str] = field(default_factory=list)

    def next_port(self) -> str:
        self.ports.append(f"port{len(self.ports) + 1}" if self.ports else "port")
        return self.ports[-1]


def adapt(config: Mapping[str, Any]) -> Adapted:
    adapted = Adapted(_in_snake_case(copy.deepcopy(dict(config))))
    resources = adapted.config.setdefault("static_resources", {})
    for log in _logs(adapted.config):
        _to_our_file(log)
    adapted.config["admin"] = {"address": _loopback("$admin_port")}
    for listener in resources.get("listeners") or ():
        _adapt_listener(listener, adapted)
    for cluster in resources.get("clusters") or ():
        _adapt_cluster(cluster, adapted)
    _settle(adapted.config)
    return adapted


def _in_snake_case(node: Any) -> Any:
    """`typedConfig` is `typed_config`; keys that name no field, such as those of metadata, stay as they are."""
    if isinstance(node, list):
        return [_in_snake_case(each) for each in node]
    if not isinstance(node, dict):
        return node
    named = {_CAMEL.sub(lambda found: f"_{found[0].lower()}", str(key)): key for key in node}
    return {(name if name in _FIELDS else key): _in_snake_case(node[key]) for name, key in named.items()}


def _loopback(port: str) -> dict[str, Any]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def _adapt_listener(listener: dict[str, Any], adapted: Adapted) -> None:
    if "internal_listener" in listener:
        return
    port = adapted.next_port()
    listener["address"] = _loopback(f"${port}")
    for additional in listener.get("additional_addresses") or ():
        additional["address"] = _loopback(f"${adapted.next_port()}")
    chains = [*(listener.get("filter_chains") or ()), *filter(None, [listener.get("default_filter_chain")])]
    for chain in chains:
        tls = _context(chain)
        if tls is not None:
            _serve_our_certificate(tls)
        names = (chain.get("filter_chain_match") or {}).get("server_names") or ["any.test"]
        for each in chain.get("filters") or ():
            manager = each.get("typed_config") or {}
            if str(manager.get("@type", "")).endswith(_MANAGER):
                adapted.entrances.append(Entrance(port, manager, tls is not None, of_domain(names[0])))


def _context(holder: Mapping[str, Any]) -> dict[str, Any] | None:
    config = (holder.get("transport_socket") or {}).get("typed_config") or {}
    return config if str(config.get("@type", "")).endswith("TlsContext") else None


def _serve_our_certificate(context: dict[str, Any]) -> None:
    path = folder().path
    common = context.setdefault("common_tls_context", {})
    for key in [key for key in common if "certificate" in key or "validation" in key]:
        del common[key]
    certificate = {"filename": f"{path}/server.pem"}
    common["tls_certificates"] = [{"certificate_chain": certificate, "private_key": {"filename": f"{path}/server.key"}}]
    context.pop("require_client_certificate", None)


def _adapt_cluster(cluster: dict[str, Any], adapted: Adapted) -> None:
    context = _context(cluster)
    cluster.pop("transport_socket_matches", None)
    if context is not None:
        alpn = (context.get("common_tls_context") or {}).get("alpn_protocols")
        context["common_tls_context"] = {"alpn_protocols": alpn} if alpn else {}
    h2 = _speaks_http2(cluster)
    for assigned in (cluster.get("load_assignment") or {}).get("endpoints") or ():
        for host in assigned.get("lb_endpoints") or ():
            endpoint = host.get("endpoint") or {}
            if "socket_address" not in (endpoint.get("address") or {}):
                continue
            key = f"up{len(adapted.upstreams) + 1}"
            adapted.upstreams[key] = _recorder(str(cluster.get("name")), h2, context is not None)
            endpoint["address"] = _loopback(f"${key}_port")
            endpoint.pop("additional_addresses", None)
            (endpoint.get("health_check_config") or {}).pop("port_value", None)
    if cluster.get("type") == "LOGICAL_DNS":
        cluster["type"] = "STRICT_DNS"  # hosts in a row stand for each other there, and ours have ports of their own


def _speaks_http2(cluster: Mapping[str, Any]) -> bool:
    options = (cluster.get("typed_extension_protocol_options") or {}).get(_HTTP_OPTIONS) or {}
    return (
        "http2_protocol_options" in (options.get("explicit_http_config") or {}) or "http2_protocol_options" in cluster
    )


def _recorder(cluster: str, h2: bool, tls: bool) -> Upstream:
    alpn = ("h2",) if h2 else ("http/1.1",)
    context = partial(folder().server_context, alpn=alpn) if tls else None
    body = f"from {cluster}"
    if h2:
        fields = (("content-length", str(len(body))), ("content-type", "text/plain"))
        return Upstream(((Head(200, fields), Data(body.encode(), True)),), mode="h2", tls=context)
    head = f"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: {len(body)}\r\n\r\n"
    return Upstream(((head + body,),), tls=context)


def _logs(node: Any) -> Iterator[dict[str, Any]]:
    if isinstance(node, dict):
        if "access_loggers.file" in str(node.get("@type")) or "access_loggers.stream" in str(node.get("@type")):
            yield node
        for value in node.values():
            yield from _logs(value)
    elif isinstance(node, list):
        for value in node:
            yield from _logs(value)


def _to_our_file(log: dict[str, Any]) -> None:
    log["@type"], log["path"] = _FILE_LOG, "$dir/$case.log"
    if not {"format", "json_format", "typed_json_format", "log_format"} & log.keys():
        log["log_format"] = {"text_format_source": {"inline_string": _LOG_FORMAT}}


def _settle(node: Any) -> None:
    """Take away what chance and time decide."""
    for key, value in node.items() if isinstance(node, dict) else enumerate(node):
        if isinstance(value, str) and "DURATION" in value:
            node[key] = value.replace("DURATION", "PROTOCOL")
        elif isinstance(value, dict | list):
            _settle(value)
    if not isinstance(node, dict):
        return
    if node.get("numerator") and node["numerator"] < _DENOMINATORS.get(node.get("denominator", "HUNDRED"), 0):
        node["numerator"] = _DENOMINATORS[node.get("denominator", "HUNDRED")]
    if "weighted_clusters" in node:
        _first_takes_all(node["weighted_clusters"].get("clusters") or ())


def _first_takes_all(clusters: Any) -> None:
    weighty = [cluster for cluster in clusters if cluster.get("weight")]
    for cluster in weighty[1:]:
        weighty[0]["weight"] += cluster["weight"]
        cluster["weight"] = 0
