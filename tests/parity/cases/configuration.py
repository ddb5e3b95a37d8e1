"""Configurations that both programs must refuse, or take."""

from __future__ import annotations

from typing import Any

from ..case import Case, get


def refused(name: str, **more: Any) -> Case:
    return Case(f"refused-{name}", get(), refused=True, **more)


CASES = [
    refused("unknown-field", hcm="stat_prefx: a"),
    refused("unknown-cluster-in-route", routes="- {match: {prefix: /}, route: {cluster: nowhere}}"),
    refused("route-without-action", routes="- {match: {prefix: /}}"),
    refused("route-without-match", routes="- {route: {cluster: $up}}"),
    refused(
        "two-any-domains", vhosts="- {name: a, domains: ['*'], routes: []}\n- {name: b, domains: ['*'], routes: []}"
    ),
    refused("same-domain-twice", vhosts="- {name: a, domains: [x, X], routes: []}"),
    refused("empty-domains", vhosts="- {name: a, domains: [], routes: []}"),
    refused("bad-regex", routes="- {match: {safe_regex: {regex: '('}}, route: {cluster: $up}}"),
    refused("back-reference-in-regex", routes="- {match: {safe_regex: {regex: '(a)\\1'}}, route: {cluster: $up}}"),
    refused("direct-response-status", routes="- {match: {prefix: /}, direct_response: {status: 700}}"),
    refused(
        "weights-all-zero",
        routes="- {match: {prefix: /}, route: {weighted_clusters: {clusters: [{name: $up, weight: 0}]}}}",
    ),
    refused("router-not-last", filters="- router: {}"),
    refused("no-router", hcm="http_filters: [{fault: {}}]"),
    refused("unknown-filter-type", filters="- {name: x, typed_config: {'@type': no.such.Type}}"),
    refused("same-chain-match-twice", chains="- filters: [{echo: {}}]\n- filters: [{echo: {}}]"),
    refused("terminal-filter-not-last", chains="- filters: [{echo: {}}, {tcp_proxy: {cluster: $up}}]"),
    refused("remove-host-header", vhost="request_headers_to_remove: [host]"),
    refused("add-pseudo-header", vhost="request_headers_to_add: [{header: {key: ':path', value: /}}]"),
    refused("bad-format-in-header", vhost="request_headers_to_add: [{header: {key: a, value: '%NONSENSE%'}}]"),
    refused("bad-duration", hcm="stream_idle_timeout: tomorrow"),
    refused("port-out-of-range", listener="address: {socket_address: {port_value: 70000}}"),
    refused(
        "both-rewrites",
        routes="- {match: {prefix: /}, route: {cluster: $up, prefix_rewrite: /a, regex_rewrite: {pattern: {regex: a}, substitution: b}}}",
    ),
    refused("duplicate-cluster", clusters="- {name: $up, type: STATIC, connect_timeout: 1s}"),
    refused("cluster-without-name", clusters="- {type: STATIC, connect_timeout: 1s}"),
    refused(
        "original-dst-with-round-robin",
        clusters="- {name: od, type: ORIGINAL_DST, lb_policy: ROUND_ROBIN, connect_timeout: 1s, load_assignment: {cluster_name: od}}",
    ),
    refused("max-requests-negative", hcm="common_http_protocol_options: {max_requests_per_connection: -1}"),
    refused("string-where-boolean", hcm="use_remote_address: 'maybe'"),
    refused(
        "unquoted-boolean-as-string",
        config="""
admin: {address: {socket_address: {address: 127.0.0.1, port_value: $admin_port}}}
static_resources:
  clusters: [{name: yes, type: STATIC, connect_timeout: 1s}]
""",
    ),
    Case("taken-chain-without-filters", "hello", chains="- filters: []", quiet=0.5),
    Case("taken-string-for-number", get(), hcm="max_request_headers_kb: '70'"),
    Case("taken-no-domains-match-case", get(host="X.TEST"), vhost="domains: [x.Test]"),
    Case(
        "taken-unknown-cluster-unchecked",
        get(),
        routes="- {match: {prefix: /}, route: {cluster: nowhere}}",
        route_config="validate_clusters: false",
    ),
    Case(
        "taken-direct-response-body-at-limit",
        get(),
        routes="- {match: {prefix: /}, direct_response: {status: 200, body: {inline_string: '%s'}}}" % ("x" * 4096),
    ),
    refused(
        "direct-response-body-over-limit",
        routes="- {match: {prefix: /}, direct_response: {status: 200, body: {inline_string: '%s'}}}" % ("x" * 4097),
    ),
    Case(
        "taken-direct-response-own-limit",
        get(),
        route_config="max_direct_response_body_size_bytes: 5000",
        routes="- {match: {prefix: /}, direct_response: {status: 200, body: {inline_string: '%s'}}}" % ("x" * 4500),
    ),
]
