"""CEL: what expressions evaluate to, what they see of a stream, and where they decide."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from ..case import OK, REFUSE, Case, Upstream, get

VALUES = (
    # Literals and how they are printed.
    *("1", "-1", "1u", "1.5", "1e3", "0x1F", "'str'", "b'abc'", r"r'a\d'", r"'\\u00e9'", "'é'", "'''tri'''", "true", "null"),
    *("[1,2]", "{'a':1}", "type(1)", "[1, 'a', true, null, 1.5, [2], {'k': 'v'}, b'x', 2u]", "100000.0", "1234567.5"),
    # Arithmetic, with what has no value.
    *("7 / 2", "-7 / 2", "-7 % 3", "7.0 / 2.0", "1 / 0", "1 % 0", "9223372036854775807 + 1", "1 + 1.0", "2u - 3u"),
    *("-9223372036854775808", "- - 1", "-request.size", "5.0 % 2.0", "-'a'", "!1", "'a' + 'b'", "[1] + [2]"),
    # Comparison.
    *("1 == 1.0", "1 == 1u", "1 < 1.5", "'a' < 'b'", "'a' == 1", "'a' > 1", "null == 1", "[1,2] == [1,2.0]", "true == 1"),
    *("{'a':1} == {'a':1}", "b'a' < b'b'", "1 < 2 == true", "double('nan') == double('nan')", "request.headers == {}"),
    # Logic absorbs errors.
    *("nosuch || true", "nosuch || false", "false && nosuch", "nosuch && false", "1 && true", "1 || true", "1 ? 2 : 3"),
    *("nosuch ? 1 : 2", "true ? 1 : nosuch", "!!true"),
    # Containers.
    *("1 in [1.0,2]", "'a' in {'a':1}", "'ab' in 'abc'", "{'a':1}.a", "{'a':1}['b']", "[1,2][1.0]", "[1,2][5]", "{1:2}[1u]"),
    *("{'a':1,'a':2}", "{1.0: 2}", "size([1,2])", "'abc'.size()", "size('é')", "size(b'é')", "size(5)"),
    # Functions.
    *("'abc'.startsWith('a')", "startsWith('a','b')", "'abc'.endsWith('c')", "'abc'.contains('b')", "'abc'.startsWith(1)"),
    *("'abc'.matches('b')", "'abc'.matches('^b$')", "re.capture('abc', 'a(b)')", "re.capture('abc', 'a(b)c')"),
    *("re.captureN('abc', 'a(?P<x>b)c')", r"re.extract('abc', 'a(b)c', r'\1')", "int('5')", "int(' 5')", "int('x')", "int(5.7)"),
    *("int(1e30)", "uint(-1)", "double('1.5')", "bool('TRUE')", "bool('yes')", "bytes('abc')", "dyn(1)", "type(1u) == uint"),
    # Time.
    *("duration('1h30m')", "duration('0.001s')", "duration('-1.5h')", "duration('0s')", "duration('1')", "timestamp(0)"),
    *("timestamp('2020-01-01T00:00:00.5+01:00')", "timestamp('2020-01-01T00:00:00Z') + duration('1h')", "timestamp('x')"),
    *("timestamp('2020-02-03T04:05:06Z').getMonth()", "timestamp('2020-02-03T04:05:06Z').getDayOfYear()"),
    *("timestamp('2020-02-03T04:05:06Z').getDayOfWeek()", "timestamp('2020-02-03T04:05:06Z').getHours('+02:30')"),
    *("timestamp('2020-01-01T00:00:00Z') - timestamp('2019-01-01T00:00:00Z')", "duration('90s').getMinutes()"),
    *("request.time.getFullYear() > 2020", "request.duration >= duration('0s')"),
)  # fmt: skip

SEEN = (
    *("request.headers['x-a']", "request.headers['X-A']", "request.headers.none", "has(request.headers.none)", "request[1]"),
    *("'x-a' in request.headers", "request.headers[':path']", "request.headers.host", "request.headers", "request['path']"),
    *("request.size", "request.total_size", "request.headers_bytes", "request.protocol", "request.path", "request.url_path"),
    *("request.host", "request.scheme", "request.method", "request.referer", "request.useragent", "request.query", "request"),
    *("request.`path`", "request.nosuch", "has(request.headers)", "request.path.size", "'a' in request", ".request.path"),
    *("response.code", "response.size", "response.headers['x-r']", "response.trailers", "response.flags", "response.grpc_status"),
    *("response.code_details", "has(response.headers.none)", "connection.mtls", "connection.requested_server_name"),
    *("connection.tls_version", "connection.uri_san_peer_certificate", "connection.termination_details"),
    *("upstream.port", "upstream.request_attempt_count", "upstream.transport_failure_reason", "upstream.num_endpoints"),
    *("upstream.uri_san_peer_certificate", "source.address.startsWith('127.0.0.1:')", "source.port > 0", "destination.port"),
    *("metadata", "metadata.filter_metadata", "metadata.filter_metadata.ns", "metadata.filter_metadata['ns']['number']"),
    *("metadata.filter_metadata['ns']['number'] == 5", "metadata.filter_metadata['ns']['number'] + 1"),
    *("metadata.filter_metadata.ns.list[0]", "metadata.filter_metadata.ns.list.size()", "metadata.nosuch"),
    *("metadata.filter_metadata.ns.nested == {'k':'v'}", "metadata.filter_metadata.ns.none", "metadata.typed_filter_metadata"),
    *("'x' in metadata.filter_metadata.ns.list", "has(metadata.filter_metadata.ns.q)", "metadata.filter_metadata.ns.q"),
    *("filter_state", "filter_state.state", "filter_state.state == b'val'", "filter_state.none", "upstream_filter_state"),
    *("xds.cluster_name", "xds.cluster_metadata", "xds.route_name", "xds.route_metadata", "xds.virtual_host_name"),
    *("xds.route_metadata.filter_metadata['ns']['a']", "xds.filter_chain_name", "xds.listener_metadata"),
    *("xds.listener_direction", "xds.upstream_host_metadata"),
)  # fmt: skip

_BEFORE = [
    {
        "name": "set",
        "typed_config": {
            "@type": "envoy.extensions.filters.http.set_metadata.v3.Config",
            "metadata": [
                {
                    "metadata_namespace": "ns",
                    "value": {"text": "é", "number": 5, "list": ["x", 1], "nested": {"k": "v"}, "none": None},
                }
            ],
        },
    },
    {
        "name": "state",
        "typed_config": {
            "@type": "envoy.extensions.filters.http.set_filter_state.v3.Config",
            "on_request_headers": [
                {
                    "object_key": "state",
                    "factory_key": "envoy.string",
                    "format_string": {"text_format_source": {"inline_string": "val"}},
                }
            ],
        },
    },
]
_ROUTE = {
    "name": "r1",
    "match": {"prefix": "/"},
    "metadata": {"filter_metadata": {"ns": {"a": "b"}}},
    "route": {"cluster": "$up"},
}
_REQUEST = get("/a/b?x=1&y=2", "x-a: one", "x-a: two", "user-agent: ua", "referer: rf", method="POST", body="abc")
_FILE = "envoy.extensions.access_loggers.file.v3.FileAccessLog"
_FILTER = "envoy.extensions.access_loggers.filters.cel.v3.ExpressionFilter"


def shown(name: str, expressions: Sequence[str], **more: Any) -> Case:
    """Each expression as text and as JSON."""
    lines = [f"{text.replace('%', '%%')} -> %CEL({text})% %TYPED_CEL({text})%" for text in expressions]
    return Case(
        f"cel-{name}",
        more.pop("send", _REQUEST),
        filters=json.dumps(_BEFORE),
        routes=json.dumps([more.pop("route", _ROUTE)]),
        log="\n".join(lines) + "\n",
        timing=False,
        **more,
    )


def shown_as_json(name: str, expressions: Sequence[str]) -> Case:
    """The same in a JSON log."""
    fields = {f"{number:03}": f"%TYPED_CEL({text})%" for number, text in enumerate(expressions)}
    fields |= {f"{number:03}t": f"%CEL({text})%" for number, text in enumerate(expressions)}
    config = {"@type": _FILE, "path": "$dir/$case", "log_format": {"json_format": fields}}
    return Case(
        f"cel-json-{name}",
        _REQUEST,
        filters=json.dumps(_BEFORE),
        routes=json.dumps([_ROUTE]),
        hcm=json.dumps({"access_log": [{"name": "json", "typed_config": config}]}),
        timing=False,
    )


def logged(
    name: str, expression: str, *requests: str | float, options: dict[str, Any] | None = None, **more: Any
) -> Case:
    """Requests that a `cel` filter of the access log lets pass, or doesn't."""
    chosen = {"@type": _FILTER, "expression": expression, **({"cel_config": options} if options else {})}
    log = {
        "name": "chosen",
        "filter": {"extension_filter": {"name": "cel", "typed_config": chosen}},
        "typed_config": {
            "@type": _FILE,
            "path": "$dir/$case",
            "log_format": {"text_format_source": {"inline_string": "%REQ(:PATH)% %RESPONSE_CODE%\n"}},
        },
    }
    return Case(
        f"cel-log-{name}",
        requests or (get("/a"), 0.1, get("/b")),
        hcm=json.dumps({"access_log": [log]}),
        timing=False,
        **more,
    )


_ALL = {"enable_string_functions": True, "enable_string_concat": True, "enable_string_conversion": True}


# Syntax trees, as `config.rbac.v3.Policy` has them.
def text(value: str) -> dict[str, Any]:
    return {"const_expr": {"string_value": value}}


def attribute(name: str, *fields: str) -> dict[str, Any]:
    node: dict[str, Any] = {"ident_expr": {"name": name}}
    for field in fields:
        node = {"select_expr": {"operand": node, "field": field}}
    return node


def call(function: str, *arguments: dict[str, Any], target: dict[str, Any] | None = None) -> dict[str, Any]:
    return {"call_expr": {"function": function, "args": list(arguments), **({"target": target} if target else {})}}


def conditioned(
    name: str, condition: dict[str, Any], *requests: str | float, action: str = "ALLOW", **more: Any
) -> Case:
    """An rbac policy with a condition, for all requests."""
    policy = {
        "permissions": [{"any": True}],
        "principals": [{"any": True}],
        "condition": condition,
        **more.pop("policy", {}),
    }
    config = {
        "@type": "envoy.extensions.filters.http.rbac.v3.RBAC",
        "rules": {"action": action, "policies": {"p": policy}},
    }
    return Case(
        f"cel-rbac-{name}",
        requests or (get("/a"), 0.1, get("/b")),
        filters=json.dumps([*_BEFORE, {"name": "rbac", "typed_config": config}]),
        timing=False,
        log="%RESPONSE_CODE% %RESPONSE_CODE_DETAILS%\n",
        stats=r"^http\.$case\.rbac",
        **more,
    )


_HEADER = call("_[_]", attribute("request", "headers"), text("x-a"))

CASES = [
    shown("values", VALUES, shows="1h30m"),
    shown("seen", SEEN, upstreams={"up": Upstream(((OK.replace("\r\n\r\n", "\r\nx-r: r\r\n\r\n"),),))}, shows="POST"),
    shown(
        "seen-local",
        SEEN,
        route={"match": {"prefix": "/"}, "direct_response": {"status": 404, "body": {"inline_string": "no"}}},
        shows="direct_response",
    ),
    shown("seen-no-route", SEEN, route={"match": {"prefix": "/other"}, "route": {"cluster": "$up"}}, shows="route_not_found"),
    shown("seen-no-upstream", SEEN, upstreams=REFUSE, shows="503"),
    shown("seen-grpc", SEEN, send=get("/s/m", "content-type: application/grpc", method="POST"), upstreams=REFUSE),
    shown_as_json("values", VALUES),
    shown_as_json("seen", [text for text in SEEN if not text.startswith("request.headers")]),
    logged("path", "request.path == '/a'"),
    logged("code", "response.code >= 400", get("/a"), shows="200"),
    logged("error", "request.headers['none'] == 'a'"),
    logged("no-boolean", "request.path"),
    logged(
        "functions",
        "request.headers['x-a'].lowerAscii() + string(response.code) == 'b200' && request.path.split('/')[1] == 'a'",
        get("/a", "x-a: B"),
        0.1,
        get("/b", "x-a: B"),
        options=_ALL,
    ),
    logged("refused-function", "request.path.split('/')[1] == 'a'", refused=True),
    logged("refused-conversion", "string(response.code) == '200'", refused=True),
    logged("refused-comprehension", "[1,2].exists(x, x == 1)", refused=True),
    logged("refused-syntax", "request.path ==", refused=True),
    logged("refused-macro", "has(request.headers['a'])", refused=True),
    logged("refused-expression", "'a'.matches('[')", refused=True),
    conditioned("path", call("_==_", attribute("request", "path"), text("/a")), shows="403"),
    conditioned("missing", call("_==_", _HEADER, text("1")), get("/"), 0.1, get("/", "x-a: 1"), shows="403"),
    conditioned("missing-deny", call("_!=_", _HEADER, text("1")), get("/"), 0.1, get("/", "x-a: 2"), action="DENY"),
    conditioned("method", call("startsWith", text("/a"), target=attribute("request", "url_path")), shows="403"),
    conditioned("matches", call("matches", text("^/[ab]$"), target=attribute("request", "path")), get("/b"), 0.1, get("/bb")),
    conditioned("logic", call("_||_", call("_==_", _HEADER, text("1")), call("_==_", attribute("request", "path"), text("/a")))),
    conditioned("response", call("_==_", attribute("response", "code"), {"const_expr": {"int64_value": 200}})),
    conditioned("node", call("_!=_", attribute("xds", "node", "id"), text("x"))),
    conditioned("route", call("_==_", attribute("xds", "virtual_host_name"), text("x")), action="DENY"),
    conditioned(
        "functions",
        call("_==_", call("upperAscii", target=attribute("request", "path")), text("/A")),
        policy={"cel_config": _ALL},
        shows="403",
    ),
    conditioned("refused-function", call("upperAscii", target=attribute("request", "path")), refused=True),
]  # fmt: skip
