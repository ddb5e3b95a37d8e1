"""Filters that ask for a name and a password or for a key, that name addresses, and that read JSON."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Any

from ..case import Case, answer, get

_HTTP = "envoy.extensions.filters.http."


def filtered(name: str, kind: str, config: dict[str, Any], *requests: str | float, **more: Any) -> Case:
    entry: dict[str, Any] = {"match": {"prefix": "/"}, "route": {"cluster": "$up"}}
    if "per_route" in more:
        entry["typed_per_filter_config"] = {"x": more.pop("per_route")}
    return Case(
        name,
        requests,
        filters=json.dumps([{"name": "x", "typed_config": {"@type": f"{_HTTP}{kind}", **config}}]),
        routes=json.dumps([entry]),
        timing=False,
        log=more.pop("log", "%RESPONSE_CODE% %RESPONSE_CODE_DETAILS% %RESPONSE_FLAGS% %REQ(:PATH)%\n"),
        **more,
    )


def hashed(name: str, password: str) -> str:
    digest = hashlib.sha1(password.encode(), usedforsecurity=False).digest()
    return f"{name}:{{SHA}}{base64.b64encode(digest).decode()}"


def basic(text: str, scheme: str = "Basic ", header: str = "authorization") -> str:
    return f"{header}: {scheme}{base64.b64encode(text.encode()).decode()}"


def each(*requests: str) -> tuple[str | float, ...]:
    return tuple(part for request in requests for part in (request, 0.05))


_USERS = {"inline_string": f"# users\n{hashed('u', 'p')}\n\n{hashed('v', 'q:r')}\n"}
_BASIC = "basic_auth.v3.BasicAuth"
_BASIC_STATS = {"stats": r"^http\.$case\.basic_auth"}


def passworded(name: str, config: dict[str, Any], *requests: str | float, **more: Any) -> Case:
    return filtered(f"basic-auth-{name}", _BASIC, {"users": _USERS, **config}, *requests, **_BASIC_STATS, **more)


def users(text: str) -> Case:
    return passworded(
        "refused-" + hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()[:6],
        {"users": {"inline_string": text}},
        refused=True,
    )


_KEYS = {
    "credentials": [{"key": "k1", "client": "one"}, {"key": "k2", "client": "two"}],
    "key_sources": [{"header": "authorization"}, {"header": "x-key"}, {"query": "key"}, {"cookie": "ck"}],
}
_KEY_ROUTE = f"{_HTTP}api_key_auth.v3.ApiKeyAuthPerRoute"


def keyed(name: str, config: dict[str, Any], *requests: str | float, **more: Any) -> Case:
    stats = {"stats": r"^http\.$case\.api_key_auth"}
    return filtered(f"api-key-{name}", "api_key_auth.v3.ApiKeyAuth", {**_KEYS, **config}, *requests, **stats, **more)


_SOURCES = each(
    get("/a"),
    *(
        get("/a", f"authorization: {value}")
        for value in ("Bearer k1", "k1", "bearer k1", "Basic k1", "Bearer  k1", "Bearerk1")
    ),
    *(get("/a", f"x-key: {value}") for value in ("k2", "Bearer k2", "zz", "")),
    get("/a", "x-key: k1", "x-key: k2"),
    get("/a", "x-key: zz", "cookie: ck=k1"),
    *(get(path) for path in ("/a?b=c&key=k1&z=", "/a?key=%6b1", "/a?key=", "/a?key=zz&key=k1", "/a?k%65y=k1")),
    *(get("/a", f"cookie: {value}") for value in ("a=b; ck=k1", "ck=zz", 'ck="k1"', "ck=k1; ck=zz")),
)
_HIDING = each(
    get("/a?b=c&key=k1&z=1"),
    get("/a?key=k1"),
    get("/a?key=k1&key=k2"),
    get("/a?x=1", "x-client: evil", "authorization: Bearer k1", "x-key: k2"),
    get("/a", "cookie: a=b; ck=k1; d=e"),
    get("/a", "cookie: ck=k1"),
    get("/a", "x-key: k1"),
)

_TAGS = {
    "ip_tags": [
        {"ip_tag_name": "local", "ip_list": [{"address_prefix": "127.0.0.0", "prefix_len": 8}]},
        {
            "ip_tag_name": "near",
            "ip_list": [
                {"address_prefix": "12.0.0.0", "prefix_len": 24},
                {"address_prefix": "10.0.0.0", "prefix_len": 8},
            ],
        },
        {"ip_tag_name": "far", "ip_list": [{"address_prefix": "11.0.0.0", "prefix_len": 8}]},
    ]
}


def tagged(name: str, config: dict[str, Any], *requests: str | float, **more: Any) -> Case:
    stats = {"stats": r"^http\.$case\.ip_tagging"}
    return filtered(f"ip-tagging-{name}", "ip_tagging.v3.IPTagging", {**_TAGS, **config}, *requests, **stats, **more)


def target(key: str, **more: Any) -> dict[str, Any]:
    return {"metadata_namespace": "ns", "key": key, **more}


def rule(path: str, key: str, **more: Any) -> dict[str, Any]:
    return {
        "selectors": [{"key": part} for part in path.split(".")],
        "on_present": target(key, **more),
        "on_missing": target(key, value="missing"),
        "on_error": target(key, value="error"),
    }


_RULES = [
    rule("a", "a"),
    rule("a", "text", type="STRING"),
    rule("a", "number", type="NUMBER"),
    rule("a.b", "ab"),
    rule("a.b.c", "abc"),
    rule("a", "constant", value="K"),
    rule("a.b", "inner-constant", value=5),
]
_DOCUMENTS = (
    *(
        '{"a":"x"}',
        '{"a":1}',
        '{"a":1.5}',
        '{"a":true}',
        '{"a":false}',
        '{"a":null}',
        '{"a":"5"}',
        '{"a":{"b":{"c":"d"}}}',
    ),
    *('{"a":[1,2]}', "{}", "[1]", "nojson", '{"a":"x"', '"str"', '{"a":""}', '{"a":{"b":5}}', '{"a":-7}', "NaN"),
)


def posted(body: str, kind: str = "application/json") -> str:
    return get("/", *([f"content-type: {kind}"] if kind else []), method="POST", body=body)


def read(name: str, config: dict[str, Any], *requests: str | float, **more: Any) -> Case:
    log = "%RESPONSE_CODE% %RESPONSE_CODE_DETAILS% %DYNAMIC_METADATA(ns)%\n"
    return filtered(f"json-{name}", "json_to_metadata.v3.JsonToMetadata", config, *requests, log=log, **more)


_ANSWER = 'HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 9\r\n\r\n{"a":"x"}'

CASES = [
    passworded(
        "credentials",
        {},
        *each(
            get("/a?b=c"),
            *(get("/a", basic(text)) for text in ("u:p", "u:x", "z:p", "up", "u:p:z", "v:q:r", ":", "u:")),
            get("/a", basic("u:p", "basic ")),
            get("/a", basic("u:p", "Basic  ")),
            *(get("/a", f"authorization: {value}") for value in ("Bearer x", "Basic !!!", "Basic", "Basic dTpw=", "Basic dTpw dTpw")),
            get("/a", basic("u:p"), basic("v:q:r")),
        ),
        shows=("200", "401"),
    ),
    passworded("forward", {"forward_username_header": "x-user"}, get("/", "x-user: evil", basic("u:p")), 0.1, get("/", "x-user: evil")),
    passworded("header", {"authentication_header": "x-auth"}, get("/", basic("u:p", header="x-auth")), 0.1, get("/", basic("u:p"))),
    passworded("head", {}, get("/", method="HEAD")),
    passworded(
        "per-route",
        {},
        *each(get("/", basic("u:p")), get("/", basic("w:s"))),
        per_route={"@type": f"{_HTTP}basic_auth.v3.BasicAuthPerRoute", "users": {"inline_string": hashed("w", "s")}},
    ),
    *map(users, ("u", "u:p", "u:{SHA}x", ":" + hashed("u", "p"), f"{hashed('u', 'p')}\n{hashed('u', 'q')}", "u:{MD5}x")),
    keyed("sources", {}, *_SOURCES, shows=("200", "401")),
    keyed("forward", {"forwarding": {"header": "x-client"}}, get("/", "x-key: k1", "x-client: evil"), 0.1, get("/?key=k2")),
    keyed("hide", {"forwarding": {"header": "x-client", "hide_credentials": True}}, *_HIDING),
    keyed("no-credentials", {"credentials": []}, get("/", "x-key: k1"), shows="missing_credentials"),
    keyed("no-sources", {"key_sources": []}, get("/", "x-key: k1"), shows="missing_key_sources"),
    keyed("route-clients", {}, *each(get("/", "x-key: k1"), get("/", "x-key: k2")), per_route={"@type": _KEY_ROUTE, "allowed_clients": ["two"]}, shows="403"),
    keyed(
        "route-credentials",
        {},
        *each(get("/", "x-key: k1"), get("/", "x-key: k3")),
        per_route={"@type": _KEY_ROUTE, "credentials": [{"key": "k3", "client": "three"}]},
    ),
    keyed("route-sources", {}, *each(get("/", "x-key: k1"), get("/", "x-o: k1")), per_route={"@type": _KEY_ROUTE, "key_sources": [{"header": "x-o"}]}),
    keyed("route-empty", {"forwarding": {"header": "x-client"}}, get("/", "x-key: k1"), per_route={"@type": _KEY_ROUTE}),
    keyed("refused-twice", {"credentials": [{"key": "a", "client": "b"}, {"key": "a", "client": "c"}]}, refused=True),
    keyed("refused-source", {"key_sources": [{}]}, refused=True),
    tagged("tags", {}, *each(get("/"), get("/", "x-envoy-ip-tags: mine"), get("/", "x-forwarded-for: 11.0.0.1")), shows="x-envoy-ip-tags"),
    tagged("forwarded", {}, *each(*(get("/", f"x-forwarded-for: {ip}") for ip in ("11.0.0.1", "10.1.1.1", "9.9.9.9", "127.0.1.1"))), hcm="{use_remote_address: false}"),
    tagged("internal", {"request_type": "INTERNAL"}, *each(get("/"), get("/", "x-forwarded-for: 11.0.0.1")), hcm="{use_remote_address: false}"),
    tagged("external", {"request_type": "EXTERNAL"}, *each(get("/"), get("/", "x-forwarded-for: 11.0.0.1")), hcm="{use_remote_address: false}"),
    tagged("header-sanitize", {"ip_tag_header": {"header": "x-tags", "action": "SANITIZE"}}, *each(get("/"), get("/", "x-tags: mine", "x-envoy-ip-tags: o"))),
    tagged("header-append", {"ip_tag_header": {"header": "x-tags", "action": "APPEND_IF_EXISTS_OR_ADD"}}, *each(get("/"), get("/", "x-tags: mine"))),
    tagged("refused-none", {"ip_tags": []}, refused=True),
    read(
        "documents",
        {"request_rules": {"rules": _RULES}},
        *each(*map(posted, _DOCUMENTS), posted('{"a":"x"}', "text/plain"), posted('{"a":"x"}', ""), posted('{"a":"x"}', "application/json; charset=utf-8")),
        *each(posted('{"a":"x"}', "APPLICATION/JSON"), get("/"), get("/", "content-type: application/json")),
        shows="missing",
    ),
    read("types", {"request_rules": {"rules": _RULES[:1], "allow_content_types": ["text/json"], "allow_empty_content_type": True}},
        *each(*(posted('{"a":"x"}', kind) for kind in ("", "text/json", "application/json")))),
    read("types-regex", {"request_rules": {"rules": _RULES[:1], "allow_content_types_regex": {"regex": "text/.*"}}},
        *each(*(posted('{"a":"x"}', kind) for kind in ("", "text/json", "application/json", "a/text/b")))),
    read("keep", {"request_rules": {"rules": [rule("a", "k"), rule("b", "k", preserve_existing_metadata_value=True)]}}, posted('{"a":"x","b":"y"}')),
    read("response", {"response_rules": {"rules": _RULES[:2]}}, get("/"), upstreams=answer(_ANSWER), shows="x"),
    read("empty", {}, posted("{}")),
    read("refused-missing", {"request_rules": {"rules": [{"selectors": [{"key": "a"}], "on_missing": target("a")}]}}, refused=True),
]  # fmt: skip
