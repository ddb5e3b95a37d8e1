"""Clusters that stand for others, and clusters that forward to whatever host a request names."""

from __future__ import annotations

import ssl
from typing import Any

from ..case import REFUSE, Act, Case, Upstream, Wait, get

_EXT = "type.googleapis.com/envoy.extensions"


def aggregate_cluster(names: str, more: str = "") -> str:
    return (
        f"- {{name: $case.all, connect_timeout: 1s, lb_policy: CLUSTER_PROVIDED, {more} cluster_type: {{name: "
        f"envoy.clusters.aggregate, typed_config: {{'@type': {_EXT}.clusters.aggregate.v3.ClusterConfig, "
        f"clusters: [{names}]}}}}}}\n"
    )


ILL = (
    "- {name: $case.ill, type: STATIC, load_assignment: {cluster_name: c, endpoints: [{lb_endpoints: [{health_status: UNHEALTHY, "
    "endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: $up_port}}}}]}]}}\n"
)
ALL = "- match: {prefix: /}\n  route: {cluster: $case.all, %s}\n"
COUNTED = r"cluster\.($case\.all|$up2?|$case\.ill)\.(upstream_(cx_none|cx_total|rq_(200|503|total|retry\w*))|membership_total)"


def aggregate(name: str, names: str, more: str = "", route: str = "timeout: 5s", **options: Any) -> Case:
    options.setdefault("clusters", aggregate_cluster(names, more) + ILL)
    return Case(
        f"aggregate-{name}",
        (get(), 0.2, get()),
        routes=ALL % route,
        upstreams={"up": Upstream(), "up2": Upstream()} if "upstreams" not in options else options.pop("upstreams"),
        stats=COUNTED,
        timing=False,
        **options,
    )


def cache(more: str = "") -> str:
    return f"dns_cache_config: {{name: $case, dns_lookup_family: V4_ONLY{more}}}"


def forward_cluster(specifier: str = "", more: str = "") -> str:
    return (
        f"- {{name: $case.any, connect_timeout: 1s, lb_policy: CLUSTER_PROVIDED, {more} cluster_type: {{name: "
        f"envoy.clusters.dynamic_forward_proxy, typed_config: {{'@type': {_EXT}.clusters.dynamic_forward_proxy.v3."
        f"ClusterConfig, {specifier or cache()}}}}}}}\n"
    )


def filter_of(specifier: str = "") -> str:
    return (
        f"- {{name: forward, typed_config: {{'@type': {_EXT}.filters.http.dynamic_forward_proxy.v3.FilterConfig, "
        f"{specifier or cache()}}}}}\n"
    )


def of_route(config: str) -> str:
    return (
        f"typed_per_filter_config: {{forward: {{'@type': {_EXT}.filters.http.dynamic_forward_proxy.v3.PerRouteConfig, "
        f"{config}}}}}"
    )


ANY = "- match: {prefix: /}\n  route: {cluster: $case.any, timeout: 5s}\n"


def forward(name: str, *requests: str | float, specifier: str = "", of_cluster: str = "", **options: Any) -> Case:
    options.setdefault("routes", ANY)
    options.setdefault("clusters", forward_cluster(specifier, of_cluster))
    options.setdefault("filters", filter_of(specifier))
    return Case(
        f"forward-{name}",
        tuple(x for request in requests for x in (request, 0.3)),
        stats=r"dns_cache\.$case\.(dns_rq|host_|num_hosts)|cluster\.$case\.any\.(membership_total|upstream_rq_(\d+|total)$)",
        timing=False,
        **options,
    )


def hello(name: str) -> bytes:
    """What a TLS client says first."""
    out = ssl.MemoryBIO()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    tls = context.wrap_bio(ssl.MemoryBIO(), out, server_hostname=name)
    try:
        tls.do_handshake()
    except ssl.SSLWantReadError:
        pass
    return out.read()


HELLO = hello("localhost")
SUB = "sub_clusters_config: {max_sub_clusters: 1}"
STATE = (
    "- {name: s, typed_config: {'@type': type.googleapis.com/envoy.extensions.filters.http.set_filter_state.v3.Config, "
    "on_request_headers: [{object_key: envoy.upstream.dynamic_host, factory_key: envoy.string, format_string: "
    "{text_format_source: {inline_string: '127.0.0.1:$up_port'}}}]}}\n"
)
HTTP_OPTIONS = (
    "typed_extension_protocol_options: {http: {'@type': HttpProtocolOptions, explicit_http_config: {http_protocol_options: {}}, "
    "upstream_http_protocol_options: {auto_sni: %s, auto_san_validation: true}}},"
)
PORT = ((r"(?i)(localhost):\d+", r"\1:<up_port>"),)
HERE = "127.0.0.1:$up_port"

CASES = [
    aggregate("first-that-is-well", "$case.ill, $up2", shows="200"),
    aggregate("first-in-order", "$up, $up2", shows="200"),
    aggregate("of-one-that-is-not-there", "nope, $up", shows="200"),
    aggregate("of-nothing", "nope", shows="rf=UH"),
    aggregate("of-ill-hosts", "$case.ill", "common_lb_config: {healthy_panic_threshold: {value: 0}},", shows="200"),
    aggregate("in-panic", "$case.ill", shows="200"),
    aggregate("alt-stat-name", "$up", "alt_stat_name: $case.alt,", shows="200"),
    aggregate(
        "next-cluster-for-a-retry",
        "$up, $up2",
        route=(
            "retry_policy: {retry_on: connect-failure, num_retries: 1, retry_priority: {name: p, typed_config: {'@type': "
            f"{_EXT}.retry.priority.previous_priorities.v3.PreviousPrioritiesConfig, update_frequency: 1}}}}}}"
        ),
        upstreams=REFUSE | {"up2": Upstream()},
        masks=((r"rq-timeout-ms: \d+", "rq-timeout-ms: <ms>"),),
        shows="200",
    ),
    Case("aggregate-refused-with-round-robin", refused=True, clusters=aggregate_cluster("a").replace("CLUSTER_PROVIDED", "ROUND_ROBIN")),
    Case("aggregate-refused-without-clusters", refused=True, clusters=aggregate_cluster("")),
    forward("address", get(host=HERE), get(host=HERE), shows="200"),
    forward("name", get(host="localhost:$up_port"), get(host="LOCALHOST:$up_port"), masks=PORT, shows="200"),
    forward("port-of-the-scheme", get(host="127.0.0.1"), shows="up=127.0.0.1:80"),
    forward("bad-name", get(host="a..b"), shows="rf=DF"),
    forward("rewritten", get(host="h.test"), routes=ANY + "  " + of_route(f"host_rewrite_literal: '{HERE}'"), shows="200"),
    forward(
        "rewritten-by-header",
        get("/", f"x-host: {HERE}", host="h.test"),
        get(host=HERE),
        routes=ANY + "  " + of_route("host_rewrite_header: X-Host"),
        shows="200",
    ),
    forward("without-filter", get(host=HERE), get(host="localhost:$up_port"), filters="", masks=PORT, shows="200"),
    forward("without-filter-bad-name", get(host="a..b"), filters="", shows="503"),
    forward("other-cache", get(host=HERE), filters=filter_of("dns_cache_config: {name: $case.other}"), shows="200"),
    forward("too-many-waiting", get(host="localhost:1"), specifier=cache(", dns_cache_circuit_breaker: {max_pending_requests: 0}"), shows="pending_request_overflow"),
    forward("too-many-names", get(host=HERE), get(host="127.0.0.2"), specifier=cache(", max_hosts: 1"), shows="dns_cache_overflow"),
    forward("preresolved", 0.3, get(host=HERE), specifier=cache(", preresolve_hostnames: [{address: 127.0.0.1, port_value: $up_port}]"), shows="200"),
    forward("host-of-filter-state", get(host="h.test"), filters=STATE + filter_of(cache() + ", allow_dynamic_host_from_filter_state: true"), shows="200"),
    forward("sub-clusters", get(host=HERE), get(host=HERE), get(host="127.0.0.1:1"), specifier=SUB, filters=filter_of("sub_cluster_config: {}"), shows="sub_cluster_overflow"),
    forward("refused-without-san", refused=True, of_cluster=HTTP_OPTIONS % "false"),
    forward("with-san", get(host=HERE), of_cluster=HTTP_OPTIONS % "true", shows="200"),
    forward("insecure", get(host=HERE), clusters=forward_cluster(cache() + ", allow_insecure_cluster_options: true", HTTP_OPTIONS % "false"), shows="200"),
    forward("refused-with-two-settings", refused=True, filters=filter_of(cache(", max_hosts: 5"))),
    forward("refused-without-cache", refused=True, specifier="allow_insecure_cluster_options: true"),
    Case(
        "forward-server-name",
        (HELLO, 0.3),
        network=(
            f"- {{name: n, typed_config: {{'@type': {_EXT}.filters.network.sni_dynamic_forward_proxy.v3.FilterConfig, "
            f"port_value: $up_port, {cache()}}}}}\n- tcp_proxy: {{cluster: $case.any}}"
        ),
        listener_filters="- tls_inspector: {}",
        clusters=forward_cluster(),
        upstreams={"up": Upstream((("hello", Act.CLOSE),), mode="raw")},
        timing=False,
        masks=((r"\[raw\] [^\n]*", "[raw]"),),
        shows="hello",
    ),
    Case(
        "forward-no-server-name",
        ("no TLS", Wait("x", seconds=0.5)),
        network=(
            f"- {{name: n, typed_config: {{'@type': {_EXT}.filters.network.sni_dynamic_forward_proxy.v3.FilterConfig, "
            f"port_value: $up_port, {cache()}}}}}\n- tcp_proxy: {{cluster: $case.any}}"
        ),
        listener_filters="- tls_inspector: {}",
        clusters=forward_cluster(),
        timing=False,
        shows="rf=UH",
    ),
]  # fmt: skip
