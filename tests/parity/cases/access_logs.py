"""Access logs: formats, operators, filters, and what a row says in each situation."""

from __future__ import annotations

from typing import Any

from ..case import LEFT, OK, REFUSE, Act, Case, Op, Upstream, answer, answers, client, get, raw

ISTIO = (
    '[%START_TIME%] "%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%" %RESPONSE_CODE% %RESPONSE_FLAGS% '
    '%RESPONSE_CODE_DETAILS% %CONNECTION_TERMINATION_DETAILS% "%UPSTREAM_TRANSPORT_FAILURE_REASON%" %BYTES_RECEIVED% '
    '%BYTES_SENT% %DURATION% %RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% "%REQ(X-FORWARDED-FOR)%" "%REQ(USER-AGENT)%" '
    '"%REQ(X-REQUEST-ID)%" "%REQ(:AUTHORITY)%" "%UPSTREAM_HOST%" %UPSTREAM_CLUSTER_RAW% %UPSTREAM_LOCAL_ADDRESS% '
    "%DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_REMOTE_ADDRESS% %REQUESTED_SERVER_NAME% %ROUTE_NAME%\n"
)
# Bytes received and sent, duration and service time stand in a row: the last two differ from run to run.
DURATIONS = ((r'("[^"]*" \d+ \d+) \d+ (\d+|-) "', r'\1 <ms> <ms> "'),)
DEFAULT_DURATIONS = ((r"(\d{3}|0) (\S+) (\d+) (\d+) \d+ (\d+|-) ", r"\1 \2 \3 \4 <ms> <ms> "),)
REPLY = "HTTP/1.1 200 OK\r\nx-r: one\r\nx-r: two\r\ncontent-type: text/x\r\ncontent-length: 5\r\n\r\nhello"


def logged(name: str, form: str, send: str | tuple[Op, ...] = "", **more: Any) -> Case:
    more.setdefault("upstreams", answer(REPLY))
    return Case(f"log-{name}", send or get("/p?q=1", "user-agent: t"), log=form, **more)


def operator(name: str, *operators: str, send: str | tuple[Op, ...] = "", **more: Any) -> Case:
    return logged(name, "|".join(f"%{each}%" for each in operators) + "\n", send, **more)


def json(name: str, fields: str, send: str | tuple[Op, ...] = "", **more: Any) -> Case:
    return logged(f"json-{name}", f"yaml: {{log_format: {{json_format: {fields}}}}}", send, **more)


def filtered(name: str, rule: str, *requests: str, **more: Any) -> Case:
    ops = tuple(op for request in requests for op in (request, 0.2))
    form = '{text_format_source: {inline_string: "%REQ(:PATH)% %RESPONSE_CODE%\\n"}}'
    return Case(
        f"log-filter-{name}",
        ops,
        hcm=f"access_log: [{{name: envoy.access_loggers.file, filter: {rule}, typed_config: {{'@type': FileAccessLog, path: $dir/$case.log, log_format: {form}}}}}]",
        routes="""
- {match: {prefix: /no}, direct_response: {status: 404}}
- {match: {prefix: /bad}, direct_response: {status: 500}}
- {match: {prefix: /}, route: {cluster: $up}}
""",
        timing=False,
        **more,
    )


CODE = "{status_code_filter: {comparison: {op: %s, value: {default_value: 404, runtime_key: none}}}}"

CASES = [
    logged("istio", ISTIO, masks=DURATIONS),
    logged("istio-404", ISTIO, routes="[]", masks=DURATIONS),
    logged("istio-refused", ISTIO, upstreams=REFUSE, masks=DURATIONS),
    logged("istio-bad-request", ISTIO, "BAD\r\n\r\n", masks=DURATIONS),
    logged("istio-client-leaves", ISTIO, (get("/x"), 0.3, Act.CLOSE), upstreams=answer(1.0, OK), masks=DURATIONS),
    Case(
        "log-istio-tcp",
        clients=(client("hello", 0.2, Act.CLOSE, raw=True),),
        network="- tcp_proxy: {cluster: $up}",
        upstreams={"up": Upstream(((Act.ECHO,),), mode="raw")},
        log=ISTIO,
        masks=DURATIONS,
    ),
    logged("default-format", "yaml: {}", masks=DEFAULT_DURATIONS),
    logged("default-format-404", "yaml: {}", routes="[]", masks=DEFAULT_DURATIONS),
    operator(
        "request",
        "REQ(:METHOD)",
        "REQ(:PATH)",
        "REQ(:AUTHORITY)",
        "REQ(:SCHEME)",
        "REQ(USER-AGENT)",
        "REQ(x-none)",
        "PROTOCOL",
    ),
    operator("alternatives", "REQ(x-none?user-agent)", "REQ(x-none?x-no)", "REQ(user-agent?:path)", "RESP(x-no?x-r)"),
    operator("max-length", "REQ(:PATH):2", "REQ(user-agent):100", "RESP(content-type):4", "REQ(x-none):1"),
    operator("repeated-header", "REQ(x-a)", "RESP(x-r)", send=get("/", "x-a: 1", "x-a: 2")),
    operator(
        "without-query", "REQ_WITHOUT_QUERY(:PATH)", "REQ_WITHOUT_QUERY(X-ENVOY-ORIGINAL-PATH?:PATH)", refused=True
    ),
    operator(
        "response",
        "RESPONSE_CODE",
        "RESPONSE_CODE_DETAILS",
        "RESPONSE_FLAGS",
        "RESPONSE_FLAGS_LONG",
        "RESP(x-r)",
        "RESP(:status)",
        "RESP(content-length)",
        "RESP(server)",
    ),
    operator(
        "response-404", "RESPONSE_CODE", "RESPONSE_CODE_DETAILS", "RESPONSE_FLAGS", "RESPONSE_FLAGS_LONG", routes="[]"
    ),
    operator(
        "response-refused",
        "RESPONSE_FLAGS",
        "RESPONSE_FLAGS_LONG",
        "RESPONSE_CODE_DETAILS",
        "UPSTREAM_TRANSPORT_FAILURE_REASON",
        "LOCAL_REPLY_BODY",
        upstreams=REFUSE,
    ),
    operator("bytes", "BYTES_RECEIVED", "BYTES_SENT", send=get("/", method="POST", body="hello")),
    operator(
        "bytes-chunked",
        "BYTES_RECEIVED",
        "BYTES_SENT",
        send=get("/", "transfer-encoding: chunked", method="POST") + "3\r\nabc\r\n0\r\n\r\n",
        upstreams=answer("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"),
    ),
    operator(
        "bytes-head",
        "BYTES_RECEIVED",
        "BYTES_SENT",
        send=get(method="HEAD"),
        upstreams=answer("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n"),
    ),
    operator(
        "wire-bytes",
        "DOWNSTREAM_WIRE_BYTES_RECEIVED",
        "DOWNSTREAM_HEADER_BYTES_RECEIVED",
        "UPSTREAM_WIRE_BYTES_RECEIVED",
        "UPSTREAM_HEADER_BYTES_RECEIVED",
        send=get("/", method="POST", body="hello"),
    ),
    operator(
        "wire-bytes-retry",
        "UPSTREAM_WIRE_BYTES_RECEIVED",
        "UPSTREAM_HEADER_BYTES_RECEIVED",
        "UPSTREAM_WIRE_BYTES_SENT",
        "UPSTREAM_HEADER_BYTES_SENT",
        upstreams=answers(
            "HTTP/1.1 503 No\r\ncontent-length: 3\r\n\r\nabc", "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"
        ),
        routes="[{match: {prefix: /}, route: {cluster: $up, retry_policy: {retry_on: 5xx}}}]",
        masks=LEFT,
    ),
    operator(
        "upstream",
        "UPSTREAM_HOST",
        "UPSTREAM_CLUSTER",
        "UPSTREAM_CLUSTER_RAW",
        "UPSTREAM_REMOTE_ADDRESS",
        "UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT",
        "UPSTREAM_REMOTE_PORT",
        "UPSTREAM_LOCAL_ADDRESS_WITHOUT_PORT",
        "UPSTREAM_REQUEST_ATTEMPT_COUNT",
    ),
    operator(
        "upstream-none",
        "UPSTREAM_HOST",
        "UPSTREAM_CLUSTER",
        "UPSTREAM_CLUSTER_RAW",
        "UPSTREAM_LOCAL_ADDRESS",
        "UPSTREAM_REMOTE_ADDRESS",
        "UPSTREAM_REQUEST_ATTEMPT_COUNT",
        routes="[]",
    ),
    operator(
        "downstream",
        "DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT",
        "DOWNSTREAM_LOCAL_ADDRESS",
        "DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT",
        "DOWNSTREAM_LOCAL_PORT",
        "DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT",
        "REQUESTED_SERVER_NAME",
    ),
    operator(
        "downstream-xff",
        "DOWNSTREAM_REMOTE_ADDRESS",
        "DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT",
        "DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT",
        "REQ(x-forwarded-for)",
        send=get("/", "x-forwarded-for: 1.2.3.4, 5.6.7.8"),
        hcm="{use_remote_address: true, xff_num_trusted_hops: 1}",
    ),
    operator(
        "downstream-xff-not-remote",
        "DOWNSTREAM_REMOTE_ADDRESS",
        "DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT",
        send=get("/", "x-forwarded-for: 1.2.3.4, 5.6.7.8"),
    ),
    operator(
        "route",
        "ROUTE_NAME",
        "VIRTUAL_CLUSTER_NAME",
        routes="- {name: here, match: {prefix: /}, route: {cluster: $up}}",
    ),
    operator(
        "original-path",
        "REQ(X-ENVOY-ORIGINAL-PATH?:PATH)",
        "REQ(:PATH)",
        routes="- {match: {prefix: /}, route: {cluster: $up, prefix_rewrite: /n/}}",
    ),
    operator("original-path-404", "REQ(X-ENVOY-ORIGINAL-PATH?:PATH)", routes="[]"),
    operator(
        "tls",
        "DOWNSTREAM_PEER_URI_SAN",
        "DOWNSTREAM_LOCAL_URI_SAN",
        "DOWNSTREAM_PEER_SUBJECT",
        "DOWNSTREAM_PEER_ISSUER",
        "DOWNSTREAM_TLS_VERSION",
        "DOWNSTREAM_PEER_FINGERPRINT_256",
        "DOWNSTREAM_TLS_CIPHER",
    ),
    operator(
        "state",
        "DYNAMIC_METADATA(a)",
        "DYNAMIC_METADATA(a:b)",
        "FILTER_STATE(x)",
        "METADATA(ROUTE:a:b)",
        "METADATA(CLUSTER:a:b)",
    ),
    operator(
        "metadata-of-route",
        "METADATA(ROUTE:a:b)",
        "METADATA(ROUTE:a)",
        routes="- {match: {prefix: /}, route: {cluster: $up}, metadata: {filter_metadata: {a: {b: c}}}}",
    ),
    operator("hostname", "HOSTNAME"),
    operator("trace", "TRACE_ID", "GRPC_STATUS", "GRPC_STATUS_NUMBER"),
    operator(
        "grpc",
        "GRPC_STATUS",
        "GRPC_STATUS(SNAKE_STRING)",
        "GRPC_STATUS_NUMBER",
        send=get("/", "content-type: application/grpc", method="POST"),
        upstreams=answer(
            "HTTP/1.1 200 OK\r\ncontent-type: application/grpc\r\ngrpc-status: 14\r\ncontent-length: 0\r\n\r\n"
        ),
    ),
    operator("trailers", "TRAILER(x-t)"),
    operator(
        "local-reply-body",
        "LOCAL_REPLY_BODY",
        routes="- {match: {prefix: /}, direct_response: {status: 500, body: {inline_string: oh}}}",
    ),
    logged("percent", "100%% %REQ(:METHOD)%%%\n"),
    logged(
        "virtual-host-of-a-rewritten-host",
        "%METADATA(VIRTUAL_HOST:gen:host)%\n",
        get(host="a.test"),
        vhosts="[{name: a, domains: [a.test], metadata: {filter_metadata: {gen: {host: first}}}, routes: [{match: {prefix: /}, route: {cluster: $up, host_rewrite_literal: b.test}}]}, {name: b, domains: [b.test], metadata: {filter_metadata: {gen: {host: second}}}}]",
        shows="first",
    ),
    logged(
        "virtual-host-by-a-header",
        "%METADATA(VIRTUAL_HOST:gen:host)%\n",
        clients=(
            client(get("/a", host="b.test")),
            client(get("/b", "x-host: a.test", host="b.test"), after=1),
            client(get("/a", "x-host: a.test", host="b.test"), after=2),
        ),
        route_config="{vhost_header: x-host}",
        vhosts="[{name: a, domains: [a.test], metadata: {filter_metadata: {gen: {host: first}}}, routes: [{match: {prefix: /a}, route: {cluster: $up}}]}, {name: b, domains: [b.test], metadata: {filter_metadata: {gen: {host: second}}}, routes: []}]",
        shows="first",
    ),
    logged("connection-closed", "%RESP(CONNECTION)%\n", get("/", "connection: close"), shows="close"),
    logged(
        "connection-unknown",
        "%RESP(CONNECTION)%\n",
        "GET / HTTP/1.0\r\nhost: a\r\nconnection: keep-alive\r\n\r\n",
        hcm="http_protocol_options: {accept_http_10: true}",
        shows="keep-alive",
    ),
    Case(
        "log-of-a-listener",
        ("abc", 0.1, Act.HALF_CLOSE),
        network="- tcp_proxy: {cluster: $up}",
        upstreams=raw(Act.ECHO),
        listener='access_log: [{file_log: {path: $dir/$case.log, log_format: {text_format_source: {inline_string: "%ACCESS_LOG_TYPE% %UPSTREAM_CLUSTER%\\n"}}}}]',
        sort_log=True,
        shows="NotSet",
    ),
    logged("unknown-operator", "%NONSENSE%\n", refused=True),
    logged("unclosed-operator", "%REQ(:METHOD\n", refused=True),
    operator("environment", "ENVIRONMENT(NO_SUCH_VARIABLE_HERE)"),
    logged("literal-text", "plain text, no operator: 100 %% sure\n"),
    logged(
        "start-time-formats",
        "%START_TIME(%Y)% %START_TIME(%Y-%m-%dT%H:%M)% y=%START_TIME(%y)%\n",
        masks=((r"T\d\d:\d\d ", "T<time> "),),
    ),
    logged(
        "start-time-fractions",
        "%START_TIME(%3f)% %START_TIME(%6f)% %START_TIME(%9f)% %START_TIME(%s)% %START_TIME(%s%3f)% %START_TIME(%f)%\n",
        masks=((r"\d", "d"),),
    ),
    logged("start-time-default", "%START_TIME%\n", masks=((r"\d", "d"), (r"<time>", "<time>"))),
    logged(
        "durations",
        "dur=%DURATION% respd=%RESPONSE_DURATION% reqd=%REQUEST_DURATION% %RESPONSE_TX_DURATION%\n",
        masks=((r" \d+$", " <ms>"),),
    ),
    logged(
        "durations-404",
        "dur=%DURATION% respd=%RESPONSE_DURATION% reqd=%REQUEST_DURATION% %RESPONSE_TX_DURATION%\n",
        routes="[]",
        masks=((r" \d+$", " <ms>"),),
    ),
    logged(
        "delayed-duration",
        "%DURATION%\n",
        upstreams=answer(0.4, OK),
        masks=((r"^[4-7]\d\d$", "about 400"),),
        shows="about 400",
    ),
    logged("quotes-and-control", '"%REQ(user-agent)%" %REQ(x-u)%\n', get("/", 'user-agent: q"\\z', "x-u: \xe4\x7e")),
    logged("no-newline", "[%REQ(:PATH)%]", get("/1") + get("/2")),
    logged(
        "absent-empty-on-omit",
        'yaml: {log_format: {omit_empty_values: true, text_format_source: {inline_string: "[%REQ(x-none)%] [%UPSTREAM_HOST%]\\n"}}}',
        routes="[]",
    ),
    logged("text-format-old-field", 'yaml: {format: "%REQ(:PATH)% old\\n"}'),
    json(
        "types",
        "{code: '%RESPONSE_CODE%', path: '%REQ(:PATH)%', none: '%REQ(x-none)%', sent: '%BYTES_SENT%', flags: '%RESPONSE_FLAGS%', mixed: 'c=%RESPONSE_CODE%', text: literal, rl: '%RESPONSE_FLAGS_LONG%'}",
    ),
    json("nested", "{z: 1, a: {c: '%PROTOCOL%', b: ['%REQ(:METHOD)%', x]}, 'two words': y}"),
    json("escapes", '{v: \'%REQ(x-u)%\', w: "a\\"b\\\\"}', get("/", 'x-u: q"\\z\t<\xe4>')),
    json(
        "refused",
        "{rcd: '%RESPONSE_CODE_DETAILS%', up: '%UPSTREAM_HOST%', flags: '%RESPONSE_FLAGS%', body: '%LOCAL_REPLY_BODY%'}",
        upstreams=REFUSE,
    ),
    logged(
        "json-omit-empty",
        "yaml: {log_format: {omit_empty_values: true, json_format: {a: '%REQ(x-none)%', b: '%REQ(:PATH)%', c: {d: '%REQ(x-none)%'}}}}",
    ),
    logged("json-old-field", "yaml: {json_format: {p: '%REQ(:PATH)%', c: '%RESPONSE_CODE%'}}"),
    filtered("status-ge", CODE % "GE", get("/no"), get("/yes"), get("/bad")),
    filtered("status-eq", CODE % "EQ", get("/no"), get("/yes"), get("/bad")),
    filtered("status-le", CODE % "LE", get("/no"), get("/yes"), get("/bad")),
    filtered(
        "duration",
        "{duration_filter: {comparison: {op: GE, value: {default_value: 200, runtime_key: none}}}}",
        get("/1"),
        get("/no"),
        upstreams=answer(0.4, OK),
    ),
    filtered(
        "not-health-check",
        "{not_health_check_filter: {}}",
        get("/yes"),
        get("/hc"),
        filters="- health_check: {pass_through_mode: false, headers: [{name: ':path', string_match: {exact: /hc}}]}",
    ),
    filtered(
        "header",
        "{header_filter: {header: {name: x-l, string_match: {exact: '1'}}}}",
        get("/yes", "x-l: 1"),
        get("/yes"),
    ),
    filtered(
        "and",
        "{and_filter: {filters: [%s, {header_filter: {header: {name: x-l, present_match: true}}}]}}" % (CODE % "EQ"),
        get("/no", "x-l: 1"),
        get("/no"),
        get("/yes", "x-l: 1"),
    ),
    filtered(
        "or",
        "{or_filter: {filters: [%s, {header_filter: {header: {name: x-l, present_match: true}}}]}}" % (CODE % "EQ"),
        get("/no"),
        get("/yes", "x-l: 1"),
        get("/yes"),
    ),
    filtered("response-flag", "{response_flag_filter: {flags: [UH, NR]}}", get("/yes"), get("/no")),
    filtered("response-flag-any", "{response_flag_filter: {}}", get("/yes"), get("/no")),
    filtered(
        "runtime-0", "{runtime_filter: {runtime_key: nothing.such, percent_sampled: {numerator: 0}}}", get("/yes")
    ),
    filtered("traceable", "{traceable_filter: {}}", get("/yes")),
    filtered("log-type", "{log_type_filter: {types: [DownstreamEnd]}}", get("/yes")),
    filtered("log-type-other", "{log_type_filter: {types: [DownstreamStart, TcpConnectionEnd]}}", get("/yes")),
    filtered("log-type-excluded", "{log_type_filter: {types: [DownstreamEnd], exclude: true}}", get("/yes")),
    filtered("grpc-status", "{grpc_status_filter: {statuses: [UNIMPLEMENTED]}}", get("/yes"), get("/no")),
    filtered("grpc-status-excluded", "{grpc_status_filter: {statuses: [UNIMPLEMENTED], exclude: true}}", get("/yes")),
    filtered(
        "metadata-missing",
        "{metadata_filter: {matcher: {filter: a, path: [{key: b}], value: {present_match: true}}, match_if_key_not_found: false}}",
        get("/yes"),
    ),
    filtered(
        "metadata-missing-matches",
        "{metadata_filter: {matcher: {filter: a, path: [{key: b}], value: {present_match: true}}}}",
        get("/yes"),
    ),
    logged("type-of-entry", "%ACCESS_LOG_TYPE%\\n"),
    Case(
        "log-two-loggers",
        get(),
        hcm="""
access_log:
- file_log: {path: $dir/$case.log, log_format: {text_format_source: {inline_string: "one %REQ(:PATH)%\\n"}}}
- file_log: {path: $dir/$case.log, log_format: {text_format_source: {inline_string: "two %REQ(:PATH)%\\n"}}}
""",
        sort_log=True,
    ),
    Case("log-order-of-pipelined", get("/1") + get("/2") + get("/3"), upstreams=answers((0.3, OK), (OK,))),
    Case(
        "log-retried",
        get(),
        upstreams=answers("HTTP/1.1 503 X\r\ncontent-length: 0\r\n\r\n", OK),
        routes="- {match: {prefix: /}, route: {cluster: $up, retry_policy: {retry_on: 5xx}}}",
        log="%RESPONSE_CODE% %RESPONSE_FLAGS% %UPSTREAM_REQUEST_ATTEMPT_COUNT% %RESPONSE_CODE_DETAILS%\n",
        masks=((r"rq-timeout-ms: \d+", "<left>"),),
    ),
]
