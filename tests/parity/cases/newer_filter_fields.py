"""Fields of HTTP filters that came with the last releases of Envoy."""

from __future__ import annotations

import base64
import json
from typing import Any

from ..case import Case, Upstream, client, get
from .compression import compressor, respond, shown

_FILTERS = "type.googleapis.com/envoy.extensions.filters.http."
_HTTP = "type.googleapis.com/envoy.extensions.http."
_LOG = "%RESPONSE_CODE% %RESPONSE_CODE_DETAILS% %RESPONSE_FLAGS% %DYNAMIC_METADATA(f)%\n"
_ALL = {"default_value": {"numerator": 100}}
GRPC = get("/", "content-type: application/grpc", method="POST")


def filtered(name: str, kind: str, config: dict[str, Any], *requests: str, **more: Any) -> Case:
    chain = [{"name": "f", "typed_config": {"@type": f"{_FILTERS}{kind}", **config}}]
    sent = tuple(part for request in requests or (get("/"),) for part in (request, 0.05))
    return Case(f"newer-{name}", sent, filters=json.dumps(chain), timing=False, log=_LOG, **more)


def limited(name: str, tokens: int = 1, **settings: Any) -> Case:
    bucket = {"max_tokens": tokens, "tokens_per_fill": 1, "fill_interval": "100s"}
    config: dict[str, Any] = {
        "stat_prefix": "$case",
        "token_bucket": bucket,
        "filter_enabled": _ALL,
        "filter_enforced": _ALL,
    }
    config |= {"enable_retry_after_header": True, **settings}
    return filtered(f"retry-after-{name}", "local_ratelimit.v3.LocalRateLimit", config, get("/1"), get("/2"))


_USERS = {"users": {"inline_string": "user1:{SHA}tESsBmE/yNY3lb6a0L6vVQEZNqw=\n"}}
_GOOD, _BAD = (f"authorization: Basic {base64.b64encode(each).decode()}" for each in (b"user1:test1", b"user1:x"))


def known(name: str, per_route: dict[str, Any] | None = None, **settings: Any) -> Case:
    requests = (get("/"), get("/", _GOOD), get("/", _BAD), get("/", "authorization: Bearer x"))
    route = {"typed_per_filter_config": {"f": {"@type": f"{_FILTERS}basic_auth.v3.BasicAuthPerRoute", **_USERS}}}
    route["typed_per_filter_config"]["f"] |= per_route or {}
    more = {} if per_route is None else {"vhost": json.dumps(route)}
    config = _USERS | settings
    return filtered(f"basic-auth-{name}", "basic_auth.v3.BasicAuth", config, *requests, stats=r"$case\.basic", **more)


_ALWAYS = {"percentage": {"numerator": 100}}


def aborted(name: str, *requests: str, **abort: Any) -> Case:
    config = {"abort": {**_ALWAYS, "response_body": "tea %PROTOCOL%", **abort}}
    return filtered(f"fault-{name}", "fault.v3.HTTPFault", config, *requests)


def compressed(name: str, direction: dict[str, Any], *answers: str) -> Case:
    request = get("/", "accept-encoding: gzip")
    sent = tuple(part for _ in answers for part in (request, 0.05))
    return Case(
        f"newer-compressor-{name}",
        clients=(client(*sent, timing=False, view=shown),),
        filters=json.dumps([compressor(response_direction_config=direction)]),
        upstreams={"up": Upstream(tuple((each,) for each in answers))},
        stats=r"^http\.$case\.compressor\..*(?<!bytes)$",
        compare_log=False,
    )


def answered(name: str, routes: str = "", **policy: Any) -> Case:
    action = {"@type": f"{_HTTP}custom_response.local_response_policy.v3.LocalResponsePolicy", **policy}
    matcher = {"on_no_match": {"action": {"name": "a", "typed_config": action}}}
    config = {"custom_response_matcher": matcher}
    return filtered(f"custom-response-{name}", "custom_response.v3.CustomResponse", config, routes=routes)


def held(name: str, **settings: Any) -> Case:
    state = {"@type": f"{_HTTP}stateful_session.header.v3.HeaderBasedSessionState", "name": "x-s"}
    config = {"session_state": {"name": "envoy.http.stateful_session.header", "typed_config": state}, **settings}
    request = get("/", f"x-s: {base64.b64encode(b'127.0.0.1:9').decode()}")
    masks = ((r"x-s: \S+", "x-s: <host>"),)
    return filtered(f"session-{name}", "stateful_session.v3.StatefulSession", config, request, masks=masks)


_ROUTE_OF_STATE = [
    {
        "match": {"prefix": "/", "filter_state": [{"key": "k", "string_match": {"exact": "v"}}]},
        "direct_response": {"status": 201},
    },
    {"match": {"prefix": "/"}, "route": {"cluster": "$up"}},
]
_STATE = {
    "on_request_headers": [
        {
            "object_key": "k",
            "factory_key": "envoy.string",
            "format_string": {"text_format_source": {"inline_string": "v"}},
        }
    ]
}
_CREDENTIAL = {
    "name": "c",
    "typed_config": {
        "@type": f"{_HTTP}injected_credentials.generic.v3.Generic",
        "credential": {"name": "newer-token"},
        "header_value_prefix": "Bearer ",
    },
}
_SECRET = {"name": "newer-token", "generic_secret": {"secret": {"inline_string": "t0k"}}}
_TYPES = [{"prefix": "text/"}, {"safe_regex": {"regex": "application/.*json"}}]

CASES = [
    limited("told"),
    limited("with-limits", enable_x_ratelimit_headers="DRAFT_VERSION_03"),
    limited("own", response_headers_to_add=[{"header": {"key": "retry-after", "value": "7"}}]),
    limited("never", tokens=0),
    limited("not-enforced", filter_enforced={"default_value": {"numerator": 0}}),
    known("missing", allow_missing=True),
    known("metadata", emit_dynamic_metadata=True, forward_username_header="x-user"),
    known("realm", realm='a "b" \\c'),
    known("realm-of-route", {"realm": "route"}, realm="a"),
    known("users-of-route", {}, realm="a"),
    aborted("body", get("/"), GRPC, http_status=418),
    aborted("body-grpc", get("/"), GRPC, grpc_status=5),
    aborted("body-by-header", get("/", "x-envoy-fault-abort-request: 409"), header_abort={}),
    filtered("fault-keys-of-none", "fault.v3.HTTPFault", {f"{each}_runtime": "a.b" for each in ("delay_percent", "delay_duration", "abort_percent", "abort_http_status", "abort_grpc_status", "response_rate_limit_percent", "max_active_faults")}),
    filtered("fault-metadata", "fault.v3.HTTPFault", {"abort": {**_ALWAYS, "http_status": 503}, "filter_metadata": {"a": {"b": 1}}}),
    filtered("fault-delay-metadata", "fault.v3.HTTPFault", {"delay": {**_ALWAYS, "fixed_delay": "0.01s"}, "filter_metadata": {"a": "b"}}),
    compressed("weak-etag", {"weaken_etag_on_compress": True}, *(respond(f"etag: {tag}") for tag in ('"a"', 'W/"a"', "a"))),
    compressed("weak-etag-first", {"weaken_etag_on_compress": True, "disable_on_etag_header": True}, respond("etag: a")),
    compressed("types", {"common_config": {"content_type_matcher": _TYPES}}, *(respond(kind=kind) for kind in ("text/x", "TEXT/x", "application/problem+json; a=b", "image/png"))),
    compressed("types-of-both", {"common_config": {"content_type": ["image/png"], "content_type_matcher": _TYPES}}, *(respond(kind=kind) for kind in ("text/x", "image/png"))),
    answered("details", response_code_details="my details"),
    answered("details-kept", preserve_response_code_details=True),
    answered("details-of-reply", "[{match: {prefix: /}, direct_response: {status: 404}}]", preserve_response_code_details=True, status_code=299),
    held("strict", strict=True),
    held("strict-status", strict=True, status_on_strict_destination_not_found=404),
    held("not-strict-status", status_on_strict_destination_not_found=404),
    filtered("state-clears-route", "set_filter_state.v3.Config", _STATE | {"clear_route_cache": True}, routes=json.dumps(_ROUTE_OF_STATE)),
    filtered("state-keeps-route", "set_filter_state.v3.Config", _STATE, routes=json.dumps(_ROUTE_OF_STATE)),
    filtered("credential-prefix", "credential_injector.v3.CredentialInjector", {"credential": _CREDENTIAL}, bootstrap=json.dumps({"static_resources": {"secrets": [_SECRET]}})),
]  # fmt: skip
