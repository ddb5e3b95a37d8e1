"""Answers that the proxy makes itself: status, headers, body, flags, details, and when the connection closes."""

from __future__ import annotations

from typing import Any

from .. import known
from ..case import LEFT, OK, REFUSE, Act, Case, Upstream, answer, answers, get
from ..h2_wire import h2get
from .h2_downstream import h2

TO_UP = "- match: {prefix: /}\n  route: {cluster: $up%s}"


# What is left of the route's timeout when a try is repeated.


_REFUSING = "[{match: {prefix: /}, direct_response: {status: %d, body: {inline_string: sorry}}}]"
_KEEPS = "http_protocol_options: {override_stream_error_on_invalid_http_message: true}"
_MAPPED = """
local_reply_config:
  mappers:
  - filter: {status_code_filter: {comparison: {op: EQ, value: {default_value: %d, runtime_key: x}}}}
    status_code: %d
"""

CODES = r"^http\.$case\.downstream_rq_\d"


def routed(options: str) -> str:
    return TO_UP % (", " + options)


def malformed(name: str, send: str, shows: str, **more: Any) -> Case:
    return Case(f"malformed-{name}", send, shows=shows, **more)


def with_status(name: str, send: str = "", more_config: str = "", **more: Any) -> Case:
    hcm = f"proxy_status_config: {{{more_config}}}\n{more.pop('hcm', '')}"
    return Case(f"proxy-status-{name}", send or get(), hcm=hcm, **more)


BEFORE = "HTTP/1.1 200 OK\r\nproxy-status: origin; x=1\r\ncontent-length: 0\r\n\r\n"

OVERLOADED = """
overload_manager:
  refresh_interval: 0.1s
  resource_monitors:
  - name: envoy.resource_monitors.fixed_heap
    typed_config: {"@type": type.googleapis.com/envoy.extensions.resource_monitors.fixed_heap.v3.FixedHeapConfig, max_heap_size_bytes: 1}
  actions:
  - name: envoy.overload_actions.stop_accepting_requests
    triggers: [{name: envoy.resource_monitors.fixed_heap, threshold: {value: 0.5}}]
"""
UPSTREAM_DURATION = """
typed_extension_protocol_options:
  http:
    "@type": HttpProtocolOptions
    common_http_protocol_options: {max_stream_duration: 0.5s}
    explicit_http_config: {http_protocol_options: {}}
"""

CASES = [
    Case(
        "overloaded-and-told",
        (0.6, get()),
        hcm="append_local_overload: true",
        bootstrap=OVERLOADED,
        alone=True,
        shows="x-envoy-local-overloaded",
    ),
    with_status("fine", upstreams={"up": Upstream(((BEFORE,),))}),
    with_status("no-route", routes="[]"),
    with_status("named", routes="[]", more_config="literal_proxy_name: 'a, b'"),
    with_status("node", routes="[]", more_config="use_node_id: false", bootstrap="node: {id: me, cluster: c}"),
    with_status("server-name", routes="[]", hcm="server_name: s"),
    with_status("no-details", routes="[]", more_config="remove_details: true"),
    with_status("no-flags", routes="[]", more_config="remove_response_flags: true"),
    with_status("recommended", routes="[]", more_config="set_recommended_response_code: true", stats=CODES),
    with_status(
        "recommended-grpc",
        get("/", "content-type: application/grpc", method="POST"),
        "set_recommended_response_code: true, remove_connection_termination_details: true",
        routes="[]",
    ),
    with_status("malformed", "GET / HTTP/1.1\r\nhost: a b\r\n\r\n"),
    with_status("upstream-reset", upstreams={"up": Upstream(((Act.CLOSE,),))}),
    with_status("timeout", routes=routed("timeout: 0.2s"), upstreams={"up": Upstream(((1.0,),))}),
    with_status("refused", upstreams=REFUSE, more_config="set_recommended_response_code: true"),
    Case("no-route", get("/a"), routes="[]", shows=("404 Not Found", "rf=NR rcd=route_not_found")),
    Case("no-route-post", get("/a", method="POST", body="hello"), routes="[]", shows="404"),
    Case("no-route-head", get("/a", method="HEAD"), routes="[]", shows="404"),
    Case("no-vhost", get("/", host="other.test"), vhost="domains: [h.test]", shows="rcd=route_not_found"),
    Case(
        "cluster-not-found",
        get(),
        routes="- match: {prefix: /}\n  route: {cluster: none}",
        route_config="validate_clusters: false",
        shows=("503", "rf=NC rcd=cluster_not_found"),
    ),
    Case(
        "cluster-not-found-404",
        get(),
        routes="- match: {prefix: /}\n  route: {cluster: none, cluster_not_found_response_code: NOT_FOUND}",
        route_config="validate_clusters: false",
        shows="404 Not Found",
    ),
    Case(
        "cluster-not-found-500",
        get(),
        routes="- match: {prefix: /}\n  route: {cluster: none, cluster_not_found_response_code: INTERNAL_SERVER_ERROR}",
        route_config="validate_clusters: false",
        shows="500 Internal Server Error",
    ),
    Case(
        "no-healthy-upstream",
        get(),
        routes="- match: {prefix: /}\n  route: {cluster: $case.empty}",
        clusters="- {name: $case.empty, type: STATIC, connect_timeout: 1s}",
        shows=("no healthy upstream", "rf=UH rcd=no_healthy_upstream"),
    ),
    Case(
        "no-healthy-upstream-head",
        get(method="HEAD"),
        routes="- match: {prefix: /}\n  route: {cluster: $case.empty}",
        clusters="- {name: $case.empty, type: STATIC, connect_timeout: 1s}",
        shows="503",
    ),
    Case("connect-refused", get(), upstreams=REFUSE, shows=("remote connection failure", "rf=UF")),
    Case("connect-refused-post", get(method="POST", body="x" * 100), upstreams=REFUSE, shows="rf=UF"),
    Case("connect-refused-head", get(method="HEAD"), upstreams=REFUSE, shows="rf=UF"),
    Case(
        "connect-timeout",
        get(),
        upstreams={"up": Upstream(mode="unanswered")},
        cluster="connect_timeout: 0.5s",
        quiet=2.0,
        shows=("reset reason: connection timeout", "rf=UF"),
    ),
    Case("upstream-closes-before-headers", get(), upstreams=answer(Act.CLOSE), shows="rf=UC"),
    Case("upstream-resets-before-headers", get(), upstreams=answer(Act.RESET), shows="rf=UC"),
    Case("upstream-closes-in-headers", get(), upstreams=answer("HTTP/1.1 200 OK\r\nfoo: b", Act.CLOSE)),
    Case("upstream-garbage", get(), upstreams=answer("garbage\r\n\r\n"), shows=("502 Bad Gateway", "rf=UPE")),
    Case(
        "upstream-length-and-chunked",
        get(),
        upstreams=answer(
            "HTTP/1.1 200 OK\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
        ),
        shows="protocol error",
    ),
    Case(
        "upstream-too-many-headers",
        get(),
        upstreams=answer(
            "HTTP/1.1 200 OK\r\n" + "".join(f"h{i}: v\r\n" for i in range(101)) + "content-length: 0\r\n\r\n"
        ),
        shows="502",
    ),
    Case(
        "upstream-100-headers",
        get(),
        upstreams=answer(
            "HTTP/1.1 200 OK\r\n" + "".join(f"h{i}: v\r\n" for i in range(99)) + "content-length: 0\r\n\r\n"
        ),
        shows="200 OK",
    ),
    Case(
        "upstream-resets-in-body",
        get(),
        upstreams=answer("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n0123456789", 0.2, Act.RESET),
        shows="upstream_reset_after_response_started",
    ),
    Case(
        "upstream-truncates-body",
        get(),
        upstreams=answer("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n0123456789", 0.2, Act.CLOSE),
        shows="[incomplete]",
    ),
    Case(
        "upstream-truncates-chunked",
        get(),
        upstreams=answer("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n", 0.2, Act.CLOSE),
        shows="[incomplete]",
    ),
    Case(
        "upstream-bad-chunk-in-body",
        get(),
        upstreams=answer("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n", 0.2, "zz\r\n"),
        shows="upstream_reset_after_response_started{protocol_error",
    ),
    Case(
        "retried-and-refused",
        get(),
        upstreams=REFUSE,
        routes=routed("retry_policy: {retry_on: connect-failure, num_retries: 1}"),
        shows=("retried and the latest reset reason", "rf=URX,UF"),
    ),
    Case(
        "retried-and-closed",
        get(),
        upstreams=answer(Act.CLOSE),
        routes=routed("retry_policy: {retry_on: reset, num_retries: 2}"),
        masks=LEFT,
        shows="rf=URX,UC",
    ),
    Case("route-timeout", get(), upstreams=answer(3.0, OK), routes=routed("timeout: 0.5s"), shows=("504", "rf=UT")),
    Case(
        "route-timeout-in-body",
        get(),
        upstreams=answer("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n0123456789", 3.0),
        routes=routed("timeout: 0.5s"),
        shows="rcd=response_timeout",
        quiet=2.5,
    ),
    Case(
        "route-timeout-while-uploading",
        ("POST / HTTP/1.1\r\nhost: h.test\r\ncontent-length: 10\r\n\r\nabc", 1.0, "defghij"),
        upstreams=answer(0.3, OK),
        routes=routed("timeout: 0.5s"),
    ),
    Case(
        "per-try-timeout",
        get(),
        upstreams=answer(3.0, OK),
        routes=routed("retry_policy: {retry_on: 5xx, num_retries: 1, per_try_timeout: 0.3s}"),
        shows="upstream_per_try_timeout",
    ),
    Case(
        "stream-idle-timeout",
        get(),
        upstreams=answer(3.0, OK),
        hcm="stream_idle_timeout: 0.5s",
        shows=("stream timeout", "rf=SI"),
    ),
    Case(
        "route-idle-timeout",
        get(),
        upstreams=answer(3.0, OK),
        routes=routed("idle_timeout: 0.5s"),
        shows="rcd=stream_idle_timeout",
    ),
    Case(
        "stream-idle-timeout-in-body",
        get(),
        upstreams=answer("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n0123456789", 3.0),
        hcm="stream_idle_timeout: 0.5s",
        quiet=2.5,
        shows="SI",
    ),
    Case(
        "route-max-stream-duration",
        get(),
        upstreams=answer(3.0, OK),
        routes=routed("max_stream_duration: {max_stream_duration: 0.5s}"),
        shows=("downstream duration timeout", "max_duration_timeout"),
    ),
    Case(
        "hcm-max-stream-duration",
        get(),
        upstreams=answer(3.0, OK),
        hcm="common_http_protocol_options: {max_stream_duration: 0.5s}",
        shows="max_duration_timeout",
    ),
    Case(
        "request-timeout",
        "POST / HTTP/1.1\r\nhost: h.test\r\ncontent-length: 10\r\n\r\nabc",
        hcm="request_timeout: 0.5s",
        quiet=2.5,
        shows=("408 Request Timeout", "request_overall_timeout"),
    ),
    Case(
        "request-headers-timeout",
        "GET / HTTP/1.1\r\nhost: h.t",
        hcm="request_headers_timeout: 0.5s",
        quiet=2.5,
        shows=("request header timeout", "request_header_timeout"),
    ),
    *(
        Case(
            f"head-{name}-{after}",
            "GET / HTTP/1.1\r\nhost: h.t" if after == "begun" else (get("/1"), 0.1, get("/2")[:-5]),
            hcm=hcm,
            quiet=3.0,
            stats=r"^http\.$case\.downstream_(rq_(total|timeout|idle_timeout|max_duration_reached|4xx)|cx_idle_timeout)$",
            shows=shows,
        )
        for name, hcm, shows in (
            ("request-timeout", "request_timeout: 0.5s", "408"),
            ("stream-idle-timeout", "stream_idle_timeout: 0.5s", "408"),
            ("max-stream-duration", "common_http_protocol_options: {max_stream_duration: 0.5s}", "408"),
            ("idle-timeout", "{common_http_protocol_options: {idle_timeout: 0.5s}, drain_timeout: 0.2s}", "open"),
            (
                "duration",
                "{common_http_protocol_options: {max_connection_duration: 0.5s}, drain_timeout: 0.2s}",
                "open",
            ),
        )
        for after in ("begun", "behind-another")
    ),
    *(
        Case(
            f"half-a-request-{name}",
            ("POST / HTTP/1.1\r\nhost: h.test\r\ncontent-length: 10\r\n\r\nabc",),
            quiet=2.5,
            upstreams=answer(3.0, OK),
            shows="408 Request Timeout",
            hcm=hcm,
            routes=routes,
            cluster=cluster,
        )
        for name, hcm, routes, cluster in (
            ("max-stream-duration", "common_http_protocol_options: {max_stream_duration: 0.5s}", "", ""),
            ("max-stream-duration-of-route", "", routed("max_stream_duration: {max_stream_duration: 0.5s}"), ""),
            ("max-stream-duration-of-cluster", "", "", UPSTREAM_DURATION),
        )
    ),
    *(
        Case(
            f"no-host-{name}",
            request,
            stats=r"^http\.$case\.downstream_(cx_protocol_error|rq_(total|rx_reset|4xx|response_before_rq_complete))$",
            quiet=2.0,
        )
        for name, request in (
            ("alone", "GET / HTTP/1.1\r\n\r\n"),
            ("with-a-body", "POST / HTTP/1.1\r\ncontent-length: 3\r\n\r\nabc"),
            ("with-half-a-body", "POST / HTTP/1.1\r\ncontent-length: 3\r\n\r\na"),
        )
    ),
    Case("headers-too-large", get("/", "big: " + "x" * 62000), shows=("431", "http1.headers_too_large"), quiet=2.5),
    Case("url-too-large", get("/" + "x" * 62000), shows="431", quiet=2.5),
    Case("headers-within-60k", get("/", "big: " + "x" * 59000), shows="200 OK"),
    Case(
        "headers-too-large-raised",
        get("/", "big: " + "x" * 70000),
        hcm="max_request_headers_kb: 96",
        shows="200 OK",
    ),
    Case(
        "too-many-headers",
        get("/", *(f"h{i}: v" for i in range(100))),
        shows=("431", "http1.too_many_headers"),
        quiet=2.5,
    ),
    Case("hundred-headers", get("/", *(f"h{i}: v" for i in range(99))), shows="200 OK"),
    Case(
        "too-many-headers-own-limit",
        get("/", "a: 1", "b: 2", "c: 3"),
        hcm="common_http_protocol_options: {max_headers_count: 3}",
        shows="431",
        quiet=2.5,
    ),
    malformed("request-line", "GET\r\nhost: h.test\r\n\r\n", "400 Bad Request"),
    malformed("header-without-colon", get("/", "nonsense"), "http1.codec_error"),
    malformed("space-before-colon", get("/", "a : b"), "400"),
    malformed("nul-in-value", get("/", "a: b\0c"), "400"),
    malformed("control-in-value", get("/", "a: b\x01c"), "http1."),
    malformed("unknown-method", get(method="FLY"), "http1.codec_error"),
    malformed("lower-case-method", get(method="get"), "400"),
    malformed("two-lengths", get("/", "content-length: 3", "content-length: 3") + "abc", "400"),
    malformed("length-not-a-number", get("/", "content-length: 3x") + "abc", "400"),
    malformed(
        "length-and-chunked",
        get("/", "content-length: 3", "transfer-encoding: chunked", method="POST") + "0\r\n\r\n",
        "http1.content_length_and_chunked_not_allowed",
    ),
    malformed("coding", get("/", "transfer-encoding: gzip", method="POST"), "501 Not Implemented"),
    malformed("coding-list", get("/", "transfer-encoding: gzip, chunked", method="POST") + "0\r\n\r\n", "501"),
    malformed("chunk-size", get("/", "transfer-encoding: chunked", method="POST") + "zz\r\n", "400"),
    malformed(
        "first-chunk-fine",
        get("/", "transfer-encoding: chunked", method="POST") + "3\r\nabc\r\nzz\r\n",
        "DPE",
        differs=known.CHUNK_ERROR_BYTES,
    ),
    malformed("http-1.0", "GET / HTTP/1.0\r\nhost: h.test\r\n\r\n", "426 Upgrade Required"),
    malformed("http-1.2", "GET / HTTP/1.2\r\nhost: h.test\r\n\r\n", "426"),
    malformed("http-0.9", "GET /\r\n\r\n", "end: "),
    malformed("no-host", "GET / HTTP/1.1\r\n\r\n", "missing_host_header"),
    malformed("host-with-space", get("/", host="a b"), "400"),
    malformed("fragment", get("/a#b"), "path_normalization_failed"),
    malformed("non-ascii-path", get("/\xe4"), "400"),
    malformed("options-star", get("*", method="OPTIONS"), "404"),
    malformed("connect", get("h.test:80", method="CONNECT"), "404"),
    malformed("path-without-slash", get("a"), "client 1"),
    malformed(
        "underscore",
        get("/", "a_b: c"),
        "http1.unexpected_underscore",
        hcm="common_http_protocol_options: {headers_with_underscores_action: REJECT_REQUEST}",
    ),
    Case(
        "underscore-dropped",
        get("/", "a_b: c", "d: e"),
        hcm="common_http_protocol_options: {headers_with_underscores_action: DROP_HEADER}",
        shows="d: e",
    ),
    Case(
        "error-keeps-connection",
        get("/", "nonsense") + get("/second"),
        hcm="http_protocol_options: {override_stream_error_on_invalid_http_message: true}",
        shows="400",
    ),
    Case(
        "stream-error-keeps-connection",
        ("GET / HTTP/1.1\r\n\r\n", 0.2, get("/second")),
        hcm="stream_error_on_invalid_http_message: true",
        differs=known.AFTER_BAD_HEAD,
        shows="GET /second",
    ),
    Case("upgrade-not-configured", get("/", "connection: upgrade", "upgrade: websocket"), shows="upgrade_failed"),
    Case(
        "circuit-breaker-pending",
        get(),
        cluster="circuit_breakers: {thresholds: [{max_pending_requests: 0}]}",
        shows=("x-envoy-overloaded", "rf=UO"),
    ),
    Case(
        "circuit-breaker-requests",
        get(),
        cluster="circuit_breakers: {thresholds: [{max_requests: 0}]}",
        shows="503",
    ),
    Case(
        "direct-response",
        get(),
        routes='- {match: {prefix: /}, direct_response: {status: 200, body: {inline_string: "hi"}}}',
    ),
    Case(
        "direct-response-no-body", get(), routes="- {match: {prefix: /}, direct_response: {status: 418}}", shows="418"
    ),
    Case(
        "direct-response-head",
        get(method="HEAD"),
        routes='- {match: {prefix: /}, direct_response: {status: 200, body: {inline_string: "hi"}}}',
    ),
    Case(
        "direct-response-204",
        get(),
        routes="- {match: {prefix: /}, direct_response: {status: 204}}",
        shows="204 No Content",
    ),
    Case(
        "direct-response-204-with-body",
        get(),
        routes='- {match: {prefix: /}, direct_response: {status: 204, body: {inline_string: "hi"}}}',
        differs=known.BODY_OF_204,
    ),
    Case(
        "direct-response-503",
        get("/", "connection: close"),
        routes='- {match: {prefix: /}, direct_response: {status: 503, body: {inline_string: "down"}}}',
    ),
    Case(
        "direct-response-headers",
        get(),
        routes="""
- match: {prefix: /}
  direct_response: {status: 200, body: {inline_string: '{"a": 1}'}}
  response_headers_to_add:
  - {header: {key: content-type, value: application/json}, append_action: OVERWRITE_IF_EXISTS_OR_ADD}
  - {header: {key: x-more, value: "%PROTOCOL%"}}
""",
        shows="application/json",
    ),
    Case(
        "direct-response-post",
        get(method="POST", body="y" * 5000) + get("/two"),
        routes='- {match: {prefix: /}, direct_response: {status: 200, body: {inline_string: "hi"}}}',
    ),
    Case(
        "local-reply-mapped",
        get(),
        routes="[]",
        hcm="""
local_reply_config:
  mappers:
  - filter: {status_code_filter: {comparison: {op: EQ, value: {default_value: 404, runtime_key: none}}}}
    status_code: 410
    headers_to_add: [{header: {key: x-mapped, value: "yes"}}]
    body_format_override: {json_format: {code: "%RESPONSE_CODE%", path: "%REQ(:PATH)%"}}
""",
        shows="410 Gone",
    ),
    Case(
        "local-reply-text-format",
        get("/some"),
        upstreams=REFUSE,
        hcm='local_reply_config: {body_format: {text_format_source: {inline_string: "%RESPONSE_CODE%:%LOCAL_REPLY_BODY%:%REQ(:path)%\\n"}}}',
        shows="503:upstream connect error",
    ),
    Case(
        "grpc-no-route",
        get("/svc/m", "content-type: application/grpc", "te: trailers", method="POST"),
        routes="[]",
        shows="grpc-status: 12",
    ),
    Case(
        "grpc-beyond-ascii",
        get("/svc/m", "content-type: application/grpc", "te: trailers", method="POST"),
        routes="- {match: {prefix: /}, direct_response: {status: 429, body: {inline_string: 'slow é ✓ 100%'}}}",
        shows="slow %C3%A9",
    ),
    Case(
        "grpc-refused",
        get("/svc/m", "content-type: application/grpc", "te: trailers", method="POST"),
        upstreams=REFUSE,
        shows="grpc-status: 14",
    ),
    Case("client-leaves-early", (get(), 0.3, Act.CLOSE), upstreams=answer(1.0, OK), shows="rf=DC"),
    Case("client-resets-early", (get(), 0.3, Act.RESET), upstreams=answer(1.0, OK), shows="rf=DC"),
    Case(
        "client-leaves-while-uploading",
        ("POST / HTTP/1.1\r\nhost: h.test\r\ncontent-length: 100\r\n\r\nabc", 0.3, Act.CLOSE),
        shows="rf=DC",
    ),
    Case(
        "server-name-none-pass-through",
        get(),
        routes="[]",
        hcm="server_header_transformation: PASS_THROUGH",
    ),
    Case("bad-request-of-a-route", get("/a") + get("/b"), routes=_REFUSING % 400),
    Case("bad-request-of-a-route-keeps", get("/a") + get("/b"), routes=_REFUSING % 400, hcm=_KEEPS),
    Case("other-refusal-of-a-route", get("/a") + get("/b"), routes=_REFUSING % 401),
    Case(
        "bad-request-of-a-filter",
        get("/a") + get("/b"),
        filters="[{fault: {abort: {http_status: 400, percentage: {numerator: 100}}}}]",
    ),
    Case("bad-request-mapped-away", get("/a") + get("/b"), routes=_REFUSING % 400, hcm=_MAPPED % (400, 418)),
    Case("bad-request-mapped-to", get("/a") + get("/b"), routes=_REFUSING % 418, hcm=_MAPPED % (418, 400)),
    Case("bad-request-over-h2", clients=h2(h2get(1, "/a"), h2get(3, "/b")), routes=_REFUSING % 400),
    Case("server-name-own", get(), routes="[]", hcm="server_name: meshy", shows="server: meshy"),
    Case(
        "error-after-a-good-request",
        get("/good") + "BAD\r\n\r\n" + get("/never"),
        shows=("GET /good", "400 Bad Request"),
    ),
    Case(
        "second-upstream-answer-unasked",
        (get("/one"), 0.3, get("/two")),
        upstreams=answers(
            "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\noneHTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil", OK
        ),
        shows="'one'",
    ),
]
