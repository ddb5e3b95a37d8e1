"""HTTP/2 towards upstreams: what is sent, what an answer becomes, and what is said of each way to fail."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from typing import Any

from tests.certificates import folder

from ..case import LEFT, Act, Case, Client, Upstream, Wait, client, get
from ..h2_peer import OK, Data, Frame, Goaway, Head, Reset, Until, settings
from ..known import ALPN_COUNTED_TWICE, DRAINED_CONNECTION

CERTS = folder()
EXPLICIT = "typed_extension_protocol_options: {http: {'@type': HttpProtocolOptions, explicit_http_config: {http2_protocol_options: {}}}}"
STATS = (
    r"^cluster\.$case\.up\.(upstream_(cx|rq)_(total|http2_total|active|active_overflow|cancelled|close_notify|connect_fail|"
    r"destroy.*|max_requests|overflow|protocol_error|pending_.*|retry.*|rx_reset.*|tx_reset|timeout|completed)"
    r"|http2\.(rx_.*|tx_reset|trailers|stream_refused_errors|goaway_sent|streams_active|header_overflow|keepalive_timeout))$"
)


def h2(*scripts: tuple[Any, ...], at: str = "complete", first: tuple[Any, ...] = ()) -> dict[str, Upstream]:
    return {"up": Upstream(scripts or (OK,), mode="h2", at=at, first=first)}


def case(name: str, upstreams: dict[str, Upstream] | None = None, **more: Any) -> Case:
    more.setdefault("send", get("/x"))
    more.setdefault("stats", STATS)
    more.setdefault("cluster", EXPLICIT)
    more.setdefault("masks", LEFT)
    return Case(f"h2-up-{name}", upstreams=h2() if upstreams is None else upstreams, **more)


RETRY = "[{match: {prefix: /}, route: {cluster: $up, retry_policy: {retry_on: %s, num_retries: 2}}}]"

CASES: list[Case] = [
    case("plain", upstream_end=True),
    case("body", send=get("/x", "content-type: text/plain", method="POST", body="hello")),
    case(
        "chunked-body",
        send="POST /x HTTP/1.1\r\nhost: h.test\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
    ),
    *(
        case(
            f"bytes-{name}",
            upstreams,
            log="rx=%UPSTREAM_WIRE_BYTES_RECEIVED% hrx=%UPSTREAM_HEADER_BYTES_RECEIVED% tx=%UPSTREAM_WIRE_BYTES_SENT% htx=%UPSTREAM_HEADER_BYTES_SENT%"
            " drx=%UPSTREAM_DECOMPRESSED_HEADER_BYTES_RECEIVED% dtx=%UPSTREAM_DECOMPRESSED_HEADER_BYTES_SENT%\n",
            stats="",
            masks=(*LEFT, (r"tx=\d+ htx=\d+", "tx=<n>")),  # blocks of fields are as long as each encoder makes them
            **more,
        )
        for name, upstreams, more in (
            ("get", h2(), {}),
            ("post", h2(), {"send": get("/x", method="POST", body="x" * 40_000)}),
            ("trailers", h2((Head(), Data(b"x" * 20_000), Head(None, (("x-t", "1"),), True))), {}),
            ("informational", h2((Head(103, (("link", "</a>"),)), *OK)), {}),
            ("padding", h2((Head(), Frame(0, b"\3abc\0\0\0", 9, None))), {}),
            ("window-update", h2((Head(), Frame(8, b"\0\0\0\1", 0, None), Data(b"ok", True))), {}),
            ("continuation", h2((Frame(1, b"\x88", 0, None), Frame(9, b"\0\3x-a\1b", 4, None), Data(b"ok", True))), {}),
            ("reset", h2((Reset(7),)), {}),
            ("reset-late", h2((Head(), Data(b"ok"), 0.1, Reset(2))), {}),
            ("retry", h2((Head(503), Data(b"no", True)), OK), {"routes": RETRY % "5xx"}),
        )
    ),
    case("no-body-post", send="POST /x HTTP/1.1\r\nhost: h.test\r\n\r\n"),
    case("te-trailers", send=get("/x", "te: trailers", "connection: te, x-foo", "x-foo: 1", "cookie: a=1; b=2")),
    case("cookies", send=get("/x", "cookie: a=1; b=2", "cookie: c=3")),
    *(case(f"reset-{code}", h2((Reset(code),))) for code in range(14)),
    *(case(f"reset-{code}-after-head", h2((Head(), Data(b"abc"), 0.2, Reset(code)))) for code in (0, 2, 7, 8)),
    *(
        case(f"retry-{condition}-{code}", h2((Reset(code),), OK), routes=RETRY % condition)
        for code in (0, 7, 8)
        for condition in ("refused-stream", "reset", "connect-failure", "5xx", "reset-before-request")
    ),
    case("goaway-below", h2((Goaway(0, -1),), OK), routes=RETRY % "refused-stream"),
    case("goaway-below-noretry", h2((Goaway(0, -1), 0.3, *OK), OK)),
    case(
        "goaway-after",
        h2((Goaway(0, 0), 0.2, *OK), OK),
        send=(get("/1"), 0.1, get("/2")),
        upstream_end=True,
        differs=DRAINED_CONNECTION,
    ),
    case(
        "goaway-then-new",
        h2((*OK, Goaway(0, 0)), OK),
        send=(get("/1"), Wait("ok"), 0.2, get("/2")),
        upstream_end=True,
    ),
    case(
        "goaway-error",
        h2((Goaway(2, 0), 0.2, *OK), OK),
        differs=DRAINED_CONNECTION,
    ),
    case("close", h2((Act.CLOSE,)), upstream_end=True),
    case("close-after-head", h2((Head(), Data(b"abc"), 0.2, Act.CLOSE))),
    case(
        "early-response",
        h2((Head(), Data(b"no", True)), at="head"),
        send=("POST /x HTTP/1.1\r\nhost: h.test\r\ncontent-length: 10\r\n\r\nabc", 0.5, "defghij"),
    ),
    case("trailers", h2((Head(), Data(b"abc"), Head(None, (("x-t", "1"),), True)))),
    case(
        "trailers-on",
        h2((Head(), Data(b"abc"), Head(None, (("x-t", "1"),), True))),
        hcm="http_protocol_options: {enable_trailers: true}",
    ),
    case(
        "request-trailers",
        hcm="http_protocol_options: {enable_trailers: true}",
        send="POST /x HTTP/1.1\r\nhost: h.test\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nx-t: 1\r\n\r\n",
    ),
    case("head", h2((Head(200, (("content-length", "5"),), True),)), send=get("/x", method="HEAD")),
    case("204", h2((Head(204, (), True),))),
    case("304", h2((Head(304, (("content-length", "5"),), True),))),
    case("no-content", h2((Head(200, (), True),))),
    case("short", h2((Head(200, (("content-length", "5"),)), Data(b"abc", True)))),
    case("long", h2((Head(200, (("content-length", "2"),)), Data(b"abc", True)))),
    case("100", h2((Head(100), *OK))),
    case("103", h2((Head(103, (("x-e", "1"),)), *OK))),
    case("103-with-a-length", h2((Head(103, (("content-length", "0"),)), *OK)), hcm="proxy_100_continue: true"),
    case("103-on", h2((Head(103, (("x-e", "1"),)), *OK)), hcm="proxy_100_continue: true"),
    case("bad-status", h2((Head(99), *OK))),
    case("no-status", h2((Head(None, (("x", "1"),)), *OK))),
    case("upper-case", h2((Head(200, (("X-Bad", "1"),)), *OK))),
    case("connection-field", h2((Head(200, (("connection", "close"),)), *OK))),
    case("data-first", h2((Data(b"abc"), *OK))),
    case("data-on-stream-0", h2((Frame(0, b"abc", 0, 0), *OK)), upstream_end=True),
    case("two-heads", h2((Head(), Head(200, (("x", "1"),)), Data(b"x", True)))),
    case("big-head", h2((Head(200, tuple((f"x-{n}", "y" * 1000) for n in range(15)), True),))),
    case("too-many", h2((Head(200, tuple((f"x-{n}", "y") for n in range(120)), True),))),
    case("client-leaves", h2((Head(), Data(b"abc"), 1.0, *OK)), clients=(client(get("/x"), Wait("abc"), Act.CLOSE),)),
    case("client-leaves-early", h2((1.0, *OK)), clients=(client(get("/x"), 0.3, Act.CLOSE),)),
    case(
        "timeout",
        h2((1.0, *OK)),
        routes="[{match: {prefix: /}, route: {cluster: $up, timeout: 0.3s}}]",
    ),
    case(
        "per-try-timeout",
        h2((1.0, *OK), OK),
        routes="[{match: {prefix: /}, route: {cluster: $up, retry_policy: {retry_on: 5xx, num_retries: 1, per_try_timeout: 0.3s}}}]",
    ),
    case(
        "max-streams-1",
        h2((2.0, *OK), first=(settings(max_concurrent_streams=1),)),
        clients=tuple(Client((get(f"/{n}"),), start=0.5 * n) for n in range(4)),
    ),
    case(
        "max-streams-0",
        h2(first=(settings(max_concurrent_streams=0),)),
        routes="[{match: {prefix: /}, route: {cluster: $up, timeout: 1s}}]",
    ),
    case(
        "max-streams-2-at-once",
        h2((0.5, *OK), first=(settings(max_concurrent_streams=2),)),
        clients=tuple(Client((get("/"),)) for n in range(5)),
        stats=STATS.replace("|pending_.*", ""),  # how many came before the connection was open is chance
    ),
    case(
        "max-requests",
        cluster="typed_extension_protocol_options: {http: {'@type': HttpProtocolOptions, explicit_http_config: "
        "{http2_protocol_options: {}}, common_http_protocol_options: {max_requests_per_connection: 2}}}",
        send=(get("/1"), Wait("ok"), get("/2"), Wait("ok", 2), get("/3")),
        upstream_end=True,
        differs=DRAINED_CONNECTION,
    ),
    case(
        "idle",
        cluster="typed_extension_protocol_options: {http: {'@type': HttpProtocolOptions, explicit_http_config: "
        "{http2_protocol_options: {}}, common_http_protocol_options: {idle_timeout: 0.3s}}}",
        send=(get("/1"), 1.0),
        upstream_end=True,
    ),
    case(
        "max-duration",
        cluster="typed_extension_protocol_options: {http: {'@type': HttpProtocolOptions, explicit_http_config: "
        "{http2_protocol_options: {}}, common_http_protocol_options: {max_connection_duration: 0.3s}}}",
        send=(get("/1"), 1.0, get("/2")),
        upstream_end=True,
    ),
    case(
        "max-stream-duration",
        h2((1.0, *OK)),
        cluster="typed_extension_protocol_options: {http: {'@type': HttpProtocolOptions, explicit_http_config: "
        "{http2_protocol_options: {}}, common_http_protocol_options: {max_stream_duration: 0.3s}}}",
    ),
    case(
        "max-stream-duration-after-head",
        h2((Head(), Data(b"abc"), 1.0, Data(b"d", True))),
        cluster="typed_extension_protocol_options: {http: {'@type': HttpProtocolOptions, explicit_http_config: "
        "{http2_protocol_options: {}}, common_http_protocol_options: {max_stream_duration: 0.3s}}}",
    ),
    case(
        "websocket",
        h2(
            (Head(), Data(b"hello"), Until(body=3), Data(b"bye", True)),
            at="head",
            first=(settings(connect_protocol=1),),
        ),
        hcm="upgrade_configs: [{upgrade_type: websocket}]",
        send=(
            get("/ws", "connection: Upgrade", "upgrade: websocket", "sec-websocket-key: x"),
            Wait("hello"),
            "abc",
            0.3,
        ),
        timing=False,
    ),
    case(
        "websocket-refused",
        h2(
            (Head(403, (("content-length", "2"),)), Data(b"no", True)), at="head", first=(settings(connect_protocol=1),)
        ),
        hcm="upgrade_configs: [{upgrade_type: websocket}]",
        send=get("/ws", "connection: Upgrade", "upgrade: websocket", "sec-websocket-key: x"),
    ),
    case(
        "websocket-unsupported",
        h2((Head(), Data(b"hello"), Until(body=3), Data(b"bye", True)), at="head"),
        hcm="upgrade_configs: [{upgrade_type: websocket}]",
        send=(
            get("/ws", "connection: Upgrade", "upgrade: websocket", "sec-websocket-key: x"),
            Wait("hello"),
            "abc",
            0.3,
        ),
        timing=False,
    ),
]


def _tls(*protocols: str) -> Callable[[], ssl.SSLContext]:
    def make() -> ssl.SSLContext:
        context = CERTS.server_context("server")
        if protocols:
            context.set_alpn_protocols(list(protocols))
        return context

    return make


def _options(kind: str) -> str:
    return f"typed_extension_protocol_options: {{http: {{'@type': HttpProtocolOptions, {kind}}}}}"


SOCKET = (
    "transport_socket: {name: tls, typed_config: {'@type': type.googleapis.com/"
    "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext, common_tls_context: {%s"
    f"validation_context: {{trusted_ca: {{filename: {CERTS.path}/ca.pem}}}}}}}}}}"
)
BOTH = "{http_protocol_options: {}, http2_protocol_options: {}}"
ALPN_STATS = (
    r"^cluster\.$case\.up\.upstream_(cx_(total|http1_total|http2_total|active|protocol_error)|rq_total|rq_active)$"
)
LOG = "%PROTOCOL% %UPSTREAM_PROTOCOL% %RESPONSE_CODE% %RESPONSE_FLAGS% %UPSTREAM_TLS_VERSION%\n"


def alpn(name: str, upstream: Upstream, kind: str, names: str = "") -> Case:
    offered = f"alpn_protocols: [{names}], " if names else ""
    return case(
        f"alpn-{name}",
        {"up": upstream},
        cluster=_options(kind) + "\n" + SOCKET % offered,
        send=(get("/1"), Wait("ok"), get("/2")),
        stats=ALPN_STATS,
        log=LOG,
        timing=False,
        differs=ALPN_COUNTED_TWICE if kind.startswith("auto") else None,
    )


CASES += [
    alpn("auto-h2", Upstream((OK,), mode="h2", tls=_tls("h2", "http/1.1")), f"auto_config: {BOTH}"),
    alpn("auto-h1", Upstream(tls=_tls("http/1.1")), f"auto_config: {BOTH}"),
    alpn("auto-none", Upstream(tls=_tls()), f"auto_config: {BOTH}"),
    alpn("auto-named", Upstream((OK,), mode="h2", tls=_tls("h2")), f"auto_config: {BOTH}", "istio, h2"),
    alpn(
        "explicit-h2", Upstream((OK,), mode="h2", tls=_tls("h2")), "explicit_http_config: {http2_protocol_options: {}}"
    ),
    alpn("explicit-none", Upstream((OK,), mode="h2", tls=_tls()), "explicit_http_config: {http2_protocol_options: {}}"),
    alpn(
        "explicit-istio",
        Upstream((OK,), mode="h2", tls=_tls("istio")),
        "explicit_http_config: {http2_protocol_options: {}}",
        "istio-peer-exchange, istio",
    ),
    alpn("downstream-h1", Upstream(tls=_tls("h2", "http/1.1")), f"use_downstream_protocol_config: {BOTH}"),
]
