"""Connections that tcp_proxy carries through an HTTP proxy (`tunneling_config`)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ..case import Act, Case, Op, Upstream, Wait
from ..h2_peer import Data, Head, Reset, Until
from ..known import TUNNEL_END
from .h2_upstream import EXPLICIT, h2

OPEN = "HTTP/1.1 200 OK\r\n\r\n"
STATS = r"^(cluster\.$up\.(upstream_(cx_(total|active|connect_fail|destroy|http[12]_total)|rq_(total|active|pending_total|completed|2xx|5xx|rx_reset|tx_reset|cancelled))$)|tcp\.$case\.)"
LOG = (
    "rf=%RESPONSE_FLAGS% rcd=%RESPONSE_CODE_DETAILS% rx=%BYTES_RECEIVED% tx=%BYTES_SENT% up=%UPSTREAM_HOST% "
    "utf=%UPSTREAM_TRANSPORT_FAILURE_REASON% type=%ACCESS_LOG_TYPE% attempts=%UPSTREAM_REQUEST_ATTEMPT_COUNT% "
    "state=%FILTER_STATE(envoy.tcp_proxy.propagate_response_headers:TYPED)%\n"
)


def tunnel(name: str, *ops: Op, config: str = "hostname: far.test:443", fields: str = "", **options: Any) -> Case:
    options.setdefault(
        "network", f"- {{tcp_proxy: {{cluster: $up, tunneling_config: {{{config}}}{fields and ', ' + fields}}}}}"
    )
    options.setdefault("upstreams", {"up": Upstream(((Wait("\r\n\r\n"), OPEN, 0.2, "hello back"),), mode="raw")})
    options.setdefault("log", LOG)
    options.setdefault("stats", STATS)
    return Case(f"tunnel-{name}", ops or ("hello", 0.5), timing=False, **options)


def answering(*ops: Op) -> dict[str, Upstream]:
    return {"up": Upstream(((0.1, *ops),), mode="raw")}


CONNECT = "hostname: far.test:443"
HTTP2 = r"^cluster\.$up\.(upstream_(cx_(total|connect_fail|http[12]_total)|rq_(total|active|pending_total|completed|rx_reset|tx_reset|cancelled))$)"
POST_END = replace(TUNNEL_END, sections=("access log",))
POSTS = "hostname: far.test, use_post: true"
CASES = [
    tunnel("plain"),
    tunnel("silent-client", 0.7),
    tunnel(
        "client-ends",
        "hello",
        0.5,
        Act.HALF_CLOSE,
        Wait("more"),
        upstreams=answering(OPEN, 0.6, "more", Act.CLOSE),
        stats="",
        differs=TUNNEL_END,
    ),
    tunnel("client-leaves", "hello", 0.5, Act.CLOSE),
    tunnel("client-leaves-early", "hello", 0.05, Act.CLOSE, upstreams=answering(0.6, OPEN)),
    tunnel("host-ends", 0.7, upstreams=answering(OPEN, "bye", Act.CLOSE)),
    tunnel(
        "host-half-closes",
        Wait("bye"),
        "more",
        0.3,
        Act.CLOSE,
        upstreams=answering(OPEN, "bye", Act.HALF_CLOSE),
    ),
    tunnel("host-resets", upstreams=answering(OPEN, 0.2, Act.RESET)),
    tunnel("refused", upstreams={"up": Upstream(mode="refuse")}),
    tunnel("refused-twice", upstreams={"up": Upstream(mode="refuse")}, fields="max_connect_attempts: 2"),
    tunnel("denied", upstreams=answering("HTTP/1.1 403 Forbidden\r\ncontent-length: 2\r\n\r\nno")),
    tunnel(
        "denied-twice",
        upstreams=answering("HTTP/1.1 503 No\r\ncontent-length: 2\r\n\r\nno"),
        fields="max_connect_attempts: 2",
    ),
    tunnel("created", upstreams=answering("HTTP/1.1 201 Created\r\n\r\n", 0.2, "hi")),
    tunnel("with-length", upstreams=answering("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n", 0.2, "hiandmore")),
    tunnel("closes-instead", upstreams=answering(Act.CLOSE)),
    tunnel("not-http", upstreams=answering("garbage\r\n\r\n")),
    tunnel("formatted", config="hostname: '%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%:%DOWNSTREAM_LOCAL_PORT%'"),
    tunnel(
        "headers",
        config="hostname: h.test, headers_to_add: [{header: {key: x-a, value: one}}, {header: {key: x-peer, value: '%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%'}}, {header: {key: x-none, value: '%REQUESTED_SERVER_NAME%'}}]",
    ),
    tunnel("header-host", config="hostname: h.test, headers_to_add: [{header: {key: host, value: one}}]", refused=True),
    tunnel(
        "propagates",
        config="hostname: h.test, propagate_response_headers: true",
        upstreams=answering("HTTP/1.1 200 OK\r\nx-b: 1\r\nx-b: 2\r\n\r\n", 0.2, "hi"),
    ),
    tunnel(
        "propagates-denial",
        config="hostname: h.test, propagate_response_headers: true",
        upstreams=answering("HTTP/1.1 403 No\r\nx-b: 1\r\ncontent-length: 0\r\n\r\n"),
    ),
    tunnel("post", config=POSTS, stats="", differs=POST_END),
    tunnel("post-path", config=POSTS + ", post_path: /tunnel", stats="", differs=POST_END),
    tunnel(
        "post-created",
        config=POSTS,
        stats="",
        differs=POST_END,
        upstreams=answering("HTTP/1.1 201 Created\r\n\r\n", 0.2, "hi"),
    ),
    tunnel("path-without-post", config="hostname: h.test, post_path: /x", refused=True),
    tunnel(
        "request-id",
        config="hostname: h.test, request_id_extension: {typed_config: {'@type': UuidRequestIdConfig}}",
        log="%DYNAMIC_METADATA(envoy.filters.network.tcp_proxy)%\n",
    ),
    tunnel(
        "request-id-named",
        config="hostname: h.test, request_id_header: x-id, request_id_metadata_key: k, request_id_extension: {typed_config: {'@type': UuidRequestIdConfig}}",
        log="%DYNAMIC_METADATA(envoy.filters.network.tcp_proxy)%\n",
    ),
    tunnel("large", "x" * 300_000, 0.5, upstreams=answering(OPEN, 0.5, "y" * 300_000)),
    tunnel("no-cluster", network="- {tcp_proxy: {cluster: nobody, tunneling_config: {hostname: h.test}}}"),
    *(
        tunnel(f"h2-{name}", *ops, cluster=EXPLICIT, upstreams=h2(script, at="head"), config=config, stats=HTTP2)
        for name, script, ops, config in (
            ("plain", (Head(200), Data(b"back"), Until(5), Data(b"", True)), ("hello", 0.5), CONNECT),
            ("denied", (Head(403, (), True),), ("hello", 0.5), CONNECT),
            ("created", (Head(201), Data(b"back")), ("hello", 0.5), CONNECT),
            ("ends-at-once", (Head(200, (), True),), ("hello", 0.5), CONNECT),
            ("reset", (Head(200), 0.3, Reset(8)), ("hello", 0.7), CONNECT),
            ("reset-first", (0.1, Reset(7)), ("hello", 0.7), CONNECT),
            (
                "client-ends",
                (Head(200), Until(0), Data(b"after", True)),
                ("hello", 0.3, Act.HALF_CLOSE, Wait("after")),
                CONNECT,
            ),
            (
                "trailers",
                (Head(200), 0.3, Head(None, (("x-t", "1"),), True)),
                ("hello", 0.7),
                f"{CONNECT}, propagate_response_trailers: true",
            ),
            ("post", (Head(200), Data(b"back"), Until(5), Data(b"", True)), ("hello", 0.5), POSTS),
        )
    ),
]
