"""Direct responses whose body is a format, and cross-origin policies in their older places."""

from __future__ import annotations

from typing import Any

from ..case import Case, client, get

LOG = "%REQ(:PATH)% %RESPONSE_CODE% %RESPONSE_CODE_DETAILS% %BYTES_SENT% %LOCAL_REPLY_BODY%\n"


def formatted(name: str, action: str, *sends: str, **options: Any) -> Case:
    options.setdefault("routes", f"- match: {{prefix: /}}\n  name: here\n  direct_response: {{{action}}}\n")
    clients = tuple(client(send, start=0.05 * number, timing=False) for number, send in enumerate(sends or (get(),)))
    return Case(f"answer-{name}", clients=clients, sort_log=True, log=LOG, **options)


CORS_FILTER = "- {name: cors, typed_config: {'@type': type.googleapis.com/envoy.extensions.filters.http.cors.v3.Cors}}"
POLICY = "{allow_origin_string_match: [{exact: 'http://%s.test'}], allow_methods: GET, expose_headers: x-%s}"
PREFLIGHT = get("/a", "origin: http://route.test", "access-control-request-method: GET", method="OPTIONS")


def older_cors(name: str, route: str = "", vhost: str = "", more: str = "") -> Case:
    sends = (
        PREFLIGHT,
        PREFLIGHT.replace("route.test", "vhost.test"),
        get("/a", "origin: http://route.test"),
        get("/a", "origin: http://vhost.test"),
    )
    routes = f"- match: {{prefix: /}}\n  route: {{cluster: $up{', cors: ' + route if route else ''}}}\n{more}"
    clients = tuple(client(send, start=0.05 * number, timing=False) for number, send in enumerate(sends))
    return Case(
        f"older-cors-{name}",
        clients=clients,
        routes=routes,
        vhost=f"{{cors: {vhost}}}" if vhost else "",
        filters=CORS_FILTER,
        sort_log=True,
        flat_upstream=True,
        stats=r"$case\.cors\.",
    )


CASES = [
    formatted(
        "format-text",
        "status: 200, body_format: {text_format_source: {inline_string: '%RESPONSE_CODE% %REQ(x-a)% %ROUTE_NAME%'}}",
        get("/", "x-a: hello"),
        get("/", method="HEAD"),
    ),
    formatted(
        "format-of-body",
        "status: 403, body: {inline_string: inner}, body_format: {text_format_source: {inline_string: '[%LOCAL_REPLY_BODY%] %RESP(content-type)%'}}",
    ),
    formatted(
        "format-json",
        "status: 404, body: {inline_string: inner}, body_format: {json_format: {code: '%RESPONSE_CODE%', body: '%LOCAL_REPLY_BODY%', path: '%REQ(:PATH)%'}}",
        get("/x?y"),
    ),
    formatted(
        "format-content-type",
        "status: 200, body_format: {text_format_source: {inline_string: '<b>%PROTOCOL%</b>'}, content_type: text/html}",
    ),
    formatted(
        "format-content-type-of-route",
        "",
        routes="- match: {prefix: /}\n  response_headers_to_add: [{header: {key: content-type, value: a/b}, append_action: OVERWRITE_IF_EXISTS_OR_ADD}]\n  direct_response: {status: 200, body_format: {text_format_source: {inline_string: 'x'}, content_type: text/html}}\n",
    ),
    formatted(
        "format-empty",
        "status: 200, body: {inline_string: inner}, body_format: {text_format_source: {inline_string: '%REQ(x-none)%'}, omit_empty_values: true}",
    ),
    formatted(
        "format-and-mapper",
        "status: 403, body: {inline_string: inner}, body_format: {text_format_source: {inline_string: 'route %LOCAL_REPLY_BODY%'}}",
        hcm="local_reply_config: {mappers: [{filter: {status_code_filter: {comparison: {op: EQ, value: {default_value: 403, runtime_key: k}}}}, body_format_override: {text_format_source: {inline_string: 'mapper <%LOCAL_REPLY_BODY%>'}}}]}",
    ),
    older_cors("route", POLICY % ("route", "route")),
    older_cors("vhost", "", POLICY % ("vhost", "vhost")),
    older_cors("both", POLICY % ("route", "route"), POLICY % ("vhost", "vhost")),
    older_cors(
        "and-newer",
        POLICY % ("route", "route"),
        "",
        "  typed_per_filter_config: {cors: {'@type': type.googleapis.com/envoy.extensions.filters.http.cors.v3.CorsPolicy, "
        "allow_origin_string_match: [{exact: 'http://vhost.test'}], expose_headers: x-newer}}\n",
    ),
]
