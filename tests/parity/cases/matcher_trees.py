"""Matcher trees: what leads to an action, over the rbac filter; and the other places where a tree may stand."""

from __future__ import annotations

import json
from typing import Any

from ..case import Case, client, get
from .expressions import attribute, call, text

_RBAC = "envoy.extensions.filters.http.rbac.v3.RBAC"
_LOG = "%RESPONSE_CODE% %RESPONSE_CODE_DETAILS% %DYNAMIC_METADATA(envoy.common)%\n"


def typed(kind: str, /, **fields: Any) -> dict[str, Any]:
    return {"name": "x", "typed_config": {"@type": kind, **fields}}


def header_input(name: str = "x-a") -> dict[str, Any]:
    return typed("envoy.type.matcher.v3.HttpRequestHeaderMatchInput", header_name=name)


def network_input(name: str, **fields: Any) -> dict[str, Any]:
    return typed(f"envoy.extensions.matching.common_inputs.network.v3.{name}", **fields)


def single(value: dict[str, Any] | None = None, read: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    return {"single_predicate": {"input": read or header_input(), **({"value_match": value} if value else {}), **more}}


def named(name: str, action: str = "ALLOW") -> dict[str, Any]:
    return {
        "action": typed("envoy.config.rbac.v3.Action", name=name, **({} if action == "ALLOW" else {"action": action}))
    }


def listed(*entries: tuple[dict[str, Any], dict[str, Any]], **more: Any) -> dict[str, Any]:
    matchers = [{"predicate": predicate, "on_match": on_match} for predicate, on_match in entries]
    return {"matcher_list": {"matchers": matchers}, **more}


def mapped(kind: str, entries: dict[str, Any], read: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    return {"matcher_tree": {"input": read or header_input(), f"{kind}_match_map": {"map": entries}}, **more}


def nested(matcher: dict[str, Any]) -> dict[str, Any]:
    return {"matcher": matcher}


def controlled(name: str, matcher: dict[str, Any], *requests: str | float, before: Any = (), **more: Any) -> Case:
    config = {"@type": _RBAC, "matcher": matcher, **more.pop("config", {})}
    config = {key: value for key, value in config.items() if value is not None}
    return Case(
        f"tree-{name}",
        requests or (get("/", "x-a: 1"), 0.1, get("/", "x-a: 2"), 0.1, get("/")),
        filters=json.dumps([*before, {"name": "rbac", "typed_config": config}]),
        timing=False,
        stats=r"^http\.$case\.rbac|^$case",
        log=_LOG,
        **more,
    )


_ONE, _TWO = {"exact": "1"}, {"exact": "2"}
_IS_ONE = call("_==_", call("_[_]", attribute("request", "headers"), text("x-a")), text("1"))
_ANY = {"safe_regex": {"google_re2": {}, "regex": ".*"}}
_SET = typed(
    "envoy.extensions.filters.http.set_metadata.v3.Config",
    metadata=[{"metadata_namespace": "ns", "value": {"text": "a", "number": 5, "deep": {"k": "v"}}}],
)
_STATE = typed(
    "envoy.extensions.filters.http.set_filter_state.v3.Config",
    on_request_headers=[
        {
            "object_key": "state",
            "factory_key": "envoy.string",
            "format_string": {"text_format_source": {"inline_string": "%REQ(x-a)%"}},
        }
    ],
)
_PATHS = header_input(":path")
_IP = "envoy.extensions.matching.input_matchers.ip.v3.Ip"
_LOOPBACK = [{"address_prefix": "127.0.0.0", "prefix_len": 8}]


def custom(matcher: dict[str, Any], read: dict[str, Any] | None = None) -> dict[str, Any]:
    return single(read=read, custom_match=matcher)


def metadata(value: dict[str, Any], *keys: str, **more: Any) -> dict[str, Any]:
    read = network_input("DynamicMetadataInput", filter="ns", path=[{"key": key} for key in keys])
    return custom(typed("envoy.extensions.matching.input_matchers.metadata.v3.Metadata", value=value, **more), read)


def expression(tree: dict[str, Any]) -> dict[str, Any]:
    read = typed("xds.type.matcher.v3.HttpAttributesCelMatchInput")
    return custom(typed("xds.type.matcher.v3.CelMatcher", expr_match={"cel_expr_parsed": {"expr": tree}}), read)


_BOTH = (get("/a/b", "x-a: 1"), 0.1, get("/a/c", "x-a: 2"), 0.1, get("/x"))


def routed(name: str, matcher: dict[str, Any], *requests: str | float, **more: Any) -> Case:
    """A virtual host that finds its routes by a tree."""
    return Case(
        f"tree-route-{name}",
        requests,
        vhosts=json.dumps([{"name": "v", "domains": ["*"], "matcher": matcher, **more.pop("host", {})}]),
        log="%RESPONSE_CODE% %RESPONSE_CODE_DETAILS% %ROUTE_NAME% %REQ(:PATH)%\n",
        timing=False,
        **more,
    )


def route(name: str, prefix: str = "/", **more: Any) -> dict[str, Any]:
    found = {"name": name, "match": {"prefix": prefix, **more.pop("match", {})}, "route": {"cluster": "$up"}, **more}
    found = {key: value for key, value in found.items() if value is not None}
    return {"action": typed("envoy.config.route.v3.Route", **found)}


def routes(*entries: dict[str, Any]) -> dict[str, Any]:
    plain = [entry["action"]["typed_config"] for entry in entries]
    plain = [{key: value for key, value in entry.items() if key != "@type"} for entry in plain]
    return {"action": typed("envoy.config.route.v3.RouteList", routes=plain)}


_STRING = "google.protobuf.StringValue"


def chained(name: str, matcher: dict[str, Any], *chains: str, other: bool = False, **more: Any) -> Case:
    """A listener that finds its filter chain by a tree; each chain says its name."""

    def chain(chain_name: str) -> dict[str, Any]:
        says = typed(
            "envoy.extensions.filters.network.direct_response.v3.Config", response={"inline_string": chain_name}
        )
        return {"name": chain_name, "filters": [says]}

    listener: dict[str, Any] = {"filter_chain_matcher": matcher}
    if other:
        listener["default_filter_chain"] = chain("other")
    return Case(
        f"tree-chain-{name}",
        clients=(client("x", raw=True, timing=False),),
        chains=json.dumps([chain(each) for each in chains]),
        listener=json.dumps(listener),
        upstreams={},
        compare_log=False,
        **more,
    )


def chain_named(name: str) -> dict[str, Any]:
    return {"action": typed(_STRING, value=name)}


_MUTATION = "envoy.extensions.filters.http.header_mutation.v3.HeaderMutation"
_DELEGATE = "envoy.extensions.common.matching.v3.ExtensionWithMatcher"
_SKIP = {"action": typed("envoy.extensions.filters.common.matcher.action.v3.SkipFilter")}


def mutation(value: str) -> dict[str, Any]:
    """A filter that adds x-m to a request and to its response."""
    append = [{"append": {"header": {"key": "x-m", "value": value}}}]
    return typed(_MUTATION, mutations={"request_mutations": append, "response_mutations": append})


def delegated(
    name: str, matcher: dict[str, Any] | None, *requests: str | float, inner: Any = None, **more: Any
) -> Case:
    config = {"extension_config": inner or mutation("1"), **({"xds_matcher": matcher} if matcher else {})}
    entry: dict[str, Any] = {"match": {"prefix": "/"}, "route": {"cluster": "$up"}}
    if "per_route" in more:
        entry["typed_per_filter_config"] = {"x": more.pop("per_route")}
    return Case(
        f"tree-delegate-{name}",
        requests or (get("/", "x-a: 1"), 0.1, get("/", "x-a: 2"), 0.1, get("/")),
        filters=json.dumps([typed(_DELEGATE, **config)]),
        routes=json.dumps([entry]),
        timing=False,
        log=_LOG,
        **more,
    )


def execute(inner: dict[str, Any]) -> dict[str, Any]:
    return {"action": typed("envoy.extensions.filters.http.composite.v3.ExecuteFilterAction", typed_config=inner)}


_COMPOSITE = typed("envoy.extensions.filters.http.composite.v3.Composite")
_BUFFER = typed("envoy.extensions.filters.http.buffer.v3.Buffer", max_request_bytes=4)
_RBAC_NONE = typed(_RBAC, rules={})
_PER_ROUTE = "envoy.extensions.common.matching.v3.ExtensionWithMatcherPerRoute"
_PORT = network_input("DestinationPortInput")

_THREE = (get("/a", "x-a: 1"), 0.1, get("/b", "x-a: 2"), 0.1, get("/c"))

CASES = [
    controlled("list", listed((single(_ONE), named("one")))),
    controlled("list-order", listed((single(_ANY), named("first")), (single(_ONE), named("second", "DENY")))),
    controlled("list-otherwise", listed((single(_ONE), named("one", "DENY")), on_no_match=named("other")), shows="policy[one]"),
    controlled("only-otherwise", {"on_no_match": named("other", "DENY")}, shows="policy[other]"),
    controlled(
        "nested-without-match",
        listed(
            (single(_ANY), nested(listed((single(_TWO), named("two", "DENY"))))),
            (single(_ONE), named("one")),
            on_no_match=named("other"),
        ),
    ),
    controlled(
        "nested-otherwise",
        listed((single(_ANY), nested(listed((single(_TWO), named("two")), on_no_match=named("inner", "DENY"))))),
    ),
    controlled("and", listed(({"and_matcher": {"predicate": [single(_ONE), single({"prefix": "/a"}, _PATHS)]}}, named("p"))), *_BOTH),
    controlled("or", listed(({"or_matcher": {"predicate": [single(_ONE), single({"exact": "/x"}, _PATHS)]}}, named("p"))), *_BOTH),
    controlled("not", listed(({"not_matcher": single(_ONE)}, named("p")))),
    controlled("regex", listed((single({"safe_regex": {"google_re2": {}, "regex": "[0-1]+"}}), named("p"))), get("/", "x-a: 01"), 0.1, get("/", "x-a: 012")),
    controlled("case", listed((single({"exact": "ABC", "ignore_case": True}), named("p"))), get("/", "x-a: abc"), 0.1, get("/", "x-a: abd")),
    controlled("suffix", listed((single({"suffix": "c"}), named("p"))), get("/", "x-a: abc"), 0.1, get("/", "x-a: abd")),
    controlled("contains", listed((single({"contains": "b"}), named("p"))), get("/", "x-a: abc"), 0.1, get("/", "x-a: acd")),
    controlled("twice", listed((single({"exact": "1,2"}), named("p"))), get("/", "x-a: 1", "x-a: 2"), 0.1, get("/", "x-a: 1")),
    controlled("host", listed((single({"exact": "h.test"}, header_input("host")), named("p"))), get("/")),
    controlled("empty", listed((single(_ANY), named("p"))), get("/", "x-a:"), 0.1, get("/")),
    controlled("exact-map", mapped("exact", {"1": named("one"), "2": named("two", "DENY")})),
    controlled("exact-map-otherwise", mapped("exact", {"1": nested(listed((single(_TWO), named("two"))))}, on_no_match=named("other"))),
    controlled(
        "prefix-map",
        mapped("prefix", {"/a": named("a"), "/a/b": named("b", "DENY"), "/": named("all", "DENY")}, _PATHS),
        *_BOTH,
        shows=("policy[b]", "policy[all]"),
    ),
    controlled(
        "prefix-map-shorter",
        mapped("prefix", {"/a": named("a"), "/a/b": nested(listed((single(_TWO), named("two", "DENY"))))}, _PATHS, on_no_match=named("o")),
        *_BOTH,
    ),
    controlled("prefix-map-empty", mapped("prefix", {"": named("all")}), get("/"), 0.1, get("/", "x-a: 1")),
    controlled("log", listed((single(_ONE), named("one", "LOG"))), shows="access_log_hint"),
    controlled("log-otherwise", listed((single(_ONE), named("one", "LOG")), on_no_match=named("other"))),
    controlled("shadow", listed((single(_ANY), named("p"))), config={"shadow_matcher": listed((single(_ONE), named("s", "DENY")))}),
    controlled("before-rules", listed((single(_ONE), named("one"))), config={"rules": {"action": "DENY"}}),
    controlled("shadow-only", {"on_no_match": named("p", "DENY")}, config={"matcher": None, "shadow_matcher": {"on_no_match": named("s", "DENY")}}),
    # Inputs.
    controlled("query", listed((single(_ONE, typed("envoy.type.matcher.v3.HttpRequestQueryParamMatchInput", query_param="q")), named("p"))), refused=True),
    controlled("response-header", listed((single(_ONE, typed("envoy.type.matcher.v3.HttpResponseHeaderMatchInput", header_name="x-a")), named("p"))), refused=True),
    controlled("source-ip", listed((single({"exact": "127.0.0.1"}, network_input("SourceIPInput")), named("p"))), shows="200"),
    controlled("direct-source-ip", listed((single({"exact": "127.0.0.1"}, network_input("DirectSourceIPInput")), named("p"))), shows="200"),
    controlled("destination-ip", listed((single({"exact": "127.0.0.1"}, network_input("DestinationIPInput")), named("p"))), shows="200"),
    controlled("destination-port", listed((single({"exact": "$port"}, network_input("DestinationPortInput")), named("p"))), shows="200"),
    controlled("source-port", listed((single({"safe_regex": {"google_re2": {}, "regex": "[0-9]+"}}, network_input("SourcePortInput")), named("p"))), shows="200"),
    controlled("source-type", listed((single({"exact": "local"}, network_input("SourceTypeInput")), named("p"))), refused=True),
    controlled("server-name", listed((single(_ANY, network_input("ServerNameInput")), named("p")))),
    controlled("state", listed((single(_ONE, network_input("FilterStateInput", key="state")), named("p"))), before=[_STATE]),
    controlled("uri-san", listed((single(_ANY, typed("envoy.extensions.matching.common_inputs.ssl.v3.UriSanInput")), named("p")))),
    # Matchers of their own.
    controlled("ip", listed((custom(typed(_IP, cidr_ranges=_LOOPBACK, stat_prefix="$case"), network_input("SourceIPInput")), named("p"))), shows="200"),
    controlled(
        "ip-of-header",
        listed((custom(typed(_IP, cidr_ranges=_LOOPBACK, stat_prefix="$case")), named("p"))),
        *(get("/", "x-a: 127.1.2.3"), 0.1, get("/", "x-a: 10.0.0.1"), 0.1, get("/", "x-a: nothing"), 0.1, get("/")),
    ),
    controlled("metadata", listed((metadata({"string_match": {"exact": "v"}}, "deep", "k"), named("p"))), get("/"), before=[_SET], shows="200"),
    controlled("metadata-other", listed((metadata({"double_match": {"exact": 6}}, "number"), named("p"))), get("/"), before=[_SET], shows="403"),
    controlled("metadata-inverted", listed((metadata({"double_match": {"exact": 6}}, "number", invert=True), named("p"))), get("/"), before=[_SET]),
    controlled("metadata-absent", listed((metadata({"present_match": True}, "none"), named("p"))), get("/"), before=[_SET]),
    controlled("metadata-absent-inverted", listed((metadata({"present_match": True}, "none", invert=True), named("p"))), get("/"), before=[_SET]),
    controlled("expression", listed((expression(_IS_ONE), named("p"))), shows="403"),
    controlled("expression-error", listed(({"not_matcher": expression(_IS_ONE)}, named("p")))),
    controlled("address-map", {
        "matcher_tree": {
            "input": header_input(),
            "custom_match": typed("xds.type.matcher.v3.IPMatcher", range_matchers=[
                {"ranges": [{"address_prefix": "10.0.0.0", "prefix_len": 8}], "on_match": named("ten")},
                {"ranges": [{"address_prefix": "10.1.0.0", "prefix_len": 16}], "on_match": nested(listed((single({"suffix": ".1"}), named("d", "DENY"))))},
                {"ranges": [{"address_prefix": "10.2.0.0", "prefix_len": 16}], "exclusive": True, "on_match": nested(listed((single({"suffix": ".1"}), named("e", "DENY"))))},
            ]),
        },
        "on_no_match": named("other"),
    }, *(each for ip in ("10.9.9.9", "10.1.0.1", "10.1.0.2", "10.2.0.1", "10.2.0.2", "11.0.0.1", "nothing") for each in (get("/", f"x-a: {ip}"), 0.1))),
    # Routes.
    routed("exact", mapped("exact", {"1": route("one"), "2": route("two", "/a")}, on_no_match=route("other")), *_THREE, shows="one"),
    routed(
        "list",
        mapped("exact", {"1": routes(route("b", "/b"), route("h", match={"headers": [{"name": "x-b"}]}), route("a", "/a"))}),
        *(get("/a", "x-a: 1"), 0.1, get("/b", "x-a: 1"), 0.1, get("/a", "x-a: 1", "x-b: 1"), 0.1, get("/c", "x-a: 1")),
    ),
    routed(
        "settings",
        listed(
            (
                single(_ONE),
                route("one", route={"cluster": "$up", "prefix_rewrite": "/new/"}, request_headers_to_add=[{"header": {"key": "x-r", "value": "r"}}]),
            ),
            on_no_match=route("gone", direct_response={"status": 410}, route=None),
        ),
        *_THREE,
        host={"request_headers_to_add": [{"header": {"key": "x-v", "value": "v"}}]},
    ),
    routed("prefix", mapped("prefix", {"/a": route("a"), "/a/b": route("ab")}, _PATHS), get("/a/b/c?d=e"), 0.1, get("/ax"), 0.1, get("/b")),
    routed("connect", {"on_no_match": route("all")}, get("h.test:443", method="CONNECT")),
    routed("none", mapped("exact", {}), get("/"), refused=True),
    routed("both", {"on_no_match": route("all")}, get("/"), host={"routes": [{"match": {"prefix": "/"}, "route": {"cluster": "$up"}}]}, refused=True),
    routed("query", listed((single(_ONE, typed("envoy.type.matcher.v3.HttpRequestQueryParamMatchInput", query_param="q")), route("q"))), refused=True),
    # Filter chains.
    chained("port", mapped("exact", {"$port": chain_named("a")}, _PORT), "a", "b", shows="a"),
    chained("none", mapped("exact", {"1": chain_named("a")}, _PORT), "a"),
    chained("other", mapped("exact", {"1": chain_named("a")}, _PORT), "a", other=True, shows="other"),
    chained("unknown", mapped("exact", {"$port": chain_named("z")}, _PORT), "a", other=True),
    chained("otherwise", mapped("exact", {"1": chain_named("a")}, _PORT, on_no_match=chain_named("b")), "a", "b", shows="b"),
    chained("source-type", mapped("exact", {"local": chain_named("a")}, network_input("SourceTypeInput")), "a", shows="a"),
    chained("transport", mapped("exact", {"raw_buffer": chain_named("a")}, network_input("TransportProtocolInput")), "a", shows="a"),
    chained("protocols", mapped("exact", {"": chain_named("a")}, network_input("ApplicationProtocolInput")), "a", other=True),
    chained("ip", listed((custom(typed(_IP, cidr_ranges=_LOOPBACK, stat_prefix="$case"), network_input("SourceIPInput")), chain_named("a"))), "a"),
    chained("unnamed", {"on_no_match": chain_named("a")}, "a", "", refused=True),
    chained("same-names", {"on_no_match": chain_named("a")}, "a", "a", refused=True),
    # Filters that are left out, or put in.
    delegated("skip", listed((single(_ONE), _SKIP)), shows="x-m"),
    delegated("skip-otherwise", listed((single(_ONE), _SKIP), on_no_match=_SKIP)),
    delegated("no-matcher", None),
    delegated("says-nothing", {}),
    controlled("says-nothing", {}, shows="403"),
    delegated("map", mapped("exact", {"1": _SKIP})),
    delegated("reply", listed((single(_ONE), _SKIP)), inner=_RBAC_NONE, shows=("403", "200")),
    delegated("buffer", listed((single(_ONE), _SKIP)), get("/", "x-a: 1", method="POST", body="12345"), 0.1, get("/", method="POST", body="12345"), inner=_BUFFER, shows="413"),
    delegated("composite", listed((single(_ONE), execute(mutation("one"))), (single(_TWO), execute(_RBAC_NONE))), inner=_COMPOSITE, shows=("one", "403")),
    delegated("composite-buffer", listed((single(_ONE), execute(_BUFFER))), get("/", "x-a: 1", method="POST", body="12345"), 0.1, get("/", method="POST", body="12345"), inner=_COMPOSITE),
    delegated("per-route", listed((single(_ONE), _SKIP)), per_route={"@type": _PER_ROUTE, "xds_matcher": listed((single(_TWO), _SKIP))}),
    delegated("query", listed((single(_ONE, typed("envoy.type.matcher.v3.HttpRequestQueryParamMatchInput", query_param="q")), _SKIP)),
        *(get("/?q=1"), 0.1, get("/?q=2&q=1"), 0.1, get("/?q=%31"), 0.1, get("/?%71=1"), 0.1, get("/"))),
    delegated("source-type", listed((single({"exact": "local"}, network_input("SourceTypeInput")), _SKIP))),
    # Refused by both.
    controlled("refused-action", listed((single(_ONE), {"action": typed("envoy.config.rbac.v3.Policy")})), refused=True),
    controlled("refused-cel-value", listed((single(_ONE, typed("xds.type.matcher.v3.HttpAttributesCelMatchInput")), named("p"))), refused=True),
]  # fmt: skip
