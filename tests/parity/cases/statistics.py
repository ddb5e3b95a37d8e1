"""Which counters exist after a known scenario, and their values."""

from __future__ import annotations

from typing import Any

from ..case import OK, REFUSE, Act, Case, Op, admin, answer, answers, client, get

ERROR = "HTTP/1.1 503 X\r\ncontent-length: 0\r\n\r\n"
# Byte counts depend on header lengths that hold ports and ids; `length_ms`, `time` and `connect_ms` are histograms.
NO_BYTES = ((r"(bytes\w*): \d+", r"\1: <n>"),)


def counted(name: str, send: str | tuple[Op, ...], stats: str, **more: Any) -> Case:
    return Case(f"stats-{name}", send, stats=stats, masks=NO_BYTES, **more)


HTTP = r"^http\.$case\.downstream_(rq|cx)_[a-z0-9_]+$"
HTTP_OTHER = r"^http\.$case\.(no_|rq_|rs_)[a-z_]+$"
CLUSTER = r"^cluster\.$case\.up\.upstream_(rq|cx)_[a-z0-9_]+$"
CLUSTER_REST = r"^cluster\.$case\.up\.(internal|external|retry|membership|lb_healthy_panic|max_host_weight|bind_errors|default\.total)"
# Everything of the HTTP connection manager and of responses but bytes, times, and how connections ended.
SEEN = (
    r"^(http\.$case\.(downstream_(rq_|cx_(upgrades|drain|protocol|ssl))|(no_|rq_)|tracing\.health)"
    r"|cluster\.$case\.up\.((internal|external|retry)\.)?upstream_rq_(\d|completed|unknown|time))"
)
LONG = "HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\nabc"
CODES = r"^(cluster\.$case\.up\.upstream_rq_(\d|completed|total)|http\.$case\.downstream_rq_(\d|completed|total))"

CASES = [
    counted("http-names", get(), HTTP),
    counted("http-other-names", get(), HTTP_OTHER),
    counted("cluster-names", get(), CLUSTER),
    counted("cluster-other-names", get(), CLUSTER_REST),
    counted("cluster-unused-names", "", CLUSTER),
    counted("circuit-breaker-names", get(), r"^cluster\.$case\.up\.circuit_breakers\."),
    counted(
        "circuit-breaker-remaining",
        get(),
        r"^cluster\.$case\.up\.circuit_breakers\.",
        cluster="circuit_breakers: {thresholds: [{max_requests: 7, track_remaining: true}]}",
    ),
    counted(
        "ring-sizes",
        get(),
        r"^cluster\.$case\.up\.(ring|maglev)_\w+\.",
        cluster="lb_policy: RING_HASH",
        routes="- {match: {prefix: /}, route: {cluster: $up, hash_policy: [{header: {header_name: x}}]}}",
    ),
    counted(
        "maglev-sizes",
        get(),
        r"^cluster\.$case\.up\.(ring|maglev)_\w+\.",
        cluster="lb_policy: MAGLEV",
        routes="- {match: {prefix: /}, route: {cluster: $up, hash_policy: [{header: {header_name: x}}]}}",
    ),
    Case(
        "stats-of-each-host",
        clients=(
            client(get(), 0.1, get(), 0.1, get("/late"), timing=False),
            admin("/stats/prometheus?filter=endpoint.*(total|error|success)", start=1.5),
        ),
        upstreams=answers(OK, ERROR, (1.0, OK)),
        cluster="{alt_stat_name: $case, track_cluster_stats: {per_endpoint_stats: true}}",
        routes="- {match: {path: /late}, route: {cluster: $up, timeout: 0.2s}}\n- {match: {prefix: /}, route: {cluster: $up}}",
        stats=r"^cluster\.$case\.endpoint\..*(total|error|success|timeout|fail)$",
        masks=((r"127\.0\.0\.1_\d+", "<address>"),),
        alone=True,
    ),
    counted(
        "cors-names",
        "",
        r"^http\.$case\.cors\.",
        filters="- {name: cors, typed_config: {'@type': type.googleapis.com/envoy.extensions.filters.http.cors.v3.Cors}}",
    ),
    counted(
        "outlier-names",
        "",
        r"^cluster\.$case\.up\.outlier_detection\.",
        cluster="outlier_detection: {}",
    ),
    counted("listener-names", get(), r"^listener\.$case\.", listener="stat_prefix: $case"),
    counted(
        "listener-address-in-name",
        get(),
        r"^listener\.127\.0\.0\.1_$port\.(downstream_cx_total|no_filter_chain_match|http\.$case\.downstream_rq_2xx)$",
    ),
    counted("two-requests", (get("/1"), 0.2, get("/2")), CODES),
    counted(
        "codes",
        (get("/1"), 0.2, get("/2"), 0.2, get("/3")),
        CODES,
        upstreams=answers(
            "HTTP/1.1 404 X\r\ncontent-length: 0\r\n\r\n", ERROR, "HTTP/1.1 301 X\r\ncontent-length: 0\r\n\r\n"
        ),
    ),
    counted(
        "no-route",
        get(),
        r"^http\.$case\.(no_route|no_cluster|downstream_rq_4xx|downstream_rq_completed|rq_total)$",
        routes="[]",
    ),
    counted(
        "no-cluster",
        get(),
        r"^http\.$case\.(no_route|no_cluster|downstream_rq_5xx)$",
        routes="- match: {prefix: /}\n  route: {cluster: none}",
        route_config="validate_clusters: false",
    ),
    counted(
        "direct-response-and-redirect",
        (get("/d"), 0.2, get("/r")),
        r"^http\.$case\.(rq_direct_response|rq_redirect|rq_total|downstream_rq_[235]xx)$",
        routes="- {match: {prefix: /d}, direct_response: {status: 200}}\n- {match: {prefix: /r}, redirect: {path_redirect: /x}}",
    ),
    counted("bad-request", "BAD\r\n\r\n", HTTP),
    counted(
        "too-large",
        get("/", *(f"h{i}: v" for i in range(101))),
        r"^http\.$case\.downstream_(rq_too_large|rq_4xx|cx_protocol_error|rq_total|rq_completed|rq_http1_total)$",
    ),
    counted("connect-refused", get(), CLUSTER, upstreams=REFUSE),
    counted(
        "timeout",
        get(),
        r"^cluster\.$case\.up\.upstream_rq_(timeout|504|5xx|completed|total|tx_reset|rx_reset|cancelled|per_try_timeout)$",
        upstreams=answer(2.0, OK),
        routes="- {match: {prefix: /}, route: {cluster: $up, timeout: 0.3s}}",
    ),
    counted("upstream-closes", get(), CLUSTER, upstreams=answer(Act.CLOSE)),
    counted(
        "upstream-protocol-error",
        get(),
        r"^cluster\.$case\.up\.upstream_(cx_protocol_error|rq_5.*|cx_destroy.*|rq_rx_reset|rq_tx_reset)$",
        upstreams=answer("garbage\r\n\r\n"),
    ),
    Case(
        "stats-retry",
        get(),
        stats=r"^cluster\.$case\.up\.(upstream_rq_retry.*|retry\..*|upstream_rq_(\d|total|completed).*)$",
        upstreams=answers(ERROR, OK),
        routes="- {match: {prefix: /}, route: {cluster: $up, retry_policy: {retry_on: 5xx}}}",
        masks=((r"rq-timeout-ms: \d+", "<left>"),),
    ),
    counted(
        "client-leaves",
        (get(), 0.3, Act.CLOSE, 0.2),
        r"^http\.$case\.downstream_(rq_rx_reset|rq_tx_reset|cx_destroy.*|rq_completed|rq_active|rq_[1-5]xx)$",
        upstreams=answer(1.0, OK),
    ),
    counted(
        "circuit-breaker",
        get(),
        r"^cluster\.$case\.up\.(upstream_rq_pending_overflow|upstream_cx_overflow|upstream_rq_503|circuit_breakers\.default\.rq_(pending_)?open)$",
        cluster="circuit_breakers: {thresholds: [{max_pending_requests: 0}]}",
    ),
    counted(
        "active-while-waiting",
        (get(), 3.0),
        r"^(http\.$case\.downstream_(rq|cx)_active|cluster\.$case\.up\.upstream_(rq|cx)_active)$",
    ),
    counted(
        "fault",
        get(),
        r"^http\.$case\.fault\.",
        filters="- fault: {abort: {http_status: 503, percentage: {numerator: 100}}}",
    ),
    counted(
        "fault-delay",
        get(),
        r"^http\.$case\.fault\.",
        filters="- fault: {delay: {fixed_delay: 0.2s, percentage: {numerator: 100}}}",
    ),
    counted(
        "max-requests",
        (get("/1"), 0.2, get("/2")),
        r"^http\.$case\.downstream_cx_(max_requests_reached|destroy.*|total)$",
        hcm="common_http_protocol_options: {max_requests_per_connection: 1}",
    ),
    counted(
        "idle-timeout",
        get(),
        r"^http\.$case\.downstream_cx_(idle_timeout|destroy.*|drain_close)$",
        hcm="{common_http_protocol_options: {idle_timeout: 0.3s}, drain_timeout: 0.3s}",
        quiet=3.0,
    ),
    counted(
        "request-timeouts",
        "POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 5\r\n\r\n",
        r"^http\.$case\.downstream_rq_(timeout|header_timeout|idle_timeout|max_duration_reached)$",
        hcm="request_timeout: 0.3s",
    ),
    counted(
        "websocket",
        get("/", "connection: upgrade", "upgrade: websocket"),
        r"^http\.$case\.downstream_(cx_upgrades_total|cx_upgrades_active|rq_ws_on_non_ws_route|rq_[1-5]xx)$",
        hcm="upgrade_configs: [{upgrade_type: websocket}]",
        upstreams=answer(
            "HTTP/1.1 101 X\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n", Act.RAW, "hi", at="head"
        ),
    ),
    counted(
        "stat-prefix-of-route",
        get(),
        r"^vhost\.v\.route\.$case\.",
        routes="- {match: {prefix: /}, route: {cluster: $up}, stat_prefix: $case}",
    ),
    counted(
        "alt-stat-name", get(), r"^cluster\.alt_$case\.upstream_rq_(total|200)$", cluster="alt_stat_name: alt_$case"
    ),
    counted(
        "http-1-codec",
        get("/", "a_b: 1"),
        r"^http1\.",
        alone=True,
        hcm="common_http_protocol_options: {headers_with_underscores_action: DROP_HEADER}",
    ),
    Case(
        "stats-server-names",
        get(),
        stats=r"^server\.(live|state|concurrency|total_connections|uptime|hot_restart_epoch|parent_connections|days_until_first_cert_expiring)$",
        alone=True,
        masks=((r"(uptime|total_connections): \d+", r"\1: <n>"),),
    ),
    counted(
        "manager-names",
        get(),
        r"^(cluster_manager\.(active_clusters|warming_clusters|cluster_added|cluster_modified|cluster_removed|cluster_updated)|listener_manager\.(total_listeners_(active|draining|warming)|listener_(added|create_success|create_failure|modified|removed|stopped|in_place_updated)|workers_started))$",
        alone=True,
    ),
    Case(
        "stats-two-clients-share-upstream",
        clients=(client(get("/1")), client(get("/2"), start=0.3)),
        stats=r"^(http\.$case\.downstream_cx_(total|active)|cluster\.$case\.up\.upstream_cx_(total|active|http1_total))$",
        sort_log=True,
    ),
    # What is counted of requests that don't go the usual way.
    counted(
        "health-check-passed-on",
        (get("/hc"), 0.2, get("/x")),
        SEEN,
        filters="- {health_check: {pass_through_mode: true, headers: [{name: ':path', string_match: {exact: /hc}}]}}",
        log="%RESPONSE_CODE%\n",
    ),
    counted(
        "informational",
        get("/", "expect: 100-continue"),
        SEEN,
        hcm="proxy_100_continue: true",
        upstreams=answer("HTTP/1.1 103 Early Hints\r\nx-a: 1\r\n\r\n", 0.1, OK),
    ),
    counted(
        "answered-early",
        "POST / HTTP/1.1\r\nhost: h.test\r\ncontent-length: 9\r\n\r\nabc",
        SEEN,
        upstreams=answer(OK, at="head"),
    ),
    counted("cut-in-the-body", get(), SEEN, upstreams=answer(LONG, 0.1, Act.RESET)),
    counted(
        "upgrade-refused-by-upstream",
        get("/", "connection: upgrade", "upgrade: websocket"),
        SEEN,
        hcm="upgrade_configs: [{upgrade_type: websocket}]",
        upstreams=answer("HTTP/1.1 403 X\r\ncontent-length: 0\r\n\r\n"),
    ),
    counted("upgrade-not-allowed", get("/", "connection: upgrade", "upgrade: websocket"), SEEN),
    counted("status-beyond-the-classes", get(), SEEN, upstreams=answer("HTTP/1.1 999 X\r\ncontent-length: 0\r\n\r\n")),
    counted(
        "tls-required",
        get(),
        SEEN,
        vhost="require_tls: ALL",
        filters="""
- header_mutation: {mutations: {response_mutations: [{append: {header: {key: x-filtered, value: 'yes'}}}]}}
""",
        shows="x-filtered",
    ),
]
