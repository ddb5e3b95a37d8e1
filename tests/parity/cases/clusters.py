"""Clusters: how endpoints are found, which of them is chosen, and how connections to them are made."""

from __future__ import annotations

from typing import Any

from ..case import OK, Case, Upstream, answer, client, get

NAMED = "HTTP/1.1 200 OK\r\nx-up: %s\r\ncontent-length: 0\r\n\r\n"
TWO = {"up": Upstream(((NAMED % "one",),)), "up2": Upstream(((NAMED % "two",),))}
DEAD_AND_ALIVE = {"up": Upstream(mode="refuse"), "up2": Upstream()}
NO_SOCKET = """
load_assignment:
  cluster_name: $up
  endpoints: [{lb_endpoints: [{endpoint: {address: {pipe: {path: /nowhere/socket}}}}]}]
"""

DNS = """
type: %s
dns_lookup_family: V4_ONLY
load_assignment:
  cluster_name: $up
  endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: localhost, port_value: $up_port}}}}]}]
"""

DNS_EXTENSION = """
cluster_type:
  name: envoy.clusters.dns
  typed_config:
    "@type": type.googleapis.com/envoy.extensions.clusters.dns.v3.DnsCluster
    dns_lookup_family: V4_ONLY
    all_addresses_in_single_endpoint: %s
load_assignment:
  cluster_name: $up
  endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: localhost, port_value: $up_port}}}}]}]
"""


def endpoint(port: str, more: str = "") -> str:
    return f"{{endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}}}{more}}}"


def endpoints(*each: str) -> str:
    return f"load_assignment: {{cluster_name: $up, endpoints: [{{lb_endpoints: [{', '.join(each)}]}}]}}\n"


def priorities(*each: str) -> str:
    """One locality of one endpoint for each priority."""
    localities = (f"{{priority: {i}, lb_endpoints: [{one}]}}" for i, one in enumerate(each))
    return f"load_assignment: {{cluster_name: $up, endpoints: [{', '.join(localities)}]}}"


def balanced(name: str, cluster: str, requests: int = 4, **more: Any) -> Case:
    """`requests` one after the other; how many each endpoint got is compared, not which was first."""
    clients = tuple(client(get(), start=0.15 * i, quiet=1.0, timing=False) for i in range(requests))
    more = {"upstreams": TWO, "masks": (("<up2_port>", "<up_port>"),), **more}
    return Case(f"cluster-{name}", clients=clients, cluster=cluster, sort_log=True, flat_upstream=True, **more)


def alternating(name: str, policy: str) -> Case:
    ops = tuple(op for _ in range(6) for op in (get(), 0.1))
    return Case(
        f"cluster-{name}",
        ops,
        cluster=f"lb_policy: {policy}\n" + endpoints(endpoint("$up_port"), endpoint("$up2_port")),
        upstreams={"up": Upstream(), "up2": Upstream()},
        merge_upstreams=True,
        flat_upstream=True,
        masks=(("<up2_port>", "<up_port>"),),
    )


CASES = [
    Case("cluster-strict-dns", get(), cluster=DNS % "STRICT_DNS", shows="200 OK"),
    Case(
        "cluster-unix-socket-that-is-missing",
        get(),
        cluster=NO_SOCKET,
        log="%RESPONSE_FLAGS% %UPSTREAM_TRANSPORT_FAILURE_REASON%\n",
        shows="immediate_connect_error",
    ),
    Case("cluster-logical-dns", get(), cluster=DNS % "LOGICAL_DNS", shows="200 OK"),
    Case("cluster-dns-extension-strict", get(), cluster=DNS_EXTENSION % "false", shows="200 OK"),
    Case("cluster-dns-extension-logical", get(), cluster=DNS_EXTENSION % "true", shows="200 OK"),
    Case(
        "cluster-strict-dns-host-rewrite",
        get(),
        cluster=DNS % "STRICT_DNS",
        routes="- {match: {prefix: /}, route: {cluster: $up, auto_host_rewrite: true}}",
        shows="host: localhost",
    ),
    Case(
        "cluster-logical-dns-host-rewrite",
        get(),
        cluster=DNS % "LOGICAL_DNS",
        routes="- {match: {prefix: /}, route: {cluster: $up, auto_host_rewrite: true}}",
        shows="host: localhost",
    ),
    Case(
        "cluster-hostname-host-rewrite",
        get(),
        cluster="load_assignment: {cluster_name: $up, endpoints: [{lb_endpoints: [{endpoint: {hostname: named.test, address: {socket_address: {address: 127.0.0.1, port_value: $up_port}}}}]}]}",
        routes="- {match: {prefix: /}, route: {cluster: $up, auto_host_rewrite: true}}",
        shows="host: named.test",
    ),
    alternating("round-robin", "ROUND_ROBIN"),
    balanced(
        "unhealthy-left-out",
        endpoints(endpoint("$up_port", ", health_status: UNHEALTHY"), endpoint("$up2_port"))
        + "common_lb_config: {healthy_panic_threshold: {value: 0}}",
        shows="x-up: two",
    ),
    balanced(
        "draining-left-out",
        endpoints(endpoint("$up_port", ", health_status: DRAINING"), endpoint("$up2_port"))
        + "common_lb_config: {healthy_panic_threshold: {value: 0}}",
        shows="x-up: two",
    ),
    balanced(
        "all-unhealthy-no-panic",
        endpoints(endpoint("$up_port", ", health_status: UNHEALTHY"))
        + "common_lb_config: {healthy_panic_threshold: {value: 0}}",
        1,
        shows="UH",
    ),
    balanced("all-unhealthy-panic", endpoints(endpoint("$up_port", ", health_status: UNHEALTHY")), 1, shows="200"),
    balanced(
        "second-priority",
        priorities(endpoint("$up_port", ", health_status: UNHEALTHY"), endpoint("$up2_port")),
        shows="x-up: two",
    ),
    balanced(
        "first-priority",
        priorities(endpoint("$up_port"), endpoint("$up2_port")),
        shows="x-up: one",
    ),
    balanced(
        "weights",
        "lb_policy: ROUND_ROBIN\n"
        + endpoints(
            endpoint("$up_port", ", load_balancing_weight: 3"), endpoint("$up2_port", ", load_balancing_weight: 1")
        ),
        4,
        upstreams={"up": Upstream(), "up2": Upstream()},
        merge_upstreams=True,
    ),
    Case(
        "cluster-retry-finds-the-living",
        get(),
        cluster="lb_policy: ROUND_ROBIN\n" + endpoints(endpoint("$up_port"), endpoint("$up2_port")),
        upstreams=DEAD_AND_ALIVE,
        routes="- {match: {prefix: /}, route: {cluster: $up, retry_policy: {retry_on: connect-failure, num_retries: 3, retry_host_predicate: [{name: envoy.retry_host_predicates.previous_hosts, typed_config: {'@type': PreviousHostsPredicate}}], host_selection_retry_max_attempts: 5}}}",
        masks=((r"rq-timeout-ms: 1\d+$", "<left>"),),
        shows="200 OK",
    ),
    Case(
        "cluster-no-endpoints-in-assignment",
        get(),
        cluster="load_assignment: {cluster_name: $up, endpoints: []}",
        shows="UH",
    ),
    Case(
        "cluster-connect-timeout-default",
        get(),
        cluster="connect_timeout: 1s",
        upstreams={"up": Upstream(mode="unanswered")},
        quiet=3.0,
    ),
    Case(
        "cluster-http-options-explicit",
        get(),
        cluster="typed_extension_protocol_options: {http: {'@type': HttpProtocolOptions, explicit_http_config: {http_protocol_options: {}}}}",
    ),
    Case(
        "cluster-http-options-downstream",
        get(),
        cluster="typed_extension_protocol_options: {http: {'@type': HttpProtocolOptions, use_downstream_protocol_config: {http_protocol_options: {}, http2_protocol_options: {}}}}",
    ),
    Case(
        "cluster-allow-chunked-length-response",
        get(),
        upstreams=answer(
            "HTTP/1.1 200 OK\r\ncontent-length: 9\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"
        ),
        cluster="typed_extension_protocol_options: {http: {'@type': HttpProtocolOptions, explicit_http_config: {http_protocol_options: {allow_chunked_length: true}}}}",
    ),
    Case(
        "cluster-max-response-headers",
        get(),
        upstreams=answer("HTTP/1.1 200 OK\r\na: 1\r\nb: 2\r\nc: 3\r\ncontent-length: 0\r\n\r\n"),
        cluster="typed_extension_protocol_options: {http: {'@type': HttpProtocolOptions, common_http_protocol_options: {max_headers_count: 3}, explicit_http_config: {http_protocol_options: {}}}}",
    ),
    Case("cluster-tcp-keepalive", get(), cluster="upstream_connection_options: {tcp_keepalive: {keepalive_time: 300}}"),
    Case(
        "cluster-metadata-in-header",
        get(),
        cluster="metadata: {filter_metadata: {a: {b: c}}}",
        routes="- {match: {prefix: /}, route: {cluster: $up}, request_headers_to_add: [{header: {key: x-m, value: '%CLUSTER_METADATA(a:b)%'}}]}",
    ),
    Case(
        "cluster-pool-parallel",
        clients=tuple(client(get(f"/{i}"), start=0.02 * i) for i in range(4)),
        upstreams=answer(0.7, OK),
        sort_upstream=True,
        sort_log=True,
        stats=r"^cluster\.$case\.up\.upstream_cx_(total|active|http1_total)$",
    ),
    Case(
        "cluster-connections-per-host",
        clients=(client(get(), quiet=1.0, timing=False), client(get(), start=0.1, quiet=1.0, timing=False)),
        upstreams=answer(0.4, OK),
        cluster="circuit_breakers: {per_host_thresholds: [{max_connections: 1}]}",
        stats=r"cluster\.$up\.upstream_cx_(overflow|total)",
        shows="upstream_cx_overflow: 1",
    ),
    Case(
        "cluster-connection-pools",
        tuple(x for _ in range(4) for x in (get(), 0.1)),
        upstreams=TWO,
        cluster=endpoints(endpoint("$up_port"), endpoint("$up2_port"))
        + "circuit_breakers: {thresholds: [{max_connection_pools: 1}]}",
        stats=r"cluster\.$up\.(upstream_cx_(pool_overflow|total)|circuit_breakers.default.cx_pool_open)",
        masks=(("<up2_port>", "<up_port>"), ("one|two", "name")),
        merge_upstreams=True,
        compare_log=False,
        timing=False,
        shows="upstream_cx_pool_overflow: 2",
    ),
    Case(
        "cluster-per-host-limit-of-requests",
        refused=True,
        cluster="circuit_breakers: {per_host_thresholds: [{max_requests: 1}]}",
    ),
    Case(
        "cluster-second-address",
        get(),
        upstreams=DEAD_AND_ALIVE,
        cluster="load_assignment: {cluster_name: c, endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: "
        "{address: 127.0.0.1, port_value: $up_port}}, additional_addresses: [{address: {socket_address: {address: "
        "127.0.0.1, port_value: $up2_port}}}]}}]}]}",
        stats=r"cluster\.$up\.upstream_cx_(total|connect_fail)$",
        compare_log=False,
        shows="200",
    ),
    Case(
        "cluster-preconnect",
        (get(), 0.5),
        cluster="preconnect_policy: {per_upstream_preconnect_ratio: 3.0}",
        stats=r"cluster\.$up\.upstream_cx_(total|active)",
        sort_upstream=True,
        timing=False,
        shows="upstream_cx_total: 3",
    ),
    Case(
        "cluster-pool-for-each-client",
        clients=tuple(client(get(), 0.1, get(), start=0.3 * i, quiet=1.0, timing=False) for i in range(2)),
        cluster="connection_pool_per_downstream_connection: true",
        stats=r"cluster\.$up\.upstream_cx_total",
        shows="upstream_cx_total: 2",
    ),
    Case(
        "cluster-original-dst-by-metadata",
        (get("/", "x-to: 127.0.0.1:$up_port"), 0.1, get("/", "x-to: nonsense"), 0.1, get()),
        filters="- {name: m, typed_config: {'@type': type.googleapis.com/envoy.extensions.filters.http."
        "header_to_metadata.v3.Config, request_rules: [{header: x-to, on_header_present: {metadata_namespace: where, "
        "key: to}}]}}",
        routes="- match: {prefix: /}\n  route: {cluster: $case.any}\n",
        clusters="- {name: $case.any, type: ORIGINAL_DST, lb_policy: CLUSTER_PROVIDED, original_dst_lb_config: "
        "{metadata_key: {key: where, path: [{key: to}]}}}",
        stats=r"cluster\.$case\.any\.original_dst_host_invalid",
        timing=False,
        shows="original_dst_host_invalid: 1",
    ),
    Case(
        "cluster-original-dst-by-filter-state",
        (get("/", "x-to: 127.0.0.1:$up_port"), 0.1, get("/", "x-to: nonsense")),
        filters="- {name: s, typed_config: {'@type': type.googleapis.com/envoy.extensions.filters.http.set_filter_state."
        "v3.Config, on_request_headers: [{object_key: envoy.network.transport_socket.original_dst_address, "
        "format_string: {text_format_source: {inline_string: '%REQ(x-to)%'}}}]}}",
        routes="- match: {prefix: /}\n  route: {cluster: $case.any}\n",
        clusters="- {name: $case.any, type: ORIGINAL_DST, lb_policy: CLUSTER_PROVIDED}",
        masks=((r"x-to: .*", "x-to"),),
        timing=False,
        shows="200",
    ),
]
