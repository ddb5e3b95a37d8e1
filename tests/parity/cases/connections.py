"""Life of a client's connection: order of answers, keep-alive, limits, and when it closes."""

from __future__ import annotations

from typing import Any

from .. import known
from ..case import OK, REFUSE, Act, Case, Upstream, answer, answers, client, get

REQUESTS_PER_UPSTREAM = """
typed_extension_protocol_options:
  http:
    "@type": HttpProtocolOptions
    common_http_protocol_options: {max_requests_per_connection: %s}
    explicit_http_config: {http_protocol_options: {}}
"""


def number(n: int, *pause: float) -> tuple[Any, ...]:
    return (*pause, f"HTTP/1.1 200 OK\r\nx-n: {n}\r\ncontent-length: 1\r\n\r\n{n}")


_REPLIES: dict[str, dict[str, Any]] = {
    "404": {"routes": "[]"},
    "direct-response": {"routes": "[{match: {prefix: /}, direct_response: {status: 200}}]"},
    "refused": {"upstreams": REFUSE},
    "reset": {"upstreams": answer(Act.CLOSE)},
    "timeout": {
        "routes": "[{match: {prefix: /}, route: {cluster: $up, timeout: 0.2s}}]",
        "upstreams": answer(1.0, OK),
    },
}

DURATIONS = r"^http\.$case\.downstream_cx_(max_duration|drain_close|destroy_local|destroy_remote|delayed)"

CASES = [
    Case("pipelined", get("/1") + get("/2") + get("/3"), upstreams=answers(number(1, 0.3), number(2), number(3))),
    Case(
        "pipelined-with-bodies", get("/1", method="POST", body="one") + get("/2", method="POST", body="two") + get("/3")
    ),
    Case("pipelined-local-replies", get("/1") + get("/2"), routes="[]"),
    Case(
        "pipelined-mixed",
        get("/a") + get("/none") + get("/a"),
        routes="- {match: {prefix: /a}, route: {cluster: $up}}",
        differs=known.TOO_MANY_QUEUED,
    ),
    Case("pipelined-slowly", get("/1") + get("/2"), upstreams=answer(0.2, OK)),
    Case("pipelined-ending-in-half-a-request", get("/1") + "GET /2 HTTP/1.1\r\nho"),
    Case("keep-alive", (get("/1"), 0.2, get("/2"))),
    Case("two-clients-share-upstream", clients=(client(get("/1")), client(get("/2"), start=0.3)), sort_log=True),
    Case("two-clients-at-once", clients=(client(get("/1")), client(get("/2"), start=0.2)), upstreams=answer(0.6, OK)),
    Case("client-close", get("/", "connection: close"), shows=("connection: close", "end: fin")),
    Case("client-close-in-list", get("/", "connection: Keep-Alive, Close")),
    Case("client-close-pipelined", get("/1", "connection: close") + get("/2")),
    Case("client-close-local-reply", get("/", "connection: close"), routes="[]"),
    Case("client-half-close-after-request", (get(), Act.WAIT_UPSTREAM, Act.HALF_CLOSE), upstreams=answer(1.0, OK)),
    Case(
        "client-half-close-in-request",
        ("POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 9\r\n\r\nabc", 0.3, Act.HALF_CLOSE),
    ),
    Case("client-half-close-in-head", ("GET / HTTP/1.1\r\nho", Act.HALF_CLOSE)),
    Case("client-connects-and-leaves", (0.1, Act.HALF_CLOSE)),
    Case(
        "max-requests-2",
        (get("/1"), 0.2, get("/2"), 0.2, get("/3")),
        hcm="common_http_protocol_options: {max_requests_per_connection: 2}",
    ),
    Case(
        "max-requests-2-pipelined",
        get("/1") + get("/2") + get("/3"),
        hcm="common_http_protocol_options: {max_requests_per_connection: 2}",
    ),
    Case("max-requests-1", get("/1"), hcm="common_http_protocol_options: {max_requests_per_connection: 1}"),
    Case(
        "idle-timeout",
        get(),
        hcm="{common_http_protocol_options: {idle_timeout: 0.5s}, drain_timeout: 0.6s}",
        quiet=4.0,
        shows="end: fin",
    ),
    Case(
        "idle-timeout-default-drain",
        get(),
        hcm="common_http_protocol_options: {idle_timeout: 0.5s}",
        quiet=8.5,
        shows="end: fin",
    ),
    Case(
        "idle-timeout-without-request",
        "",
        hcm="{common_http_protocol_options: {idle_timeout: 0.5s}, drain_timeout: 0.6s}",
        quiet=4.0,
    ),
    Case(
        "request-in-drain-window",
        (get("/1"), 0.9, get("/2")),
        hcm="{common_http_protocol_options: {idle_timeout: 0.5s}, drain_timeout: 1.5s}",
        quiet=4.0,
    ),
    Case(
        "idle-timeout-not-while-active",
        get(),
        hcm="{common_http_protocol_options: {idle_timeout: 0.3s}, drain_timeout: 0.3s}",
        upstreams=answer(1.0, OK),
        quiet=4.0,
    ),
    Case(
        "max-connection-duration",
        get(),
        hcm="{common_http_protocol_options: {max_connection_duration: 0.6s}, drain_timeout: 0.5s}",
        quiet=4.0,
    ),
    Case(
        "max-connection-duration-in-a-request",
        (get("/1"), 0.05, get("/2")),
        hcm="{common_http_protocol_options: {max_connection_duration: 0.4s}, drain_timeout: 0.6s}",
        upstreams=answer(0.7, OK),
        quiet=3.0,
        stats=DURATIONS,
    ),
    Case(
        "max-connection-duration-and-jitter",
        (get("/1"), 0.8, get("/2")),
        hcm="{common_http_protocol_options: {max_connection_duration: 0.5s, max_connection_duration_jitter: {value: 1}}, drain_timeout: 0.5s}",
        quiet=3.0,
    ),
    Case(
        "max-connection-duration-safely",
        clients=(
            client(get("/1"), 0.8, get("/2"), 0.05, get("/3"), quiet=2.5),
            client(get("/idle"), quiet=2.5),
            client(0.8, quiet=2.5),
        ),
        hcm="{common_http_protocol_options: {max_connection_duration: 0.4s}, http1_safe_max_connection_duration: true}",
        stats=DURATIONS,
        sort_log=True,
        flat_upstream=True,
    ),
    Case("delayed-close-off", "BAD\r\n\r\n", hcm="delayed_close_timeout: 0s"),
    Case("delayed-close-short", "BAD\r\n\r\n", hcm="delayed_close_timeout: 2s", quiet=3.5),
    Case("delayed-close-client-first", ("BAD\r\n\r\n", 0.3, Act.HALF_CLOSE), stats=DURATIONS),
    Case(
        "headers-timeout-not-after-head",
        get("/", method="POST", body="abc"),
        hcm="request_headers_timeout: 0.5s",
        upstreams=answer(1.0, OK),
    ),
    Case("request-timeout-not-after-request", get(), hcm="request_timeout: 0.5s", upstreams=answer(1.0, OK)),
    Case("headers-timeout-on-idle-connection", (get("/1"), 1.0, get("/2")), hcm="request_headers_timeout: 0.5s"),
    Case(
        "upstream-idle-timeout",
        (get("/1"), 1.2, get("/2")),
        cluster="""
typed_extension_protocol_options:
  http:
    "@type": HttpProtocolOptions
    common_http_protocol_options: {idle_timeout: 0.5s}
    explicit_http_config: {http_protocol_options: {}}
""",
        upstream_end=True,
    ),
    Case("upstream-max-requests-1", (get("/1"), 0.2, get("/2")), cluster=REQUESTS_PER_UPSTREAM % 1, upstream_end=True),
    Case(
        "upstream-max-requests-2",
        (get("/1"), 0.2, get("/2"), 0.2, get("/3")),
        cluster=REQUESTS_PER_UPSTREAM % 2,
        upstream_end=True,
    ),
    Case(
        "upstream-connection-survives-client",
        clients=(client(get("/1"), 0.2, Act.CLOSE), client(get("/2"), start=0.6)),
        upstream_end=True,
    ),
    Case(
        "upstream-cut-when-client-leaves",
        (get("/1"), 0.3, Act.CLOSE, 0.5),
        upstreams=answer(2.0, OK),
        upstream_end=True,
    ),
    Case("codec-http1-explicit", get(), hcm="codec_type: HTTP1"),
    Case(
        "max-connections-1",
        clients=(client(get("/1")), client(get("/2"), start=0.2)),
        cluster="circuit_breakers: {thresholds: [{max_connections: 1}]}",
        upstreams=answer(0.6, OK),
        sort_log=True,
    ),
    Case(
        "max-pending-1",
        clients=tuple(client(get(f"/{n}"), start=n * 0.1) for n in range(3)),
        cluster="circuit_breakers: {thresholds: [{max_connections: 1, max_pending_requests: 1}]}",
        upstreams=answer(0.8, OK),
        sort_log=True,
    ),
    Case(
        "max-requests-breaker-1",
        clients=(client(get("/1")), client(get("/2"), start=0.2)),
        cluster="circuit_breakers: {thresholds: [{max_requests: 1}]}",
        upstreams=answer(0.6, OK),
        sort_log=True,
    ),
    Case(
        "connection-buffer-limit",
        get("/", "content-length: 200000", method="POST") + "u" * 200000,
        listener="per_connection_buffer_limit_bytes: 16384",
        cluster="per_connection_buffer_limit_bytes: 16384",
    ),
    Case("ipv6-upstream", get(), upstreams={"up": Upstream(host="::1")}, shows="[::1]:<up_port>"),
    Case(
        "ipv6-listener",
        clients=(client(get(), host="::1"),),
        listener="address: {socket_address: {address: '::1'}}",
        hcm="use_remote_address: true",
    ),
    Case(
        "dual-stack-listener",
        clients=(client(get("/6"), host="::1"), client(get("/4"), start=0.3)),
        listener="address: {socket_address: {address: '::', ipv4_compat: true}}",
        hcm="use_remote_address: true",
        sort_log=True,
    ),
    Case(
        "additional-address",
        clients=(client(get("/1")), client(get("/2"), to="port2", start=0.3)),
        listener="additional_addresses: [{address: {socket_address: {address: 127.0.0.1, port_value: $port2}}}]",
    ),
    Case("any-address-listener", get(), listener="address: {socket_address: {address: 0.0.0.0}}"),
    Case(
        "upstream-bind-config",
        get(),
        cluster="upstream_bind_config: {source_address: {address: 127.0.0.6, port_value: 0}}",
        log="up=%UPSTREAM_LOCAL_ADDRESS% %RESPONSE_CODE%\n",
        shows="up=127.0.0.6:",
    ),
    # A reply that the proxy makes later than the request came ends the connection at once, another one waits a second.
    *(
        Case(f"closing-after-{name}-{method.lower()}", get("/", "connection: close", method=method, body=body), **how)
        for name, how in _REPLIES.items()
        for method, body in (("GET", ""), ("POST", "abc"))
    ),
]
