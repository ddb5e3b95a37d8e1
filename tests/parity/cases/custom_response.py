"""Responses that are replaced by local policies."""

from __future__ import annotations

import json
from typing import Any

from ..case import REFUSE, Case, Upstream, get
from ..grpc_peer import closing

_TYPE = "envoy.extensions.filters.http.custom_response.v3.CustomResponse"
_POLICY = "envoy.extensions.http.custom_response.local_response_policy.v3.LocalResponsePolicy"
_INPUTS = "envoy.type.matcher.v3"
_LOG = "%RESPONSE_CODE% %RESPONSE_FLAGS% tx=%BYTES_SENT%\n"


def matcher(
    policy: dict[str, Any], value: str = "5xx", by: str = "HttpResponseStatusCodeClassMatchInput"
) -> dict[str, Any]:
    config = {"@type": f"type.googleapis.com/{_POLICY}", **policy}
    return {
        "custom_response_matcher": {
            "matcher_tree": {
                "input": {"name": "in", "typed_config": {"@type": f"type.googleapis.com/{_INPUTS}.{by}"}},
                "exact_match_map": {"map": {value: {"action": {"name": "a", "typed_config": config}}}},
            }
        }
    }


def replaced(
    name: str,
    *requests: Any,
    policy: dict[str, Any],
    status: int = 503,
    per_route: dict[str, Any] | None = None,
    upstream: Upstream | None = None,
    **more: Any,
) -> Case:
    by = {key: more.pop(key) for key in ("value", "by") if key in more}
    config = {"@type": _TYPE, **matcher(policy, **by)}
    entry: dict[str, Any] = {"match": {"prefix": "/"}, "route": {"cluster": "$up"}}
    if per_route is not None:
        entry["typed_per_filter_config"] = {"custom": {"@type": _TYPE, **per_route}}
    answer = f"HTTP/1.1 {status} X\r\ncontent-length: 3\r\nx-own: 1\r\ncontent-type: text/own\r\n\r\nown"
    return Case(
        f"custom-response-{name}",
        closing(requests or (get("/a", "x-a: 1"),)),
        quiet=10.0,
        timing=False,
        filters=json.dumps([{"name": "custom", "typed_config": config}]),
        routes=json.dumps([entry]),
        upstreams={"up": upstream or Upstream(((answer,),))},
        log=_LOG,
        **more,
    )


BODY = {"body": {"inline_string": "sorry"}}
CASES = [
    replaced("body", policy=BODY),
    replaced("nothing", policy={}),
    replaced("status", policy={**BODY, "status_code": 299}, value="503", by="HttpResponseStatusCodeMatchInput"),
    replaced("no-match", policy=BODY, status=404),
    replaced(
        "added",
        policy={
            **BODY,
            "response_headers_to_add": [
                {"header": {"key": "content-type", "value": "text/y"}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"},
            ],
        },
    ),
    replaced(
        "format",
        policy={
            **BODY,
            "body_format": {
                "text_format_source": {"inline_string": "<%LOCAL_REPLY_BODY% %RESPONSE_CODE% %REQ(:PATH)%>"}
            },
        },
    ),
    replaced(
        "json",
        policy={**BODY, "body_format": {"json_format": {"why": "%LOCAL_REPLY_BODY%", "code": "%RESPONSE_CODE%"}}},
    ),
    replaced(
        "json-type",
        policy={
            **BODY,
            "body_format": {
                "json_format": {"path": "%REQ_WITHOUT_QUERY(:PATH)%", "none": "%REQ(x-none)%"},
                "content_type": "application/problem+json",
                "omit_empty_values": True,
                "formatters": [
                    {
                        "name": "f",
                        "typed_config": {"@type": "envoy.extensions.formatter.req_without_query.v3.ReqWithoutQuery"},
                    }
                ],
            },
        },
    ),
    replaced("text-format", policy={**BODY, "body_format": {"text_format": "<%LOCAL_REPLY_BODY%>"}}),
    replaced(
        "format-type",
        policy={
            **BODY,
            "status_code": 400,
            "body_format": {
                "content_type": "text/z",
                "text_format_source": {"inline_string": "<%LOCAL_REPLY_BODY% %RESPONSE_CODE%>"},
            },
        },
    ),
    replaced("head", get("/", method="HEAD"), policy=BODY),
    replaced("refused", policy=BODY, upstream=REFUSE["up"]),
    replaced("grpc", get("/", "content-type: application/grpc", method="POST", body="x"), policy=BODY),
    replaced("route", policy=BODY, per_route=matcher({"body": {"inline_string": "of the route"}})),
    replaced("route-without-match", policy=BODY, per_route=matcher({"body": {"inline_string": "of the route"}}, "4xx")),
    replaced(
        "local-reply-config",
        policy=BODY,
        hcm='{local_reply_config: {body_format: {text_format_source: {inline_string: "mapped %LOCAL_REPLY_BODY%"}}}}',
    ),
]
