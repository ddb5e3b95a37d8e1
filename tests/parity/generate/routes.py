"""Route tables: hosts, routes with all matchers and actions."""

from __future__ import annotations

from typing import Any

from .dice import Dice, typed
from .filters import per_route
from .headers import additions, header_match, mutated, string_match

CLUSTERS = ("plain", "second", "busy", "broken", "h2", "secure")
"""Of them `busy` answers 503, `broken` closes without an answer."""
_ANSWERING = ("plain", "second", "busy", "broken", "h2", "secure", "plain", "plain")
_PATHS = ("/", "/a", "/a/b", "/api/v1", "/Case", "/item/1", "/x%20y", "/a.b", "/deep/er/path")
_REGEXES = ("/item/[0-9]+", "/(a|b)/.*", "/a.*", "(?i)/case", "/[^/]+/[^/]+", ".*")
_DOMAINS = ("*", "a.test", "*.a.test", "b.*", "A.test:8080", "long.sub.a.test", "*b.test", "any.test")


def route_table(dice: Dice, filters: list[dict[str, Any]]) -> dict[str, Any]:
    domains = dice.some(_DOMAINS, 1, 6)
    hosts = [[domains[0]]]
    for domain in domains[1:]:
        if dice.often(0.5):
            hosts.append([domain])
        else:
            dice.choice(hosts).append(domain)
    table: dict[str, Any] = {
        "name": "table",
        "virtual_hosts": [_host(dice, f"host{number}", names, filters) for number, names in enumerate(hosts)],
        **mutated(dice, 0.1),
    }
    return table | dice.fields(
        0.12,
        most_specific_header_mutations_wins=True,
        ignore_port_in_host_matching=True,
        internal_only_headers=["x-b"],
        ignore_path_parameters_in_path_matching=True,
        max_direct_response_body_size_bytes=300,
        vhost_header="x-user",
        typed_per_filter_config=lambda: per_route(dice, filters),
    )


def _host(dice: Dice, name: str, domains: list[str], filters: list[dict[str, Any]]) -> dict[str, Any]:
    routes = [_route(dice, f"{name}-r{number}", filters) for number in range(dice.randint(1, 6))]
    host = {"name": name, "domains": domains, "routes": routes, **mutated(dice, 0.15)}
    return host | dice.fields(
        0.12,
        require_tls=lambda: dice.choice(("NONE", "EXTERNAL_ONLY", "ALL")),
        virtual_clusters=lambda: [
            {"name": "vc", "headers": [{"name": ":path", "string_match": {"prefix": "/a"}}]},
            {"name": "posts", "headers": [{"name": ":method", "string_match": {"exact": "POST"}}]},
        ],
        include_request_attempt_count=True,
        include_attempt_count_in_response=True,
        include_is_timeout_retry_header=True,
        retry_policy=lambda: _retry(dice),
        per_request_buffer_limit_bytes=65536,
        typed_per_filter_config=lambda: per_route(dice, filters),
        metadata={"filter_metadata": {"gen": {"host": name}}},
    )


def _route(dice: Dice, name: str, filters: list[dict[str, Any]]) -> dict[str, Any]:
    match = _match(dice)
    route: dict[str, Any] = {"name": name, "match": match, **mutated(dice, 0.12)}
    kind = dice.choices(("route", "direct_response", "redirect"), (7, 2, 2))[0]
    if kind == "route":
        route["route"] = _action(dice, match)
    elif kind == "direct_response":
        status = dice.choice((200, 204, 304, 403, 418, 503))
        route["direct_response"] = {"status": status}
        if status not in (204, 304) and dice.often(0.6):
            route["direct_response"]["body"] = {"inline_string": dice.choice(("said\n", "", "ü", "{}"))}
    else:
        route["redirect"] = _redirect(dice, match)
    return route | dice.fields(
        0.15,
        typed_per_filter_config=lambda: per_route(dice, filters),
        metadata={"filter_metadata": {"gen": {"tier": "gold", "n": 3, "list": [1, "a"]}}},
        decorator={"operation": "op"},
        stat_prefix=name,
    )


def _match(dice: Dice) -> dict[str, Any]:
    match = dice.one_of(
        prefix=lambda: dice.choice(_PATHS),
        path=lambda: dice.choice(_PATHS),
        path_separated_prefix=lambda: dice.choice(_PATHS[1:]),
        safe_regex=lambda: {"regex": dice.choice(_REGEXES)},
        path_match_policy=lambda: typed(
            "t",
            "path.match.uri_template.v3.UriTemplateMatchConfig",
            {"path_template": dice.choice(("/a/{x}", "/{x}/{y}", "/{rest=**}", "/item/*"))},
        ),
    )
    if dice.often(0.15) and "path_match_policy" not in match and "safe_regex" not in match:
        match["case_sensitive"] = False
    return (
        match
        | dice.fields(
            0.2,
            headers=lambda: [header_match(dice) for _ in range(dice.randint(1, 2))],
            query_parameters=lambda: [
                {"name": "q", **dice.one_of(present_match=True, string_match=lambda: string_match(dice))}
            ],
        )
        | dice.fields(0.05, grpc={}, cookies=lambda: [{"name": "c", "string_match": string_match(dice)}])
    )


def _action(dice: Dice, match: dict[str, Any]) -> dict[str, Any]:
    action = (
        dice.one_of(
            cluster=lambda: dice.choice(_ANSWERING),
            cluster_header=lambda: "x-cluster",
            weighted_clusters=lambda: _weighted(dice),
        )
        if dice.often(0.4)
        else {"cluster": dice.choice(_ANSWERING)}
    )
    action |= _rewrites(dice, match)
    return action | dice.fields(
        0.12,
        timeout=lambda: dice.choice(("0s", "2.5s", "30s")),
        idle_timeout=lambda: dice.choice(("0s", "20s")),
        retry_policy=lambda: _retry(dice),
        append_x_forwarded_host=True,
        cluster_not_found_response_code=lambda: dice.choice(
            ("NOT_FOUND", "SERVICE_UNAVAILABLE", "INTERNAL_SERVER_ERROR")
        ),
        hash_policy=lambda: [
            {"header": {"header_name": "x-user"}},
            {"cookie": {"name": "h", "ttl": "0s", "path": "/"}},
        ],
        priority=lambda: dice.choice(("DEFAULT", "HIGH")),
        max_stream_duration={"max_stream_duration": "20s", "grpc_timeout_header_max": "5s"},
        upgrade_configs=lambda: [{"upgrade_type": dice.choice(("websocket", "custom")), "enabled": dice.often(0.6)}],
        metadata_match={"filter_metadata": {"envoy.lb": {"v": "1"}}},
        internal_redirect_policy=lambda: {
            "max_internal_redirects": dice.choice((0, 1, 2)),
            "redirect_response_codes": [301, 302],
            "allow_cross_scheme_redirect": dice.often(0.5),
        },
    )


def _weighted(dice: Dice) -> dict[str, Any]:
    clusters = [
        {"name": name, "weight": weight, **mutated(dice, 0.2)}
        for name, weight in zip(dice.some(CLUSTERS, 1, 3), (3, 0, 0), strict=False)
    ]
    return {"clusters": clusters} | dice.fields(0.2, total_weight=3, runtime_key_prefix="w")


def _rewrites(dice: Dice, match: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if dice.often(0.3):
        found |= dice.one_of(
            prefix_rewrite=lambda: dice.choice(("/", "/new", "/new/", "/n?z=1")),
            regex_rewrite=lambda: dice.choice((
                {"pattern": {"regex": "^/([^/]*)(.*)$"}, "substitution": "\\2/\\1"},
                {"pattern": {"regex": "[0-9]"}, "substitution": "N"},
            )),
            path_rewrite=lambda: dice.choice(("/p%REQ(:PATH)%", "/%PROTOCOL%", "/%REQ(X-A)%/z")),
        )  # fmt: skip
        if "safe_regex" in match or "path_match_policy" in match:
            found.pop("prefix_rewrite", None)
        if "path_match_policy" in match:
            found = {}
    if dice.often(0.3):
        found |= dice.one_of(
            host_rewrite_literal="written.test",
            auto_host_rewrite=lambda: dice.often(0.7),
            host_rewrite_header="x-user",
            host_rewrite_path_regex={"pattern": {"regex": "^/([a-z]+).*$"}, "substitution": "\\1.test"},
            host_rewrite="%REQ(X-A)%.test",
        )
    return found


def _redirect(dice: Dice, match: dict[str, Any]) -> dict[str, Any]:
    found = dice.fields(
        0.3,
        host_redirect="else.test",
        port_redirect=lambda: dice.choice((80, 443, 8443)),
        response_code=lambda: dice.choice(("MOVED_PERMANENTLY", "FOUND", "SEE_OTHER", "TEMPORARY_REDIRECT")),
        strip_query=True,
    )
    if dice.often(0.5):
        found |= dice.one_of(
            path_redirect=lambda: dice.choice(("/to", "/to?x=1", "/%REQ(X-A)%")),
            prefix_rewrite=lambda: "/pre/",
            regex_rewrite={"pattern": {"regex": "^/([a-z]*)"}, "substitution": "/\\1-moved"},
        )
        if "safe_regex" in match or "path_match_policy" in match:
            found.pop("prefix_rewrite", None)
    if dice.often(0.3):
        found |= dice.one_of(https_redirect=True, scheme_redirect=lambda: dice.choice(("https", "http", "wss")))
    return found


def _retry(dice: Dice) -> dict[str, Any]:
    words = ("5xx", "gateway-error", "reset", "connect-failure", "retriable-4xx", "refused-stream",
             "retriable-status-codes", "retriable-headers", "unavailable", "reset-before-request", "http3-post-connect-failure")  # fmt: skip
    return {
        "retry_on": ",".join(dice.some(words, 1, 3)),
        "num_retries": dice.choice((0, 1, 2)),
        "retry_back_off": {"base_interval": "0.001s", "max_interval": "0.002s"},
    } | dice.fields(
        0.2,
        retriable_status_codes=lambda: dice.some((503, 200, 404), 1),
        retriable_headers=lambda: [{"name": "x-up", "present_match": True}],
        retriable_request_headers=lambda: [header_match(dice)],
        per_try_timeout="5s",
        retry_host_predicate=lambda: [typed("p", "retry.host.previous_hosts.v3.PreviousHostsPredicate", {})],
        host_selection_retry_max_attempts=2,
    )


def local_replies(dice: Dice) -> dict[str, Any]:
    mapper: dict[str, Any] = {
        "filter": {
            "status_code_filter": {
                "comparison": {
                    "op": dice.choice(("EQ", "GE", "LE")),
                    "value": {"default_value": 404, "runtime_key": "k"},
                }
            }
        }
    }
    mapper |= dice.fields(
        0.5,
        status_code=lambda: dice.choice((200, 418, 500)),
        body={"inline_string": "mapped"},
        headers_to_add=lambda: additions(dice),
        body_format_override={"text_format_source": {"inline_string": "%LOCAL_REPLY_BODY%|%RESPONSE_CODE%\n"}},
    )
    return {"mappers": [mapper]} | dice.fields(
        0.4,
        body_format=lambda: dice.choice((
            {"json_format": {"code": "%RESPONSE_CODE%", "why": "%LOCAL_REPLY_BODY%", "path": "%REQ(:path)%"}},
            {"text_format_source": {"inline_string": "<b>%LOCAL_REPLY_BODY%</b>"}, "content_type": "text/html"},
        )),
    )  # fmt: skip
