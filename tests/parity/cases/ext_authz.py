"""Authorisation by an HTTP service: what it is asked, and what its answers do."""

from __future__ import annotations

import json
from typing import Any

from ..case import OK, Act, Case, Upstream, get

_TYPE = "envoy.extensions.filters.http.ext_authz.v3.ExtAuthz"
_PER_ROUTE = "envoy.extensions.filters.http.ext_authz.v3.ExtAuthzPerRoute"
_LOG = "%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %REQ(:PATH)% %DYNAMIC_METADATA(envoy.filters.http.ext_authz)%\n"


def matching(*names: str) -> dict[str, Any]:
    return {"patterns": [{"exact": name} for name in names]}


def starting(*names: str) -> dict[str, Any]:
    return {"patterns": [{"prefix": name} for name in names]}


def verdict(status: int, *lines: str, body: str = "") -> str:
    return "\r\n".join([f"HTTP/1.1 {status} X", *lines, f"content-length: {len(body)}", "", body])


ALLOW = verdict(200)
ANSWERS = r"^cluster\.$case\.up2\.(internal\.|upstream_rq_(\d|timeout|total|completed))"


def asked(
    name: str,
    *requests: str | float,
    says: str | tuple[Any, ...] = ALLOW,
    response: dict[str, Any] | None = None,
    request: dict[str, Any] | None = None,
    service: dict[str, Any] | None = None,
    per_route: dict[str, Any] | None = None,
    upstream: str = OK,
    other: Upstream | None = None,
    routes: list[dict[str, Any]] | None = None,
    **settings: Any,
) -> Case:
    more = {
        key: settings.pop(key)
        for key in ("shows", "differs", "refused", "timing", "log", "stats", "flat_upstream")
        if key in settings
    }
    http: dict[str, Any] = {
        "server_uri": {"uri": "http://authz.test/ignored", "cluster": "$up2", "timeout": "1s"},
        "authorization_response": response or {},
        "authorization_request": request or {},
        **(service or {}),
    }
    config = {"@type": _TYPE, "http_service": http, **settings}
    entry: dict[str, Any] = {"match": {"prefix": "/"}, "route": {"cluster": "$up"}}
    if per_route is not None:
        entry["typed_per_filter_config"] = {"authz": {"@type": _PER_ROUTE, **per_route}}
    script = (says,) if isinstance(says, str) else says
    return Case(
        f"ext-authz-{name}",
        tuple(requests) or (get("/a?b=c", "authorization: secret", "x-a: 1"),),
        filters=json.dumps([{"name": "authz", "typed_config": config}]),
        routes=json.dumps(routes or [entry]),
        upstreams={"up": Upstream(((upstream,),)), "up2": other or Upstream((script,))},
        timing=more.pop("timing", False),
        masks=((r'"ext_authz_duration":\d+', '"ext_authz_duration":<ms>'), (r"(timeout-ms: )(?!15000)\d+", r"\1<ms>")),
        stats=more.pop("stats", r"^(http\.$case\.ext_authz|cluster\.$case\.up2?\.ext_authz)"),
        log=more.pop("log", _LOG),
        **more,
    )


POST = get("/a", "x-a: 1", "content-type: text/x", method="POST", body="the body")
CHUNKED = get("/a", "transfer-encoding: chunked", method="POST") + "4\r\nthe \r\n4\r\nbody\r\n0\r\n\r\n"
DENY = verdict(403, "x-why: because", "content-type: text/html", body="no")
SHADOW = {
    "clear_route_cache": True,
    "response": {
        "allowed_upstream_headers": matching("x-up"),
        "allowed_client_headers_on_success": matching("x-down"),
        "dynamic_metadata_from_headers": matching("x-m"),
    },
}
NEVER = {"default_value": {"numerator": 0}}
DENIES = {"default_value": True, "runtime_key": "none"}

CASES = [
    asked("allow", shows="200 OK"),
    asked("allow-post", POST),
    asked("allow-chunked", CHUNKED),
    asked("allow-head", get("/", method="HEAD")),
    asked("allow-201", says=verdict(201)),
    asked("allow-204", says="HTTP/1.1 204 X\r\n\r\n"),
    asked("deny", says=DENY, shows=("403 Forbidden", "UAEX", "ext_authz_denied")),
    asked("deny-plain", says=verdict(401, "www-authenticate: Basic")),
    asked("deny-redirect", says=verdict(302, "location: http://login.test/", "set-cookie: a=b", "set-cookie: c=d")),
    asked("deny-404", says=verdict(404, body="x")),
    asked("deny-head", get("/", method="HEAD"), says=DENY),
    asked("deny-grpc", get("/", "content-type: application/grpc", method="POST", body="x"), says=DENY),
    asked("deny-100-odd", says=verdict(299)),
    asked(
        "deny-hop-by-hop",
        says=verdict(403, "connection: x-gone", "x-gone: 1", "keep-alive: 1", "server: them", "date: now"),
    ),
    asked(
        "deny-allowed-client-headers",
        says=verdict(
            403, "x-why: because", "x-other: 1", "www-authenticate: a", "location: /", "content-type: text/x", body="no"
        ),
        response={"allowed_client_headers": matching("x-why")},
    ),
    asked("error-500", says=verdict(500, "x-why: 1", body="broken"), shows=("403", "ext_authz_error")),
    asked("error-503", says=verdict(503)),
    asked("error-timeout", says=(3.0, ALLOW), timing=True, stats=ANSWERS),
    asked("error-refused", other=Upstream(mode="refuse"), stats=ANSWERS),
    asked("error-reset", says=(Act.RESET,), stats=ANSWERS),
    asked("error-half-an-answer", says=("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nab", Act.CLOSE), stats=ANSWERS),
    asked("error-junk", says="junk\r\n\r\n"),
    asked(
        "error-unknown-cluster",
        service={"server_uri": {"uri": "http://a", "cluster": "nowhere", "timeout": "1s"}},
        refused=False,
    ),
    asked("error-status", says=verdict(500), status_on_error={"code": "ServiceUnavailable"}, shows="503"),
    *(
        asked(f"shadow-{name}", says=says, shadow_mode=True, **more)
        for name, says, more in (
            ("allow", verdict(200, "x-up: 1", "x-down: 1", "x-m: 1"), SHADOW),
            ("deny", verdict(403, "x-why: because", "x-m: 1", body="no"), SHADOW),
            ("error", verdict(500), {}),
            ("error-allowed", verdict(503), {"failure_mode_allow": True, "failure_mode_allow_header_add": True}),
            ("error-status", verdict(500), {"status_on_error": {"code": "BadGateway"}}),
            ("disabled", ALLOW, {"filter_enabled": NEVER, "deny_at_disable": DENIES}),
        )
    ),
    asked("shadow-body", POST, says=DENY, shadow_mode=True, with_request_body={"max_request_bytes": 100}),
    asked("error-allowed", says=verdict(500), failure_mode_allow=True, shows="200 OK"),
    asked("error-allowed-and-told", says=verdict(500), failure_mode_allow=True, failure_mode_allow_header_add=True),
    asked("error-denied-and-told", says=verdict(500), failure_mode_allow_header_add=True),
    asked("deny-with-failure-mode", says=DENY, failure_mode_allow=True, shows="403"),
    # What the service is asked.
    asked("path-prefix", service={"path_prefix": "/check"}),
    asked("allowed-headers", get("/", "x-a: 1", "x-b: 2", "x-a: 3", "cookie: d"), allowed_headers=matching("x-a")),
    asked("allowed-headers-prefix", get("/", "x-b: 2", "content-type: y"), allowed_headers=starting("content-")),
    asked(
        "allowed-headers-and-disallowed",
        get("/", "x-a: 1", "x-b: 2", "authorization: s"),
        allowed_headers=starting("x-a", "x-b"),
        disallowed_headers=matching("x-b", "authorization"),
    ),
    asked(
        "disallowed-headers-only", get("/", "x-a: 1", "authorization: s"), disallowed_headers=matching("authorization")
    ),
    asked(
        "headers-to-add",
        get("/", "x-a: 1"),
        request={"headers_to_add": [{"key": "x-added", "value": "v"}, {"key": "x-path", "value": "%REQ(:PATH)%"}]},
    ),
    asked(
        "headers-to-add-over-allowed",
        get("/", "x-a: 1"),
        request={"headers_to_add": [{"key": "x-a", "value": "v"}]},
        allowed_headers=matching("x-a"),
    ),
    asked("allowed-headers-old", get("/", "x-a: 1", "x-b: 2"), request={"allowed_headers": matching("x-a")}),
    # What its leave does.
    asked(
        "upstream-headers",
        says=verdict(200, "x-user: ann", "x-a: 2", "x-other: 1"),
        response={"allowed_upstream_headers": matching("x-user", "x-a")},
    ),
    asked(
        "upstream-headers-twice",
        says=verdict(200, "x-user: ann", "x-user: bob"),
        response={"allowed_upstream_headers": matching("x-user")},
    ),
    asked(
        "upstream-headers-append",
        says=verdict(200, "x-user: ann", "x-a: 2", "x-new: 1"),
        response={"allowed_upstream_headers_to_append": starting("x-")},
    ),
    asked(
        "upstream-headers-any",
        says=verdict(200, "x-user: ann", "content-type: t", "date: d", "server: s"),
        response={"allowed_upstream_headers": starting("x-", "date", "server", "content-t")},
    ),
    asked("upstream-headers-none", says=verdict(200, "x-user: ann", "authorization: other")),
    asked(
        "upstream-headers-path",
        says=verdict(200, "x-envoy-original-path: /x"),
        response={"allowed_upstream_headers": starting("x-", "date", "server", "content-t")},
    ),
    asked("headers-removed", says=verdict(200, "x-envoy-auth-headers-to-remove: x-a, authorization,,host, :path")),
    asked(
        "client-headers-on-success",
        says=verdict(200, "x-told: 1", "x-other: 2", "set-cookie: a=b", "set-cookie: c=d"),
        response={"allowed_client_headers_on_success": matching("x-told", "set-cookie")},
        upstream="HTTP/1.1 200 OK\r\nx-told: upstream\r\ncontent-length: 0\r\n\r\n",
    ),
    asked(
        "dynamic-metadata",
        says=verdict(200, "x-meta-a: 1", "x-meta-b: two", "x-other: 3"),
        response={"dynamic_metadata_from_headers": starting("x-meta-")},
    ),
    asked(
        "dynamic-metadata-of-a-refusal",
        says=verdict(403, "x-meta-a: 1"),
        response={"dynamic_metadata_from_headers": starting("x-meta-")},
    ),
    asked(
        "clear-route-cache",
        says=verdict(200, "x-user: ann"),
        response={"allowed_upstream_headers": matching("x-user")},
        clear_route_cache=True,
        routes=[
            {"match": {"prefix": "/", "headers": [{"name": "x-user"}]}, "direct_response": {"status": 201}},
            {"match": {"prefix": "/"}, "route": {"cluster": "$up"}},
        ],
    ),
    asked(
        "route-cache-kept",
        says=verdict(200, "x-user: ann"),
        response={"allowed_upstream_headers": matching("x-user")},
        routes=[
            {"match": {"prefix": "/", "headers": [{"name": "x-user"}]}, "direct_response": {"status": 201}},
            {"match": {"prefix": "/"}, "route": {"cluster": "$up"}},
        ],
    ),
    asked("no-route", routes=[{"match": {"prefix": "/nowhere"}, "route": {"cluster": "$up"}}], says=DENY),
    asked("direct-response", routes=[{"match": {"prefix": "/"}, "direct_response": {"status": 201}}], says=DENY),
    # Bodies.
    asked("body", POST, with_request_body={"max_request_bytes": 100}),
    asked("body-chunked", CHUNKED, with_request_body={"max_request_bytes": 100}),
    asked("body-none", get("/"), with_request_body={"max_request_bytes": 100}),
    asked("body-too-long", POST, with_request_body={"max_request_bytes": 4}, shows="413"),
    asked("body-just-fits", POST, with_request_body={"max_request_bytes": 8}),
    asked("body-denied", POST, with_request_body={"max_request_bytes": 100}, says=DENY),
    *[
        asked(
            f"body-partial-{size}", POST, with_request_body={"max_request_bytes": size, "allow_partial_message": True}
        )
        for size in (4, 8, 9, 100)
    ],
    asked("body-partial-chunked", CHUNKED, with_request_body={"max_request_bytes": 4, "allow_partial_message": True}),
    asked(
        "body-partial-denied",
        POST,
        with_request_body={"max_request_bytes": 4, "allow_partial_message": True},
        says=DENY,
    ),
    asked("body-partial-none", get("/"), with_request_body={"max_request_bytes": 4, "allow_partial_message": True}),
    asked(
        "body-disabled-by-route",
        POST,
        with_request_body={"max_request_bytes": 4},
        per_route={"check_settings": {"disable_request_body_buffering": True}},
    ),
    asked("body-of-the-route", POST, per_route={"check_settings": {"with_request_body": {"max_request_bytes": 100}}}),
    # Routes and fractions.
    asked("per-route-disabled", says=DENY, per_route={"disabled": True}, shows="200"),
    asked("disabled", says=DENY, filter_enabled={"default_value": {"numerator": 0}}),
    asked("enabled", says=DENY, filter_enabled={"default_value": {"numerator": 100}}),
    asked(
        "deny-at-disable",
        filter_enabled={"default_value": {"numerator": 0}},
        deny_at_disable={"default_value": True, "runtime_key": "x"},
    ),
    asked(
        "deny-at-disable-status",
        filter_enabled={"default_value": {"numerator": 0}},
        deny_at_disable={"default_value": True, "runtime_key": "x"},
        status_on_error={"code": "ServiceUnavailable"},
    ),
    asked(
        "enabled-by-metadata",
        says=DENY,
        filter_enabled_metadata={"filter": "ns", "path": [{"key": "a"}], "value": {"string_match": {"exact": "b"}}},
    ),
    asked("stat-prefix", stat_prefix="mine"),
    asked(
        "no-cluster-stats",
        says=DENY,
        charge_cluster_response_stats=False,
        stats=r"^cluster\.$case\.up\.(upstream_rq_4|ext_authz)",
    ),
    asked("cluster-stats", says=DENY, stats=r"^cluster\.$case\.up\.(upstream_rq_4|ext_authz|upstream_rq_completed)"),
    asked("denied-body-cut", says=verdict(403, body="0123456789"), max_denied_response_body_bytes=4),
    asked(
        "validate-mutations",
        says=verdict(200, "x-user: ann"),
        response={"allowed_upstream_headers": starting("x-", "date", "server", "content-t")},
        validate_mutations=True,
    ),
    asked(
        "retried",
        says=(verdict(503),),
        service={
            "server_uri": {"uri": "http://authz.test/ignored", "cluster": "$up2", "timeout": "5s"},
            "retry_policy": {
                "num_retries": 1,
                "retry_on": "5xx",
                "retry_back_off": {"base_interval": "0.02s", "max_interval": "0.02s"},
            },
        },
        flat_upstream=True,  # whether the first connection is free again is chance
    ),
]
