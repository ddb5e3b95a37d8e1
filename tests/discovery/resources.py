"""Resources for a management server to send, small ones."""

from __future__ import annotations

from typing import Any

from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.core.v3 import extension_pb2
from envoy.config.endpoint.v3 import endpoint_pb2
from envoy.config.listener.v3 import listener_pb2
from envoy.config.route.v3 import route_pb2
from envoy.extensions.filters.http.credential_injector.v3 import credential_injector_pb2
from envoy.extensions.filters.http.fault.v3 import fault_pb2

# Registered, so that they can be written into an `Any` by name.
from envoy.extensions.filters.http.router.v3 import router_pb2  # noqa: F401
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2
from envoy.extensions.http.injected_credentials.generic.v3 import generic_pb2
from envoy.extensions.transport_sockets.tls.v3 import secret_pb2, tls_pb2
from google.protobuf import any_pb2, json_format

from tests.certificates import Issued

_HCM = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
_FAULT = "type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault"
_ROUTER = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"
ADS = {"ads": {}, "resource_api_version": "V3"}


def cluster(name: str, **fields: Any) -> cluster_pb2.Cluster:
    """A cluster whose endpoints come over the same stream."""
    message = cluster_pb2.Cluster()
    described = {
        "name": name,
        "type": "EDS",
        "connect_timeout": "1s",
        "eds_cluster_config": {"eds_config": ADS},
        **fields,
    }
    json_format.ParseDict(described, message)
    return message


def static_cluster(name: str, port: int, **fields: Any) -> cluster_pb2.Cluster:
    """A cluster that knows its endpoint."""
    message = cluster_pb2.Cluster()
    assignment = json_format.MessageToDict(endpoints(name, port), preserving_proto_field_name=True)
    described = {"name": name, "type": "STATIC", "connect_timeout": "1s", "load_assignment": assignment, **fields}
    json_format.ParseDict(described, message)
    return message


def bad_cluster(name: str) -> cluster_pb2.Cluster:
    """A cluster with a transport socket that nobody has."""
    message = static_cluster(name, 1)
    message.transport_socket.name = "unknown"
    message.transport_socket.typed_config.type_url = "type.googleapis.com/example.Nothing"
    return message


def endpoints(name: str, *ports: int) -> endpoint_pb2.ClusterLoadAssignment:
    """Where a cluster's hosts are."""
    message = endpoint_pb2.ClusterLoadAssignment(cluster_name=name)
    if ports:
        locality = message.endpoints.add()
        for port in ports:
            address = locality.lb_endpoints.add().endpoint.address.socket_address
            address.address, address.port_value = "127.0.0.1", port
    return message


def listener(name: str, port: int, routes: str, **fields: Any) -> listener_pb2.Listener:
    """A listener whose routes come over the same stream."""
    message = listener_pb2.Listener()
    manager = {
        "@type": _HCM,
        "stat_prefix": name,
        "rds": {"route_config_name": routes, "config_source": ADS},
        "http_filters": [{"name": "router", "typed_config": {"@type": _ROUTER}}],
    }
    described = {
        "name": name,
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": port}},
        "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}],
        **fields,
    }
    json_format.ParseDict(described, message)
    return message


def abort(name: str, status: int) -> extension_pb2.TypedExtensionConfig:
    """A filter that answers every request with a status."""
    message = extension_pb2.TypedExtensionConfig(name=name)
    config = {"abort": {"http_status": status, "percentage": {"numerator": 100}}}
    message.typed_config.Pack(json_format.ParseDict(config, fault_pb2.HTTPFault()))
    return message


def listener_with_discovered_filter(name: str, port: int, filter_name: str) -> listener_pb2.Listener:
    """A listener whose first HTTP filter, a fault filter, comes over the same stream."""
    message = listener(name, port, "r1")
    manager = http_connection_manager_pb2.HttpConnectionManager()
    place = message.filter_chains[0].filters[0].typed_config
    place.Unpack(manager)
    router = manager.http_filters.pop()
    discovery = manager.http_filters.add(name=filter_name).config_discovery
    json_format.ParseDict({"config_source": ADS, "type_urls": [_FAULT]}, discovery)
    manager.http_filters.append(router)
    place.Pack(manager)
    return message


def secret(name: str, issued: Issued) -> secret_pb2.Secret:
    """A certificate with its key."""
    message = secret_pb2.Secret(name=name)
    message.tls_certificate.certificate_chain.inline_bytes = issued.pem
    message.tls_certificate.private_key.inline_bytes = issued.key_pem
    return message


def listener_with_discovered_secret(name: str, port: int, secret_name: str) -> listener_pb2.Listener:
    """A listener that speaks TLS with a certificate that comes over the same stream."""
    message = listener(name, port, "r1")
    context = tls_pb2.DownstreamTlsContext()
    certificate = {"name": secret_name, "sds_config": ADS}
    json_format.ParseDict({"common_tls_context": {"tls_certificate_sds_secret_configs": [certificate]}}, context)
    socket = message.filter_chains[0].transport_socket
    socket.name = "tls"
    socket.typed_config.Pack(context)
    return message


def generic_secret(name: str, value: str) -> secret_pb2.Secret:
    """A secret that is text."""
    message = secret_pb2.Secret(name=name)
    message.generic_secret.secret.inline_string = value
    return message


def listener_with_discovered_credential(name: str, port: int, secret_name: str) -> listener_pb2.Listener:
    """A listener whose requests are given a credential that comes over the same stream."""
    message = listener(name, port, "r1")
    manager = http_connection_manager_pb2.HttpConnectionManager()
    place = message.filter_chains[0].filters[0].typed_config
    place.Unpack(manager)
    injector = credential_injector_pb2.CredentialInjector()
    generic = generic_pb2.Generic()
    json_format.ParseDict({"credential": {"name": secret_name, "sds_config": ADS}}, generic)
    injector.credential.name = "c"
    injector.credential.typed_config.Pack(generic)
    router = manager.http_filters.pop()
    manager.http_filters.add(name="injector").typed_config.Pack(injector)
    manager.http_filters.append(router)
    place.Pack(manager)
    return message


def bad_listener(name: str, port: int) -> listener_pb2.Listener:
    """A listener with a filter that nobody has."""
    message = listener(name, port, "r1")
    unknown = message.filter_chains[0].filters.add(name="unknown", typed_config=any_pb2.Any())
    unknown.typed_config.type_url = "type.googleapis.com/example.Nothing"
    filters = list(message.filter_chains[0].filters)
    del message.filter_chains[0].filters[:]
    message.filter_chains[0].filters.extend(reversed(filters))
    return message


def routes(name: str, to: str, **more: str) -> route_pb2.RouteConfiguration:
    """Everything to one cluster; `more`: a cluster by prefix without its slash."""
    message = route_pb2.RouteConfiguration()
    matches = [{"match": {"prefix": f"/{prefix}"}, "route": {"cluster": name_}} for prefix, name_ in more.items()]
    matches.append({"match": {"prefix": "/"}, "route": {"cluster": to}})
    host = {"name": "all", "domains": ["*"], "routes": matches}
    json_format.ParseDict({"name": name, "virtual_hosts": [host]}, message)
    return message
