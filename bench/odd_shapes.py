"""Shapes for loads of other kinds than requests of a mesh: services that are asked, messages, long lists, failures."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from bench.backend import addresses
from bench.shape_parts import Config, add_cluster, add_filter, endpoint, manager, routes


def _ext_authz(config: Config) -> None:
    add_cluster(config, "authz", "$backend_2")
    service = {"server_uri": {"uri": "http://authz", "cluster": "authz", "timeout": "2s"}}
    add_filter(config, "ext_authz.v3.ExtAuthz", http_service=service)


def _ext_authz_grpc(config: Config) -> None:
    add_cluster(config, "authz", "$backend_4", http2=True)
    service = {"envoy_grpc": {"cluster_name": "authz"}, "timeout": "2s"}
    add_filter(config, "ext_authz.v3.ExtAuthz", grpc_service=service)


def _ratelimit(config: Config) -> None:
    add_cluster(config, "limits", "$backend_4", http2=True)
    service = {"grpc_service": {"envoy_grpc": {"cluster_name": "limits"}}, "transport_api_version": "V3"}
    add_filter(config, "ratelimit.v3.RateLimit", domain="bench", rate_limit_service=service, timeout="2s")
    action = {"request_headers": {"header_name": "user-agent", "descriptor_key": "agent"}}
    routes(config)[0]["route"]["rate_limits"] = [{"actions": [action]}]


def _ext_proc(config: Config) -> None:
    """Heads of requests and answers, as by default."""
    add_cluster(config, "processor", "$backend_14", http2=True)
    add_filter(config, "ext_proc.v3.ExternalProcessor", grpc_service={"envoy_grpc": {"cluster_name": "processor"}})


def _upgrades(config: Config) -> None:
    manager(config)["upgrade_configs"] = [{"upgrade_type": "websocket"}]
    manager(config)["http2_protocol_options"] = {"allow_connect": True}


def _no_route(config: Config) -> None:
    """But for what the bench waits for."""
    routes(config)[0]["match"] = {"path": "/cart/items/1"}


def _large_heads(config: Config) -> None:
    manager(config)["max_request_headers_kb"] = 96


def _half_fails(config: Config) -> None:
    """Every other request is answered 503 by its first host."""
    routes(config)[0]["route"]["retry_policy"] = {"retry_on": "5xx", "num_retries": 10}
    cluster = config["static_resources"]["clusters"][0]
    cluster["circuit_breakers"] = {"thresholds": [{"max_retries": 1024}]}
    cluster["load_assignment"]["endpoints"][0]["lb_endpoints"] = [endpoint("$backend_9")]


def _listeners(config: Config) -> None:
    """Fifty, of which one is used."""
    listeners = config["static_resources"]["listeners"]
    for number in range(1, 50):
        address = {"socket_address": {"address": f"127.0.0.{number + 1}", "port_value": "$listener_port"}}
        listeners.append({**listeners[0], "name": f"more-{number}", "address": address})


def _original_destination(config: Config) -> None:
    """The host is whom a field names, and a filter adds it."""
    value = {"header": {"key": "x-envoy-original-dst-host", "value": "127.0.0.1:$backend_1"}}
    add_filter(config, "header_mutation.v3.HeaderMutation", mutations={"request_mutations": [{"append": value}]})
    cluster = config["static_resources"]["clusters"][0]
    del cluster["load_assignment"]
    cluster |= {"type": "ORIGINAL_DST", "lb_policy": "CLUSTER_PROVIDED"}
    cluster["original_dst_lb_config"] = {"use_http_header": True}


def _thousand(policy: str) -> Callable[[Config], None]:
    """A thousand hosts."""

    def change(config: Config) -> None:
        cluster = config["static_resources"]["clusters"][0]
        cluster["lb_policy"] = policy
        hosts = [endpoint("$backend_7", address) for address in addresses()]
        cluster["load_assignment"]["endpoints"][0]["lb_endpoints"] = hosts
        routes(config)[0]["route"]["hash_policy"] = [{"header": {"header_name": "cookie"}}]

    return change


ODD_SHAPES: Mapping[str, Callable[[Config], None]] = {
    "authz": _ext_authz,
    "authzgrpc": _ext_authz_grpc,
    "ratelimit": _ratelimit,
    "extproc": _ext_proc,
    "upgrades": _upgrades,
    "noroute": _no_route,
    "largeheads": _large_heads,
    "half": _half_fails,
    "listeners": _listeners,
    "origdst": _original_destination,
    "thousand-rr": _thousand("ROUND_ROBIN"),
    "thousand-least": _thousand("LEAST_REQUEST"),
    "thousand-maglev": _thousand("MAGLEV"),
}
