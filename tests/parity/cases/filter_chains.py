"""Several filters in one chain, and what replies of the proxy's own meet on their way back through it."""

from __future__ import annotations

import json
from typing import Any

from ..case import REFUSE, Case, answer, get
from ..h2_wire import h2get
from .h2_downstream import h2

_FILTERS = "type.googleapis.com/envoy.extensions.filters.http."
_ADDS = """
response_headers_to_add:
- {header: {key: x-%s, value: "%%ROUTE_NAME%% %%RESPONSE_CODE%% %%RESPONSE_FLAGS%%"}}
response_headers_to_remove: [x-gone]
"""
_TO_UP = "[{name: a, match: {prefix: /}, route: {cluster: $up%s}}]"
_WEIGHTED = """
- name: a
  match: {prefix: /}
  route: {weighted_clusters: {clusters: [{name: $up, weight: 1, response_headers_to_add: [{header: {key: x-w, value: w}}]}]}}
"""
_MAPPED = """
local_reply_config:
  mappers:
  - filter: {status_code_filter: {comparison: {op: GE, value: {default_value: 500, runtime_key: x}}}}
    headers_to_add: [{header: {key: x-mapped, value: "%RESP(x-host)%"}}]
    status_code: 501
"""
GRPC = "content-type: application/grpc"
MESSAGE = "\0\0\0\0\5hello"
GRPC_ANSWER = answer(f"HTTP/1.1 200 OK\r\n{GRPC}\r\ncontent-length: 10\r\n\r\n{MESSAGE}")


def f(name: str, kind: str, **config: Any) -> dict[str, Any]:
    return {"name": name, "typed_config": {"@type": f"{_FILTERS}{kind}", **config}}


def told(name: str, routes: str = _TO_UP % "", send: str = "", **more: Any) -> Case:
    """A reply on a route whose virtual host and configuration add fields to responses."""
    vhost, config = _ADDS % "host", _ADDS % "config"
    return Case(
        f"route-tells-{name}", send or get(), vhost=vhost, route_config=config, routes=routes, timing=False, **more
    )


def chain(name: str, filters: list[dict[str, Any]], *requests: str, **more: Any) -> Case:
    sent = tuple(part for request in requests for part in (request, 0.05))
    return Case(f"chain-{name}", sent, filters=json.dumps(filters), timing=False, **more)


DENY = f("rbac", "rbac.v3.RBAC", rules={"action": "ALLOW"})
ABORT = f("fault", "fault.v3.HTTPFault", abort={"http_status": 418, "percentage": {"numerator": 100}})
CODE = {"append": {"header": {"key": "x-code", "value": "%RESPONSE_CODE%"}}}
TELL_CODE = f("tell", "header_mutation.v3.HeaderMutation", mutations={"response_mutations": [CODE]})
COUNT = f("admission", "admission_control.v3.AdmissionControl", success_criteria={"http_criteria": {"http_success_status": [{"start": 100, "end": 600}]}})  # fmt: skip
GRPC_STATS = f("stats", "grpc_stats.v3.FilterConfig", emit_filter_state=True, stats_for_all_methods=True)
_STATE = "%FILTER_STATE(envoy.filters.http.grpc_stats)"
_STATES = f"{_STATE}% {_STATE[:-1]}:PLAIN)% {_STATE[:-1]}:FIELD:request_message_count)%\n"


def counted(name: str, path: str, *lines: str, **more: Any) -> Case:
    request = get(path, *lines, method="POST", body=MESSAGE * 2)
    more = {"log": _STATES, "upstreams": GRPC_ANSWER, "stats": r"^cluster\.$case\..*grpc\.", **more}
    return chain(f"grpc-stats-{name}", [GRPC_STATS], request, **more)


def called(name: str, kind: str, body: str, answered: str = MESSAGE, *lines: str, status: str = "200 OK") -> Case:
    """A call of Connect."""
    head = f"HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {len(answered)}"
    request = get("/a.b/c", f"content-type: {kind}", *lines, method="POST", body=body)
    more = {"upstreams": answer(f"{head}\r\n\r\n{answered}"), "stats": r"^cluster\.$case\..*grpc\."}
    return chain(f"connect-{name}", [GRPC_STATS], request, log=_STATES, **more)


def connect_end(said: str) -> str:
    """The last message of a stream of Connect."""
    return "\2" + len(said).to_bytes(4, "big").decode("latin-1") + said


STREAM, UNARY, VERSION = "application/connect+proto", "application/json", "connect-protocol-version: 1"
_GZIP = {"name": "g", "typed_config": {"@type": "type.googleapis.com/envoy.extensions.compression.gzip.compressor.v3.Gzip"}}  # fmt: skip
_BOTH_WAYS: dict[str, Any] = {
    "request_direction_config": {"common_config": {}},
    "response_direction_config": {"common_config": {}},
}
ZIP = f("zip", "compressor.v3.Compressor", compressor_library=_GZIP, **_BOTH_WAYS)
_PRESENT = {"metadata_namespace": "m", "key": "k"}
_RULE = {"rules": [{"selectors": [{"key": "k"}], "on_present": _PRESENT, "on_error": {**_PRESENT, "value": "no JSON"}}]}
READ_JSON = f("json", "json_to_metadata.v3.JsonToMetadata", request_rules=_RULE, response_rules=_RULE)
TEXT = "lorem ipsum dolor sit amet " * 4
_CHUNKED = f"transfer-encoding: chunked\r\n\r\n{len(TEXT):x}\r\n{TEXT}\r\n0\r\nx-t: 1\r\n\r\n"
TRAILERS = "http_protocol_options: {enable_trailers: true}"
_JSON = "content-type: application/json\r\n"


def trailed(name: str, filters: list[dict[str, Any]]) -> Case:
    """Bodies that end with trailers, through a filter that has more to say at their end and one that wants all."""
    return chain(
        f"trailers-{name}",
        filters,
        f"POST / HTTP/1.1\r\nhost: h.test\r\naccept-encoding: gzip\r\n{_JSON}{_CHUNKED}",
        upstreams=answer(f"HTTP/1.1 200 OK\r\n{_JSON}{_CHUNKED}"),
        hcm=TRAILERS,
        cluster=f"typed_extension_protocol_options: {{http: {{'@type': HttpProtocolOptions, explicit_http_config: {{{TRAILERS}}}}}}}",
        log="%DYNAMIC_METADATA(m)%\n",
        masks=((r"content-length: \d+|\[length \d+\]|'\\x1f.*", "<gzip>"),),
        shows="x-t: 1",
    )


_NOBODY = {"grpc_service": {"envoy_grpc": {"cluster_name": "$up"}}, "transport_api_version": "V3"}
OFF_AUTHZ = f("authz", "ext_authz.v3.ExtAuthz", filter_enabled={"default_value": {"numerator": 0}}, with_request_body={"max_request_bytes": 4}, **_NOBODY)  # fmt: skip
AUTHZ = f("authz", "ext_authz.v3.ExtAuthz", with_request_body={"max_request_bytes": 4}, **_NOBODY)

CASES = [
    chain("authz-off-and-large-body", [OFF_AUTHZ], get("/", method="POST", body="x" * 100), shows="200 OK"),
    chain("authz-no-route-and-large-body", [AUTHZ], get("/", method="POST", body="x" * 100), routes="[{match: {path: /a}, route: {cluster: $up}}]", shows="404"),
    trailed("compressed-then-read", [ZIP, READ_JSON]),
    trailed("read-then-compressed", [READ_JSON, ZIP]),
    trailed("compressed-then-buffered", [ZIP, f("buffer", "buffer.v3.Buffer", max_request_bytes=1000)]),
    called("stream", STREAM, MESSAGE * 2, MESSAGE + connect_end("{}")),
    called("stream-error", STREAM, MESSAGE, MESSAGE + connect_end('{"error": {"code": "x"}}')),
    called("stream-no-json", STREAM, MESSAGE, connect_end("x")),
    called("stream-cut", STREAM, MESSAGE, MESSAGE),
    called("unary", UNARY, "{}", "{}", VERSION),
    called("unary-error", UNARY, "{}", "{}", VERSION, status="404 Not Found"),
    told("refused", upstreams=REFUSE, shows="x-config: a 0 UF"),
    told("no-cluster", "[{name: a, match: {prefix: /}, route: {cluster_header: x-c}}]"),
    told("timeout", _TO_UP % ", timeout: 0.1s", upstreams=answer(5.0), shows="x-host: a 0 UT"),
    told("weighted", _WEIGHTED, upstreams=REFUSE, shows="x-w: w"),
    told("direct", "[{name: a, match: {prefix: /}, direct_response: {status: 403}}]", shows="x-host: a 0 -"),
    told("non-forwarding", "[{name: a, match: {prefix: /}, non_forwarding_action: {}}]", shows="x-host: a 0"),
    told("upgrade", send=get("/", "connection: upgrade", "upgrade: foo"), shows="x-host: a 0"),
    told("grpc", send=get("/", GRPC), upstreams=REFUSE, shows="x-host: a 0"),
    told("mapped", upstreams=REFUSE, hcm=_MAPPED, shows="x-mapped: a 0"),
    told("filter", filters=json.dumps([DENY]), shows="x-host: a 0"),
    told("filter-direct", "[{name: a, match: {prefix: /}, direct_response: {status: 200}}]", filters=json.dumps([DENY])),
    told("filter-redirect", "[{name: a, match: {prefix: /}, redirect: {path_redirect: /b}}]", filters=json.dumps([DENY])),
    chain("grpc-code", [TELL_CODE], get("/", GRPC), upstreams=REFUSE, shows="x-code: 503"),
    chain("grpc-code-of-filter", [TELL_CODE, ABORT], get("/", GRPC), shows="x-code: 418"),
    chain("grpc-head", [ABORT], get("/", GRPC, method="HEAD")),
    Case("chain-grpc-head-h2", clients=h2(h2get(1, "/", GRPC, method="HEAD")), filters=json.dumps([ABORT])),
    chain("admission-behind-reply", [ABORT, COUNT], get(), get(), stats="admission_control"),
    chain("admission-before-reply", [COUNT, ABORT], get(), get(), stats="admission_control"),
    counted("states", "/a.b/c", GRPC, shows='{"requestMessageCount":"2","responseMessageCount":"1"} 2,1 -'),
    counted("states-json", "/a.b/c", GRPC, log=f"yaml: {{log_format: {{json_format: {{state: '{_STATE}%'}}}}}}"),
    counted("of-response", "/a.b/c", shows='{"responseMessageCount":"1"} 0,1'),
    counted("no-method", "/a", GRPC),
    counted("slashes", "//a.b///c/", GRPC, shows="grpc.a.b.c.request_message_count: 2"),
]  # fmt: skip
