"""A whole bootstrap: listeners, connection managers, clusters, access logs, the runtime."""

from __future__ import annotations

from typing import Any

from .dice import Dice, typed
from .filters import chain
from .headers import header_match
from .routes import CLUSTERS, local_replies, route_table

_OPERATORS = (
    *("%PROTOCOL%", "%RESPONSE_CODE%", "%RESPONSE_FLAGS%", "%RESPONSE_FLAGS_LONG%", "%RESPONSE_CODE_DETAILS%"),
    *("%BYTES_RECEIVED%", "%BYTES_SENT%", "%REQ(:METHOD)%", "%REQ(X-A?X-B)%", "%RESP(X-UP)%", "%RESP(SERVER):3%"),
    *("%UPSTREAM_CLUSTER%", "%UPSTREAM_CLUSTER_RAW%", "%ROUTE_NAME%", "%VIRTUAL_CLUSTER_NAME%", "%UPSTREAM_PROTOCOL%"),
    *("%UPSTREAM_REQUEST_ATTEMPT_COUNT%", "%DYNAMIC_METADATA(gen)%", "%DYNAMIC_METADATA(gen:key)%"),
    *("%METADATA(ROUTE:gen:tier)%", "%METADATA(CLUSTER:gen)%", "%METADATA(VIRTUAL_HOST:gen:host)%", "%GRPC_STATUS%"),
    *("%PATH(WQ:ORIG)%", "%QUERY_PARAM(q)%", "%DOWNSTREAM_TLS_VERSION%", "%TRAILER(x)%"),
    *("%REQUESTED_SERVER_NAME%", "%FILTER_STATE(gen.state:PLAIN)%", "%FILTER_CHAIN_NAME%", "%ACCESS_LOG_TYPE%"),
    *("%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%", "%DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT%", "%UPSTREAM_HOST%"),
    *("%UPSTREAM_TRANSPORT_FAILURE_REASON%", "%CONNECTION_TERMINATION_DETAILS%", "%LOCAL_REPLY_BODY%"),
    *("%REQUEST_HEADERS_BYTES%", "%RESPONSE_HEADERS_BYTES%", "%RESPONSE_TRAILERS_BYTES%", "%GRPC_STATUS(NUMBER)%"),
    *("%DOWNSTREAM_LOCAL_ADDRESS%", "%UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%", "%CEL(request.path)%"),
    *("%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%", "%REQ(X-FORWARDED-FOR)%", "%RESP(CONTENT-TYPE?X-UP):4%", "%UPSTREAM_HOST_NAME%"),
    *("%ENVIRONMENT(NO_SUCH)%", "%REQ(COOKIE):9%", "%DOWNSTREAM_PEER_SUBJECT%"),
)  # fmt: skip
_MANAGER = "filters.network.http_connection_manager.v3.HttpConnectionManager"


def bootstrap(dice: Dice) -> dict[str, Any]:
    listeners = [_listener(dice, number) for number in range(dice.choice((1, 1, 2)))]
    return {
        "node": {"id": "n1", "cluster": "c1", "locality": {"region": "r", "zone": "z"}},
        "static_resources": {"listeners": listeners, "clusters": [_cluster(dice, name) for name in CLUSTERS]},
    } | dice.fields(
        0.3,
        layered_runtime={"layers": [{"name": "static", "static_layer": {"k": 404, "w": {"plain": 1}}}, {"name": "admin", "admin_layer": {}}]},
    )  # fmt: skip


def _listener(dice: Dice, number: int) -> dict[str, Any]:
    secure = dice.often(0.25)
    chains = [_chain(dice, f"l{number}", secure)]
    names = ("tls_inspector.v3.TlsInspector", "http_inspector.v3.HttpInspector", "original_dst.v3.OriginalDst")
    inspectors = [typed(name.split(".")[0], f"filters.listener.{name}", {}) for name in dice.some(names, 0, 2)]
    if secure:
        inspectors = [typed("tls", f"filters.listener.{names[0]}", {})]
        if dice.often(0.4):
            chains[0]["filter_chain_match"] = {"server_names": ["a.test", "*.b.test"]}
            chains.append(_chain(dice, f"l{number}b", secure))
    listener = {"name": f"listener{number}", "filter_chains": chains, "listener_filters": inspectors}
    return listener | dice.fields(
        0.15,
        per_connection_buffer_limit_bytes=32768,
        stat_prefix=f"own{number}",
        traffic_direction=lambda: dice.choice(("INBOUND", "OUTBOUND")),
        listener_filters_timeout="5s",
        continue_on_listener_filters_timeout=True,
        tcp_backlog_size=100,
        connection_balance_config={"exact_balance": {}},
        metadata={"filter_metadata": {"gen": {"l": 1}}},
    )


def _chain(dice: Dice, name: str, secure: bool) -> dict[str, Any]:
    chain_: dict[str, Any] = {"name": f"{name}-chain", "filters": [typed("hcm", _MANAGER, _manager(dice, name))]}
    if secure:
        alpn = dice.choice((["h2", "http/1.1"], ["http/1.1"], []))
        context = {"common_tls_context": {"alpn_protocols": alpn} if alpn else {}}
        chain_["transport_socket"] = typed("tls", "transport_sockets.tls.v3.DownstreamTlsContext", context)
    return chain_


def _manager(dice: Dice, name: str) -> dict[str, Any]:
    filters = chain(dice)
    manager = {
        "stat_prefix": name,
        "codec_type": dice.choice(("AUTO", "AUTO", "AUTO", "HTTP1", "HTTP2")),
        "route_config": route_table(dice, filters),
        "http_filters": filters,
        "access_log": [_log(dice) for _ in range(dice.choice((1, 1, 2)))],
    }
    return manager | dice.fields(
        0.15,
        use_remote_address=lambda: dice.often(0.7),
        xff_num_trusted_hops=lambda: dice.choice((1, 2)),
        skip_xff_append=True,
        via="proxy",
        server_name="named",
        server_header_transformation=lambda: dice.choice(("OVERWRITE", "APPEND_IF_ABSENT", "PASS_THROUGH")),
        scheme_header_transformation={"scheme_to_overwrite": "https"},
        normalize_path=lambda: dice.often(0.7),
        merge_slashes=True,
        path_with_escaped_slashes_action=lambda: dice.choice(("KEEP_UNCHANGED", "REJECT_REQUEST", "UNESCAPE_AND_REDIRECT", "UNESCAPE_AND_FORWARD")),
        preserve_external_request_id=True,
        always_set_request_id_in_response=True,
        generate_request_id=lambda: dice.often(0.5),
        add_user_agent=True,
        strip_any_host_port=True,
        strip_trailing_host_dot=True,
        append_x_forwarded_port=True,
        local_reply_config=lambda: local_replies(dice),
        common_http_protocol_options=lambda: dice.fields(
            0.4,
            headers_with_underscores_action=lambda: dice.choice(("ALLOW", "REJECT_REQUEST", "DROP_HEADER")),
            max_headers_count=lambda: dice.choice((10, 100)),
            idle_timeout="30s",
        ),
        http_protocol_options=lambda: dice.fields(
            0.3,
            accept_http_10=True,
            default_host_for_http_10="default.test",
            allow_absolute_url=lambda: dice.often(0.5),
            enable_trailers=True,
            header_key_format=lambda: dice.one_of(
                proper_case_words={},
                stateful_formatter=lambda: typed("c", "http.header_formatters.preserve_case.v3.PreserveCaseFormatterConfig", {}),
            ),
        ),
        http2_protocol_options=lambda: dice.fields(0.3, max_concurrent_streams=10, allow_connect=True),
        upgrade_configs=lambda: [{"upgrade_type": "websocket", "enabled": dice.often(0.7)}],
        forward_client_cert_details=lambda: dice.choice(("SANITIZE", "FORWARD_ONLY", "APPEND_FORWARD", "SANITIZE_SET", "ALWAYS_FORWARD_ONLY")),
        proxy_100_continue=True,
        represent_ipv4_remote_address_as_ipv4_mapped_ipv6=True,
        max_request_headers_kb=lambda: dice.choice((8, 60)),
        request_timeout="20s",
        stream_idle_timeout="30s",
        internal_address_config=lambda: {"unix_sockets": True, "cidr_ranges": [{"address_prefix": "127.0.0.0", "prefix_len": 8}]},
        early_header_mutation_extensions=lambda: [
            typed("e", "http.early_header_mutation.header_mutation.v3.HeaderMutation", {"mutations": [{"remove": "x-b"}, {"append": {"header": {"key": "x-early", "value": "%REQ(X-A)%"}}}]})
        ],
        proxy_status_config={"set_recommended_response_code": True},
        append_local_overload=True,
        stream_error_on_invalid_http_message=True,
        access_log_options={"flush_log_on_tunnel_successfully_established": True},
    )  # fmt: skip


def _log(dice: Dice) -> dict[str, Any]:
    operators = dice.some(_OPERATORS, 3, 12)
    number = "%REQ(X-NUMBER)%"
    form = dice.one_of(
        text_format_source=lambda: {"inline_string": f"{number} {' '.join(operators)}\n"},
        json_format=lambda: {
            "n": number, **{f"k{n}": value for n, value in enumerate(operators)},
            "deep": {"list": [operators[0], "x" + operators[1]]},
        },
    )  # fmt: skip
    form |= dice.fields(0.25, omit_empty_values=True)
    log = typed("log", "access_loggers.file.v3.FileAccessLog", {"path": "/dev/stdout", "log_format": form})
    if dice.often(0.4):
        log["filter"] = _log_filter(dice)
    return log


def _log_filter(dice: Dice, depth: int = 0) -> dict[str, Any]:
    code = {
        "op": dice.choice(("EQ", "GE", "LE", "NE")),
        "value": {"default_value": dice.choice((200, 404, 500)), "runtime_key": "none"},
    }
    kinds: dict[str, Any] = {
        "status_code_filter": {"comparison": code},
        "header_filter": lambda: {"header": header_match(dice)},
        "response_flag_filter": lambda: {"flags": dice.some(("NR", "UF", "UC", "URX", "RL", "FI"), 0, 3)},
        "not_health_check_filter": {},
        "grpc_status_filter": lambda: {"statuses": dice.some(("OK", "UNAVAILABLE", "UNKNOWN"), 1), "exclude": dice.often(0.3)},
        "metadata_filter": {"matcher": {"filter": "gen", "path": [{"key": "key"}], "value": {"present_match": True}}},
        "log_type_filter": lambda: {"types": ["DownstreamEnd"], "exclude": dice.often(0.3)},
        "duration_filter": {"comparison": {"op": "GE", "value": {"default_value": 0, "runtime_key": "none"}}},
    }  # fmt: skip
    if depth < 1:
        for name in ("and_filter", "or_filter"):
            kinds[name] = lambda: {"filters": [_log_filter(dice, 1), _log_filter(dice, 1)]}
    return dice.one_of(**kinds)


def _cluster(dice: Dice, name: str) -> dict[str, Any]:
    host: dict[str, Any] = {"endpoint": {"address": {"socket_address": {"address": f"{name}.test", "port_value": 80}}}}
    host |= dice.fields(0.3, metadata={"filter_metadata": {"envoy.lb": {"v": "1"}}}, load_balancing_weight=3)
    cluster: dict[str, Any] = {
        "name": name,
        "type": dice.choice(("STATIC", "STRICT_DNS", "LOGICAL_DNS")),
        "connect_timeout": "3s",
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [host]}]},
    }
    options: dict[str, Any] = {}
    if name == "h2":
        options["explicit_http_config"] = {"http2_protocol_options": {}}
    else:
        options["explicit_http_config"] = {
            "http_protocol_options": dice.fields(0.2, enable_trailers=True, header_key_format={"proper_case_words": {}})
        }
    if dice.often(0.25):
        options["common_http_protocol_options"] = dice.fields(
            0.5, max_requests_per_connection=1, idle_timeout="30s", max_headers_count=50
        )
    if name == "secure":
        cluster["transport_socket"] = typed(
            "tls", "transport_sockets.tls.v3.UpstreamTlsContext", {"sni": "secure.test"}
        )
    full = "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
    cluster["typed_extension_protocol_options"] = {full.split("/")[1]: {"@type": full, **options}}
    return cluster | dice.fields(
        0.2,
        lb_policy=lambda: dice.choice(("ROUND_ROBIN", "LEAST_REQUEST", "RING_HASH", "RANDOM", "MAGLEV")),
        circuit_breakers=lambda: {"thresholds": [{"max_connections": 50, "max_retries": dice.choice((0, 3)), "track_remaining": True}]},
        outlier_detection={"consecutive_5xx": 1000, "interval": "60s"},
        alt_stat_name=f"{name}-alt",
        metadata={"filter_metadata": {"gen": {"cluster": name}}},
        track_timeout_budgets=True,
        track_cluster_stats={"request_response_sizes": True},
        per_connection_buffer_limit_bytes=32768,
        lb_subset_config={"fallback_policy": "ANY_ENDPOINT", "subset_selectors": [{"keys": ["v"]}]},
        common_lb_config={"healthy_panic_threshold": {"value": 0}},
        wait_for_warm_on_init=True,
        respect_dns_ttl=True,
    )  # fmt: skip
