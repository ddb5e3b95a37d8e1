"""`Http1ProtocolOptions` that change what a request may be: methods of one's own, upgrades that aren't heard."""

from __future__ import annotations

from typing import Any

from ..case import Act, Case, Op, Slow, answer, client, get
from ..known import FORBIDDEN_TRAILERS, ODD_SPACES
from .tunnel_ends import SWITCH

METHODS = "http_protocol_options: {allow_custom_methods: true}"
OWN_HOST = "typed_extension_protocol_options: {http: {'@type': HttpProtocolOptions, explicit_http_config: {http_protocol_options: {allow_custom_methods: true}}}}"


def ignoring(name: str, matchers: str, *lines: str, more: str = "") -> Case:
    return Case(
        f"ignored-upgrade-{name}",
        get("/", *lines),
        hcm=f"{{http_protocol_options: {{ignore_http_11_upgrade: [{matchers}]}}{more}}}",
    )


def method(name: str, send: Op, **options: Any) -> Case:
    return Case(f"custom-method-{name}", send if isinstance(send, tuple) else (send,), hcm=METHODS, **options)


def start(line: str) -> str:
    return f"{line}\r\nhost: h.test\r\n\r\n"


SPELT = "HTTP/1.1 200 Very  Fine\r\nX-fOO-rEs: 1\r\nx-A: 1\r\nX-A: 2\r\nCONTENT-length: 2\r\n\r\nok"
CHUNKED = SPELT.replace("CONTENT-length: 2", "TRANSFER-encoding: chunked").replace("ok", "2\r\nok\r\n0\r\n\r\n")
REASON = "forward_reason_phrase: true"
PROPER = "formatter_type_on_envoy_headers: PROPER_CASE"


def preserving(name: str, down: str | None, up: str | None, response: str = SPELT, path: str = "/") -> Case:
    """down, up: more fields of the formatter; None: without one."""
    hcm, host = (
        ""
        if more is None
        else "http_protocol_options: {header_key_format: {stateful_formatter: {name: preserve_case, typed_config: "
        f"{{'@type': PreserveCaseFormatterConfig, {more}}}}}}}}}"
        for more in (down, up)
    )
    own_host = f"typed_extension_protocol_options: {{http: {{'@type': HttpProtocolOptions, explicit_http_config: {{{host}}}}}}}"
    return Case(
        f"preserve-case-{name}",
        get(path, "X-fOO-rEq: 1", "x-A: 1", "X-A: 2"),
        hcm=hcm,
        cluster=own_host if host else "",
        routes="- {match: {path: /}, route: {cluster: $up}}",
        upstreams=answer(response),
    )


QUERIES = (
    ("",),
    ("q",),
    ("q", "content-type: text/plain"),
    ("q", "content-type:"),
    ("", "connection: upgrade", "upgrade: foo"),
    ("", "content-type: application/grpc"),
)
TRAILERS = "".join(
    f"{name}: 1\r\n"
    for name in (
        *(
            "x-a",
            "age",
            "authorization",
            "cache-control",
            "connection",
            "content-length",
            "content-type",
            "cookie",
            "date",
        ),
        *("etag", "expect", "grpc-status", "host", "max-forwards", "set-cookie", "te", "trailer", "transfer-encoding"),
    )
)
TRAILING_HOST = OWN_HOST.replace("allow_custom_methods", "enable_trailers")
CHUNKED_POST = "POST / HTTP/1.1\r\nhost: h.test\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0"
ODD_TARGETS = ("*", "*x", "a", "h.test:80", "ftp://h/", "ftp://u@h/", "ftp://h?x", "http:///x", "http://u@h/")
OTHER_FAULTS = (
    "transfer-encoding: gzip",
    "connection: x-forwarded-for",
    "content-length: 1\r\ntransfer-encoding: chunked",
)


def expecting(path: str, *lines: str) -> str:
    return get(path, "expect: 100-continue", *lines, method="POST", body="hello")


def several(name: str, *requests: str, **more: Any) -> Case:
    """Each on a connection of its own."""
    clients = (client(each, start=0.01 * number, timing=False) for number, each in enumerate(requests))
    return Case(f"http1-{name}", clients=tuple(clients), timing=False, flat_upstream=True, sort_log=True, **more)


FOO = "{exact: foo}"
CASES = [
    ignoring("exact", FOO, "connection: Upgrade", "upgrade: foo", "x-a: b"),
    ignoring("other-case", FOO, "connection: Upgrade", "upgrade: FOO"),
    ignoring("any-case", "{exact: foo, ignore_case: true}", "connection: Upgrade", "upgrade: FOO"),
    ignoring("prefix", "{prefix: TLS/}", "connection: Upgrade", "upgrade: TLS/1.0"),
    ignoring("regex", "{safe_regex: {regex: 'TLS/1.[0-9]'}}", "connection: Upgrade", "upgrade: TLS/1.3"),
    ignoring("one-of-two", "{prefix: TLS/}", "connection: Upgrade, x-a", "upgrade: TLS/1.0, HTTP/2.0", "x-a: b"),
    ignoring("two-of-two", "{prefix: TLS/}", "connection: Upgrade, x-a", "upgrade: TLS/1.0,TLS/1.2", "x-a: b"),
    ignoring("two-matchers", f"{FOO}, {{exact: bar}}", "connection: Upgrade", "upgrade: foo, bar"),
    ignoring("two-lines", FOO, "connection: Upgrade", "upgrade: foo", "upgrade: bar"),
    ignoring("commas", FOO, "connection: Upgrade", "upgrade: ,foo,,"),
    ignoring("empty", FOO, "connection: Upgrade", "upgrade:"),
    ignoring("h2c-and", FOO, "connection: Upgrade, HTTP2-Settings", "upgrade: h2c, foo", "http2-settings: x"),
    ignoring("not-named-by-connection", FOO, "upgrade: foo"),
    ignoring(
        "configured-one-is-left",
        FOO,
        "connection: Upgrade",
        "upgrade: foo, WebSocket",
        more=", upgrade_configs: [{upgrade_type: websocket}]",
    ),
    ignoring(
        "configured-one",
        "{exact: websocket}",
        "connection: keep-alive, Upgrade",
        "upgrade: websocket",
        more=", upgrade_configs: [{upgrade_type: websocket}]",
    ),
    Case(
        "ignored-upgrade-with-body",
        get("/", "connection: upgrade", "upgrade: foo", body="hello") + get("/2"),
        hcm=f"http_protocol_options: {{ignore_http_11_upgrade: [{FOO}]}}",
    ),
    Case(
        "upgrade-post",
        (get("/", "connection: Upgrade", "upgrade: websocket", method="POST"), 0.2, "x"),
        hcm="upgrade_configs: [{upgrade_type: websocket}]",
        upstreams=answer(Act.RAW, SWITCH, Act.ECHO, at="head"),
    ),
    Case("target-of-another-scheme", "GET file:///etc/passwd HTTP/1.1\r\nhost: h.test\r\n\r\n"),
    Case("upgrade-empty", get("/", "connection: upgrade", "upgrade:")),
    several(
        "query-method", *(get(f"/{i}", *lines, method="QUERY", body=body) for i, (body, *lines) in enumerate(QUERIES))
    ),
    several(
        "expectation-before-refusal",
        expecting("/a%00"),
        expecting("/up", "connection: upgrade", "upgrade: foo"),
        expecting("*"),
        expecting("/named", "connection: expect"),
        expecting("/moved"),
        hcm="normalize_path: true",
        routes="- {match: {path: /moved}, redirect: {path_redirect: /x}}\n- {match: {prefix: /}, route: {cluster: $up}}",
    ),
    several(
        "query-method-read-on",
        get("/1", method="QUERY") + get("/2"),
        hcm="stream_error_on_invalid_http_message: true",
    ),
    several(
        "trailers-of-all-kinds",
        f"{CHUNKED_POST}\r\n{TRAILERS}\r\n",
        hcm="http_protocol_options: {enable_trailers: true}",
        cluster=TRAILING_HOST,
        upstreams=answer(f"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n{TRAILERS}\r\n"),
        differs=FORBIDDEN_TRAILERS,
    ),
    *(
        several(
            f"connect-strips-{name}",
            *(
                start(f"CONNECT {authority} HTTP/1.1")
                for authority in ("h.test:80", "h.test.:80", "[::1]:80", "1.2.3.4:80")
            ),
            start("GET http://h.test.:80/ HTTP/1.1"),
            hcm=f"{{{field}: true, upgrade_configs: [{{upgrade_type: CONNECT}}]}}",
            routes="- {match: {connect_matcher: {}}, route: {cluster: $up}}\n- {match: {prefix: /}, route: {cluster: $up}}",
            upstreams=answer("HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n"),
        )
        for name, field in (
            ("any", "strip_any_host_port"),
            ("matching", "strip_matching_host_port"),
            ("dot", "strip_trailing_host_dot"),
            ("dot-and-any", "strip_any_host_port: true, strip_trailing_host_dot"),
        )
    ),
    *(
        several(
            f"connect-ends-{name}",
            start("CONNECT h.test:80 HTTP/1.1"),
            hcm="upgrade_configs: [{upgrade_type: CONNECT}]",
            routes="- {match: {connect_matcher: {}}, route: {cluster: $up}}",
            upstreams=answer(Act.RAW, response, Act.CLOSE, at="head"),
        )
        for name, response in (("silently", "HTTP/1.1 200 OK\r\n\r\n"), ("with-bytes", "HTTP/1.1 200 OK\r\n\r\nab"))
    ),
    several(
        "upgrade-refused-with-200",
        get("/", "connection: upgrade", "upgrade: websocket"),
        hcm="upgrade_configs: [{upgrade_type: websocket}]",
        upstreams=answer("HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-type: text/plain\r\netag: x\r\n\r\nhello"),
    ),
    several("te-empty", get("/1", "te:"), get("/2", "te:", "connection: te"), get("/3", "te:", "te: trailers")),
    several(
        "targets-as-they-are",
        *(start(f"{method} {target} HTTP/1.1") for method in ("GET", "OPTIONS") for target in ODD_TARGETS),
        hcm="http_protocol_options: {allow_absolute_url: false}",
    ),
    several(
        "targets-with-another-fault",
        *(f"GET {target} HTTP/1.1\r\nhost: h\r\n{line}\r\n\r\n" for target in ODD_TARGETS for line in OTHER_FAULTS),
    ),
    preserving("both", "", ""),
    preserving("down", "", None),
    preserving("up", None, ""),
    preserving("proper", PROPER, PROPER),
    preserving("reason", REASON, REASON),
    preserving("reason-down", REASON, ""),
    preserving("reason-up", None, REASON),
    preserving("reason-empty", "", REASON, SPELT.replace("Very  Fine", "")),
    preserving("reason-none", "", REASON, SPELT.replace(" Very  Fine", "")),
    preserving("reason-padded", "", REASON, SPELT.replace("Very  Fine", "  \tFine \t ")),
    preserving("reason-beyond-ascii", "", REASON, SPELT.replace("Very  Fine", "Tr\xe8s bien")),
    preserving("reason-of-404", "", REASON, SPELT.replace("200 Very  Fine", "404 Gone Fishing")),
    preserving("chunked", PROPER, PROPER, CHUNKED),
    preserving("own-reply", PROPER, PROPER, path="/none"),
    method("unknown", start("FOO / HTTP/1.1")),
    method("with-body", get("/", method="FOO", body="hello"), cluster=OWN_HOST),
    method("any-token", start("A!#$%&'*+-.^_`|~9 / HTTP/1.1")),
    method("lower-case", start("head / HTTP/1.1")),
    method("lower-case-connect", start("connect h.test:80 HTTP/1.1")),
    method("byte-by-byte", Slow(start("F-O / HTTP/1.1")), timing=False),
    method("behind-empty-line", "\r\n" + start("FOO / HTTP/1.1")),
    method("absolute-form", start("FOO http://h.test/x HTTP/1.1")),
    method("star", start("FOO * HTTP/1.1")),
    method("no-token", start("A(B / HTTP/1.1")),
    method("control", start("A\x01 / HTTP/1.1")),
    method("beyond-ascii", start("F\xe9 / HTTP/1.1")),
    method("none", start(" / HTTP/1.1")),
    method("colon", "a: b\r\n\r\n"),
    method("preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    method("handshake", "\x16\x03\x01\x02\x00\x01\x00"),
    method("two-spaces", start("FOO  / HTTP/1.1"), differs=ODD_SPACES, timing=False),
]
