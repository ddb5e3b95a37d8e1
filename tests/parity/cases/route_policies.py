"""Policies of routes beyond the plain retry: mirroring, hedging, what a retry keeps away from, and when it comes."""

from __future__ import annotations

from typing import Any

from ..case import LEFT, OK, Act, Case, Op, Upstream, Wait, get

MIRRORED = {"up": Upstream(), "up2": Upstream()}
POST = get("/p", method="POST", body="hello mirror")
CHUNKED = "POST /c HTTP/1.1\r\nhost: h.test\r\ntransfer-encoding: chunked\r\n\r\n5\r\nfirst\r\n"
LATER = "6\r\nsecond\r\n0\r\n\r\n"


def mirrored(name: str, policies: str, *sends: Op, **more: Any) -> Case:
    """A route with `request_mirror_policies`; requests to $up, copies to $up2."""
    routes = f"- match: {{prefix: /}}\n  route: {{cluster: $up, request_mirror_policies: {policies}}}\n"
    more.setdefault("routes", routes)
    more.setdefault("upstreams", MIRRORED)
    return Case(f"mirror-{name}", (*(sends or (get("/m?q=1"),)), 0.3), timing=False, **more)


def retried(
    name: str, policy: str, *scripts: str | tuple[Any, ...], send: str | tuple[Any, ...] = "", **more: Any
) -> Case:
    routes = f"- match: {{prefix: /}}\n  route: {{cluster: $up, timeout: 15s, retry_policy: {policy}}}\n"
    given = tuple((script,) if isinstance(script, str) else script for script in scripts)
    upstreams = {"up": Upstream(given)}
    more.setdefault("upstreams", upstreams)
    more.setdefault("routes", routes)
    more.setdefault("masks", LEFT)
    vhost = "{include_request_attempt_count: true, include_attempt_count_in_response: true}"
    return Case(f"retries-{name}", send or get(), vhost=vhost, **more)


def status(code: int, *lines: str) -> str:
    return "\r\n".join([f"HTTP/1.1 {code} X", "content-length: 0", *lines, "", ""])


def hedged(name: str, *scripts: tuple[Any, ...], policy: str = "retry_on: 5xx", **more: Any) -> Case:
    routes = f"""
- match: {{prefix: /}}
  route:
    cluster: $up
    timeout: 15s
    retry_policy: {{{policy}, per_try_timeout: 0.7s}}
    hedge_policy: {{hedge_on_per_try_timeout: true}}
"""
    more.setdefault("vhost", "{include_request_attempt_count: true, include_attempt_count_in_response: true}")
    more.setdefault("routes", routes)
    more.setdefault("upstreams", {"up": Upstream(scripts)})
    more.setdefault("masks", LEFT)
    more.setdefault("quiet", 3.0)
    return Case(f"hedge-{name}", get(), stats=r"cluster\.$up\.upstream_rq_(retry|per_try|timeout|[2345]xx)", **more)


LIMITED = "rate_limited_retry_back_off: {reset_headers: [{name: x-reset, format: SECONDS}], max_interval: 2s}"
SLOW = "HTTP/1.1 200 OK\r\nx-late: 1\r\ncontent-length: 0\r\n\r\n"
COUNTS = r"cluster\.$up2?\.(upstream_rq_(total|completed|2xx|5xx|503)|internal\.upstream_rq_2xx|retry_or_shadow)"
ENDPOINT = "{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: %s}}}%s}"


def group(*ports: str, priority: int = 0, extra: str = "") -> str:
    hosts = ", ".join(ENDPOINT % (port, extra) for port in ports)
    return f"{{priority: {priority}, lb_endpoints: [{hosts}]}}"


def cluster(*groups: str, options: str = "") -> str:
    return (
        f"- {{name: $case.many, type: STATIC, {options}load_assignment: {{cluster_name: $case.many, "
        f"endpoints: [{', '.join(groups)}]}}}}"
    )


def to_many(policy: str, more: str = "") -> str:
    return f"- match: {{prefix: /}}\n  route: {{cluster: $case.many, {more}retry_policy: {{{policy}}}}}\n"


PREVIOUS = "retry_host_predicate: [{name: p, typed_config: {'@type': PreviousHostsPredicate}}]"
CANARIES = (
    "retry_host_predicate: [{name: p, typed_config: {'@type': "
    "type.googleapis.com/envoy.extensions.retry.host.omit_canary_hosts.v3.OmitCanaryHostsPredicate}}]"
)
WITH_METADATA = (
    "retry_host_predicate: [{name: p, typed_config: {'@type': "
    "type.googleapis.com/envoy.extensions.retry.host.omit_host_metadata.v3.OmitHostMetadataConfig, "
    "metadata_match: {filter_metadata: {envoy.lb: {stage: old}}}}}]"
)
PRIORITIES = (
    "retry_priority: {name: p, typed_config: {'@type': "
    "type.googleapis.com/envoy.extensions.retry.priority.previous_priorities.v3.PreviousPrioritiesConfig, "
    "update_frequency: %d}}"
)
BAD = "HTTP/1.1 503 X\r\ncontent-length: 0\r\n\r\n"
GOOD_AND_BAD = {"up": Upstream(((BAD,),)), "up2": Upstream(((OK,),))}
LABELS = ", metadata: {filter_metadata: {envoy.lb: {%s}}}"
OLD, NEW = LABELS % "stage: old, canary: true, hash_key: one", LABELS % "stage: new, canary: false, hash_key: two"
KEYED = LABELS % "hash_key: %s"

CASES = [
    mirrored("plain", "[{cluster: $up2}]", shows="h.test-shadow", stats=COUNTS),
    mirrored("host-with-port", "[{cluster: $up2}]", get("/", host="h.test:81"), shows="h.test-shadow:81"),
    mirrored("body", "[{cluster: $up2}]", POST, shows="hello mirror"),
    mirrored("chunked-in-pieces", "[{cluster: $up2}]", CHUNKED, 0.2, LATER),
    mirrored("no-suffix", "[{cluster: $up2, disable_shadow_host_suffix_append: true}]"),
    mirrored("host-rewrite", "[{cluster: $up2, host_rewrite_literal: m.test}]", shows="m.test"),
    mirrored("twice", "[{cluster: $up2}, {cluster: $up2}]", flat_upstream=True),
    mirrored(
        "by-header", "[{cluster_header: x-to}]", get("/", "x-to: $up2"), 0.1, get("/", "x-to: nobody"), 0.1, get()
    ),
    mirrored("no-share", "[{cluster: $up2, runtime_fraction: {default_value: {numerator: 0}}}]"),
    mirrored("whole-share", "[{cluster: $up2, runtime_fraction: {default_value: {numerator: 100}}}]"),
    mirrored("forwarded-for", "[{cluster: $up2}]", get("/", "x-forwarded-for: 1.2.3.4")),
    mirrored(
        "after-mutations",
        "",
        routes="""
- match: {prefix: /}
  route: {cluster: $up, prefix_rewrite: /new/, host_rewrite_literal: r.test, request_mirror_policies: [{cluster: $up2}]}
  request_headers_to_add: [{header: {key: x-added, value: "%REQ(:path)%"}}]
""",
        shows="r.test-shadow",
    ),
    mirrored(
        "failing-copy", "[{cluster: $up2}]", upstreams={"up": Upstream(), "up2": Upstream(mode="refuse")}, stats=COUNTS
    ),
    mirrored("bad-copy", "[{cluster: $up2}]", upstreams={"up": Upstream(), "up2": Upstream(((BAD,),))}, stats=COUNTS),
    mirrored(
        "of-virtual-host",
        "",
        routes="- {match: {prefix: /}, route: {cluster: $up}}",
        vhost="request_mirror_policies: [{cluster: $up2}]",
        shows="h.test-shadow",
    ),
    mirrored(
        "of-table",
        "",
        routes="- {match: {prefix: /}, route: {cluster: $up}}",
        route_config="request_mirror_policies: [{cluster: $up2}]",
        shows="h.test-shadow",
    ),
    mirrored(
        "route-wins-over-virtual-host",
        "[{cluster: $up2, disable_shadow_host_suffix_append: true}]",
        vhost="request_mirror_policies: [{cluster: $up}]",
    ),
    mirrored(
        "timeout-and-attempts",
        "",
        routes="- {match: {prefix: /}, route: {cluster: $up, timeout: 2s, request_mirror_policies: [{cluster: $up2}]}}",
        vhost="include_request_attempt_count: true",
    ),
    mirrored(
        "header-mutations",
        "[{cluster: $up2, request_headers_mutations: [{append: {header: {key: x-a, value: b}}}, {remove: x-r}]}]",
        get("/", "x-r: 1"),
    ),
    Case(
        "mirror-refused-unknown",
        refused=True,
        routes="- {match: {prefix: /}, route: {cluster: $up, request_mirror_policies: [{cluster: none}]}}",
    ),
    Case(
        "mirror-refused-both",
        refused=True,
        routes="- {match: {prefix: /}, route: {cluster: $up, request_mirror_policies: [{cluster: $up, cluster_header: x}]}}",
    ),
    # Retries.
    retried(
        "rate-limited",
        f"{{retry_on: 5xx, {LIMITED}}}",
        status(503, "x-reset: 1"),
        OK,
        shows="x-envoy-attempt-count: 2",
        quiet=3.0,
    ),
    retried("rate-limited-too-long", f"{{retry_on: 5xx, {LIMITED}}}", status(503, "x-reset: 100"), OK),
    retried("rate-limited-garbage", f"{{retry_on: 5xx, {LIMITED}}}", status(503, "x-reset: soon"), OK),
    retried(
        "rate-limited-counted",
        f"{{retry_on: 5xx, num_retries: 2, {LIMITED}}}",
        status(503, "x-reset: 1"),
        status(503),
        OK,
        stats=r"cluster\.$up\.upstream_rq_retry",
        quiet=3.0,
    ),
    retried(
        "per-try-idle",
        "{retry_on: 5xx, per_try_idle_timeout: 1.2s}",
        (Act.WAIT_EOF,),
        OK,
        shows="x-envoy-attempt-count: 2",
        quiet=2.5,
    ),
    retried(
        "per-try-idle-exhausted",
        "{retry_on: connect-failure, per_try_idle_timeout: 1.2s}",
        (Act.WAIT_EOF,),
        stats=r"cluster\.$up\.upstream_rq_per_try",
        shows="rf=UT",
        quiet=2.5,
    ),
    retried(
        "per-try-idle-in-the-body",
        "{retry_on: connect-failure, per_try_idle_timeout: 1.2s}",
        ("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc", 0.2, "def", Act.WAIT_EOF),
        quiet=2.5,
    ),
    retried(
        "per-try-starts-with-the-connection",
        "{retry_on: 5xx, per_try_timeout: 0.3s, num_retries: 1}",
        upstreams={"up": Upstream(mode="unanswered")},
        cluster="connect_timeout: 0.7s",
    ),
    retried(
        "overflow-flag",
        "{retry_on: 5xx}",
        status(503),
        cluster="circuit_breakers: {thresholds: [{max_retries: 0}]}",
        shows="rf=U",
    ),
    *(
        retried(
            f"previous-hosts-hashed-{key}",
            "",
            upstreams={"up": Upstream(((BAD,),)), "up2": Upstream(((BAD,),))},
            send=get("/", f"x-key: {key}"),
            routes=to_many(f"retry_on: 5xx, {PREVIOUS}", "hash_policy: [{header: {header_name: x-key}}], "),
            clusters=cluster(
                f"{{lb_endpoints: [{ENDPOINT % ('$up_port', KEYED % 'one')}, {ENDPOINT % ('$up2_port', KEYED % 'two')}]}}",
                options="lb_policy: MAGLEV, ",
            ),
        )
        for key in "abcdef"
    ),
    *(
        retried(
            f"{name}-{key}",
            "",
            upstreams=GOOD_AND_BAD,
            routes=to_many(
                f"retry_on: 5xx, {predicate}, host_selection_retry_max_attempts: 9",
                "hash_policy: [{header: {header_name: x-key}}], ",
            ),
            clusters=cluster(
                f"{{lb_endpoints: [{ENDPOINT % ('$up_port', OLD)}, {ENDPOINT % ('$up2_port', NEW)}]}}",
                options="lb_policy: MAGLEV, ",
            ),
            send=get("/", f"x-key: {key}"),
            shows="200 OK",
        )
        for name, predicate in (("omit-canaries", CANARIES), ("omit-metadata", WITH_METADATA))
        for key in "abc"
    ),
    retried(
        "previous-priorities",
        "",
        upstreams=GOOD_AND_BAD,
        routes=to_many(f"retry_on: 5xx, num_retries: 1, {PRIORITIES % 1}"),
        clusters=cluster(group("$up_port"), group("$up2_port", priority=1)),
        shows="x-envoy-attempt-count: 2",
    ),
    retried(
        "previous-priorities-every-second",
        "",
        upstreams=GOOD_AND_BAD,
        routes=to_many(f"retry_on: 5xx, num_retries: 3, {PRIORITIES % 2}"),
        clusters=cluster(group("$up_port"), group("$up2_port", priority=1)),
        shows="x-envoy-attempt-count: 3",
    ),
    retried(
        "previous-priorities-all-tried",
        "",
        upstreams={"up": Upstream(((BAD,),)), "up2": Upstream(((BAD,),))},
        routes=to_many(f"retry_on: 5xx, num_retries: 5, {PRIORITIES % 1}"),
        clusters=cluster(group("$up_port"), group("$up2_port", priority=1)),
        shows="rf=URX",
        timing=False,  # five pauses of chance
    ),
    # Hedging.
    hedged("second-wins", (Act.WAIT_EOF,), (OK,), shows="x-envoy-attempt-count: 2"),
    hedged("first-wins-after-all", (1.4, SLOW), (4.0, OK), shows="x-late"),
    hedged("second-is-bad", (1.6, SLOW), (BAD,), shows="x-late"),
    hedged("all-bad", (1.6, BAD), (0.3, BAD)),
    hedged("none-answers", (Act.WAIT_EOF,), (Act.WAIT_EOF,), shows="rf="),
    hedged("without-retries-left", (1.2, SLOW), policy="retry_on: 5xx, num_retries: 0"),
    hedged("only-connect-failures", (Act.WAIT_EOF,), (OK,), policy="retry_on: connect-failure"),
    hedged("first-resets", (1.0, Act.RESET), (0.6, SLOW)),
    Case(
        "hedge-by-header",
        get(
            "/",
            "x-envoy-hedge-on-per-try-timeout: true",
            "x-envoy-upstream-rq-per-try-timeout-ms: 700",
            "x-envoy-retry-on: 5xx",
        ),
        upstreams={"up": Upstream(((1.3, SLOW), (4.0, OK)))},
        quiet=3.0,
        shows="x-late",
    ),
    hedged("off-by-header", (1.3, SLOW), (OK,)),
    retried("after-informational", "{retry_on: 5xx}", ("HTTP/1.1 103 Early\r\n\r\n" + BAD,), OK),
    retried(
        "before-the-request-is-whole",
        "{retry_on: 5xx}",
        send=(CHUNKED, Wait("\r\n\r\nok"), LATER),
        upstreams={"up": Upstream(((BAD,), (OK,)), at="head")},
        masks=(),
        timing=False,
        flat_upstream=True,
    ),
    retried(
        "overflow-tells-attempts",
        "{retry_on: 5xx}",
        OK,
        cluster="circuit_breakers: {thresholds: [{max_requests: 0}]}",
        shows="x-envoy-overloaded",
    ),
    retried(
        "off-in-the-runtime",
        "{retry_on: 5xx}",
        BAD,
        OK,
        bootstrap="layered_runtime: {layers: [{name: s, static_layer: {upstream.use_retry: 0}}]}",
        alone=True,
    ),
]
CASES.append(
    Case(
        "mirror-client-leaves",
        (CHUNKED, 0.3, Act.CLOSE, 0.3),
        upstreams=MIRRORED,
        routes="- {match: {prefix: /}, route: {cluster: $up, request_mirror_policies: [{cluster: $up2}]}}",
        timing=False,
        upstream_end=True,
    )
)
