"""What a cluster says of the requests to it: policies in place of the route's, filters towards hosts, load that is shed,
what counts as a failure, what is measured."""

from __future__ import annotations

from typing import Any

from ..case import LEFT, OK, Case, Upstream, client, get

_EXT = "type.googleapis.com/envoy.extensions"
_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
CODEC = f"{{name: c, typed_config: {{'@type': {_EXT}.filters.http.upstream_codec.v3.UpstreamCodec}}}}"
ENDPOINT = "{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: $%s_port}}}%s}"
BAD = "HTTP/1.1 503 No\r\nx-what: bad\r\ncontent-length: 0\r\n\r\n"
LOG = "%REQ(:PATH)% %RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %UPSTREAM_REQUEST_ATTEMPT_COUNT% %REQ(x-a)%\n"


def options(more: str) -> str:
    return (
        f"typed_extension_protocol_options: {{{_OPTIONS}: {{'@type': {_EXT}.upstreams.http.v3.HttpProtocolOptions, "
        f"explicit_http_config: {{http_protocol_options: {{}}}}, {more}}}}}"
    )


def said(name: str, cluster: str, *sends: str, route: str = "", policy: str = "", **more: Any) -> Case:
    """cluster: fields of the cluster. policy: of its endpoints."""
    endpoints = more.pop("endpoints", ENDPOINT % ("up", ""))
    clients = tuple(client(send, start=0.06 * number, timing=False) for number, send in enumerate(sends or (get(),)))
    more.setdefault("routes", f"- match: {{prefix: /}}\n  route: {{cluster: $case.one{route and ', ' + route}}}\n")
    return Case(
        f"cluster-{name}",
        clients=clients,
        clusters=(
            f"- {{name: $case.one, connect_timeout: 1s, {cluster and cluster + ', '}load_assignment: {{cluster_name: c, "
            f"{policy and policy + ', '}endpoints: [{{lb_endpoints: [{endpoints}]}}]}}}}"
        ),
        log=LOG,
        sort_log=True,
        flat_upstream=True,
        masks=LEFT,
        **more,
    )


def filters(*mutations: str, codec: str = CODEC) -> str:
    chain = [
        f"{{name: m{number}, typed_config: {{'@type': {_EXT}.filters.http.header_mutation.v3.HeaderMutation, mutations: {{{each}}}}}}}"
        for number, each in enumerate(mutations)
    ]
    return f"http_filters: [{', '.join([*chain, codec])}]"


def add(name: str, value: str, action: str = "APPEND_IF_EXISTS_OR_ADD") -> str:
    return f"{{append: {{header: {{key: '{name}', value: '{value}'}}, append_action: {action}}}}}"


BAD_THEN_OK = {"up": Upstream(((BAD,), (OK,)))}
BAD_ALWAYS = {"up": Upstream(((BAD,),))}
COUNTED = r"cluster\.$case\.one\.(upstream_rq_(\d|retry|completed|total)|external)"
RETRY = "retry_policy: {retry_on: 5xx, num_retries: %d}"
TWO_WAY = f"request_mutations: [{add('x-a', 'up')}], response_mutations: [{add('x-b', 'down %RESPONSE_CODE%')}]"
EJECTING = (
    "outlier_detection: {consecutive_5xx: 1, base_ejection_time: 100s, max_ejection_percent: 100, interval: 100s}, "
    "common_lb_config: {healthy_panic_threshold: {value: 0}}"
)


def judged(name: str, rule: str, *sends: str, answer: str = BAD) -> Case:
    more = options(f"outlier_detection: {{error_matcher: {{{rule}}}}}")
    return said(
        f"error-matcher-{name}",
        f"{EJECTING}, {more}",
        *(sends or (get(), get())),
        upstreams={"up": Upstream(((answer,),))},
    )


CASES = [
    said(
        "drops-all",
        "",
        policy="policy: {drop_overloads: [{category: a, drop_percentage: {numerator: 100}}]}",
        stats=COUNTED,
    ),
    said(
        "drops-nearly-all",
        "",
        policy="policy: {drop_overloads: [{category: a, drop_percentage: {numerator: 999999, denominator: MILLION}}]}",
        stats=COUNTED,
    ),
    said("drops-none", "", policy="policy: {drop_overloads: [{category: a, drop_percentage: {numerator: 0}}]}"),
    said("retries", options(RETRY % 1), upstreams=BAD_THEN_OK, stats=COUNTED, shows="up"),
    said("retries-more-than-the-route", options(RETRY % 2), route=RETRY % 1, upstreams=BAD_ALWAYS, stats=COUNTED),
    said("retries-less-than-the-route", options(RETRY % 0), route=RETRY % 2, upstreams=BAD_ALWAYS, stats=COUNTED),
    said(
        "retries-otherwise-than-the-vhost",
        options("retry_policy: {retry_on: connect-failure}"),
        vhost="{retry_policy: {retry_on: 5xx}}",
        upstreams=BAD_ALWAYS,
        stats=COUNTED,
    ),
    said(
        "retries-and-request-fields",
        options(RETRY % 1),
        get("/", "x-envoy-max-retries: 3", "x-envoy-retry-on: 5xx"),
        upstreams=BAD_ALWAYS,
        stats=COUNTED,
    ),
    said(
        "mirrors",
        options("request_mirror_policies: [{cluster: $up2}]"),
        upstreams={"up": Upstream(), "up2": Upstream()},
    ),
    said(
        "mirrors-elsewhere-than-the-route",
        options("request_mirror_policies: [{cluster: $up2}]"),
        route="request_mirror_policies: [{cluster: $up3}]",
        upstreams={"up": Upstream(), "up2": Upstream(), "up3": Upstream()},
    ),
    said(
        "hashes",
        "lb_policy: RING_HASH, " + options("hash_policy: [{header: {header_name: x-key}}]"),
        *(get(f"/{key}", f"x-key: {key}", "x-other: same") for key in "abcdefgh"),
        route="hash_policy: [{header: {header_name: x-other}}]",
        endpoints=f"{ENDPOINT % ('up', ', metadata: {filter_metadata: {envoy.lb: {hash_key: one}}}')}, "
        f"{ENDPOINT % ('up2', ', metadata: {filter_metadata: {envoy.lb: {hash_key: two}}}')}",
        upstreams={"up": Upstream(), "up2": Upstream()},
    ),
    said("filters", options(filters(TWO_WAY)), get("/", "x-a: client"), shows="x-a: up"),
    said("filters-in-order", options(filters(TWO_WAY, TWO_WAY.replace("up", "two").replace("down", "two")))),
    said(
        "filters-and-retries",
        options(filters(TWO_WAY)),
        route=RETRY % 1,
        upstreams=BAD_THEN_OK,
        shows="x-a: up",
    ),
    said(
        "filters-decide-about-retries",
        options(filters("response_mutations: [" + add("x-again", "yes") + "]")),
        route="retry_policy: {retry_on: retriable-headers, retriable_headers: [{name: x-again}], num_retries: 1}",
        upstreams={"up": Upstream(((OK,), (OK,)))},
    ),
    said(
        "filters-overwrite-and-remove",
        options(
            filters(
                f"request_mutations: [{add('x-a', '%REQ(:path)%', 'OVERWRITE_IF_EXISTS_OR_ADD')}, {{remove: x-gone}}]"
            )
        ),
        get("/old", "x-gone: 1"),
    ),
    said(
        "filters-know-the-host",
        options(
            filters(
                f"request_mutations: [{add('x-host', '[%UPSTREAM_REMOTE_ADDRESS%] %UPSTREAM_CLUSTER% %REQ(x-a)%')}]"
            )
        ),
        get("/", "x-a: 1"),
    ),
    said("filters-codec-alone", options(filters())),
    said("filters-without-codec", options(filters(TWO_WAY, codec="").replace(", ]", "]")), refused=True),
    said(
        "filters-of-the-router",
        "",
        router="{upstream_http_filters: [" + filters(TWO_WAY)[len("http_filters: [") : -1] + "]}",
    ),
    said(
        "filters-of-both",
        options(filters(f"request_mutations: [{add('x-a', 'cluster')}]")),
        router="{upstream_http_filters: ["
        + filters(f"request_mutations: [{add('x-a', 'router')}]")[len("http_filters: [") : -1]
        + "]}",
    ),
    judged("status", "http_response_headers_match: {headers: [{name: ':status', string_match: {exact: '503'}}]}"),
    judged("field", "http_response_headers_match: {headers: [{name: x-what, string_match: {exact: bad}}]}"),
    judged("none", "http_response_headers_match: {headers: [{name: x-what, string_match: {exact: good}}]}"),
    judged(
        "not",
        "not_match: {http_response_headers_match: {headers: [{name: x-what}]}}",
        answer=OK,
    ),
    judged(
        "or",
        "or_match: {rules: [{http_response_headers_match: {headers: [{name: x-no}]}}, "
        "{http_response_headers_match: {headers: [{name: x-what}]}}]}",
    ),
    said(
        "measured",
        "track_cluster_stats: {timeout_budgets: true, request_response_sizes: true}",
        get("/", method="POST", body="hello"),
        stats=r"cluster\.$case\.one\.upstream_r[qs]_(headers|body|timeout_budget)",
    ),
]
