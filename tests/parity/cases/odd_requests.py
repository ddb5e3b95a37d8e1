"""Policies that many odd requests ask at once, each on a connection of its own: where readings of a field differ."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

from tests.tokens import jwk, jwks, raw_token, token

from ..case import Case, answer, client, get
from ..known import REST_OF_QUERY
from .compression import compressor, respond, shown

_FILTERS = "type.googleapis.com/envoy.extensions.filters.http."
_LOG = "%REQ(:METHOD)% %REQ(:PATH)% %RESPONSE_CODE% %RESPONSE_CODE_DETAILS% %DYNAMIC_METADATA(envoy.filters.http.jwt_authn)%\n"
_ALL = {"default_value": {"numerator": 100}}
_TEMPLATE = "type.googleapis.com/envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig"
_NOW = int(time.time())


def extension(name: str, kind: str, **config: Any) -> dict[str, Any]:
    return {"name": name, "typed_config": {"@type": _FILTERS + kind, **config}}


def asked(name: str, filters: list[dict[str, Any]], *requests: str, **more: Any) -> Case:
    """more: of the case; `view` shows what clients got."""
    view = more.pop("view", None)
    clients = []
    for number, request in enumerate(requests):
        head, _, body = request.partition("\r\n\r\n")
        closing = f"{head}\r\nconnection: close\r\n\r\n{body}"
        clients.append(client(closing, start=0.01 * number, timing=False, view=view))
    more.setdefault("log", _LOG)
    return Case(
        f"odd-{name}",
        clients=tuple(clients),
        filters=json.dumps(filters),
        timing=False,
        flat_upstream=True,
        sort_log=True,
        **more,
    )


# Cross-origin requests.

_ORIGIN = {"allow_origin_string_match": [{"exact": "http://a.test"}]}
_POLICY = _FILTERS + "cors.v3.CorsPolicy"


def preflight(*lines: str, method: str = "GET", origin: str = "http://a.test") -> str:
    return get("/", f"origin: {origin}", f"access-control-request-method: {method}", *lines, method="OPTIONS")


_CROSS = (
    preflight(),
    preflight("access-control-request-headers: x-a, X-B", method="FOO"),
    preflight("access-control-request-headers:"),
    preflight("access-control-request-private-network: true"),
    preflight(origin="http://b.test"),
    get("/get", "origin: http://a.test"),
)


def cross_origin(name: str, *levels: dict[str, Any] | None) -> Case:
    """levels: policies of the table, the virtual host, the route and the weighted cluster."""
    table, host, route, cluster = (
        {"typed_per_filter_config": {"cors": {"@type": _POLICY, **policy}}} if policy is not None else {}
        for policy in (*levels, *(None,) * (4 - len(levels)))
    )
    action = {"weighted_clusters": {"clusters": [{"name": "$up", "weight": 1, **cluster}]}}
    hosts = [{"name": "v", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, "route": action, **route}], **host}]
    return asked(
        f"cors-{name}",
        [extension("cors", "cors.v3.Cors")],
        *_CROSS,
        route_config=json.dumps({"virtual_hosts": hosts, **table}),
        stats=r"^http\.$case\.cors",
    )


def preflight_of_our_own() -> Case:
    """What is said to a preflight isn't a local reply: neither mapped nor put in gRPC's terms."""
    always = {"comparison": {"op": "GE", "value": {"default_value": 100, "runtime_key": "x"}}}
    mapper = {"filter": {"status_code_filter": always}, "status_code": 277, "body": {"inline_string": "mapped"}}
    policy = {"cors": {"@type": _POLICY, **_ORIGIN}}
    return asked(
        "cors-answered-as-it-is",
        [extension("cors", "cors.v3.Cors")],
        preflight(),
        preflight("content-type: application/grpc"),
        hcm=json.dumps({"local_reply_config": {"mappers": [mapper]}}),
        routes=json.dumps([{"match": {"prefix": "/"}, "route": {"cluster": "$up"}, "typed_per_filter_config": policy}]),
    )


def cross_origins() -> Iterator[Case]:
    said = {
        **_ORIGIN,
        "allow_credentials": True,
        "allow_private_network_access": True,
        "forward_not_matching_preflights": False,
        "allow_methods": "PUT",
        "allow_headers": "x",
        "expose_headers": "e",
        "max_age": "9",
    }
    yield cross_origin("any-method", None, {**_ORIGIN, "allow_methods": "*"})
    yield cross_origin("any-header", None, {**_ORIGIN, "allow_headers": "*", "allow_credentials": True})
    yield cross_origin("any-of-a-list", None, {**_ORIGIN, "allow_methods": "GET, *", "allow_headers": "*, x"})
    yield cross_origin("empty-route", None, said, {})
    yield cross_origin("route-denies", None, said, {"allow_credentials": False, "allow_private_network_access": False})
    yield cross_origin("route-off", None, said, {"filter_enabled": {"default_value": {"numerator": 0}}})
    yield cross_origin("host-off", None, {**said, "filter_enabled": {"default_value": {"numerator": 0}}}, {})
    yield cross_origin("four-levels", _ORIGIN, {"allow_methods": "A"}, {"max_age": "4"}, {"allow_headers": "b"})


# Requests that pages of elsewhere make.

_SOURCES = (
    *("http://h.test", "https://h.test", "http://H.TEST", "h.test", "http://h.test/", "http://h.test:80", "null", ""),
    *("http://u@h.test", "http://u:p@h.test", "http://u@v@h.test", "http://h.test#x", "http://h.test?x", "http://"),
    *("://h.test", "1http://h.test", "a-b+c.d://h.test", "http:h.test", "//h.test", "http://h.test:99999"),
    *("http://h.test:", "http://h.test:ab", "http://[::1", "http://h.test\\y", "http:///h.test"),
)


_REFERERS = (
    *("http://u@h.test/", "http://@h.test/", "http://h.test/#x", "h.test", "/a/b", "//h.test/x", "about:blank", "/a#b"),
    *(
        "http://h.test/a b",
        "http://h.test/\xe9",
        "http://h_t/",
        "http://h%41/",
        "android-app://x.y/z",
        "http:/x",
        "a/b:c",
    ),
    *("http://h.test/u@x", 'http://h.test/"', "file:///x", "mailto:a@b", '/"', "/%zz", "HTTP://[::1]:8/x"),
)


# Access control: what a route says, and what the filter's own statistics and metadata make of it.


def allowing(path: str, **more: Any) -> dict[str, Any]:
    permission = {"url_path": {"path": {"exact": path}}}
    policies = {"p": {"permissions": [permission], "principals": [{"any": True}]}}
    return {"rules": {"policies": policies}, **more}


def controlled(name: str, own: dict[str, Any], route: dict[str, Any] | None) -> Case:
    entry: dict[str, Any] = {"match": {"prefix": "/"}, "route": {"cluster": "$up"}}
    if route is not None:
        entry["typed_per_filter_config"] = {"rbac": {"@type": _FILTERS + "rbac.v3.RBACPerRoute", "rbac": route}}
    return asked(
        f"rbac-{name}",
        [extension("rbac", "rbac.v3.RBAC", **own)],
        *map(get, ("/a", "/b", "/a/b")),
        routes=json.dumps([entry]),
        log="%RESPONSE_CODE% %REQ(:PATH)% %DYNAMIC_METADATA(envoy.filters.http.rbac)%\n",
        stats=r"^http\.$case\.rbac",
    )


def controls() -> Iterator[Case]:
    own = allowing("/b", rules_stat_prefix="base", shadow_rules_stat_prefix="shadow")
    prefixed = {"rules_stat_prefix": "route", "track_per_rule_stats": True}
    yield controlled("route", own, allowing("/a"))
    yield controlled("route-with-prefix", own, allowing("/a", **prefixed))
    yield controlled("route-with-prefix-alone", allowing("/b"), allowing("/a", **prefixed))
    yield controlled("route-in-shadow", own, {"shadow_rules": allowing("/a")["rules"], "shadow_rules_stat_prefix": "r"})
    yield controlled("route-without-rules", own, {})
    template = {"@type": _TEMPLATE, "path_template": "/{name}"}
    policies = {
        "p": {
            "permissions": [{"uri_template": {"name": "t", "typed_config": template}}],
            "principals": [{"any": True}],
        }
    }
    yield controlled("template", {"rules": {"policies": policies}}, None)


# Who the client is.

_FORWARDED = (
    *("127.0.0.1", "127.0.0.2", "10.9.9.9", "172.15.0.1", "172.31.255.255", "172.32.0.1", "192.168.1.1", "100.64.0.1"),
    *("::1", "fd00::1", "fc00::1", "1.2.3.4, 10.0.0.1", "junk", "10.0.0.1:80"),
)
_LOCAL = {"cidr_ranges": [{"address_prefix": "127.0.0.0", "prefix_len": 8}]}


def forwarded(name: str, **manager: Any) -> Case:
    return asked(
        f"client-{name}",
        [],
        *(get(f"/{i}", f"x-forwarded-for: {each}") for i, each in enumerate(_FORWARDED)),
        get("/none"),
        get("/port", "x-forwarded-port: 9"),
        hcm=json.dumps(manager),
    )


def clients() -> Iterator[Case]:
    yield forwarded("private", internal_address_config={})
    yield forwarded("private-edge", internal_address_config={}, use_remote_address=True)
    yield forwarded("unix", internal_address_config={"unix_sockets": True, **_LOCAL}, use_remote_address=True)
    yield forwarded("hop", internal_address_config=_LOCAL, use_remote_address=True, xff_num_trusted_hops=1)
    yield forwarded("names", use_remote_address=True, add_user_agent=True, via="me", append_x_forwarded_port=True)
    yield forwarded("names-inside", internal_address_config={}, add_user_agent=True, via="me")
    yield forwarded("port", append_x_forwarded_port=True)


# Header additions, whose order and what they see.

_RESPONSE = "HTTP/1.1 200 OK\r\nx-a: up\r\nx-b: up1\r\nx-b: up2\r\nset-cookie: a=1\r\ncontent-length: 0\r\n\r\n"
_ADD, _ABSENT, _OVER, _EXISTS = (
    "APPEND_IF_EXISTS_OR_ADD",
    "ADD_IF_ABSENT",
    "OVERWRITE_IF_EXISTS_OR_ADD",
    "OVERWRITE_IF_EXISTS",
)


def added(name: str, *additions: tuple[str, str, str], **route: Any) -> Case:
    entries = [{"header": {"key": key, "value": value}, "append_action": act} for key, value, act in additions]
    entry = {"match": {"prefix": "/"}, "route": {"cluster": "$up"}, **route}
    return asked(
        f"added-{name}",
        [],
        get("/1"),
        get("/2", "x-a: c", "x-b: c1", "x-b: c2"),
        routes=json.dumps([{**entry, "request_headers_to_add": entries, "response_headers_to_add": entries}]),
        upstreams=answer(_RESPONSE),
    )


def additions() -> Iterator[Case]:
    yield added("overwriting-first", ("x-1", "1", _ADD), ("x-a", "o", _OVER), ("x-2", "2", _ADD), ("x-b", "o", _EXISTS))
    yield added("one-name", ("x-n", "1", _ABSENT), ("x-n", "2", _ABSENT), ("x-n", "3", _ADD), ("x-n", "4", _OVER))
    yield added("not-yet-there", ("x-q", "1", _ADD), ("x-q", "2", _EXISTS), ("x-m", "1", _OVER), ("x-m", "2", _OVER))
    yield added("seen", ("x-a", "new", _OVER), ("x-see", "%REQ(x-a)%|%RESP(x-a)%", _ADD), ("x-c", "%REQ(x-c)%", _ADD))
    yield added("cookies", ("set-cookie", "b=2", _ADD), ("set-cookie", "c=3", _OVER), ("cookie", "k=v", _ADD))
    yield added(
        "removed",
        ("x-a", "%REQ(x-a)%!", _ADD),
        ("x-b", "1", _ABSENT),
        request_headers_to_remove=["x-a"],
        response_headers_to_remove=["x-b"],
    )


def told(name: str, **mapper: Any) -> Case:
    comparison = {"op": "GE", "value": {"default_value": 400, "runtime_key": "k"}}
    mappers = [{"filter": {"status_code_filter": {"comparison": comparison}}, **mapper}]
    return asked(
        f"told-{name}",
        [],
        get("/"),
        get("/", "content-type: application/grpc", method="POST", body="x"),
        routes="[]",
        hcm=json.dumps({"local_reply_config": {"mappers": mappers}}),
    )


def replies() -> Iterator[Case]:
    headers = [
        {"header": {"key": "x-code", "value": "%RESPONSE_CODE%"}},
        {"header": {"key": "x-m", "value": "1"}, "append_action": _ABSENT},
        {"header": {"key": "content-type", "value": "q/r"}, "append_action": _OVER},
    ]
    yield told("status-and-headers", status_code=410, headers_to_add=headers, body={"inline_string": "gone"})
    yield told("headers", headers_to_add=headers)


# Metadata from headers and JSON.

_NOTED = "%REQ(:PATH)% %DYNAMIC_METADATA(ns)%\n"
_TO = {"metadata_namespace": "ns", "key": "k"}


_NUMBERS = (
    "5",
    "-1.5e3",
    "+1",
    "0x10",
    "0X1p4",
    "-0x1.8",
    "+-1",
    "++1",
    "0x",
    "inf",
    "-Infinity",
    "nan",
    "1_0",
    "1e400",
    "-1e400",
    "1e-400",
    ".5",
    "5.",
    "1.5f",
    "infi",
    "nan(x)",
    "0x1p",
    "0x1p2000",
    "1e",
    "-nan",
)


def noted(name: str, rules: list[dict[str, Any]], *values: str, **more: Any) -> Case:
    config = {"request_rules": rules, **more.pop("config", {})}
    return asked(
        f"noted-{name}",
        [extension("h", "header_to_metadata.v3.Config", **config)],
        *(get(f"/{number}", f"x-a: {value}") for number, value in enumerate(values)),
        get("/none"),
        log=_NOTED,
        stats=r"http_filter_name\.$case\.",
        **more,
    )


def notes() -> Iterator[Case]:
    packed = ("GgF2", "EQAAAAAAAPA/", "IAE=", "CAA=", "KgkKBwoBYRICCAA=", "MgYKBBoCYWI=", "CgNhYmM=", "eA==", "?", "v")
    rule = {"header": "x-a", "on_header_present": {**_TO, "type": "PROTOBUF_VALUE", "encode": "BASE64"}}
    yield noted("packed", [rule], *packed)
    missing = {"on_header_missing": {"metadata_namespace": "ns", "key": "m", "value": "none"}}
    counted = {"header": "x-a", "on_header_present": {**_TO, "encode": "BASE64"}, **missing}
    yield noted("counted", [counted, counted], "YQ==", "?", "l" * 9000, config={"stat_prefix": "$case"})
    yield noted("nothing", [], "a")
    number = {"header": "x-a", "on_header_present": {**_TO, "type": "NUMBER"}}
    yield noted("number", [number], *_NUMBERS)
    numbers = [1e15, 123456789012345680000, 1e22, 0.0001, 0.00012, 1e-7, -1e18, 2**53 + 2, 2**64, 100000, 1.7e9, 120000]
    values = {f"n{number}": each for number, each in enumerate(numbers)}
    told = [{"metadata_namespace": "ns", "value": values}]
    form = {"json_format": {"noted": "%DYNAMIC_METADATA(ns)%", "own": {"a": 100000, "b": 1.5, "c": 2000000}}}
    yield asked(
        "noted-numbers",
        [extension("m", "set_metadata.v3.Config", metadata=told)],
        get(),
        log=f"yaml: {json.dumps({'log_format': form})}",
    )
    integers = ("9223372036854775807", "9223372036854775808", "18446744073709551616", "-9223372036854775809", "1e400")
    to_json = {"selectors": [{"key": "a"}], "on_present": _TO, "on_error": {**_TO, "key": "e", "value": "error"}}
    bodies = [get("/", "content-type: application/json", method="POST", body=f'{{"a": {each}}}') for each in integers]
    json_filter = extension("j", "json_to_metadata.v3.JsonToMetadata", request_rules={"rules": [to_json]})
    yield asked("noted-integers", [json_filter], *bodies, log=_NOTED)


# What is written into queries.


def appended(key: str, value: str, action: str = "APPEND_IF_EXISTS_OR_ADD") -> dict[str, Any]:
    return {"append": {"record": {"key": key, "value": value}, "action": action}}


def queried(name: str, *mutations: dict[str, Any], requests: tuple[str, ...] = (), **more: Any) -> Case:
    paths = requests or ("/p?b=2&a=1&c=3", "/p", "/p?", "/p?a", "/p?a=1&a=2&b", "/p?&&x=1=2", "/p?=v&x")
    return asked(
        f"query-{name}",
        [extension("m", "header_mutation.v3.HeaderMutation", mutations={"query_parameter_mutations": mutations})],
        *(get(path, "x-a: a b&c/%~") for path in paths),
        **more,
    )


def queries() -> Iterator[Case]:
    for action in ("APPEND_IF_EXISTS_OR_ADD", "ADD_IF_ABSENT", "OVERWRITE_IF_EXISTS_OR_ADD", "OVERWRITE_IF_EXISTS"):
        formatted = appended("d", "%REQ(x-a)%", action), appended("e", "x%REQ(x-none)%y", action)
        yield queried(action.lower().replace("_", "-"), appended("a", "N", action), *formatted)
    yield queried("remove", {"remove": "a"}, {"remove": "zz"})
    yield queried("in-order", appended("a", "1"), {"remove": "a"}, appended("a", "2"), appended("a", "3"))
    yield queried("escaped", {"remove": "a"}, requests=("/p?%61=1&b=%41", "/p?a=1&b=%26&c=%zz"), differs=REST_OF_QUERY)
    for name, mutation in {
        "both": {**appended("a", "1"), "remove": "b"},
        "neither": {},
        "number": {"append": {"record": {"key": "a", "value": 1}}},
        "no-value": {"append": {"record": {"key": "a"}}},
        "no-record": {"append": {"entry": {"key": "a", "value": "eA=="}}},
    }.items():
        yield queried(f"refused-{name}", mutation, refused=True)


# Encodings.

_ACCEPTED = (
    *("gzip", "GZIP", "gzip, br", "br, gzip", "gzip;q=0.5, br;q=0.6", "*", "*;q=0", "*;q=0.5, gzip;q=0", "identity"),
    *("identity, gzip;q=0.5", "", "x-gzip", "gzip;q=abc", "gzip ; q=0.3", "gzip,gzip;q=0", "*, gzip;q=0", "gzip;q="),
)
_TELLING = {"status_header_enabled": True, "disable_on_etag_header": True, "uncompressible_response_codes": [404]}
_BYTES = ((r"(tx=|content-length: |_bytes: )\d+", r"\1<n>"),)


def encoded(name: str, filters: list[dict[str, Any]], reply: str, accepted: tuple[str, ...], **more: Any) -> Case:
    requests = [get(f"/{number}", f"accept-encoding: {text}") for number, text in enumerate(accepted)]
    return asked(
        f"encoding-{name}",
        filters,
        *requests,
        get("/none"),
        view=shown,
        upstreams=answer(reply),
        masks=_BYTES,
        **more,
    )


def encodings() -> Iterator[Case]:
    stats = r"^http\.$case\.compressor\..*\.(header_|compressed|not_compressed:)"
    yield encoded("one", [compressor()], respond(), _ACCEPTED, stats=stats)
    yield encoded("two", [compressor(), compressor("brotli")], respond(), _ACCEPTED, stats=stats)
    both = [compressor(choose_first=True), compressor("brotli", choose_first=True)]
    yield encoded("both-first", both, respond(), _ACCEPTED, stats=stats)
    kinds = {"common_config": {"content_type": ["TEXT/Plain"]}}
    yield encoded("type-in-capitals", [compressor(response_direction_config=kinds)], respond(), ("gzip",))
    telling = [compressor(kind, response_direction_config=_TELLING) for kind in ("gzip", "brotli")]
    for name, reply in {
        "": respond(),
        "-etag": respond('etag: "a"'),
        "-image": respond(kind="image/png"),
        "-small": respond(body="abc"),
        "-404": respond(status="404 Not Found"),
        "-encoded": respond("content-encoding: br"),
        "-no-transform": respond("cache-control: no-transform", kind="image/png"),
        "-small-etag": respond('etag: "a"', body="abc"),
        "-image-404": respond(kind="image/png", status="404 Not Found"),
    }.items():
        yield encoded(f"status{name}", telling, reply, ("gzip", "br", "identity", "gzip;q=0"))


# Tokens.


def carried(name: str, *requests: str, keys: str = "", **provider: Any) -> Case:
    settings = {"issuer": "iss", "local_jwks": {"inline_string": keys or jwks()}, **provider}
    rules = [{"match": {"prefix": "/"}, "requires": {"provider_name": "p"}}]
    jwt = extension("jwt", "jwt_authn.v3.JwtAuthentication", providers={"p": settings}, rules=rules)
    return asked(f"token-{name}", [jwt], *requests, stats=r"^http\.$case\.jwt_authn")


def bearing(*texts: str) -> list[str]:
    return [get(f"/{number}", f"authorization: Bearer {text}") for number, text in enumerate(texts)]


def odd_tokens() -> Iterator[Case]:
    good = token()
    header, payload, signature = good.split(".")
    dots = (good + "..", "." + good, f"{header}..{payload}.{signature}", good + ".a", "..", f"{header}.{payload}.")
    ends = (
        good + "=",
        good + "==",
        good + "===",
        good + "= =",
        good[:-5] + " " + good[-5:],
        good[:20] + "\t" + good[20:],
    )
    yield carried("spelled", *bearing(*dots, *ends, header + "=." + payload + "." + signature))
    twice = (b'{"iss":"iss","iss":"iss"}', b'{"iss":"iss","a":{"b":1,"b":2}}')
    names = [raw_token(b'{"alg":"RS256"}', each) for each in twice]
    yield carried("name-twice", *bearing(raw_token(b'{"alg":"none","alg":"RS256"}', b'{"iss":"iss"}'), *names))
    lives: list[dict[str, Any]] = [{}, {"exp": _NOW + 90_000}, {"exp": _NOW + 80_000}, {"iat": 5, "exp": _NOW + 80_000}]
    lives += [{"iat": _NOW + 50_000, "exp": _NOW + 90_000}, {"nbf": 5, "exp": _NOW + 90_000}]
    yield carried("life", *bearing(*map(token, lives)), max_lifetime="86400s")
    numbers = {"a": -1, "b": -3.5, "c": -0.0, "d": 1e20, "e": 2**64, "f": 2**63, "g": -(2**40), "h": 1e-7}
    headers = [{"header_name": f"x-{name}", "claim_name": name} for name in numbers]
    yield carried("numbers", *bearing(token(numbers)), claim_to_headers=headers)
    spaced = {"a": "  ", "b": " x", "c": "x\ty", "d": "", "e": "x  y "}
    yield carried(
        "spaced-claims",
        *bearing(token(spaced)),
        payload_in_metadata="p",
        normalize_payload_in_metadata={"space_delimited_claims": list(spaced)},
    )
    paths = (
        f"/?%74={good}",
        f"/?a=1&t={good}",
        f"/?t={good}&t=x",
        f"/?T={good}",
        "/?t=",
        f"/?t={good[:-5]}%0a{good[-5:]}",
    )
    yield carried("in-the-query", *(get(path) for path in paths), from_params=["t"])
    keys: dict[str, dict[str, Any]] = {"kid": {"kid": 1}, "alg": {"alg": 1}, "no-kid": {"kid": None}}
    for name, key in keys.items():
        texts = token(), token(kid="k1"), token(algorithm="PS256")
        yield carried(f"key-with-odd-{name}", *bearing(*texts), keys=jwks(jwk("RS256", **key)))


CASES = [
    *cross_origins(),
    preflight_of_our_own(),
    asked(
        "csrf",
        [extension("csrf", "csrf.v3.CsrfPolicy", filter_enabled=_ALL, additional_origins=[{"suffix": "ok"}])],
        *(get(f"/{i}", f"origin: {each}", method="POST") for i, each in enumerate(_SOURCES)),
        *(get(f"/r{i}", f"referer: {each}", method="PUT") for i, each in enumerate(_SOURCES)),
        stats=r"^http\.$case\.csrf",
    ),
    asked("referers", [], *(get(f"/{i}", f"referer: {each}") for i, each in enumerate(_REFERERS))),
    *clients(),
    *additions(),
    *replies(),
    *notes(),
    *controls(),
    *queries(),
    *encodings(),
    *odd_tokens(),
]
