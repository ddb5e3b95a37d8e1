"""What the proxy does to an upstream's answer, and how it frames it for the client."""

from __future__ import annotations

from typing import Any

from meshproxy.joined_headers import JOINED_IN_RESPONSES

from .. import known
from ..case import OK, Act, Case, Upstream, Wait, answer, answers, get

EMPTY = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"
CHUNKED = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n3\r\nyou\r\n0\r\n\r\n"
WEBSOCKET = get(
    "/chat", "connection: Upgrade", "upgrade: websocket", "sec-websocket-key: AQID", "sec-websocket-version: 13"
)
SWITCH = (
    "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\nsec-websocket-accept: x\r\n\r\n"
)
ACCEPT_10 = "http_protocol_options: {accept_http_10: true, default_host_for_http_10: ten.test}"
TWICE = [
    f"{name}: {value}"
    for value in (1, 2)
    for name in (*sorted(JOINED_IN_RESPONSES - {"connection", "upgrade", "date"}), "x-other", "set-cookie", "referer")
]


def head(status: str, *lines: str) -> str:
    return "\r\n".join([f"HTTP/1.1 {status}", *lines, "", ""])


def resp(name: str, status: str, *lines: str, body: str = "", method: str = "GET", **more: Any) -> Case:
    return Case(f"response-{name}", get(method=method), upstreams=answer(head(status, *lines) + body), **more)


CASES = [
    resp("names-and-order", "200 Fine", "X-B: 1", "Content-Length: 0", "X-A:  2 ", "x-b: 3", "x-empty:"),
    resp("repeated-joined", "200 OK", *TWICE, "content-length: 0", shows="vary: 1,2"),
    resp("repeated-date", "200 OK", "date: a", "date: b", "content-length: 0", shows="date: a,b"),
    resp("date-kept", "200 OK", "date: Thu, 01 Jan 1970 00:00:00 GMT", "x-a: 1", "content-length: 0"),
    resp("server-overwritten", "200 OK", "server: apache", "x-a: 1", "content-length: 0", shows="server: envoy"),
    resp(
        "server-append-if-absent",
        "200 OK",
        "server: apache",
        "content-length: 0",
        hcm="server_header_transformation: APPEND_IF_ABSENT",
    ),
    resp("server-append-absent", "200 OK", "content-length: 0", hcm="server_header_transformation: APPEND_IF_ABSENT"),
    resp(
        "server-pass-through",
        "200 OK",
        "server: apache",
        "content-length: 0",
        hcm="server_header_transformation: PASS_THROUGH",
    ),
    resp("server-pass-through-absent", "200 OK", "content-length: 0", hcm="server_header_transformation: PASS_THROUGH"),
    resp("service-time-overwritten", "200 OK", "x-envoy-upstream-service-time: 12345", "x-a: 1", "content-length: 0"),
    resp(
        "envoy-headers",
        "200 OK",
        "x-envoy-upstream-healthchecked-cluster: c",
        "x-envoy-immediate-health-check-fail: true",
        "x-envoy-foo: 1",
        "x-envoy-attempt-count: 3",
        "content-length: 0",
    ),
    resp(
        "hop-by-hop",
        "200 OK",
        "connection: keep-alive, x-foo",
        "x-foo: 1",
        "keep-alive: timeout=5",
        "proxy-connection: close",
        "te: trailers",
        "content-length: 0",
    ),
    resp("upgrade-header", "200 OK", "connection: upgrade", "upgrade: h2c", "content-length: 0"),
    resp("connection-close", "200 OK", "connection: close", "content-length: 2", body="ok", shows="end: open"),
    resp("cookies", "200 OK", "set-cookie: a=1", "set-cookie: b=2", "content-length: 0"),
    resp("obs-fold", "200 OK", "x-a: one", " two", "content-length: 0"),
    resp("obs-text", "200 OK", "x-a: \x80\xff", "content-length: 0"),
    resp("reason-dropped", "200 Very Fine Indeed", "content-length: 0"),
    resp("reason-empty", "200 ", "content-length: 0"),
    resp("no-reason", "200", "content-length: 0"),
    *(
        resp(f"status-{code}", f"{code} X", "content-length: 0")
        for code in (
            201,
            202,
            203,
            206,
            207,
            208,
            226,
            300,
            301,
            303,
            305,
            400,
            402,
            405,
            406,
            407,
            409,
            411,
            412,
            414,
            415,
            416,
            417,
            418,
            421,
            422,
            423,
            424,
            425,
            428,
            429,
            451,
            501,
            505,
            506,
            507,
            508,
            510,
            511,
            555,
            599,
        )
    ),
    resp("status-999", "999 X", "content-length: 0"),
    resp("204", "204 No Content"),
    resp("204-with-length", "204 No Content", "content-length: 0"),
    resp("204-with-body", "204 No Content", "content-length: 2", body="ok"),
    resp("304-with-length", "304 Not Modified", "content-length: 5", "etag: x", shows="content-length: 5"),
    resp("304", "304 Not Modified", "etag: x"),
    resp("205", "205 Reset Content", "content-length: 0"),
    resp("head-with-length", "200 OK", "content-length: 5", method="HEAD", shows="content-length: 5"),
    resp("head-chunked", "200 OK", "transfer-encoding: chunked", method="HEAD"),
    resp("head-bare", "200 OK", method="HEAD"),
    resp("head-with-body-bytes", "200 OK", "content-length: 2", body="ok", method="HEAD"),
    resp("head-404", "404 Not Found", "content-length: 9", method="HEAD"),
    resp("content-type-kept", "200 OK", "content-type: text/html; charset=utf-8", "content-length: 2", body="ok"),
    Case("response-chunked", get(), upstreams=answer(CHUNKED), shows="[chunked] 'helloyou'"),
    Case(
        "response-chunked-slowly",
        get(),
        upstreams=answer(
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", 0.2, "5\r\nhello\r\n", 0.2, "0\r\n\r\n"
        ),
    ),
    Case(
        "response-chunked-empty",
        get(),
        upstreams=answer("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"),
    ),
    Case(
        "response-chunk-extension",
        get(),
        upstreams=answer("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n0\r\n\r\n"),
    ),
    Case(
        "response-until-close",
        get(),
        upstreams=answer("HTTP/1.1 200 OK\r\n\r\nhello", 0.1, " world", Act.CLOSE),
        shows="[chunked] 'hello world'",
    ),
    Case("response-until-reset", get(), upstreams=answer("HTTP/1.1 200 OK\r\n\r\nhello", 0.2, Act.RESET)),
    Case("response-http-1.0", get(), upstreams=answer("HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok")),
    Case("response-http-1.0-until-close", get(), upstreams=answer("HTTP/1.0 200 OK\r\n\r\nok", Act.CLOSE)),
    Case(
        "response-http-1.0-keep-alive-reused",
        (get("/1"), 0.3, get("/2")),
        upstreams=answer("HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: 2\r\n\r\nok"),
    ),
    Case(
        "response-trailers-dropped",
        get(),
        upstreams=answer("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nx-t: 1\r\n\r\n"),
    ),
    Case(
        "response-trailers-kept",
        get("/", "te: trailers"),
        upstreams=answer(
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-T: 1\r\nx-u:  2\r\n\r\n"
        ),
        hcm="http_protocol_options: {enable_trailers: true}",
        cluster="""
typed_extension_protocol_options:
  http: {"@type": HttpProtocolOptions, explicit_http_config: {http_protocol_options: {enable_trailers: true}}}
""",
        shows="trailer x-t: 1",
    ),
    Case("response-100-swallowed", get(), upstreams=answer("HTTP/1.1 100 Continue\r\n\r\n", 0.1, OK)),
    Case("response-102-swallowed", get(), upstreams=answer("HTTP/1.1 102 Processing\r\nx-a: 1\r\n\r\n" + OK)),
    Case("response-103-swallowed", get(), upstreams=answer("HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n" + OK)),
    Case(
        "response-103-proxied",
        get(),
        hcm="proxy_100_continue: true",
        upstreams=answer("HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n", 0.1, OK),
    ),
    *(
        Case(
            f"response-informational-{name}-proxied",
            get(),
            hcm="proxy_100_continue: true",
            upstreams=answer("".join(f"HTTP/1.1 {code} X\r\nx-a: {code}\r\n\r\n" for code in codes) + OK),
        )
        for name, codes in {
            "102": (102,),
            "104": (104,),
            "unknown": (105, 199),
            "twice": (103, 103),
            "first-of-many": (102, 100, 103),
            "known-behind-unknown": (199, 103, 104),
        }.items()
    ),
    *(
        Case(
            f"response-{code}-and-nothing-more",
            get(),
            upstreams=answer(f"HTTP/1.1 {code} X\r\n\r\n", Act.CLOSE),
            log="%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS%\n",
        )
        for code in (100, 103, 199)
    ),
    *(
        Case(
            f"upgrade-answered-with-{code}",
            get("/", "connection: upgrade", "upgrade: websocket"),
            hcm="upgrade_configs: [{upgrade_type: websocket}]",
            upstreams=answer(
                f"HTTP/1.1 {code} X\r\nx-a: b\r\ncontent-length: {0 if code == 204 else 2}\r\n\r\n" + body
            ),
            log="%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %BYTES_SENT%\n",
        )
        for code, body in ((204, ""), (206, "no"), (302, "no"), (404, "no"))
    ),
    Case(
        "upgrade-unanswered",
        get("/", "connection: upgrade", "upgrade: websocket"),
        hcm="upgrade_configs: [{upgrade_type: websocket}]",
        routes="- {match: {prefix: /}, route: {cluster: $up, timeout: 0.3s}}",
        upstreams=answer(Act.WAIT_EOF),
        shows="upstream request timeout",
    ),
    Case(
        "upgrade-outlives-the-timeout",
        (get("/", "connection: upgrade", "upgrade: websocket"), 0.8),
        hcm="upgrade_configs: [{upgrade_type: websocket}]",
        routes="- {match: {prefix: /}, route: {cluster: $up, timeout: 0.3s}}",
        upstreams=answer("HTTP/1.1 101 X\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n", 0.6, "late"),
        shows="late",
    ),
    Case(
        "response-103-and-a-client-that-leaves",
        (get(), Wait("103"), Act.CLOSE),
        hcm="proxy_100_continue: true",
        upstreams=answer("HTTP/1.1 103 X\r\n\r\n", Act.WAIT_EOF),
        log="%RESPONSE_CODE% %RESPONSE_FLAGS%\n",
    ),
    Case(
        "response-101-unasked",
        get(),
        upstreams=answer("HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\nabc"),
        differs=known.UNASKED_101,
    ),
    Case(
        "early-response-to-upload",
        ("POST / HTTP/1.1\r\nhost: h.test\r\ncontent-length: 1000\r\n\r\nabc", 0.5, "x" * 997),
        upstreams={"up": Upstream(((OK,),), at="head")},
        shows="connection: close",
    ),
    Case(
        "early-response-upload-never-ends",
        "POST / HTTP/1.1\r\nhost: h.test\r\ncontent-length: 1000\r\n\r\nabc",
        upstreams={"up": Upstream(((head("403 Forbidden", "content-length: 2") + "no",),), at="head")},
        quiet=2.5,
    ),
    Case(
        "early-response-chunked-upload",
        ("POST / HTTP/1.1\r\nhost: h.test\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n", 0.5, "0\r\n\r\n"),
        upstreams={"up": Upstream(((OK,),), at="head")},
    ),
    Case(
        "early-response-and-close",
        ("POST / HTTP/1.1\r\nhost: h.test\r\ncontent-length: 1000\r\n\r\nabc", 0.5, "x" * 997),
        upstreams={"up": Upstream(((OK, Act.CLOSE),), at="head")},
    ),
    Case(
        "websocket",
        (WEBSOCKET, 0.3, "client says", 0.3),
        hcm="upgrade_configs: [{upgrade_type: websocket}]",
        upstreams=answer(SWITCH, Act.RAW, 0.2, "server says", Act.ECHO, at="head"),
        shows=("101 Switching Protocols", "server saysclient says"),
    ),
    Case(
        "websocket-refused-with-a-body",
        get("/chat", "connection: Upgrade", "upgrade: websocket", method="POST", body="hello"),
        hcm="upgrade_configs: [{upgrade_type: websocket}]",
        upstreams=answer("HTTP/1.1 403 No\r\ncontent-length: 0\r\n\r\n"),
        differs=known.UPGRADE_WITH_BODY,
    ),
    Case(
        "websocket-early-bytes",
        WEBSOCKET + "early",
        hcm="upgrade_configs: [{upgrade_type: websocket}]",
        upstreams=answer(SWITCH + "first", Act.RAW, Act.ECHO, at="head"),
    ),
    Case(
        "websocket-upstream-ends",
        (WEBSOCKET, 0.2, "hi"),
        hcm="upgrade_configs: [{upgrade_type: websocket}]",
        upstreams=answer(SWITCH, Act.RAW, 0.5, "bye", Act.CLOSE, at="head"),
    ),
    Case(
        "websocket-client-ends",
        (WEBSOCKET, 0.3, "hi", 0.1, Act.CLOSE),
        hcm="upgrade_configs: [{upgrade_type: websocket}]",
        upstreams=answer(SWITCH, Act.RAW, Act.ECHO, at="head"),
        shows="rc=101 rf=DC",
    ),
    Case(
        "websocket-client-half-closes",
        (WEBSOCKET, 0.3, "hi", 0.3, Act.HALF_CLOSE),
        hcm="upgrade_configs: [{upgrade_type: websocket}]",
        upstreams=answer(SWITCH, Act.RAW, Act.ECHO, at="head"),
    ),
    Case(
        "websocket-refused-by-upstream",
        WEBSOCKET,
        hcm="upgrade_configs: [{upgrade_type: websocket}]",
        upstreams=answer("HTTP/1.1 400 Bad Request\r\ncontent-length: 2\r\n\r\nno", at="head"),
    ),
    Case(
        "websocket-200-from-upstream",
        WEBSOCKET,
        hcm="upgrade_configs: [{upgrade_type: websocket}]",
        upstreams=answer(OK, at="head"),
    ),
    Case(
        "websocket-with-length",
        (get("/", "connection: upgrade", "upgrade: websocket", "content-length: 3"), 0.4, "abc"),
        hcm="upgrade_configs: [{upgrade_type: websocket}]",
        upstreams=answer(SWITCH, Act.RAW, Act.ECHO, at="head"),
    ),
    Case(
        "websocket-off-on-route",
        WEBSOCKET,
        hcm="upgrade_configs: [{upgrade_type: websocket}]",
        routes="- match: {prefix: /}\n  route: {cluster: $up, upgrade_configs: [{upgrade_type: websocket, enabled: false}]}",
        shows="403",
    ),
    Case(
        "websocket-on-on-route-only",
        WEBSOCKET,
        routes="- match: {prefix: /}\n  route: {cluster: $up, upgrade_configs: [{upgrade_type: websocket}]}",
        upstreams=answer(SWITCH, Act.RAW, Act.ECHO, at="head"),
        shows="101",
    ),
    Case(
        "websocket-off-by-default-on-by-route",
        WEBSOCKET,
        hcm="upgrade_configs: [{upgrade_type: websocket, enabled: false}]",
        routes="- match: {prefix: /}\n  route: {cluster: $up, upgrade_configs: [{upgrade_type: websocket, enabled: true}]}",
        upstreams=answer(SWITCH, Act.RAW, Act.ECHO, at="head"),
    ),
    Case(
        "upgrade-other",
        get("/", "connection: Upgrade", "upgrade: Chat"),
        hcm="upgrade_configs: [{upgrade_type: websocket}, {upgrade_type: chat}]",
        upstreams=answer("HTTP/1.1 101 X\r\nupgrade: chat\r\nconnection: upgrade\r\n\r\n", Act.RAW, "hi", at="head"),
    ),
    Case("http-1.0", "GET /a HTTP/1.0\r\n\r\n", hcm=ACCEPT_10, shows="host: ten.test"),
    Case("http-1.0-with-host", "GET /a HTTP/1.0\r\nhost: h.test\r\n\r\n", hcm=ACCEPT_10),
    Case(
        "http-1.0-keep-alive",
        ("GET /a HTTP/1.0\r\nhost: h.test\r\nconnection: keep-alive\r\n\r\n", 0.3, "GET /b HTTP/1.0\r\n\r\n"),
        hcm=ACCEPT_10,
        shows="connection: keep-alive",
    ),
    Case(
        "http-1.0-until-close",
        "GET /a HTTP/1.0\r\n\r\n",
        hcm=ACCEPT_10,
        upstreams=answer(CHUNKED),
        shows="[until close]",
    ),
    Case("http-1.0-post", "POST /a HTTP/1.0\r\ncontent-length: 3\r\n\r\nabc", hcm=ACCEPT_10),
    Case("http-1.0-404", "GET /a HTTP/1.0\r\nhost: x\r\n\r\n", hcm=ACCEPT_10, routes="[]"),
    Case(
        "http-1.0-no-default-host",
        "GET /a HTTP/1.0\r\n\r\n",
        differs=known.VERSION_OF_REFUSAL,
        hcm="http_protocol_options: {accept_http_10: true}",
        shows="400",
    ),
    Case("http-0.9", "GET /a\r\n\r\n", hcm=ACCEPT_10, differs=known.HTTP_09),
    Case(
        "http-1.0-chunked",
        "POST /a HTTP/1.0\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        hcm=ACCEPT_10,
        differs=known.CODING_IN_10,
    ),
    Case("big-response", get(), upstreams=answer("HTTP/1.1 200 OK\r\ncontent-length: 3000000\r\n\r\n" + "z" * 3000000)),
    Case(
        "big-chunked-response",
        get(),
        upstreams=answer(
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
            + ("10000\r\n" + "y" * 65536 + "\r\n") * 20
            + "0\r\n\r\n"
        ),
    ),
    Case("big-upload", get("/", "content-length: 2000000", method="POST") + "u" * 2000000, upstreams=answer(OK)),
    Case(
        "big-chunked-upload",
        get("/", "transfer-encoding: chunked", method="POST") + ("8000\r\n" + "v" * 32768 + "\r\n") * 30 + "0\r\n\r\n",
    ),
    Case(
        "slow-reader",
        (get(), Act.STOP_READING, 0.5, Act.READ_ON),
        upstreams=answer("HTTP/1.1 200 OK\r\ncontent-length: 8000000\r\n\r\n" + "z" * 8000000),
        timing=False,
    ),
    Case(
        "response-header-mutations",
        get(),
        upstreams=answer("HTTP/1.1 200 OK\r\nx-a: up\r\nx-b: up\r\nserver: s\r\ncontent-length: 0\r\n\r\n"),
        vhost="""
response_headers_to_add:
- {header: {key: x-a, value: added}}
- {header: {key: x-new, value: "%RESPONSE_CODE% %UPSTREAM_CLUSTER%"}}
response_headers_to_remove: [x-b]
""",
    ),
    Case("suppressed-envoy-headers", get(), router="suppress_envoy_headers: true"),
    Case(
        "response-then-next-on-same-upstream",
        (get("/1"), 0.2, get("/2"), 0.2, get("/3")),
        upstreams=answers(OK, EMPTY, CHUNKED),
    ),
    Case("upstream-closes-after-answer", (get("/1"), 0.4, get("/2")), upstreams=answer(OK, 0.1, Act.CLOSE)),
    Case(
        "upstream-connection-close-then-next",
        (get("/1"), 0.4, get("/2")),
        upstreams=answer("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok"),
    ),
]
