"""The HTTP filters of the first release: fault, header_mutation, buffer, health_check; and retries."""

from __future__ import annotations

from typing import Any

from ..case import LEFT, OK, REFUSE, Case, Client, Upstream, answer, answers, get
from .request_headers import INTERNAL, REMOTE

ABORT = "{http_status: %s, percentage: {numerator: %s}}"


def fault(name: str, config: str, *lines: str, hcm: str = "", **more: Any) -> Case:
    return Case(f"fault-{name}", get("/", *lines), filters=f"- fault: {config}", hcm=hcm, **more)


def mutated(name: str, mutations: str, *lines: str, **more: Any) -> Case:
    upstream = "HTTP/1.1 200 OK\r\nx-a: up\r\nx-b: up\r\nx-b: up2\r\ncontent-length: 0\r\n\r\n"
    return Case(
        f"header-mutation-{name}",
        get("/", "x-a: client", "x-b: 1", "x-b: 2", *lines),
        filters=f"- header_mutation: {{mutations: {mutations}}}",
        upstreams=answer(upstream),
        **more,
    )


def buffered(name: str, limit: int, send: str | tuple[Any, ...], **more: Any) -> Case:
    return Case(f"buffer-{name}", send, filters=f"- buffer: {{max_request_bytes: {limit}}}", **more)


def checked(name: str, config: str, *requests: str, **more: Any) -> Case:
    ops = tuple(op for request in requests for op in (request, 0.2))
    return Case(f"health-check-{name}", ops, filters=f"- health_check: {config}", timing=False, **more)


def retried(name: str, policy: str, *scripts: str | tuple[Any, ...], send: str = get(), **more: Any) -> Case:
    return Case(
        f"retry-{name}",
        send,
        routes=f"- {{match: {{prefix: /}}, route: {{cluster: $up, retry_policy: {policy}}}}}",
        vhost="{include_request_attempt_count: true, include_attempt_count_in_response: true}",
        upstreams=answers(*scripts),
        masks=LEFT,
        **more,
    )


def status(code: int, *lines: str) -> str:
    return "\r\n".join([f"HTTP/1.1 {code} X", *lines, "content-length: 0", "", ""])


CHUNKED_POST = get("/", "transfer-encoding: chunked", method="POST")
FILTER_STATE = "typed_per_filter_config: {fault: {'@type': HTTPFault, abort: %s}}"
HEALTHY = "headers: [{name: ':path', string_match: {exact: /healthz}}]"

CASES = [
    fault(
        "abort-100", "{abort: %s}" % (ABORT % (503, 100)), shows=("fault filter abort", "rf=FI rcd=fault_filter_abort")
    ),
    Case(
        "fault-and-what-never-becomes-a-request",
        clients=tuple(
            Client((text,), start=0.2 * i)
            for i, text in enumerate(("GET / HTTP/1.0\r\n\r\n", "GET / HTTP/1.1\r\n\r\n", "GET /\x01 HTTP/1.1\r\n\r\n"))
        ),
        filters="- fault: {}",
        shows="426 Upgrade Required",
        sort_log=True,
    ),
    fault("abort-0", "{abort: %s}" % (ABORT % (503, 0)), shows="200 OK"),
    fault("abort-unknown-code", "{abort: %s}" % (ABORT % (555, 100)), shows="555 Unknown"),
    fault(
        "abort-grpc-status", "{abort: {grpc_status: 5, percentage: {numerator: 100}}}", "content-type: application/grpc"
    ),
    fault("abort-grpc-status-not-grpc", "{abort: {grpc_status: 5, percentage: {numerator: 100}}}"),
    fault("abort-http-for-grpc", "{abort: %s}" % (ABORT % (503, 100)), "content-type: application/grpc"),
    fault(
        "abort-by-header",
        "{abort: {header_abort: {}, percentage: {numerator: 100}}}",
        "x-envoy-fault-abort-request: 429",
        shows="429",
    ),
    fault("abort-by-header-absent", "{abort: {header_abort: {}, percentage: {numerator: 100}}}", shows="200"),
    fault(
        "abort-by-header-invalid",
        "{abort: {header_abort: {}, percentage: {numerator: 100}}}",
        "x-envoy-fault-abort-request: abc",
    ),
    fault(
        "abort-by-header-out-of-range",
        "{abort: {header_abort: {}, percentage: {numerator: 100}}}",
        "x-envoy-fault-abort-request: 700",
    ),
    fault(
        "abort-by-header-0-percent",
        "{abort: {header_abort: {}, percentage: {numerator: 100}}}",
        "x-envoy-fault-abort-request: 429",
        "x-envoy-fault-abort-request-percentage: 0",
    ),
    fault(
        "abort-by-header-capped",
        "{abort: {header_abort: {}, percentage: {numerator: 0}}}",
        "x-envoy-fault-abort-request: 429",
        "x-envoy-fault-abort-request-percentage: 100",
    ),
    fault(
        "abort-by-grpc-header",
        "{abort: {header_abort: {}, percentage: {numerator: 100}}}",
        "x-envoy-fault-abort-grpc-request: 5",
        "content-type: application/grpc",
    ),
    fault(
        "abort-header-external",
        "{abort: {header_abort: {}, percentage: {numerator: 100}}}",
        "x-envoy-fault-abort-request: 429",
        hcm=REMOTE,
    ),
    fault(
        "abort-header-internal",
        "{abort: {header_abort: {}, percentage: {numerator: 100}}}",
        "x-envoy-fault-abort-request: 429",
        hcm=f"{REMOTE}\n{INTERNAL}",
    ),
    fault("abort-head", "{abort: %s}" % (ABORT % (503, 100)), shows="503"),
    fault(
        "abort-matching-headers",
        "{abort: %s, headers: [{name: x-f, string_match: {exact: 'yes'}}]}" % (ABORT % (503, 100)),
        "x-f: yes",
        shows="503",
    ),
    fault(
        "abort-not-matching-headers",
        "{abort: %s, headers: [{name: x-f, string_match: {exact: 'yes'}}]}" % (ABORT % (503, 100)),
        "x-f: no",
        shows="200",
    ),
    fault("abort-upstream-cluster", "{abort: %s, upstream_cluster: $up}" % (ABORT % (503, 100)), shows="503"),
    fault("abort-other-cluster", "{abort: %s, upstream_cluster: other}" % (ABORT % (503, 100)), shows="200"),
    fault(
        "abort-million",
        "{abort: {http_status: 503, percentage: {numerator: 1000000, denominator: MILLION}}}",
        shows="503",
    ),
    fault("delay", "{delay: {fixed_delay: 0.7s, percentage: {numerator: 100}}}", shows="rf=DI"),
    fault("delay-0-percent", "{delay: {fixed_delay: 0.7s, percentage: {numerator: 0}}}"),
    fault(
        "delay-and-abort",
        "{delay: {fixed_delay: 0.7s, percentage: {numerator: 100}}, abort: %s}" % (ABORT % (503, 100)),
        shows="rf=DI,FI",
    ),
    fault(
        "delay-by-header",
        "{delay: {header_delay: {}, percentage: {numerator: 100}}}",
        "x-envoy-fault-delay-request: 700",
        shows="rf=DI",
    ),
    fault("delay-by-header-absent", "{delay: {header_delay: {}, percentage: {numerator: 100}}}"),
    fault(
        "delay-by-header-0-percent",
        "{delay: {header_delay: {}, percentage: {numerator: 100}}}",
        "x-envoy-fault-delay-request: 700",
        "x-envoy-fault-delay-request-percentage: 0",
    ),
    fault(
        "disabled-by-route", "{abort: %s}" % (ABORT % (503, 100)), vhost=FILTER_STATE % (ABORT % (503, 0)), shows="200"
    ),
    fault(
        "overridden-by-vhost",
        "{abort: %s}" % (ABORT % (503, 100)),
        vhost=FILTER_STATE % (ABORT % (418, 100)),
        shows="418",
    ),
    fault("per-route-only", "{}", route_config=FILTER_STATE % (ABORT % (418, 100)), shows="418"),
    fault(
        "most-specific",
        "{}",
        vhost=FILTER_STATE % (ABORT % (418, 100)),
        route_config=FILTER_STATE % (ABORT % (419, 100)),
        shows="418",
    ),
    fault("empty", "{}"),
    Case("fault-head", get(method="HEAD"), filters="- fault: {abort: %s}" % (ABORT % (503, 100))),
    Case(
        "fault-post",
        get(method="POST", body="x" * 20) + get("/2"),
        filters="- fault: {abort: %s}" % (ABORT % (503, 100)),
    ),
    Case(
        "fault-delay-post",
        (get("/", "content-length: 6", method="POST"), 0.2, "abcdef"),
        filters="- fault: {delay: {fixed_delay: 0.6s, percentage: {numerator: 100}}}",
    ),
    Case("fault-max-active", get(), filters="- fault: {max_active_faults: 0, abort: %s}" % (ABORT % (503, 100))),
    Case(
        "filter-disabled",
        get(),
        filters="""
- name: envoy.filters.http.fault
  disabled: true
  typed_config: {"@type": HTTPFault, abort: {http_status: 503, percentage: {numerator: 100}}}
""",
        shows="200",
    ),
    Case(
        "filter-disabled-enabled-by-vhost",
        get(),
        filters="""
- name: envoy.filters.http.fault
  disabled: true
  typed_config: {"@type": HTTPFault, abort: {http_status: 503, percentage: {numerator: 100}}}
""",
        vhost="typed_per_filter_config: {fault: {'@type': FilterConfig, config: {}}}",
    ),
    Case(
        "filter-disabled-by-vhost",
        get(),
        filters="- fault: {abort: %s}" % (ABORT % (503, 100)),
        vhost="typed_per_filter_config: {fault: {'@type': FilterConfig, disabled: true}}",
        shows="200",
    ),
    Case(
        "two-filters-of-one-kind",
        get(),
        filters="- fault: {}\n- name: second\n  typed_config: {'@type': HTTPFault, abort: {http_status: 418, percentage: {numerator: 100}}}",
        shows="418",
    ),
    mutated(
        "append",
        "{request_mutations: [{append: {header: {key: x-a, value: new}}}], response_mutations: [{append: {header: {key: x-a, value: new}}}]}",
    ),
    mutated(
        "overwrite",
        "{request_mutations: [{append: {header: {key: x-b, value: new}, append_action: OVERWRITE_IF_EXISTS_OR_ADD}}], response_mutations: [{append: {header: {key: x-b, value: new}, append_action: OVERWRITE_IF_EXISTS_OR_ADD}}]}",
    ),
    mutated(
        "add-if-absent",
        "{request_mutations: [{append: {header: {key: x-a, value: new}, append_action: ADD_IF_ABSENT}}, {append: {header: {key: x-c, value: new}, append_action: ADD_IF_ABSENT}}]}",
    ),
    mutated(
        "overwrite-if-exists",
        "{request_mutations: [{append: {header: {key: x-a, value: new}, append_action: OVERWRITE_IF_EXISTS}}, {append: {header: {key: x-c, value: new}, append_action: OVERWRITE_IF_EXISTS}}]}",
    ),
    mutated(
        "remove",
        "{request_mutations: [{remove: x-b}, {remove: x-none}], response_mutations: [{remove: x-b}, {remove: server}]}",
    ),
    mutated(
        "order",
        "{request_mutations: [{append: {header: {key: x-n, value: a}}}, {remove: x-n}, {append: {header: {key: x-n, value: b}}}]}",
    ),
    mutated(
        "formatter",
        "{request_mutations: [{append: {header: {key: x-n, value: '%REQ(x-a)%-%PROTOCOL%'}}}], response_mutations: [{append: {header: {key: x-n, value: '%RESPONSE_CODE%-%REQ(x-a)%'}}}]}",
    ),
    mutated(
        "path",
        "{request_mutations: [{append: {header: {key: ':path', value: /other}, append_action: OVERWRITE_IF_EXISTS_OR_ADD}}]}",
        refused=True,
    ),
    mutated(
        "host",
        "{request_mutations: [{append: {header: {key: ':authority', value: other.test}, append_action: OVERWRITE_IF_EXISTS_OR_ADD}}]}",
        refused=True,
    ),
    mutated(
        "per-route",
        "{request_mutations: [{append: {header: {key: x-n, value: base}}}]}",
        vhost="""
typed_per_filter_config:
  header_mutation:
    "@type": HeaderMutationPerRoute
    mutations:
      request_mutations: [{append: {header: {key: x-n, value: vhost}}}]
      response_mutations: [{remove: x-a}]
""",
    ),
    Case(
        "header-mutation-two-levels",
        get(),
        filters="- header_mutation: {mutations: {request_mutations: [{append: {header: {key: x-n, value: base}}}]}}",
        vhost='typed_per_filter_config: {header_mutation: {"@type": HeaderMutationPerRoute, mutations: {request_mutations: [{append: {header: {key: x-n, value: vhost}}}]}}}',
        route_config='typed_per_filter_config: {header_mutation: {"@type": HeaderMutationPerRoute, mutations: {request_mutations: [{append: {header: {key: x-n, value: config}}}]}}}',
    ),
    Case(
        "header-mutation-on-local-reply",
        get(),
        routes="[]",
        filters="- header_mutation: {mutations: {response_mutations: [{append: {header: {key: x-n, value: a}}}]}}",
    ),
    Case(
        "header-mutation-then-route",
        get(),
        filters="- header_mutation: {mutations: {request_mutations: [{append: {header: {key: x-r, value: '1'}}}]}}",
        routes="""
- {match: {prefix: /, headers: [{name: x-r, present_match: true}]}, direct_response: {status: 204}}
- {match: {prefix: /}, direct_response: {status: 205}}
""",
    ),
    buffered("within", 100, get(method="POST", body="hello")),
    buffered(
        "chunked-becomes-length", 100, CHUNKED_POST + "5\r\nhello\r\n3\r\nyou\r\n0\r\n\r\n", shows="content-length: 8"
    ),
    buffered("slow-body", 100, (CHUNKED_POST + "5\r\nhello\r\n", 0.6, "0\r\n\r\n")),
    buffered(
        "over-with-length",
        4,
        get(method="POST", body="hello"),
        quiet=2.5,
        shows=("413 Payload Too Large", "request_payload_too_large"),
    ),
    buffered("over-chunked", 4, CHUNKED_POST + "5\r\nhello\r\n0\r\n\r\n", quiet=2.5, shows="413"),
    buffered("over-slowly", 4, (CHUNKED_POST + "3\r\nhel\r\n", 0.3, "2\r\nlo\r\n"), quiet=2.5, shows="413"),
    buffered("exact", 5, get(method="POST", body="hello"), shows="200"),
    buffered("get", 5, get()),
    buffered(
        "off-by-route",
        4,
        get(method="POST", body="hello"),
        vhost='typed_per_filter_config: {buffer: {"@type": BufferPerRoute, disabled: true}}',
        shows="200",
    ),
    buffered(
        "own-limit-of-route",
        4,
        get(method="POST", body="hello"),
        vhost='typed_per_filter_config: {buffer: {"@type": BufferPerRoute, buffer: {max_request_bytes: 10}}}',
        shows="200",
    ),
    checked(
        "local",
        f"{{pass_through_mode: false, {HEALTHY}}}",
        get("/healthz"),
        get("/other"),
        get("/healthz?x"),
        shows="rcd=health_check_ok",
    ),
    checked(
        "local-head-and-post",
        f"{{pass_through_mode: false, {HEALTHY}}}",
        get("/healthz", method="HEAD"),
        get("/healthz", method="POST"),
    ),
    checked("pass-through", f"{{pass_through_mode: true, {HEALTHY}}}", get("/healthz"), get("/other")),
    checked(
        "cached",
        f"{{pass_through_mode: true, cache_time: 60s, {HEALTHY}}}",
        get("/healthz"),
        get("/healthz"),
        get("/other"),
    ),
    checked(
        "cached-failure",
        f"{{pass_through_mode: true, cache_time: 60s, {HEALTHY}}}",
        get("/healthz"),
        get("/healthz"),
        upstreams=answer(status(503)),
    ),
    checked(
        "min-healthy",
        f"{{pass_through_mode: false, {HEALTHY}, cluster_min_healthy_percentages: {{$up: {{value: 50}}}}}}",
        get("/healthz"),
        shows="200",
    ),
    checked(
        "min-healthy-of-no-cluster",
        f"{{pass_through_mode: false, {HEALTHY}, cluster_min_healthy_percentages: {{none: {{value: 50}}}}}}",
        get("/healthz"),
        shows="rcd=health_check_failed_no_cluster_found",
    ),
    checked(
        "two-headers",
        "{pass_through_mode: false, headers: [{name: ':path', string_match: {exact: /healthz}}, {name: x-h, present_match: true}]}",
        get("/healthz"),
        get("/healthz", "x-h: 1"),
    ),
    retried("5xx", "{retry_on: 5xx}", status(500), OK, shows="x-envoy-attempt-count: 2"),
    retried("5xx-exhausted", "{retry_on: 5xx, num_retries: 2}", status(500), status(502), status(503), shows="rf=URX"),
    retried("5xx-not-for-4xx", "{retry_on: 5xx}", status(409), OK),
    retried("gateway-error", "{retry_on: gateway-error}", status(502), OK),
    retried("gateway-error-not-500", "{retry_on: gateway-error}", status(500), OK),
    retried("retriable-4xx", "{retry_on: retriable-4xx}", status(409), OK),
    retried("status-codes", "{retry_on: retriable-status-codes, retriable_status_codes: [418]}", status(418), OK),
    retried(
        "status-codes-others", "{retry_on: retriable-status-codes, retriable_status_codes: [418]}", status(503), OK
    ),
    retried(
        "retriable-headers",
        "{retry_on: retriable-headers, retriable_headers: [{name: x-again, present_match: true}]}",
        status(200, "x-again: 1"),
        OK,
    ),
    retried(
        "retriable-request-headers",
        "{retry_on: 5xx, retriable_request_headers: [{name: x-may, present_match: true}]}",
        status(503),
        OK,
    ),
    retried("with-body", "{retry_on: 5xx}", status(503), OK, send=get(method="POST", body="hello")),
    retried("zero", "{retry_on: 5xx, num_retries: 0}", status(503), OK),
    retried("envoy-ratelimited", "{retry_on: envoy-ratelimited}", status(429, "x-envoy-ratelimited: true"), OK),
    retried("ratelimited-5xx-not", "{retry_on: 5xx}", status(503, "x-envoy-ratelimited: true"), OK),
    retried(
        "grpc-unavailable",
        "{retry_on: unavailable}",
        status(200, "content-type: application/grpc", "grpc-status: 14"),
        OK,
        send=get("/", "content-type: application/grpc", method="POST"),
    ),
    retried(
        "grpc-cancelled-not",
        "{retry_on: cancelled}",
        status(200, "content-type: application/grpc", "grpc-status: 14"),
        OK,
        send=get("/", "content-type: application/grpc", method="POST"),
    ),
    retried(
        "istio-default",
        "{retry_on: 'connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes', num_retries: 2, retriable_status_codes: [503]}",
        status(503),
        status(503),
        OK,
    ),
    Case(
        "retry-connect-failure-other-host",
        get(),
        upstreams={"up": Upstream(mode="refuse"), "up2": Upstream()},
        routes="""
- match: {prefix: /}
  route: {cluster: both, retry_policy: {retry_on: connect-failure, num_retries: 3, retry_back_off: {base_interval: 0.01s}}}
""",
        route_config="validate_clusters: false",
        vhost="include_request_attempt_count: true",
        shows="NC",
    ),
    Case(
        "retry-reset-before-request",
        get(),
        upstreams=REFUSE,
        routes="- {match: {prefix: /}, route: {cluster: $up, retry_policy: {retry_on: reset, num_retries: 1}}}",
        vhost="include_attempt_count_in_response: true",
    ),
    Case(
        "retry-policy-of-vhost",
        get(),
        vhost="retry_policy: {retry_on: 5xx}",
        upstreams=answers(status(503), OK),
        masks=LEFT,
        shows="200",
    ),
    Case(
        "retry-policy-of-route-wins",
        get(),
        vhost="retry_policy: {retry_on: 5xx}",
        routes="- {match: {prefix: /}, route: {cluster: $up, retry_policy: {retry_on: reset}}}",
        upstreams=answers(status(503), OK),
        masks=LEFT,
        shows="503",
    ),
]
