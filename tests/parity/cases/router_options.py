"""Options of the router filter itself."""

from __future__ import annotations

from typing import Any

from ..case import OK, Case, Upstream, client, get

NAMES = (
    "x-envoy-upstream-rq-timeout-ms, x-envoy-upstream-rq-per-try-timeout-ms, x-envoy-max-retries, x-envoy-retry-on, "
    "x-envoy-retry-grpc-on"
)
STRICT = f"{{strict_check_headers: [{NAMES}]}}"
LEFT = ((r"(expected-rq-timeout-ms): \d{5,}", r"\1: <left>"),)
GRPC = "HTTP/1.1 200 OK\r\ncontent-type: application/grpc\r\ngrpc-status: 14\r\ncontent-length: 0\r\n\r\n"
INTERNAL = "{internal_address_config: {cidr_ranges: [{address_prefix: 10.0.0.0, prefix_len: 8}]}}"
WITHIN = "x-forwarded-for: 10.1.1.1"
GOOD = GRPC.replace("grpc-status: 14", "grpc-status: 0")
FAILURES = r"^cluster\.$up\.(grpc\.|upstream_rq_(total|completed|[2-5]xx|200|503))"


def option(name: str, router: str, *sends: str, **more: Any) -> Case:
    """Each request on a connection of its own, one after the other."""
    clients = tuple(client(send, start=0.1 * number, timing=False) for number, send in enumerate(sends or (get(),)))
    more.setdefault("masks", LEFT)
    more.setdefault("hcm", INTERNAL)
    return Case(f"router-{name}", clients=clients, router=router, flat_upstream=True, sort_log=True, **more)


def with_values(name: str, *values: str) -> tuple[str, ...]:
    return tuple(get("/", WITHIN, f"{name}: {value}") for value in values)


CASES = [
    option(
        "retry-fields-end-here",
        "{}",
        get(
            "/",
            WITHIN,
            "x-envoy-max-retries: 2",
            "x-envoy-retriable-status-codes: 500",
            "x-envoy-retriable-header-names: a",
        ),
    ),
    option(
        "strict-timeout",
        STRICT,
        *with_values(
            "x-envoy-upstream-rq-timeout-ms", "9000", "1s", "-1", "", "99999999999999999999", "+9000", "9000 "
        ),
        shows="400",
    ),
    option("strict-per-try", STRICT, *with_values("x-envoy-upstream-rq-per-try-timeout-ms", "9000", "x")),
    option("strict-max-retries", STRICT, *with_values("x-envoy-max-retries", "2", "two")),
    option(
        "strict-retry-on",
        STRICT,
        *with_values("x-envoy-retry-on", "5xx", "5xx,reset", "5xx, reset", "nothing", "5xx,nothing", "", "unavailable"),
    ),
    option(
        "strict-retry-grpc-on",
        STRICT,
        *with_values("x-envoy-retry-grpc-on", "unavailable", "5xx", "internal,cancelled"),
    ),
    option(
        "strict-one",
        "{strict_check_headers: [x-envoy-max-retries]}",
        get("/", WITHIN, "x-envoy-max-retries: a"),
        get("/", WITHIN, "x-envoy-upstream-rq-timeout-ms: a"),
    ),
    option("strict-two-bad", STRICT, get("/", WITHIN, "x-envoy-max-retries: a", "x-envoy-upstream-rq-timeout-ms: b")),
    option("strict-at-edge", STRICT, get("/", WITHIN, "x-envoy-max-retries: a"), hcm="{use_remote_address: true}"),
    option(
        "strict-direct",
        STRICT,
        get("/", WITHIN, "x-envoy-max-retries: a"),
        routes="- {match: {prefix: /}, direct_response: {status: 200}}",
    ),
    option("strict-unknown", "{strict_check_headers: [x-envoy-other]}", refused=True),
    option(
        "expected",
        "{respect_expected_rq_timeout: true}",
        get("/", WITHIN, "x-envoy-expected-rq-timeout-ms: 7000"),
        get("/", WITHIN, "x-envoy-expected-rq-timeout-ms: 7000", "x-envoy-upstream-rq-timeout-ms: 3000"),
        get("/", WITHIN, "x-envoy-expected-rq-timeout-ms: x"),
        get("/", WITHIN, "x-envoy-expected-rq-timeout-ms: 0"),
        masks=(),
    ),
    option(
        "expected-is-short",
        "{respect_expected_rq_timeout: true}",
        get("/", WITHIN, "x-envoy-expected-rq-timeout-ms: 200"),
        upstreams={"up": Upstream(((0.6, OK),))},
        masks=(),
    ),
    option("expected-not-respected", "{}", get("/", WITHIN, "x-envoy-expected-rq-timeout-ms: 7000"), masks=()),
    option(
        "expected-suppressed",
        "{respect_expected_rq_timeout: true, suppress_envoy_headers: true}",
        get("/", WITHIN, "x-envoy-expected-rq-timeout-ms: 7000"),
        masks=(),
    ),
    option(
        "grpc-failures",
        "{}",
        get("/", WITHIN, "content-type: application/grpc", method="POST", body="x"),
        upstreams={"up": Upstream(((GRPC,),))},
        stats=FAILURES,
    ),
    option(
        "grpc-failures-suppressed",
        "{suppress_grpc_request_failure_code_stats: true}",
        get("/", WITHIN, "content-type: application/grpc", method="POST", body="x"),
        upstreams={"up": Upstream(((GRPC,),))},
        stats=FAILURES,
    ),
    option(
        "grpc-refused-suppressed",
        "{suppress_grpc_request_failure_code_stats: true}",
        get("/", WITHIN, "content-type: application/grpc", method="POST", body="x"),
        upstreams={"up": Upstream(mode="refuse")},
        stats=FAILURES,
    ),
    option("no-dynamic-stats", "{dynamic_stats: false}", stats=FAILURES),
    option(
        "grpc-success-suppressed",
        "{suppress_grpc_request_failure_code_stats: true}",
        get("/", "content-type: application/grpc", method="POST", body="x"),
        upstreams={"up": Upstream(((GOOD,),))},
        stats=FAILURES,
    ),
    option(
        "http-failures-not-suppressed",
        "{suppress_grpc_request_failure_code_stats: true}",
        upstreams={"up": Upstream(mode="refuse")},
        stats=FAILURES,
    ),
    option(
        "no-dynamic-stats-refused",
        "{dynamic_stats: false}",
        upstreams={"up": Upstream(mode="refuse")},
        stats=FAILURES + r"|vhost\.router-no",
        vhost="{name: $case, virtual_clusters: [{name: a, headers: [{name: ':path', present_match: true}]}]}",
    ),
]
