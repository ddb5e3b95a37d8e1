"""What a route does to the head of its responses, it does to the proxy's own answers as well."""

from __future__ import annotations

from typing import Any

from ..case import REFUSE, Act, Case, answer, get
from ..h2_wire import h2get
from .h2_downstream import h2

_MARK = "[{{header: {{key: {key}, value: '{value}'}}}}]"
_TABLE = f"{{response_headers_to_add: {_MARK.format(key='x-table', value='t')}, response_headers_to_remove: [date]}}"
_HOST = f"{{response_headers_to_add: {_MARK.format(key='x-host', value='h')}}}"
_ROUTE = _MARK.format(key="x-route", value="%RESPONSE_CODE% %RESPONSE_CODE_DETAILS%")
_WEIGHTED = f"""
  route:
    weighted_clusters:
      clusters: [{{name: $up, weight: 1, response_headers_to_add: {_MARK.format(key="x-weighted", value="w")}}}]
"""
_ABORTS = "- fault: {abort: {http_status: 418, percentage: {numerator: 100}}}"
_CUSTOM = """
- name: custom
  typed_config:
    "@type": type.googleapis.com/envoy.extensions.filters.http.custom_response.v3.CustomResponse
    custom_response_matcher:
      on_no_match:
        action:
          name: local
          typed_config:
            "@type": type.googleapis.com/envoy.extensions.http.custom_response.local_response_policy.v3.LocalResponsePolicy
            body: {inline_string: custom}
"""
_IN_JSON = """
local_reply_config:
  body_format: {json_format: {code: "%RESPONSE_CODE%", why: "%LOCAL_REPLY_BODY%"}}
"""


def marked(name: str, action: str = "  route: {cluster: $up}", **more: Any) -> Case:
    routes = f"- match: {{prefix: /}}\n  response_headers_to_add: {_ROUTE}\n{action}"
    more = {"send": get(), "vhost": _HOST, "route_config": _TABLE, **more}
    return Case(f"reply-headers-{name}", routes=routes, timing=False, **more)


CASES = [
    marked("filter", filters=_ABORTS, shows="x-route: 0 fault_filter_abort"),
    marked("filter-weighted", _WEIGHTED, filters=_ABORTS, shows="x-weighted: w"),
    marked("filter-direct", "  direct_response: {status: 200}", filters=_ABORTS),
    marked("filter-redirect", "  redirect: {path_redirect: /x}", filters=_ABORTS),
    marked("refused", upstreams=REFUSE, shows="x-host: h"),
    marked("closed", upstreams=answer(Act.CLOSE), shows="x-table: t"),
    marked(
        "no-cluster",
        "  route: {cluster: nothing}",
        route_config=f"{{validate_clusters: false, {_TABLE.lstrip('{')}",
        shows="x-route: 0 cluster_not_found",
    ),
    marked("time-out", "  route: {cluster: $up, timeout: 0.2s}", upstreams=answer(1.0), shows="x-host: h"),
    marked("custom", filters=_CUSTOM, shows="x-route: 200", compare_log=False),
    marked("custom-of-a-failure", filters=_CUSTOM, upstreams=REFUSE, shows="x-host: h", compare_log=False),
    marked(
        "preflight",
        vhost=f"{{{_HOST[1:-1]}, cors: {{allow_origin_string_match: [{{exact: o}}], allow_methods: GET}}}}",
        send=get("/", "origin: o", "access-control-request-method: GET", method="OPTIONS"),
        filters='[{name: c, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.cors.v3.Cors}}]',
        shows="access-control-allow-methods: GET",
    ),
    marked("direct", "  direct_response: {status: 200}", shows="x-route: 0 direct_response"),
    marked("redirect", "  redirect: {path_redirect: /x}", shows="x-route: 0 direct_response"),
    Case("reply-headers-no-route", get(), routes="[]", vhost=_HOST, route_config=_TABLE, timing=False),
    marked(
        "content-type-of-another-body",
        "  direct_response: {status: 403, body: {inline_string: refused}}",
        vhost=f"{{response_headers_to_add: {_MARK.format(key='content-type', value='a/b')}}}",
        hcm=_IN_JSON,
        shows="content-type: application/json",
    ),
    marked(
        "grpc-message-of-json",
        send="",
        clients=h2(h2get(1, "/", "content-type: application/grpc"), quiet=0.5),
        filters=_ABORTS,
        hcm=_IN_JSON,
        shows='"fault filter abort"}',
    ),
    marked(
        "grpc-message-of-head",
        send=get("/", "content-type: application/grpc", method="HEAD"),
        filters=_ABORTS,
        shows="grpc-status",
    ),
]
