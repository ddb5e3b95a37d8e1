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


_REDIRECT = "type.googleapis.com/envoy.extensions.http.custom_response.redirect_policy.v3.RedirectPolicy"
_PLACES = [
    {"match": {"prefix": "/err"}, "route": {"cluster": "$up2"}},
    {"match": {"prefix": "/local"}, "direct_response": {"status": 503}},
    {"match": {"prefix": "/r"}, "route": {"cluster": "$up", "prefix_rewrite": "/x"}},
    {"match": {"prefix": "/a"}, "route": {"cluster": "$up"}},
]


def redirected(name: str, policy: dict[str, Any], *requests: str, answer: str = "", **more: Any) -> Case:
    code = "type.googleapis.com/envoy.type.matcher.v3.HttpResponseStatusCodeMatchInput"
    test = {"input": {"name": "i", "typed_config": {"@type": code}}, "value_match": {"exact": "503"}}
    action = {"action": {"name": "a", "typed_config": {"@type": _REDIRECT, **policy}}}
    entries = [{"predicate": {"single_predicate": test}, "on_match": action}]
    config = {"@type": _TYPE, "custom_response_matcher": {"matcher_list": {"matchers": entries}}}
    other = answer or "HTTP/1.1 200 OK\r\nx-own: 2\r\ncontent-length: 5\r\n\r\nother"
    refusal = "HTTP/1.1 503 X\r\ncontent-length: 3\r\nx-own: 1\r\n\r\nown"
    sent = tuple(part for request in requests or (get("/a?b=c", "x-a: 1"),) for part in (request, 0.05))
    return Case(
        f"custom-response-redirect-{name}",
        sent,
        timing=False,
        filters=json.dumps([{"name": "custom", "typed_config": config}]),
        routes=json.dumps(_PLACES),
        upstreams={"up": Upstream(((refusal,),)), "up2": Upstream(((other,),))},
        log="%RESPONSE_CODE% %RESPONSE_CODE_DETAILS% %REQ(:METHOD)% %REQ(:PATH)% %UPSTREAM_CLUSTER%\n",
        stats=r"^http\.$case\.(custom_response|downstream_rq_(total|[0-9]xx|completed))",
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
    redirected("uri", {"uri": "https://h.test/err/page?q=1"}),
    redirected(
        "more",
        {
            "uri": "http://other.test:8080/err",
            "status_code": 299,
            "request_headers_to_add": [{"header": {"key": "x-req", "value": "%REQ(x-a)%"}}],
            "response_headers_to_add": [{"header": {"key": "x-res", "value": "%RESPONSE_CODE%"}}],
        },
    ),
    redirected("post", {"uri": "http://h.test/err"}, get("/a", method="POST", body="hello")),
    redirected("head", {"uri": "http://h.test/err"}, get("/a", method="HEAD")),
    redirected("rewritten", {"uri": "http://h.test/err"}, get("/r/1")),
    redirected("local", {"uri": "http://h.test/err"}, get("/local")),
    redirected("no-route", {"uri": "http://h.test/zzz"}, compare_log=False),
    redirected("error", {"uri": "http://h.test/err"}, answer="HTTP/1.1 404 X\r\ncontent-length: 0\r\n\r\n"),
    redirected("same-again", {"uri": "http://h.test/a", "status_code": 299}),
    redirected("path", {"redirect_action": {"path_redirect": "/err"}}),
    redirected(
        "host", {"redirect_action": {"host_redirect": "o.test", "path_redirect": "/err?x", "https_redirect": True}}
    ),
    redirected("bad-uri", {"uri": "/err"}, refused=True),
    redirected("bad-action", {"redirect_action": {"prefix_rewrite": "/err"}}, refused=True),
]
