"""What the proxy does to a request's head on its way upstream, names, order and all."""

from __future__ import annotations

from typing import Any

from meshproxy.joined_headers import JOINED_IN_REQUESTS

from .. import known
from ..case import Case, Slow, Upstream, get

EXTERNAL = ("x-envoy-retry-on: 5xx", "x-envoy-max-retries: 2", "x-envoy-internal: true", "x-envoy-foo: bar")
CONTROL = (
    "x-envoy-upstream-rq-timeout-ms: 5000",
    "x-envoy-upstream-rq-per-try-timeout-ms: 500",
    "x-envoy-retry-grpc-on: cancelled",
    "x-envoy-retriable-status-codes: 500",
    "x-envoy-hedge-on-per-try-timeout: true",
    "x-envoy-upstream-alt-stat-name: alt",
    "x-envoy-decorator-operation: op",
    "x-envoy-original-path: /old",
    "x-envoy-external-address: 9.9.9.9",
    "x-envoy-force-trace: true",
    "x-envoy-expected-rq-timeout-ms: 7",
    "x-envoy-ip-tags: t",
    "x-envoy-attempt-count: 9",
    "x-envoy-original-host: o",
)
_SAMPLED = "3c8a1d5e-7b1f-9c4d-8e2a-0123456789ab"
_LOOPBACK = "internal_address_config: {cidr_ranges: [{address_prefix: 127.0.0.0, prefix_len: 8}]}"
_UNPACKED = "request_id_extension: {typed_config: {'@type': UuidRequestIdConfig, pack_trace_reason: false}}"

REMOTE = "use_remote_address: true"
INTERNAL = "internal_address_config: {cidr_ranges: [{address_prefix: 127.0.0.0, prefix_len: 8}]}"
JOINED = sorted(JOINED_IN_REQUESTS - {"connection", "upgrade", "te"})


def twice(*names: str) -> list[str]:
    return [f"{name}: {value}" for value in (1, 2) for name in names]


UUID = "6f1b2c3d-0000-4000-8000-00000000abcd"


def req(name: str, *lines: str, hcm: str = "", shows: str = "", **more: Any) -> Case:
    return Case(name, get("/p?q=1", *lines), hcm=hcm, shows=shows, **more)


CASES = [
    req("plain", "user-agent: t", "accept: */*"),
    req("names-and-values", "X-MiXed: Value", "x-pad:   padded  \t", "x-empty:", "X-mixed: again", shows="x-empty: "),
    req("repeated-joined-1", *twice(*JOINED[::2]), shows="referer: 1,2"),
    req("repeated-joined-2", *twice(*JOINED[1::2]), shows="user-agent: 1,2"),
    req("repeated-joined-from-outside-1", *twice(*JOINED[::2]), hcm=REMOTE, shows="referer: 1,2"),
    req("repeated-joined-from-outside-2", *twice(*JOINED[1::2]), hcm=REMOTE, shows="user-agent: 1,2"),
    req("repeated-joined-from-inside-1", *twice(*JOINED[::2]), hcm=f"{REMOTE}\n{INTERNAL}", shows="referer: 1,2"),
    req("repeated-joined-from-inside-2", *twice(*JOINED[1::2]), hcm=f"{REMOTE}\n{INTERNAL}", shows="user-agent: 1,2"),
    req("repeated-apart", *twice("x-other", "etag", "set-cookie", "vary", "range", "traceparent"), shows="etag: 2"),
    req("repeated-empty", "via:", "via: 1", "via:", "via: 2", "accept: 1", "accept:", shows="via: 1,2"),
    req("repeated-connection", "x-a: 1", "x-b: 2", "connection: x-a", "connection: x-b"),
    req("obs-text-value", "x-a: \x80\xe9\xff"),
    req("obs-fold", "x-a: one\r\n  two", differs=known.FOLDED_REQUEST),
    req("cookies-in-two-lines", "cookie: a=1", "cookie: b=2"),
    Case("leading-crlf", "\r\n\r\n" + get("/p")),
    Case("bare-lf", "GET /p HTTP/1.1\nhost: h.test\nx-a: b\n\n", differs=known.BARE_LF),
    Case("byte-by-byte", (Slow(get("/p", "x-a: b", method="POST", body="hello")),), timing=False),
    Case("post-without-length", get(method="POST"), shows="content-length: 0"),
    Case("put-without-length", get(method="PUT")),
    Case("delete-without-length", get(method="DELETE")),
    Case("patch-without-length", get(method="PATCH")),
    Case("options-without-length", get(method="OPTIONS")),
    Case("get-with-length-zero", get("/", "content-length: 0")),
    Case("get-with-body", get("/", body="hello")),
    Case("post-with-length", get("/", "content-type: text/x", method="POST", body="hello")),
    Case("post-chunked", get("/", "transfer-encoding: chunked", method="POST") + "5\r\nhello\r\n3\r\nyou\r\n0\r\n\r\n"),
    Case("post-chunked-upper-case", get("/", "Transfer-Encoding: Chunked", method="POST") + "5\r\nhello\r\n0\r\n\r\n"),
    Case(
        "post-chunk-extension", get("/", "transfer-encoding: chunked", method="POST") + '5;a="b"\r\nhello\r\n0\r\n\r\n'
    ),
    Case(
        "post-trailers-dropped",
        get("/", "transfer-encoding: chunked", "trailer: x-t", method="POST") + "5\r\nhello\r\n0\r\nx-t: 1\r\n\r\n",
    ),
    Case(
        "post-trailers-kept",
        get("/", "transfer-encoding: chunked", "te: trailers", method="POST") + "5\r\nhello\r\n0\r\nX-T: 1\r\n\r\n",
        hcm="http_protocol_options: {enable_trailers: true}",
        cluster="""
typed_extension_protocol_options:
  http: {"@type": HttpProtocolOptions, explicit_http_config: {http_protocol_options: {enable_trailers: true}}}
""",
        shows="trailer x-t: 1",
    ),
    Case(
        "post-trailers-kept-on-one-side-only",
        get("/", "transfer-encoding: chunked", method="POST") + "5\r\nhello\r\n0\r\nx-t: 1\r\n\r\n",
        hcm="http_protocol_options: {enable_trailers: true}",
    ),
    req("hop-by-hop", "connection: keep-alive, x-foo", "x-foo: 1", "keep-alive: timeout=5", "proxy-connection: x"),
    req("connection-names-host", "connection: host"),
    req("connection-names-xff", "connection: x-forwarded-for", "x-forwarded-for: 1.2.3.4"),
    req("connection-names-length", "connection: content-length", "content-length: 0"),
    req("connection-names-te", "connection: te", "te: trailers"),
    req("te-several", "te: gzip, trailers;q=1, deflate"),
    req("te-gzip-only", "te: gzip"),
    req("upgrade-h2c", "connection: Upgrade, HTTP2-Settings", "upgrade: h2c", "http2-settings: AAMAAABkAAQAAP__"),
    req("proxy-authorization", "proxy-authorization: Basic eDp5", "authorization: Basic eDp5"),
    req("via-and-trailer-kept", "via: 1.1 foo", "trailer: x"),
    req("via-appended", "via: 1.1 foo", hcm="via: meshy", shows="via: 1.1 foo, meshy"),
    Case("expect-100", get("/", "expect: 100-continue", method="POST", body="hello"), shows="100 Continue"),
    Case("expect-100-twice", get("/", *["expect: 100-continue"] * 2, method="POST", body="hello")),
    Case(
        "expect-100-slow-body",
        (get("/", "expect: 100-continue", "content-length: 5", method="POST"), 0.3, "hello"),
        shows="100 Continue",
    ),
    Case(
        "expect-100-proxied",
        (get("/", "expect: 100-continue", "content-length: 5", method="POST"), 0.4, "hello"),
        hcm="proxy_100_continue: true",
        upstreams={
            "up": Upstream(
                (("HTTP/1.1 100 Continue\r\n\r\n", 0.8, "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"),), at="head"
            )
        },
        shows="expect: 100-continue",
    ),
    Case("expect-other", get("/", "expect: fly", method="POST", body="hello")),
    Case("absolute-form", get("http://other.test/x?y", host="h.test"), shows="host: other.test"),
    Case("absolute-form-https", get("https://other.test:8443/x", host="h.test")),
    Case("absolute-form-no-path", get("http://other.test", host="h.test")),
    Case(
        "absolute-form-query-only",
        get("http://other.test?a=b", host="h.test"),
        differs=known.ABSOLUTE_WITHOUT_PATH,
    ),
    Case(
        "absolute-form-refused",
        get("http://other.test/x"),
        hcm="http_protocol_options: {allow_absolute_url: false}",
    ),
    Case("absolute-form-upper-case", get("HTTP://Other.Test/X")),
    Case("host-upper-case", get(host="H.Test")),
    Case("host-with-port", get(host="h.test:8080")),
    Case("empty-host", "GET / HTTP/1.1\r\nhost:\r\n\r\n", differs=known.EMPTY_HOST_LOG),
    Case("two-hosts", get("/", "host: h2.test"), differs=known.TWO_HOSTS),
    Case("query-forms", get("/a/b;c=d?x=%20y&z=/?&&=#"[:-1])),
    Case("path-odd-characters", get("/a'()*!$,:@~+-._&;=")),
    Case("percent-invalid", get("/a%zz%")),
    req("external-control-headers", *EXTERNAL),
    req("internal-control-headers-not-remote", *CONTROL),
    req("external-control-headers-remote", *EXTERNAL, *CONTROL, hcm=REMOTE),
    req("internal-peer", *CONTROL, hcm=f"{REMOTE}\n{INTERNAL}", shows="x-envoy-internal: true"),
    req("internal-peer-not-remote", hcm=INTERNAL),
    req("internal-peer-not-remote-xff", "x-forwarded-for: 127.0.0.9", hcm=INTERNAL),
    req("internal-peer-not-remote-xff-two", "x-forwarded-for: 8.8.8.8, 127.0.0.9", hcm=INTERNAL),
    req("internal-peer-with-xff", "x-forwarded-for: 8.8.8.8", hcm=f"{REMOTE}\n{INTERNAL}"),
    req("remote", hcm=REMOTE, shows="x-envoy-external-address: 127.0.0.1"),
    req("remote-xff", "x-forwarded-for: 1.2.3.4", hcm=REMOTE, shows="x-forwarded-for: 1.2.3.4,"),
    req("remote-xff-two-lines", "x-forwarded-for: 1.2.3.4", "x-forwarded-for: 5.6.7.8", hcm=REMOTE),
    req("remote-xff-skip", "x-forwarded-for: 1.2.3.4", hcm=f"{REMOTE}\nskip_xff_append: true"),
    req("remote-xff-hops-1", "x-forwarded-for: 1.2.3.4, 5.6.7.8", hcm=f"{REMOTE}\nxff_num_trusted_hops: 1"),
    req("remote-xff-hops-2", "x-forwarded-for: 1.2.3.4, 5.6.7.8", hcm=f"{REMOTE}\nxff_num_trusted_hops: 2"),
    req("remote-xff-hops-too-many", "x-forwarded-for: 1.2.3.4", hcm=f"{REMOTE}\nxff_num_trusted_hops: 4"),
    req("remote-xff-garbage", "x-forwarded-for: unknown", hcm=f"{REMOTE}\nxff_num_trusted_hops: 1"),
    req("xff-hops-not-remote", "x-forwarded-for: 1.2.3.4, 5.6.7.8", hcm="xff_num_trusted_hops: 1"),
    req("xff-not-remote", "x-forwarded-for: 1.2.3.4"),
    req("proto-kept", "x-forwarded-proto: https"),
    req("proto-invalid", "x-forwarded-proto: gopher"),
    req("proto-overwritten", "x-forwarded-proto: https", hcm=REMOTE, shows="x-forwarded-proto: http\n"),
    req(
        "proto-trusted-hop",
        "x-forwarded-proto: https",
        "x-forwarded-for: 1.2.3.4",
        hcm=f"{REMOTE}\nxff_num_trusted_hops: 1",
    ),
    req("scheme-overwrite", hcm="scheme_header_transformation: {scheme_to_overwrite: https}"),
    req("forwarded-host-kept", "x-forwarded-host: a.test", "x-forwarded-port: 99", hcm=REMOTE),
    req("append-forwarded-port", hcm="append_x_forwarded_port: true"),
    req("request-id-kept", f"x-request-id: {UUID}"),
    req("request-id-any-string-kept", "x-request-id: my-id"),
    req("request-id-replaced", "x-request-id: my-id", hcm=REMOTE),
    req("request-id-preserved", "x-request-id: my-id", hcm=f"{REMOTE}\npreserve_external_request_id: true"),
    *(
        req(f"request-id-with-a-reason-{name}", f"x-request-id: {_SAMPLED}", hcm=f"{REMOTE}\n{more}")
        for name, more in (
            ("preserved", "preserve_external_request_id: true"),
            ("internal", f"preserve_external_request_id: true\n{_LOOPBACK}"),
            ("internal-replaced", _LOOPBACK),
            ("unpacked", f"preserve_external_request_id: true\n{_UNPACKED}"),
            ("traced", f"preserve_external_request_id: true\n{_LOOPBACK}\ntracing: {{}}"),
        )
    ),
    req("request-id-in-response", hcm="always_set_request_id_in_response: true"),
    req("request-id-in-response-kept", "x-request-id: my-id", hcm="always_set_request_id_in_response: true"),
    req("request-id-off", hcm="generate_request_id: false"),
    req("request-id-off-with-one", "x-request-id: my-id", hcm="generate_request_id: false"),
    req("client-trace-id", "x-client-trace-id: abc"),
    req("xfcc-removed", "x-forwarded-client-cert: By=a;URI=b"),
    req(
        "xfcc-forward-only-plaintext", "x-forwarded-client-cert: By=a", hcm="forward_client_cert_details: FORWARD_ONLY"
    ),
    req("xfcc-always-forward", "x-forwarded-client-cert: By=a", hcm="forward_client_cert_details: ALWAYS_FORWARD_ONLY"),
    req("xfcc-append-plaintext", "x-forwarded-client-cert: By=a", hcm="forward_client_cert_details: APPEND_FORWARD"),
    req("user-agent-added", hcm="add_user_agent: true"),
    req("user-agent-not-replaced", "user-agent: mine", hcm="add_user_agent: true"),
    req("suppress-envoy-headers", router="suppress_envoy_headers: true"),
    req(
        "proper-case",
        "x-foo-bar: 1",
        cluster="""
typed_extension_protocol_options:
  http:
    "@type": HttpProtocolOptions
    explicit_http_config: {http_protocol_options: {header_key_format: {proper_case_words: {}}}}
""",
        hcm="http_protocol_options: {header_key_format: {proper_case_words: {}}}",
        shows="X-Foo-Bar: 1",
    ),
    req("attempt-count", vhost="include_request_attempt_count: true", shows="x-envoy-attempt-count: 1"),
    req("attempt-count-both", vhost="{include_request_attempt_count: true, include_attempt_count_in_response: true}"),
    req("alt-stat-name", "x-envoy-upstream-alt-stat-name: alt", "x-envoy-upstream-rq-timeout-ms: 0"),
    req(
        "tracing-headers-pass",
        "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "x-b3-traceid: 1",
    ),
    req("decorator", routes="- {match: {prefix: /}, route: {cluster: $up}, decorator: {operation: op}}"),
    req(
        "decorator-inbound",
        routes="- {match: {prefix: /}, route: {cluster: $up}, decorator: {operation: op}}",
        listener="traffic_direction: INBOUND",
    ),
    req(
        "decorator-outbound",
        routes="- {match: {prefix: /}, route: {cluster: $up}, decorator: {operation: op}}",
        listener="traffic_direction: OUTBOUND",
    ),
]
