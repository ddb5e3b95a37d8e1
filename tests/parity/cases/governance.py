"""Corners of routes and their policies: combinations that single fields don't show."""

from __future__ import annotations

from typing import Any

from ..case import LEFT, OK, Act, Case, Op, Upstream, client, get

LOG = "%REQ(:PATH)% %RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %UPSTREAM_REQUEST_ATTEMPT_COUNT% %ROUTE_NAME%\n"
_EXT = "type.googleapis.com/envoy.extensions"
ENDPOINT = "{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: $%s_port}}}, metadata: {filter_metadata: {envoy.lb: {hash_key: %s}}}}"


def status(code: int, *lines: str) -> str:
    return "\r\n".join([f"HTTP/1.1 {code} X", *lines, "content-length: 0", "", ""])


def corner(name: str, route: str, *sends: Op, scripts: tuple[Any, ...] = ((OK,),), **more: Any) -> Case:
    """Each request on a connection of its own, one after the other; the i-th is answered with the i-th script."""
    answers = tuple(each if isinstance(each, tuple) else (each,) for each in scripts)
    more.setdefault("upstreams", {"up": Upstream(answers)})
    more.setdefault(
        "routes", f"- match: {{prefix: /}}\n  name: here\n  route: {{cluster: $up{route and ', ' + route}}}\n"
    )
    step = more.pop("step", 0.08)
    clients = tuple(client(send, start=step * number, timing=False) for number, send in enumerate(sends or (get(),)))
    more.setdefault("masks", LEFT)
    return Case(f"corner-{name}", clients=clients, log=LOG, sort_log=True, flat_upstream=True, **more)


def hashed(name: str, policies: str, *sends: str, policy: str = "RING_HASH", **more: Any) -> Case:
    return corner(
        f"hash-{name}",
        "",
        *sends,
        routes=f"- match: {{prefix: /}}\n  route: {{cluster: $case.many, hash_policy: [{policies}]}}\n",
        clusters=(
            f"- {{name: $case.many, lb_policy: {policy}, load_assignment: {{cluster_name: c, endpoints: [{{lb_endpoints: "
            f"[{ENDPOINT % ('up', 'one')}, {ENDPOINT % ('up2', 'two')}, {ENDPOINT % ('up3', 'three')}]}}]}}}}"
        ),
        upstreams={
            name: Upstream(((f"HTTP/1.1 200 OK\r\ncontent-length: 3\r\nx-from: {name}\r\n\r\nabc",),))
            for name in ("up", "up2", "up3")
        },
        **more,
    )


def retried(name: str, policy: str, *scripts: Any, send: str = "", **more: Any) -> Case:
    return corner(f"retry-{name}", f"retry_policy: {policy}", send or get(), scripts=scripts, **more)


COOKIE_VALUE = (
    (r"x-from: up\d?", "x-from: <any>"),
    (r"(set-cookie: \w+=\"?)[0-9a-f]+", r"\1<value>"),
)
GRPC = ("content-type: application/grpc", "te: trailers")
KEYS = tuple(get(f"/{key}", f"x-a: {key}") for key in "abcdef")
CASES = [
    hashed("cookie-session", "{cookie: {name: s, ttl: 0s}}", get(), masks=COOKIE_VALUE, merge_upstreams=True),
    hashed("cookie-path", "{cookie: {name: s, ttl: 30s, path: /p}}", get(), masks=COOKIE_VALUE, merge_upstreams=True),
    hashed(
        "cookie-attributes",
        "{cookie: {name: s, ttl: 5s, path: /p, attributes: [{name: SameSite, value: Strict}, {name: Secure}, {name: Partitioned}]}}",
        get(),
        masks=COOKIE_VALUE,
        merge_upstreams=True,
    ),
    hashed("cookie-without-ttl", "{cookie: {name: s}}", get("/", "cookie: s=x"), get("/", "cookie: t=y; s=x")),
    hashed("cookie-given", "{cookie: {name: s, ttl: 5s}}", get("/", "cookie: s=x"), get("/", 'cookie: s="x"')),
    hashed("header-and-query", "{header: {header_name: x-a}}, {query_parameter: {name: q}}", *KEYS, *(get(f"/?q={k}") for k in "abc"), get("/?q=a", "x-a: a")),
    hashed("terminal", "{header: {header_name: x-a}, terminal: true}, {query_parameter: {name: q}}", *(get(f"/?q={k}", "x-a: same") for k in "abcd"), *(get(f"/?q={k}") for k in "abcd")),
    hashed("repeated-header", "{header: {header_name: x-a}}", get("/", "x-a: 1", "x-a: 2"), get("/", "x-a: 2", "x-a: 1"), get("/", "x-a: 1,2")),
    hashed("query-repeated", "{query_parameter: {name: q}}", get("/?q=1&q=2"), get("/?q=2&q=1"), get("/?q=%31"), get("/?q=1"), get("/?Q=1&q=5")),
    hashed("pseudo-header", "{header: {header_name: ':path'}}", *(get(f"/{key}?{key}") for key in "abcdef")),
    hashed("maglev-query", "{query_parameter: {name: q}}", *(get(f"/?q={k}") for k in "abcdef"), policy="MAGLEV"),
    hashed(
        "murmur",
        "{header: {header_name: x-a}}",
        *(get(f"/{key}", f"x-a: {key}") for key in "abcdefghijkl"),
        policy="RING_HASH, ring_hash_lb_config: {hash_function: MURMUR_HASH_2, minimum_ring_size: 100}",
    ),
    hashed("source-ip", "{connection_properties: {source_ip: true}}", get(), get()),
    hashed(
        "regex-rewrite",
        "{header: {header_name: x-a, regex_rewrite: {pattern: {regex: '[0-9]+'}, substitution: n}}}",
        *(get("/", f"x-a: k{k}") for k in range(5)),
    ),
    retried("5xx-and-headers-both", "{retry_on: 'retriable-status-codes,retriable-headers', retriable_status_codes: [418], retriable_headers: [{name: x-again, string_match: {exact: 'yes'}}], num_retries: 3}", status(418), status(200, "x-again: yes"), status(200, "x-again: no")),
    retried("request-headers-miss", "{retry_on: 5xx, retriable_request_headers: [{name: x-retry}]}", status(500), OK),
    retried("request-headers-hit", "{retry_on: 5xx, retriable_request_headers: [{name: x-retry}]}", status(500), OK, send=get("/", "x-retry: 1")),
    retried("unknown-among-known", "{retry_on: 'nothing, 5xx ,more'}", status(500), OK),
    retried("grpc-in-head", "{retry_on: 'cancelled,unavailable'}", status(200, "content-type: application/grpc", "grpc-status: 14"), status(200, "content-type: application/grpc", "grpc-status: 0"), send=get("/s/m", *GRPC, method="POST")),
    retried("grpc-other-status", "{retry_on: 'cancelled,unavailable'}", status(200, "content-type: application/grpc", "grpc-status: 13"), OK, send=get("/s/m", *GRPC, method="POST")),
    retried("grpc-header", "{retry_on: 5xx}", status(200, "content-type: application/grpc", "grpc-status: 8"), OK, send=get("/s/m", *GRPC, "x-envoy-retry-grpc-on: resource-exhausted", method="POST")),
    retried("max-retries-header", "{retry_on: 5xx, num_retries: 1}", *[status(500)] * 5, send=get("/", "x-envoy-max-retries: 3")),
    retried("max-retries-header-zero", "{retry_on: 5xx, num_retries: 2}", status(500), OK, send=get("/", "x-envoy-max-retries: 0")),
    retried("max-retries-header-garbage", "{retry_on: 5xx, num_retries: 2}", *[status(500)] * 4, send=get("/", "x-envoy-max-retries: many")),
    retried("status-codes-header", "{retry_on: 5xx}", status(409), OK, send=get("/", "x-envoy-retry-on: retriable-status-codes", "x-envoy-retriable-status-codes: 408, 409,x")),
    retried("header-names-header", "{}", status(200, "x-again: 1"), OK, send=get("/", "x-envoy-retry-on: retriable-headers", "x-envoy-retriable-header-names: X-Again, x-other")),
    retried("reset-in-body-not", "{retry_on: reset}", ("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc", 0.05, Act.RESET), OK),
    retried("reset-before-request", "{retry_on: reset-before-request, num_retries: 2}", (Act.RESET,), OK),
    retried("post-with-body", "{retry_on: 5xx, num_retries: 2}", status(500), status(500), OK, send=get("/", method="POST", body="hello")),
    retried("zero-retries", "{retry_on: 5xx, num_retries: 0}", status(500), OK),
    retried("attempt-counts", "{retry_on: 5xx, num_retries: 2}", *[status(500)] * 4, vhost="{include_request_attempt_count: true, include_attempt_count_in_response: true}"),
    retried("attempt-count-of-client", "{retry_on: 5xx, num_retries: 1}", *[status(500)] * 3, send=get("/", "x-envoy-attempt-count: 7"), vhost="{include_request_attempt_count: true}"),
    retried("vhost-policy", "{retry_on: gateway-error}", status(500), OK, vhost="{retry_policy: {retry_on: 5xx, num_retries: 3}}"),
    retried("budget", "{retry_on: 5xx, num_retries: 3}", *[status(500)] * 5, cluster="circuit_breakers: {thresholds: [{retry_budget: {budget_percent: {value: 0}, min_retry_concurrency: 0}}]}", stats=r"cluster\.$case\.up\.upstream_rq_retry"),
    retried("no-room-for-retries", "{retry_on: 5xx, num_retries: 3}", *[status(500)] * 5, cluster="circuit_breakers: {thresholds: [{max_retries: 0}]}", stats=r"cluster\.$case\.up\.upstream_rq_retry"),
    retried("retry-after-of-503", "{retry_on: 5xx, rate_limited_retry_back_off: {reset_headers: [{name: Retry-After, format: SECONDS}], max_interval: 1s}}", status(503, "retry-after: 0"), OK),
    corner("weighted-by-runtime", "", *(get(f"/{i}") for i in range(4)), routes="- match: {prefix: /}\n  route: {weighted_clusters: {runtime_key_prefix: w, clusters: [{name: $up, weight: 100}, {name: $up2, weight: 0}]}}\n", upstreams={"up": Upstream(), "up2": Upstream()}, alone=True, bootstrap="layered_runtime: {layers: [{name: s, static_layer: {w.$up: 0, w.$up2: 100}}]}"),
    corner("weighted-header-garbage", "", get("/", "x-w: zzz"), get("/", "x-w: 99999999999999999999"), get("/", "x-w: -1"), routes="- match: {prefix: /}\n  route: {weighted_clusters: {header_name: x-w, clusters: [{name: $up, weight: 1}, {name: $up2, weight: 1}]}}\n", upstreams={"up": Upstream(), "up2": Upstream()}, merge_upstreams=True),
    corner("timeout-and-idle", "timeout: 0s, idle_timeout: 0.2s", scripts=((1.0, OK),)),
    corner("idle-zero-over-hcm", "timeout: 0s, idle_timeout: 0s", scripts=((0.5, OK),), hcm="stream_idle_timeout: 0.2s"),
    corner("max-stream-duration", "max_stream_duration: {max_stream_duration: 0.2s}", scripts=((1.0, OK),)),
    corner("max-stream-duration-of-hcm", "", scripts=((1.0, OK),), hcm="common_http_protocol_options: {max_stream_duration: 0.2s}"),
    corner("max-stream-duration-zero", "max_stream_duration: {max_stream_duration: 0s}", scripts=((0.4, OK),), hcm="common_http_protocol_options: {max_stream_duration: 0.2s}"),
    corner("grpc-timeout", "max_stream_duration: {grpc_timeout_header_max: 0.3s}", get("/s/m", *GRPC, "grpc-timeout: 5S", method="POST"), scripts=((1.0, OK),)),
    corner("grpc-timeout-short", "max_stream_duration: {grpc_timeout_header_max: 0s}", get("/s/m", *GRPC, "grpc-timeout: 100m", method="POST"), scripts=((1.0, OK),)),
    corner("grpc-timeout-offset", "max_stream_duration: {grpc_timeout_header_max: 0s, grpc_timeout_header_offset: 0.9s}", get("/s/m", *GRPC, "grpc-timeout: 1S", method="POST"), scripts=((0.6, OK),)),
    corner("grpc-timeout-none", "max_stream_duration: {grpc_timeout_header_max: 0.3s}", get("/s/m", *GRPC, method="POST"), scripts=((0.6, OK),)),
    corner("grpc-timeout-none-whole", "max_stream_duration: {max_stream_duration: 5s, grpc_timeout_header_max: 0s}, timeout: 3s", get("/s/m", *GRPC, method="POST")),
    corner("grpc-timeout-zero", "max_stream_duration: {grpc_timeout_header_max: 5s}", get("/s/m", *GRPC, "grpc-timeout: 0S", method="POST"), scripts=((1.0, OK),)),
    corner("grpc-timeout-all-offset", "max_stream_duration: {grpc_timeout_header_max: 5s, grpc_timeout_header_offset: 1s}", get("/s/m", *GRPC, "grpc-timeout: 500m", method="POST"), scripts=((1.0, OK),)),
    corner("grpc-timeout-by-duration", "max_stream_duration: {max_stream_duration: 20s}", get("/s/m", *GRPC, "grpc-timeout: 9S", method="POST")),
    corner("grpc-timeout-small", "max_stream_duration: {grpc_timeout_header_max: 5s}", get("/s/m", *GRPC, "grpc-timeout: 1000001u", method="POST")),
    corner("grpc-timeout-and-route-timeout", "timeout: 3s", get("/s/m", *GRPC, "grpc-timeout: 20S", method="POST")),
    corner("grpc-timeout-older", "timeout: 3s, max_grpc_timeout: 2s", get("/s/m", *GRPC, "grpc-timeout: 20S", method="POST")),
    corner("grpc-timeout-older-none", "timeout: 3s, max_grpc_timeout: 2s", get("/s/m", *GRPC, method="POST")),
    corner("grpc-timeout-per-try", "timeout: 3s, max_grpc_timeout: 2s, retry_policy: {retry_on: 5xx, per_try_timeout: 1s}", get("/s/m", *GRPC, "grpc-timeout: 20S", method="POST")),
    corner("grpc-timeout-hours", "timeout: 3s, max_grpc_timeout: 0s", get("/s/m", *GRPC, "grpc-timeout: 9000H", method="POST")),
    corner("grpc-timeout-micro", "timeout: 3s, max_grpc_timeout: 0s", get("/s/m", *GRPC, "grpc-timeout: 2000000u", method="POST")),
    corner("grpc-timeout-retried", "timeout: 3s, max_grpc_timeout: 0s, retry_policy: {retry_on: 5xx}", get("/s/m", *GRPC, "grpc-timeout: 2S", method="POST"), scripts=(status(500), OK), masks=((r"(grpc-timeout): 1\d\d\dm", r"\1: <left>"), *LEFT)),
    corner("grpc-timeout-no-grpc", "timeout: 3s, max_grpc_timeout: 2s", get("/", "grpc-timeout: 20S")),
    corner("grpc-timeout-of-plain-request", "max_stream_duration: {max_stream_duration: 5s, grpc_timeout_header_max: 0s}", get("/"), get("/", "grpc-timeout: 2S")),
    corner("grpc-timeout-older-runs-out", "timeout: 3s, max_grpc_timeout: 0.2s", get("/s/m", *GRPC, "grpc-timeout: 20S", method="POST"), scripts=((1.0, OK),)),
    corner("grpc-timeout-older-offset", "timeout: 3s, max_grpc_timeout: 0s, grpc_timeout_offset: 1.5s", get("/s/m", *GRPC, "grpc-timeout: 2S", method="POST"), get("/s/m", *GRPC, "grpc-timeout: 1S", method="POST")),
    corner("grpc-timeout-older-and-field", "timeout: 3s, max_grpc_timeout: 2s", get("/s/m", *GRPC, "grpc-timeout: 20S", "x-envoy-upstream-rq-timeout-ms: 700", method="POST")),
    corner("grpc-timeout-garbage", "max_stream_duration: {grpc_timeout_header_max: 0.3s}", get("/s/m", *GRPC, "grpc-timeout: soon", method="POST"), scripts=((0.6, OK),)),
    corner("redirect-everything", "", get("/a/b?c=d"), routes="- match: {prefix: /a}\n  redirect: {scheme_redirect: gopher, host_redirect: 'x.test', port_redirect: 99, prefix_rewrite: /z, response_code: SEE_OTHER, strip_query: true}\n"),
    corner("redirect-to-default-port", "", get("/", host="h.test:8080"), routes="- match: {prefix: /}\n  redirect: {https_redirect: true, port_redirect: 443}\n"),
    corner("redirect-regex-with-query", "", get("/a/b?c=d"), routes="- match: {prefix: /}\n  redirect: {regex_rewrite: {pattern: {regex: '^/(.*)/(.*)$'}, substitution: '/\\2/\\1?x'}, response_code: FOUND}\n"),
    corner("redirect-path-with-fragment", "", get("/a?q"), routes="- match: {prefix: /}\n  redirect: {path_redirect: '/b#f'}\n"),
    corner("redirect-to-itself", "", get("/a?q"), routes="- match: {prefix: /}\n  redirect: {}\n"),
    corner("regex-rewrite-and-retry", "regex_rewrite: {pattern: {regex: '^/a'}, substitution: /b}, retry_policy: {retry_on: 5xx}", get("/a/a"), scripts=(status(500), OK)),
    corner("host-rewrite-and-retry", "host_rewrite_header: x-h, append_x_forwarded_host: true, retry_policy: {retry_on: 5xx}", get("/", "x-h: new.test", "x-forwarded-host: before.test"), scripts=(status(500), OK)),
    corner("host-rewrite-header-missing", "host_rewrite_header: x-h", get()),
    corner("host-rewrite-path-regex-no-match", "host_rewrite_path_regex: {pattern: {regex: '^/host/([^/]+)/.*'}, substitution: '\\1'}", get("/other"), get("/host/a.test/x?q")),
    corner("mutations-in-all-places", "", get("/", "x-a: client"), routes="- match: {prefix: /}\n  request_headers_to_add: [{header: {key: x-a, value: route}, append_action: ADD_IF_ABSENT}, {header: {key: x-b, value: '%REQ(x-a)% %REQ(x-c)%'}}]\n  request_headers_to_remove: [x-a]\n  response_headers_to_add: [{header: {key: x-r, value: '%RESPONSE_CODE% %REQ(x-a)%'}}]\n  route: {weighted_clusters: {clusters: [{name: $up, weight: 1, request_headers_to_add: [{header: {key: x-c, value: weighted}}], response_headers_to_add: [{header: {key: x-r, value: weighted}}], response_headers_to_remove: [x-gone]}]}}\n", vhost="{request_headers_to_add: [{header: {key: x-b, value: vhost}, append_action: OVERWRITE_IF_EXISTS}]}", scripts=(status(200, "x-gone: 1"),)),
    corner("mirror-with-retries", "retry_policy: {retry_on: 5xx}, request_mirror_policies: [{cluster: $up2}]", scripts=(status(500), OK), upstreams={"up": Upstream(((status(500),), (OK,))), "up2": Upstream()}),
    corner("priority-high-breaker", "priority: HIGH", cluster="circuit_breakers: {thresholds: [{priority: HIGH, max_requests: 0, max_pending_requests: 0}]}", stats=r"cluster\.$case\.up\.(upstream_rq_pending_overflow|circuit_breakers\.\w+\.rq)"),
    corner("query-ignored-in-path-match", "", get("/exact?q=1"), get("/exact/?q"), get("/EXACT"), routes="- {match: {path: /exact}, route: {cluster: $up}}\n- {match: {prefix: /}, direct_response: {status: 204}}\n"),
    corner("query-matches", "", get("/?a"), get("/?a="), get("/?a=b&a=c"), get("/?a=c&a=b"), get("/?A=b"), get("/?a=%62"), routes="- {match: {prefix: /, query_parameters: [{name: a, string_match: {exact: b}}]}, route: {cluster: $up}}\n- {match: {prefix: /, query_parameters: [{name: a, present_match: true}]}, direct_response: {status: 202}}\n- {match: {prefix: /}, direct_response: {status: 203}}\n"),
]  # fmt: skip
