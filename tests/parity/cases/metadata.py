"""Filters that put something into dynamic metadata or filter state; csrf; on_demand."""

from __future__ import annotations

import json
from typing import Any

from ..case import Case, answer, get

_FILTERS = "envoy.extensions.filters.http."
_ALL = {"default_value": {"numerator": 100}}
_NONE = {"default_value": {"numerator": 0}}
_TEXT = "%RESPONSE_CODE% %RESPONSE_CODE_DETAILS% "


def filtered(name: str, kind: str, config: dict[str, Any], *requests: str | float, **more: Any) -> Case:
    chain = [{"name": "f", "typed_config": {"@type": f"{_FILTERS}{kind}", **config}}]
    return Case(name, requests or (get(),), filters=json.dumps(chain), timing=False, **more)


_NO_SCRIPTS: dict[str, dict[str, Any]] = {
    "/a": {"disabled": True},
    "/b": {"source_code": {"inline_string": "--"}, "filter_context": {"a": "b"}},
    "/": {"name": "none"},
}


def _saying_nothing(prefix: str, **override: Any) -> dict[str, Any]:
    said = {"@type": f"{_FILTERS}lua.v3.LuaPerRoute", **override}
    return {"match": {"prefix": prefix}, "route": {"cluster": "$up"}, "typed_per_filter_config": {"f": said}}


def setting(name: str, *configs: dict[str, Any], **more: Any) -> Case:
    """Each is a filter of its own."""
    chain = [
        {"name": f"f{number}", "typed_config": {"@type": f"{_FILTERS}set_metadata.v3.Config", **config}}
        for number, config in enumerate(configs)
    ]
    return Case(
        f"set-metadata-{name}",
        get(),
        filters=json.dumps(chain),
        log=f"{_TEXT}%DYNAMIC_METADATA(ns)% %DYNAMIC_METADATA(other)%\n",
        stats=r"^http\.$case\.set_metadata",
        **more,
    )


def entry(value: dict[str, Any], namespace: str = "ns", **more: Any) -> dict[str, Any]:
    return {"metadata_namespace": namespace, "value": value, **more}


def copied(name: str, rule: dict[str, Any], *lines: str, response: str = "", **more: Any) -> Case:
    rules = {"response_rules" if response else "request_rules": [rule]}
    upstream = f"HTTP/1.1 200 OK\r\n{response}\r\ncontent-length: 0\r\n\r\n" if response else ""
    if upstream:
        more["upstreams"] = answer(upstream)
    namespaces = ("envoy.filters.http.header_to_metadata", "ns")
    return filtered(
        f"header-to-metadata-{name}",
        "header_to_metadata.v3.Config",
        rules,
        get("/p?q", *lines),
        log=_TEXT + " ".join(f"%DYNAMIC_METADATA({each})%" for each in namespaces) + "\n",
        **more,
    )


def guarded(name: str, *lines: str, method: str = "POST", host: str = "h.test", **settings: Any) -> Case:
    return filtered(
        f"csrf-{name}",
        "csrf.v3.CsrfPolicy",
        {"filter_enabled": _ALL, **settings},
        get("/", *lines, method=method, host=host),
        stats=r"^http\.$case\.csrf",
    )


def kept(name: str, value: dict[str, Any], *lines: str, **more: Any) -> Case:
    base = {"object_key": "k", "factory_key": "envoy.string"}
    return filtered(
        f"set-filter-state-{name}",
        "set_filter_state.v3.Config",
        {"on_request_headers": [{**base, **value}]},
        get("/", *lines),
        log=f"{_TEXT}%FILTER_STATE(k:PLAIN)%\n",
        **more,
    )


def text(inline: str) -> dict[str, Any]:
    return {"format_string": {"text_format_source": {"inline_string": inline}}}


X = {"header": "x-a", "on_header_present": {"key": "k"}}

CASES = [
    setting("old", {"metadata_namespace": "ns", "value": {"a": 1, "b": "c"}}),
    setting("new", {"metadata": [entry({"a": True, "b": None, "c": [1, "x"]})]}),
    setting("two-namespaces", {"metadata": [entry({"a": 1}), entry({"b": 2}, "other")]}),
    setting("not-overwritten", {"metadata": [entry({"a": 1}), entry({"a": 2, "b": 3})]}),
    setting("overwritten", {"metadata": [entry({"a": 1, "c": 1}), entry({"a": 2, "b": 3}, allow_overwrite=True)]}),
    setting(
        "merged",
        {"metadata": [entry({"a": {"b": 1, "c": 2}, "l": [1]})]},
        {"metadata": [entry({"a": {"b": 3, "d": 4}, "l": [2]}, allow_overwrite=True)]},
    ),
    setting(
        "merged-kinds",
        {"metadata": [entry({"a": {"b": 1}, "l": [1], "s": "x"})]},
        {"metadata": [entry({"a": 1, "l": "x", "s": {"y": 1}}, allow_overwrite=True)]},
    ),
    setting("old-over-new", {"metadata": [entry({"a": 1})], "metadata_namespace": "ns", "value": {"a": 2}}),
    # Headers and cookies.
    copied("present", X, "x-a: 1"),
    copied("absent", X),
    copied("empty", X, "x-a:"),
    copied(
        "base64-without-padding", {"header": "x-a", "on_header_present": {"key": "k", "encode": "BASE64"}}, "x-a: YWI"
    ),
    copied("empty-cookie", {"cookie": "c", "on_header_missing": {"key": "k", "value": "none"}}, "cookie: c="),
    copied("repeated", X, "x-a: 1", "x-a: 2"),
    copied("removed", {**X, "remove": True}, "x-a: 1", "x-b: 2"),
    copied("namespace", {"header": "x-a", "on_header_present": {"key": "k", "metadata_namespace": "ns"}}, "x-a: 1"),
    copied("constant", {"header": "x-a", "on_header_present": {"key": "k", "value": "c"}}, "x-a: 1"),
    copied("constant-for-empty", {"header": "x-a", "on_header_present": {"key": "k", "value": "c"}}, "x-a:"),
    copied("missing", {"header": "x-a", "on_header_missing": {"key": "k", "value": "m"}}),
    copied("missing-but-empty", {"header": "x-a", "on_header_missing": {"key": "k", "value": "m"}}, "x-a:"),
    copied("missing-but-there", {"header": "x-a", "on_header_missing": {"key": "k", "value": "m"}}, "x-a: 1"),
    copied("path", {"header": ":path", "on_header_present": {"key": "k"}}),
    copied("number", {"header": "x-a", "on_header_present": {"key": "k", "type": "NUMBER"}}, "x-a: 12.5"),
    copied("no-number", {"header": "x-a", "on_header_present": {"key": "k", "type": "NUMBER"}}, "x-a: 12a"),
    copied("base64", {"header": "x-a", "on_header_present": {"key": "k", "encode": "BASE64"}}, "x-a: aGFsbG8="),
    copied("no-base64", {"header": "x-a", "on_header_present": {"key": "k", "encode": "BASE64"}}, "x-a: a!"),
    copied(
        "regex",
        {
            "header": ":path",
            "on_header_present": {
                "key": "k",
                "regex_value_rewrite": {"pattern": {"regex": "^/(p).*$"}, "substitution": "<\\1>"},
            },
        },
    ),
    copied("too-long", X, "x-a: " + "a" * 8192),
    copied("just-fits", X, "x-a: " + "a" * 8191),
    copied("cookie", {"cookie": "c", "on_header_present": {"key": "k"}}, "cookie: a=b; c=d; c=e"),
    copied("cookie-missing", {"cookie": "c", "on_header_missing": {"key": "k", "value": "m"}}, "cookie: a=b"),
    copied("response", {**X, "remove": True}, response="x-a: up"),
    copied("response-status", {"header": ":status", "on_header_present": {"key": "k"}}, response="x-a: up"),
    copied("neither", {"header": "x-a"}, refused=True),
    copied("header-and-cookie", {**X, "cookie": "c"}, refused=True),
    # Filter state.
    kept("text", text("a %REQ(x-a)%"), "x-a: 1"),
    kept("absent", text("%REQ(x-a)%")),
    kept("skipped", {**text("%REQ(x-a)%"), "skip_if_empty": True}),
    kept("unknown-kind", {**text("a"), "factory_key": "nonsense"}, refused=True),
    # Cross-site requests.
    guarded("same", "origin: http://h.test"),
    guarded("other", "origin: http://evil.test"),
    guarded("none"),
    guarded("null", "origin: null"),
    guarded("empty", "origin:"),
    guarded("referer", "referer: http://h.test/a/b?c"),
    guarded("referer-other", "referer: http://evil.test/h.test"),
    guarded("empty-and-referer", "origin:", "referer: http://h.test/"),
    guarded("null-and-referer", "origin: null", "referer: http://h.test/"),
    guarded("other-and-referer", "origin: http://evil.test", "referer: http://h.test/"),
    guarded("port", "origin: http://h.test:8080", host="h.test:8080"),
    guarded("other-port", "origin: http://h.test:8080"),
    guarded("default-port", "origin: http://h.test:80"),
    guarded("https", "origin: https://h.test"),
    guarded("bare-host", "origin: h.test"),
    guarded("case", "origin: http://H.test"),
    guarded("user", "origin: http://h.test@evil.test"),
    guarded("scheme", "origin: ftp://h.test"),
    *[
        guarded(f"method-{method.lower()}", method=method)
        for method in ("GET", "HEAD", "OPTIONS", "PUT", "DELETE", "PATCH")
    ],
    guarded("additional", "origin: http://friend.test", additional_origins=[{"suffix": "friend.test"}]),
    guarded("additional-not", "origin: http://foe.test", additional_origins=[{"suffix": "friend.test"}]),
    guarded("shadow", "origin: http://evil.test", filter_enabled=_NONE, shadow_enabled=_ALL),
    guarded("off", "origin: http://evil.test", filter_enabled=_NONE),
    guarded("enabled-and-shadow", "origin: http://evil.test", shadow_enabled=_ALL),
    filtered("on-demand", "on_demand.v3.OnDemand", {}),
    filtered(
        "lua-without-a-script",
        "lua.v3.Lua",
        {"default_source_code": {"inline_string": "-- for routes\n--[[ and\nmore ]]"}},
        get("/a") + get("/b") + get("/c"),
        routes=json.dumps([_saying_nothing(path, **said) for path, said in _NO_SCRIPTS.items()]),
    ),
]
