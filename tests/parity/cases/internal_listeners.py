"""Internal listeners: clusters that lead to listeners of the same program, and what connections bring along.

$port -> cluster $case-in -> listener $case-inner -> cluster $up
"""

from __future__ import annotations

from typing import Any

from ..case import Act, Case, Upstream, Wait, admin, get

EXTENSION = """
bootstrap_extensions:
- name: envoy.bootstrap.internal_listener
  typed_config: {'@type': type.googleapis.com/envoy.extensions.bootstrap.internal_listener.v3.InternalListener}
"""
_EXT = "type.googleapis.com/envoy.extensions"
RAW = f"transport_socket: {{name: raw, typed_config: {{'@type': {_EXT}.transport_sockets.raw_buffer.v3.RawBuffer}}}}"
INNER_LOG = (
    "inner local=%DOWNSTREAM_LOCAL_ADDRESS% port=%DOWNSTREAM_LOCAL_PORT% id=%DOWNSTREAM_LOCAL_ADDRESS_ENDPOINT_ID% "
    "remote=%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT% direct=%DOWNSTREAM_DIRECT_REMOTE_ADDRESS% "
    "to=%DOWNSTREAM_DIRECT_LOCAL_ADDRESS% rf=%RESPONSE_FLAGS% rx=%BYTES_RECEIVED% tx=%BYTES_SENT% "
    "md=%DYNAMIC_METADATA(ns)%,%DYNAMIC_METADATA(of.cluster)% once=%FILTER_STATE(once:PLAIN)% "
    "further=%FILTER_STATE(further:PLAIN)% own=%FILTER_STATE(own:PLAIN)%"
)
OUTER_LOG = (
    "up=%UPSTREAM_HOST% from=%UPSTREAM_LOCAL_ADDRESS% remote=%UPSTREAM_REMOTE_ADDRESS%,"
    "%UPSTREAM_REMOTE_ADDRESS_ENDPOINT_ID% rc=%RESPONSE_CODE% rf=%RESPONSE_FLAGS% rcd=%RESPONSE_CODE_DETAILS% "
    "rx=%BYTES_RECEIVED% tx=%BYTES_SENT%\n"
)
STATS = (
    r"^(listener\.envoy_internal_$case-inner\.(downstream_(cx_(total|destroy|active)|pre_cx_active)|no_filter.*)"
    r"|cluster\.$case-in\.upstream_(cx_(total|active|connect_fail|destroy|none_healthy)|rq_(total|2xx|503)))$"
)


def cluster(
    passing: str = "[]", metadata: str = "{}", endpoint: str = "{}", options: str = "", plain: bool = False
) -> str:
    """The cluster $case-in. passing: `passthrough_metadata`. plain: without the transport socket that passes things on."""
    socket = (
        ""
        if plain
        else f"transport_socket: {{name: internal, typed_config: {{'@type': {_EXT}.transport_sockets.internal_upstream"
        f".v3.InternalUpstreamTransport, passthrough_metadata: {passing}, {RAW}}}}}"
    )
    return f"""
- name: $case-in
  connect_timeout: 2s
  metadata: {{filter_metadata: {metadata}}}
  {socket}
  {options}
  load_assignment:
    cluster_name: $case-in
    endpoints:
    - lb_endpoints:
      - endpoint: {{address: {{envoy_internal_address: {{server_listener_name: $case-inner, endpoint_id: one}}}}}}
        metadata: {{filter_metadata: {endpoint}}}
"""


def listener(chains: str, filters: str = "[]", fields: str = "") -> str:
    return f"""
- name: $case-inner
  internal_listener: {{}}
  listener_filters: {filters}
  access_log: [{{file_log: {{path: $dir/$case.log, log_format: {{text_format_source: {{inline_string: "{INNER_LOG}\\n"}}}}}}}}]
  {fields}
  filter_chains: {chains}
"""


def state(key: str, value: str, share: str = "NONE", kind: str = "envoy.string") -> str:
    text = f"format_string: {{text_format_source: {{inline_string: '{value}'}}}}"
    return f"{{object_key: {key}, factory_key: {kind}, {text}, shared_with_upstream: {share}}}"


def restored(end: str, value: str) -> str:
    key = f"envoy.filters.listener.original_dst.{end}_ip"
    return state(key, value, "ONCE", key)


def sets(where: str, *values: str) -> str:
    field = {"http": "on_request_headers", "network": "on_new_connection"}[where]
    kind = f"{_EXT}.filters.{where}.set_filter_state.v3.Config"
    return f"{{name: state, typed_config: {{'@type': {kind}, {field}: [{', '.join(values)}]}}}}"


def case(
    name: str, *ops: object, inner: str = "[{filters: [{tcp_proxy: {cluster: $up, access_log: []}}]}]", **options: Any
) -> Case:
    filters, fields = options.pop("inner_filters", "[]"), options.pop("inner_fields", "")
    options.setdefault("clusters", cluster())
    options.setdefault("network", "[{tcp_proxy: {cluster: $case-in}}]")
    options.setdefault("listeners", listener(inner, filters, fields))
    options.setdefault("bootstrap", EXTENSION)
    options.setdefault("log", OUTER_LOG)
    options.setdefault("stats", STATS)
    options.setdefault("timing", False)
    return Case(f"internal-{name}", ops, **options)  # type: ignore[arg-type]  # of any kind


ROUTES = "[{match: {prefix: /}, route: {cluster: $case-in}}]"
HTTP = {"network": "", "routes": ROUTES}
HTTP_INNER = "[{filters: [{hcm: {access_log: [], use_remote_address: true, route_config: {virtual_hosts: [{name: v, domains: ['*'], routes: [{match: {prefix: /}, route: {cluster: $up}}]}]}}}]}]"
ORIGINAL_DST = "[{original_dst: {}}]"
HELLO = {"up": Upstream(((Wait("hello"), "hello back"),), mode="raw")}
STATES = (
    state("once", "one", "ONCE"),
    state("further", "%DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT%", "TRANSITIVE"),
    state("own", "mine"),
)
PASSED = cluster(
    "[{kind: {host: {}}, name: ns}, {kind: {cluster: {}}, name: of.cluster}, {kind: {host: {}}, name: none}]",
    "{ns: {a: of the cluster}, of.cluster: {b: [1, two]}}",
    "{ns: {a: of the host, n: {x: 1}}, other: {a: b}}",
)


def request(path: str, **fields: str) -> str:
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"GET {path} HTTP/1.1\r\nhost: a\r\n{lines}\r\n"


def keeps(*requests: str) -> tuple[object, ...]:
    """One after the other over one connection."""
    return tuple(op for number, each in enumerate(requests, 1) for op in (each, Wait("HTTP/1.1 200", number)))


def inner_addresses(text: str) -> str:
    """The lines about internal addresses."""
    return "\n".join(line.strip() for line in text.splitlines() if "internal" in line or "endpoint_id" in line)


POOLED = {
    **HTTP,
    "inner": HTTP_INNER,
    "filters": f"[{sets('http', state('once', '%REQ(once)%', 'ONCE'), state('further', '%REQ(hash)%', 'ONCE', 'envoy.hashable_string'))}]",
}
RULES = (
    f"{{name: rbac, typed_config: {{'@type': {_EXT}.filters.http.rbac.v3.RBAC, rules: {{policies: {{p: {{"
    "permissions: [{url_path: {path: {exact: /a}}}], principals: [{and_ids: {ids: ["
    "{filter_state: {key: io.istio.peer_principal, string_match: {prefix: 'spiffe://a/ns/x/'}}}, "
    "{remote_ip: {address_prefix: 10.2.0.0, prefix_len: 16}}]}}]}}}}}"
)
CONNECTION_RULES = (
    f"{{name: rbac, typed_config: {{'@type': {_EXT}.filters.network.rbac.v3.RBAC, stat_prefix: $case., rules: {{policies: "
    "{p: {permissions: [{any: true}], principals: [{and_ids: {ids: [{filter_state: {key: io.istio.peer_principal, "
    "string_match: {prefix: 'spiffe://a/ns/x/'}}}, {not_id: {source_ip: {address_prefix: 10.0.0.0, prefix_len: 8}}}]}}]}}}}}"
)
PAGES = ("/listeners", "/listeners?format=json", "/clusters?format=json")
CASES = [
    Case(
        "internal-pages",
        clients=tuple(admin(path, view=inner_addresses, start=0.2 * number) for number, path in enumerate(PAGES, 1)),
        clusters=cluster(),
        listeners=listener(HTTP_INNER),
        bootstrap=EXTENSION,
        alone=True,
        shows="envoy_internal_address",
    ),
    case("tcp", "hello", Wait("back"), Act.CLOSE, upstreams=HELLO, shows="envoy://internal_client_address/"),
    case("plain", "hello", Wait("back"), Act.CLOSE, upstreams=HELLO, clusters=cluster(plain=True)),
    case(
        "half-close",
        "hello",
        Act.HALF_CLOSE,
        Wait("back"),
        upstreams={"up": Upstream((("hello", Act.WAIT_EOF, " back"),), mode="raw")},
    ),
    case("host-ends", Wait("bye"), upstreams={"up": Upstream((("bye", Act.CLOSE),), mode="raw")}),
    case("refused-behind", upstreams={"up": Upstream(mode="refuse")}, log="rx=%BYTES_RECEIVED%\n", stats=""),
    case("large", b"x" * 3_000_000 + b"hello", Wait("back"), Act.CLOSE, upstreams=HELLO, stats=""),
    case(
        "brings-along",
        "hello",
        Wait("back"),
        Act.CLOSE,
        network=f"[{sets('network', *STATES)}, {{tcp_proxy: {{cluster: $case-in}}}}]",
        upstreams=HELLO,
        clusters=PASSED,
        shows=("once=one further=127.0.0.1 own=-", '"n":{"x":1}'),
    ),
    case(
        "brings-nothing-without-its-socket",
        "hello",
        Wait("back"),
        Act.CLOSE,
        network=f"[{sets('network', *STATES)}, {{tcp_proxy: {{cluster: $case-in}}}}]",
        upstreams=HELLO,
        clusters=cluster(plain=True),
    ),
    case(
        "state-goes-one-step-or-on",
        "hello",
        Wait("back"),
        Act.CLOSE,
        network=f"[{sets('network', *STATES)}, {{tcp_proxy: {{cluster: $case-first}}}}]",
        upstreams=HELLO,
        clusters=cluster() + cluster().replace("$case-inner", "$case-middle").replace("$case-in\n", "$case-first\n"),
        listeners=listener("[{filters: [{tcp_proxy: {cluster: $up, access_log: []}}]}]")
        + listener("[{filters: [{tcp_proxy: {cluster: $case-in, access_log: []}}]}]").replace(
            "$case-inner", "$case-middle"
        ),
        shows=("once=one further=127.0.0.1", "once=- further=127.0.0.1"),
    ),
    case("http", *keeps(request("/a"), request("/b")), **HTTP, inner=HTTP_INNER),
    case(
        "http-inspected",
        *keeps(request("/a")),
        **HTTP,
        inner=HTTP_INNER.replace("[{filters", "[{filter_chain_match: {application_protocols: [http/1.1]}, filters"),
        inner_filters="[{http_inspector: {}}]",
    ),
    case(
        "no-chain",
        "hello\r\n\r\n",
        inner=HTTP_INNER.replace("[{filters", "[{filter_chain_match: {application_protocols: [http/1.1]}, filters"),
        inner_filters="[{http_inspector: {}}]",
    ),
    case(
        "pools-by-what-is-hashed",
        *keeps(*(request("/", once=once, hash=key) for once, key in ("1a", "2a", "3b", "4a"))),
        **POOLED,
        shows="upstream_cx_total: 2",
    ),
    case(
        "rules-for-what-was-brought-along",
        *keeps(request("/a", who="spiffe://a/ns/x/sa/y")),
        request("/b", who="spiffe://a/ns/x/sa/y"),
        Wait("HTTP/1.1", 2),
        **HTTP,
        filters=f"[{sets('http', state('io.istio.peer_principal', '%REQ(who)%', 'ONCE'), restored('remote', '10.2.3.4:5'))}]",
        inner=HTTP_INNER.replace(
            "route_config:", f"stat_prefix: inner, http_filters: [{RULES}, {{router: {{}}}}], route_config:"
        ),
        inner_filters=ORIGINAL_DST,
        shows="403",
    ),
    case(
        "rules-for-connections",
        "hello",
        Wait("back"),
        Act.CLOSE,
        network=f"[{sets('network', state('io.istio.peer_principal', 'spiffe://a/ns/x/sa/y', 'ONCE'))}, {{tcp_proxy: {{cluster: $case-in}}}}]",
        upstreams=HELLO,
        inner=f"[{{filters: [{CONNECTION_RULES}, {{tcp_proxy: {{cluster: $up, access_log: []}}}}]}}]",
        stats=r"^$case\.rbac\.allowed$",
        shows="allowed: 1",
    ),
    case(
        "nobody",
        get("/"),
        **HTTP,
        listeners="",
        log="up=%UPSTREAM_HOST% from=%UPSTREAM_LOCAL_ADDRESS% rc=%RESPONSE_CODE% rf=%RESPONSE_FLAGS% rcd=%RESPONSE_CODE_DETAILS%\n",
        shows="immediate_connect_error",
    ),
    case(
        "nobody-tcp",
        "hello",
        listeners="",
        log="up=%UPSTREAM_HOST% rf=%RESPONSE_FLAGS% utf=%UPSTREAM_TRANSPORT_FAILURE_REASON%\n",
    ),
    case(
        "restored-by-state",
        "hello",
        Wait("back"),
        Act.CLOSE,
        network=f"[{sets('network', restored('local', '10.1.2.3:80'), restored('remote', '%DOWNSTREAM_REMOTE_ADDRESS%'))}, {{tcp_proxy: {{cluster: $case-in}}}}]",
        upstreams=HELLO,
        inner="[{filter_chain_match: {destination_port: 80, prefix_ranges: [{address_prefix: 10.1.0.0, prefix_len: 16}]}, filters: [{tcp_proxy: {cluster: $up, access_log: []}}]}]",
        inner_filters=ORIGINAL_DST,
        shows="local=10.1.2.3:80 port=80 id= remote=127.0.0.1",
    ),
    case(
        "restored-by-metadata",
        "hello",
        Wait("back"),
        Act.CLOSE,
        network=f"[{sets('network', restored('local', '10.1.2.3:80'), restored('remote', '[::2]:7'))}, {{tcp_proxy: {{cluster: $case-in}}}}]",
        upstreams=HELLO,
        clusters=cluster(
            "[{kind: {host: {}}, name: envoy.filters.listener.original_dst}]",
            endpoint="{envoy.filters.listener.original_dst: {local: '10.9.9.9:90'}}",
        ),
        inner_filters=ORIGINAL_DST,
        shows="local=10.9.9.9:90",
    ),
    case(
        "restored-by-nonsense",
        "hello",
        Wait("back"),
        Act.CLOSE,
        network=f"[{sets('network', restored('local', 'far'), restored('remote', '10.0.0.1'))}, {{tcp_proxy: {{cluster: $case-in}}}}]",
        upstreams=HELLO,
        clusters=cluster(
            "[{kind: {host: {}}, name: envoy.filters.listener.original_dst}]",
            endpoint="{envoy.filters.listener.original_dst: {local: '10.9.9.9'}}",
        ),
        inner_filters=ORIGINAL_DST,
    ),
    case(
        "restored-leads-to-its-address",
        "hello",
        Wait("back"),
        Act.CLOSE,
        network=f"[{sets('network', restored('local', '127.0.0.1:$up_port'))}, {{tcp_proxy: {{cluster: $case-in}}}}]",
        upstreams={
            "up": Upstream(
                ((Wait("hello"), "hello back"),),
                mode="raw",
                cluster="type: ORIGINAL_DST\nlb_policy: CLUSTER_PROVIDED\nload_assignment: null",
            )
        },
        inner_filters=ORIGINAL_DST,
    ),
    case(
        "stat-prefix",
        "hello",
        Wait("back"),
        Act.CLOSE,
        upstreams=HELLO,
        inner_fields="stat_prefix: pre",
        stats=r"^listener\.pre\.downstream_cx_total$",
    ),
]
