"""JSON Web Tokens: what is accepted, in what words the rest is refused, and what the upstream is told."""

from __future__ import annotations

import json
import time
from typing import Any

from tests import tokens
from tests.tokens import jwk, jwks, raw_token, token

from ..case import Act, Case, Upstream, get
from ..known import ALL_TOKENS, CLAIM_WITHOUT_HEADER, CLIENTS_ORIGINAL_PATH, RETRIED_OWN_REQUESTS

_TYPE = "envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication"
_PER_ROUTE = "envoy.extensions.filters.http.jwt_authn.v3.PerRouteConfig"
_NOW = int(time.time())
_LOG = "%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %REQ(:PATH)% %DYNAMIC_METADATA(envoy.filters.http.jwt_authn)%\n"


_DIFFER = {
    **dict.fromkeys(("remote-retried", "remote-retried-in-vain"), RETRIED_OWN_REQUESTS),
    "two-allow-missing-p-bad-q": ALL_TOKENS,
    "claim-line-feed": CLAIM_WITHOUT_HEADER,
}


def bearer(text: str) -> str:
    return f"authorization: Bearer {text}"


def provider(**settings: Any) -> dict[str, Any]:
    base = {"issuer": "iss", "local_jwks": {"inline_string": jwks()}}
    return {key: value for key, value in {**base, **settings}.items() if value is not None}


def remote(**settings: Any) -> dict[str, Any]:
    uri = {"uri": "https://keys.test/jwks?a=b", "cluster": "$up2", "timeout": "1s"}
    return provider(local_jwks=None, remote_jwks={"http_uri": uri, **settings})


def rule(requires: dict[str, Any] | None, match: dict[str, Any] | None = None) -> dict[str, Any]:
    return {"match": match or {"prefix": "/"}, **({"requires": requires} if requires is not None else {})}


P = {"provider_name": "p"}
Q = {"provider_name": "q"}
MISSING: dict[str, Any] = {"allow_missing": {}}
FAILED: dict[str, Any] = {"allow_missing_or_failed": {}}


def guarded(
    name: str,
    *requests: str | float | Act,
    providers: dict[str, Any] | None = None,
    requires: dict[str, Any] | None = P,
    rules: list[dict[str, Any]] | None = None,
    per_route: dict[str, Any] | None = None,
    settings: dict[str, Any] | None = None,
    **more: Any,
) -> Case:
    config = {
        "@type": _TYPE,
        "providers": providers or {"p": provider()},
        "rules": [rule(requires)] if rules is None else rules,
        **(settings or {}),
    }
    entry: dict[str, Any] = {"match": {"prefix": "/"}, "route": {"cluster": "$up"}}
    if per_route is not None:
        entry["typed_per_filter_config"] = {"jwt": {"@type": _PER_ROUTE, **per_route}}
    more.setdefault("routes", json.dumps([entry]))
    more.setdefault("stats", r"^http\.$case\.jwt_authn")
    more.setdefault("log", _LOG)
    more.setdefault("timing", False)
    if name in _DIFFER:
        more["differs"] = _DIFFER[name]
    return Case(
        f"jwt-{name}",
        tuple(requests),
        filters=json.dumps([{"name": "jwt", "typed_config": config}]),
        **more,
    )


def with_token(name: str, text: str, **more: Any) -> Case:
    return guarded(name, get("/", bearer(text)), **more)


def with_claims(name: str, claims: dict[str, Any], **more: Any) -> Case:
    return with_token(name, token(claims), **more)


def with_key(name: str, key: dict[str, Any], algorithm: str, **header: Any) -> Case:
    source = provider(local_jwks={"inline_string": jwks(key)})
    return with_token(f"key-{name}", token(algorithm=algorithm, **header), providers={"p": source})


def at_place(name: str, *lines: str, path: str = "/", **settings: Any) -> Case:
    return guarded(f"place-{name}", get(path, *lines), providers={"p": provider(**settings)})


def claim(name: str, claim_name: str | list[str], claims: dict[str, Any], **more: Any) -> Case:
    """claim_name: or the path of the claim."""
    path = [] if isinstance(claim_name, str) else [{"key": key} for key in claim_name]
    said = {"claim_name": claim_name} if isinstance(claim_name, str) else {"claim_path": path}
    source = provider(claim_to_headers=[{"header_name": "x-c", **said, **more.pop("header", {})}])
    return guarded(f"claim-{name}", get("/", bearer(token(claims)), "x-c: client"), providers={"p": source}, **more)


def two(name: str, requires: dict[str, Any], *lines: str) -> Case:
    """Two providers: p with tokens in Authorization, q with tokens in x-q."""
    second = provider(issuer="other", from_headers=[{"name": "x-q"}])
    return guarded(f"two-{name}", get("/", *lines), providers={"p": provider(), "q": second}, requires=requires)


def answering(*scripts: str | tuple[Any, ...]) -> dict[str, Upstream]:
    answers = tuple((script,) if isinstance(script, str) else script for script in scripts)
    return {"up": Upstream(), "up2": Upstream(answers)}


def key_answer(body: str, status: int = 200) -> str:
    return f"HTTP/1.1 {status} X\r\ncontent-length: {len(body)}\r\n\r\n{body}"


def any_of(*requirements: dict[str, Any]) -> dict[str, Any]:
    return {"requires_any": {"requirements": list(requirements)}}


def all_of(*requirements: dict[str, Any]) -> dict[str, Any]:
    return {"requires_all": {"requirements": list(requirements)}}


GOOD = token()
BAD = token()[:-6] + "AAAAAA"
FOREIGN = token({"iss": "nobody"})
OTHER = token({"iss": "other"})
EXPIRED = token({"exp": _NOW - 1000})
TWICE = (get("/1", bearer(GOOD)), 0.4, get("/2", bearer(GOOD)))
HEADER, PAYLOAD, SIGNATURE = GOOD.split(".")

CASES = [
    guarded("missing", get("/a/b?c=d"), shows=("401", 'realm="http://h.test/a/b?c=d"', "Jwt is missing")),
    guarded("missing-long-path", get("/" + "a" * 400)),
    guarded("missing-original-path", get("/a", "x-envoy-original-path: /evil"), differs=CLIENTS_ORIGINAL_PATH),
    guarded("missing-head", get("/a", method="HEAD")),
    guarded("missing-grpc", get("/a", "content-type: application/grpc", method="POST", body="x")),
    with_token("good", GOOD, shows="200 OK"),
    with_token("bad-signature", BAD, shows=("invalid_token", "Jwt verification fails")),
    with_token("unknown-issuer", FOREIGN, shows="Jwt issuer is not configured"),
    with_token("two-sections", "a.b"),
    with_token("four-sections", GOOD + ".a"),
    with_token("empty-section", f"{HEADER}..{SIGNATURE}"),
    with_token("empty", ""),
    with_token("no-base64-header", f"!{HEADER}.{PAYLOAD}.{SIGNATURE}"),
    with_token("odd-base64-header", f"{HEADER}A.{PAYLOAD}.{SIGNATURE}"),
    with_token("odd-base64-payload", f"{HEADER}.{PAYLOAD}AA.{SIGNATURE}"),
    with_token("odd-base64-signature", f"{HEADER}.{PAYLOAD}.{SIGNATURE}AAA"),
    with_token("no-json-header", raw_token(b"{", b"{}")),
    with_token("list-header", raw_token(b"[]", b"{}")),
    with_token("no-json-payload", raw_token(b'{"alg":"RS256"}', b"nope")),
    with_token("no-utf8-payload", raw_token(b'{"alg":"RS256"}', b'{"iss":"\xff"}')),
    with_token("deep-payload", raw_token(b'{"alg":"RS256"}', b'{"a":' * 20000 + b"1" + b"}" * 20000)),
    with_token(
        "rather-deep-payload", raw_token(b'{"alg":"RS256"}', b'{"iss":"iss","a":' + b"[" * 150 + b"]" * 150 + b"}")
    ),
    with_token("no-alg", raw_token(b"{}", b"{}")),
    with_token("alg-number", raw_token(b'{"alg":1}', b"{}")),
    with_token("alg-none", raw_token(b'{"alg":"none"}', b"{}")),
    with_token("kid-number", raw_token(b'{"alg":"RS256","kid":1}', b"{}")),
    with_claims("iss-number", {"iss": 1}),
    with_claims("no-iss", {"iss": None}),
    with_claims("sub-number", {"sub": 1}),
    with_claims("aud-number", {"aud": 1}),
    with_claims("aud-list-of-numbers", {"aud": [1]}),
    with_claims("jti-number", {"jti": 1}),
    with_claims("exp-text", {"exp": "1"}),
    with_claims("exp-negative", {"exp": -1}),
    with_claims("exp-large", {"exp": 1e30}),
    with_claims("exp-true", {"exp": True}),
    with_claims("exp-fraction", {"exp": _NOW + 100_000.5}),
    with_claims("iat-text", {"iat": "1"}),
    with_claims("nbf-text", {"nbf": "1"}),
    with_claims("expired", {"exp": _NOW - 1000}, shows="Jwt is expired"),
    with_claims(
        "expired-a-little", {"exp": _NOW - 900}, providers={"p": provider(clock_skew_seconds=3600)}, shows="200"
    ),
    with_claims("exp-zero", {"exp": 0}),
    with_claims("not-yet", {"nbf": _NOW + 100_000}, shows="Jwt not yet valid"),
    with_claims("soon", {"nbf": _NOW + 30}, shows="200"),
    with_claims("clock-skew", {"exp": _NOW - 30}, providers={"p": provider(clock_skew_seconds=5)}, shows="expired"),
    # Keys.
    *[with_key(algorithm, jwk(algorithm), algorithm) for algorithm in tokens.ALGORITHMS],
    with_key("kid", jwk("RS256", kid="k1"), "RS256", kid="k1"),
    with_key("other-kid", jwk("RS256", kid="k1"), "RS256", kid="k2"),
    with_key("other-alg", jwk("RS256", alg="RS512"), "RS256"),
    with_key("other-kind", jwk("ES256"), "RS256"),
    with_key("other-curve", jwk("ES384"), "ES256"),
    with_key("public-key-as-secret", jwk("RS256"), "HS256"),
    with_key("for-signatures", jwk("RS256", use="sig"), "RS256"),
    with_key("ed-and-rs", jwk("EdDSA", alg="EdDSA"), "RS256"),
    with_token(
        "key-ed-short-signature",
        token(algorithm="EdDSA")[:-8],
        providers={"p": provider(local_jwks={"inline_string": jwks(jwk("EdDSA"))})},
    ),
    guarded(
        "key-of-several",
        get("/", bearer(token(algorithm="ES256"))),
        providers={"p": provider(local_jwks={"inline_string": jwks({"kty": "new"}, jwk("RS256"), jwk("ES256"))})},
        shows="200",
    ),
    # Audiences, subjects, lifetimes.
    *[
        with_claims(f"audience-{name}", {"aud": audience}, providers={"p": provider(audiences=["a", "https://b/"])})
        for name, audience in {
            "one": "a",
            "other": "c",
            "none": None,
            "empty": [],
            "list": ["c", "a"],
            "url": "https://b/",
            "http-url": "http://b",
            "plain": "b",
            "slash": "a/",
        }.items()
    ],
    with_claims(
        "audience-of-the-rule",
        {"aud": "r"},
        providers={"p": provider(audiences=["a"])},
        requires={"provider_and_audiences": {"provider_name": "p", "audiences": ["r"]}},
    ),
    with_claims(
        "audience-not-of-the-rule",
        {"aud": "a"},
        providers={"p": provider(audiences=["a"])},
        requires={"provider_and_audiences": {"provider_name": "p", "audiences": ["r"]}},
    ),
    with_claims(
        "audience-and-a-rule-without",
        {"aud": "c"},
        providers={"p": provider(audiences=["a"])},
        requires={"provider_and_audiences": {"provider_name": "p"}},
    ),
    with_claims("subject", {"sub": "ann"}, providers={"p": provider(subjects={"prefix": "a"})}, shows="200"),
    with_claims("subject-other", {"sub": "bob"}, providers={"p": provider(subjects={"prefix": "a"})}),
    with_claims("subject-none", {"sub": None}, providers={"p": provider(subjects={"prefix": "a"})}),
    with_claims("expiration-required", {}, providers={"p": provider(require_expiration=True)}),
    with_claims("expiration-there", {"exp": _NOW + 100_000}, providers={"p": provider(require_expiration=True)}),
    *[
        with_claims(f"lifetime-{name}", claims, providers={"p": provider(max_lifetime="100000s")})
        for name, claims in {
            "long": {"iat": _NOW, "exp": _NOW + 1_000_000},
            "short": {"iat": _NOW, "exp": _NOW + 50_000},
            "no-iat-long": {"exp": _NOW + 1_000_000},
            "no-iat-short": {"exp": _NOW + 50_000},
            "no-exp": {"iat": _NOW},
            "nbf-long": {"nbf": _NOW - 500_000, "exp": _NOW + 50_000},
        }.items()
    ],
    *[
        guarded(
            f"status-{name}",
            get("/", bearer(text)),
            providers={"p": provider(failed_status_in_metadata="f", audiences=["a"])},
        )
        for name, text in {
            "signature": BAD[:-4] + "A",
            "base64": "a.b.c",
            "kid": token({"aud": "a"}, kid="other"),
            "audience": token({"aud": "b"}),
            "issuer": FOREIGN,
            "expired": EXPIRED,
            "early": token({"nbf": _NOW + 100_000}),
            "date": token({"exp": -1}),
            "jti": token({"jti": 1}),
            "ed": token({"aud": "a"}, algorithm="EdDSA")[:-8],
        }.items()
    ],
    guarded("any-issuer", get("/", bearer(FOREIGN)), providers={"p": provider(issuer=None)}, shows="200"),
    # Places.
    at_place("parameter", path=f"/?a=b&access_token={GOOD}&c=d"),
    at_place("parameter-only", path=f"/?access_token={GOOD}"),
    at_place("parameter-forwarded", path=f"/?access_token={GOOD}", forward=True),
    at_place("parameter-of-a-name", path=f"/?t={GOOD}&t=x", from_params=["t"]),
    at_place("parameter-not-by-default", path=f"/?access_token={GOOD}", from_params=["t"]),
    at_place("header", f"x-jwt: {GOOD}", from_headers=[{"name": "X-Jwt"}]),
    at_place("header-prefix", f"x-jwt: JWT {GOOD}", from_headers=[{"name": "x-jwt", "value_prefix": "JWT "}]),
    at_place(
        "header-prefix-inside", f"x-jwt: a=1;JWT={GOOD},b", from_headers=[{"name": "x-jwt", "value_prefix": "JWT"}]
    ),
    at_place("header-without-prefix", f"x-jwt: {GOOD}", from_headers=[{"name": "x-jwt", "value_prefix": "JWT "}]),
    at_place("header-twice", f"x-jwt: {GOOD}", f"x-jwt: {GOOD}", from_headers=[{"name": "x-jwt"}]),
    at_place("cookie", f"cookie: a=b; t={GOOD}; c=d", from_cookies=["t"]),
    at_place("cookie-quoted", f'cookie: t="{GOOD}"', from_cookies=["t"]),
    at_place("cookie-twice", f"cookie: t={GOOD}; t=x", from_cookies=["t"]),
    at_place("cookie-forwarded", f"cookie: t={GOOD}", from_cookies=["t"], forward=True),
    at_place("lower-case-bearer", f"authorization: bearer {GOOD}"),
    at_place("bearer-twice", bearer(GOOD), bearer(GOOD)),
    at_place("bearer-and-parameter", bearer(GOOD), path=f"/?access_token={GOOD}"),
    at_place("bearer-and-bad-parameter", bearer(GOOD), path=f"/?access_token={BAD}"),
    at_place("bad-bearer-and-parameter", bearer(BAD), path=f"/?access_token={GOOD}"),
    at_place("bearer-spaces", f"authorization: Bearer   {GOOD}  "),
    at_place("padded", f"authorization: Bearer {HEADER}=.{PAYLOAD}.{SIGNATURE}"),
    # What the upstream is told.
    at_place("forward", bearer(GOOD), forward=True),
    at_place("payload", bearer(GOOD), "x-payload: client", forward_payload_header="X-Payload"),
    at_place("payload-padded", bearer(GOOD), forward_payload_header="x-payload", pad_forward_payload_header=True),
    claim("text", "sub", {}),
    claim("number", "n", {"n": 12}),
    claim("fraction", "n", {"n": 1.25}),
    claim("fraction-long", "n", {"n": 1234567.891}),
    claim("large-number", "n", {"n": 12345678901234567}),
    claim("boolean", "b", {"b": True}),
    claim("null", "b", {"b": None}),
    claim("absent", "b", {}),
    claim("empty", "b", {"b": ""}),
    claim("nested", "a.b", {"a": {"b": "c"}}),
    claim("dotted", "a.b", {"a.b": "c"}),
    claim("path", ["https://a.b/c", "d"], {"https://a.b/c": {"d": "e"}}),
    claim("path-one", ["a.b"], {"a.b": "c", "a": {"b": "d"}}),
    claim("path-absent", ["a", "b", "c"], {"a": {"b": "c"}}),
    claim("path-list", ["a", "0"], {"a": ["b"]}),
    claim("path-object", ["a"], {"a": {"b": 1}}),
    claim("path-and-name", ["a"], {"a": "path", "b": "name"}, header={"claim_name": "b"}, refused=True),
    claim("path-empty", ["a", ""], {"a": {"": "b"}}, refused=True),
    claim("path-nor-name", [], {"a": "b"}, refused=True),
    claim("list", "l", {"l": ["a", 1, {"b": None}]}),
    claim("object", "o", {"o": {"b": "ü"}}),  # one field: the order in which Envoy writes several is by chance
    claim("unicode", "u", {"u": "ü"}),
    claim("line-feed", "u", {"u": "a\nb"}),
    at_place(
        "metadata",
        bearer(token({"n": 1, "scope": "a b", "exp": _NOW + 10**9})),
        payload_in_metadata="payload",
        header_in_metadata="header",
    ),
    at_place(
        "metadata-normalized",
        bearer(token({"scope": "a  b"})),
        payload_in_metadata="payload",
        normalize_payload_in_metadata={"space_delimited_claims": ["scope", "none"]},
    ),
    at_place("metadata-of-a-failure", bearer(BAD), failed_status_in_metadata="failure"),
    at_place("metadata-of-a-missing", failed_status_in_metadata="failure"),
    guarded(
        "clear-route-cache",
        get("/", bearer(GOOD)),
        providers={
            "p": provider(claim_to_headers=[{"header_name": "x-c", "claim_name": "sub"}], clear_route_cache=True)
        },
        routes=json.dumps(
            [
                {
                    "match": {"prefix": "/", "headers": [{"name": "x-c", "string_match": {"exact": "ann"}}]},
                    "direct_response": {"status": 201},
                },
                {"match": {"prefix": "/"}, "route": {"cluster": "$up"}},
            ]
        ),
    ),
    guarded(
        "no-clear-route-cache",
        get("/", bearer(GOOD)),
        providers={"p": provider(claim_to_headers=[{"header_name": "x-c", "claim_name": "sub"}])},
        routes=json.dumps(
            [
                {
                    "match": {"prefix": "/", "headers": [{"name": "x-c", "string_match": {"exact": "ann"}}]},
                    "direct_response": {"status": 201},
                },
                {"match": {"prefix": "/"}, "route": {"cluster": "$up"}},
            ]
        ),
    ),
    guarded("cache", *TWICE, providers={"p": provider(jwt_cache_config={"jwt_cache_size": 10})}),
    guarded(
        "cache-of-bad",
        get("/", bearer(BAD)),
        0.2,
        get("/", bearer(BAD)),
        providers={"p": provider(jwt_cache_config={})},
    ),
    guarded("cache-too-long", *TWICE, providers={"p": provider(jwt_cache_config={"jwt_max_token_size": 10})}),
    guarded("strip-missing", get(), settings={"strip_failure_response": True}),
    guarded("strip-bad", get("/", bearer(BAD)), settings={"strip_failure_response": True}),
    guarded("stat-prefix", get(), settings={"stat_prefix": "mine"}),
    guarded("stat-prefix-dot", get(), settings={"stat_prefix": "mine."}),
    # Requirements.
    *[
        guarded(f"{kind}-{name}", get("/", *lines), requires=requires)
        for kind, requires in {
            "allow-missing": MISSING,
            "allow-failed": FAILED,
            "any-missing": any_of(P, MISSING),
            "any-missing-first": any_of(MISSING, P),
            "any-failed": any_of(P, FAILED),
            "any-both": any_of(P, FAILED, MISSING),
            "all-missing": all_of(P, MISSING),
            "nothing": {},
        }.items()
        for name, lines in {
            "none": (),
            "good": (bearer(GOOD),),
            "bad": (bearer(BAD),),
            "foreign": (bearer(FOREIGN),),
            "expired": (bearer(EXPIRED),),
            "junk": ("authorization: Bearer x",),
            "basic": ("authorization: Basic x",),
        }.items()
    ],
    two("any-foreign-before-none", any_of(Q, P), f"x-q: {GOOD}"),
    *[
        two(f"{kind}-{name}", requires, *lines)
        for kind, requires in {
            "any": any_of(P, Q),
            "all": all_of(P, Q),
            "any-missing": any_of(P, Q, MISSING),
            "p-missing": any_of(P, MISSING),
            "allow-missing": MISSING,
            "allow-failed": FAILED,
            "p-failed": any_of(P, FAILED),
            "nested": any_of(all_of(P, Q), MISSING),
            "nested-failed": any_of(all_of(P, Q), FAILED),
            "missing-nested": any_of(any_of(P, MISSING), Q),
            "all-of-any": all_of(any_of(P, MISSING), any_of(Q, MISSING)),
        }.items()
        for name, lines in {
            "none": (),
            "p": (bearer(GOOD),),
            "q": (f"x-q: {OTHER}",),
            "both": (bearer(GOOD), f"x-q: {OTHER}"),
            "p-bad-q": (bearer(GOOD), f"x-q: {BAD}"),
            "bad-p-q": (bearer(BAD), f"x-q: {OTHER}"),
            "swapped": (bearer(OTHER), f"x-q: {GOOD}"),
            "expired-and-none": (bearer(EXPIRED),),
        }.items()
    ],
    # Rules.
    *[
        guarded(
            f"rules-{name}",
            get(path, *lines),
            rules=[
                rule(None, {"path": "/open"}),
                rule(P, {"prefix": "/p"}),
                rule(FAILED, {"safe_regex": {"regex": "/r[0-9]+"}}),
                rule(P, {"path_separated_prefix": "/s"}),
                rule(P, {"prefix": "/CASE", "case_sensitive": False}),
                rule(P, {"prefix": "/h", "headers": [{"name": "x-h"}]}),
                rule(P, {"prefix": "/q", "query_parameters": [{"name": "a", "string_match": {"exact": "b"}}]}),
            ],
        )
        for name, path, lines in [
            ("open", "/open", ()),
            ("open-query", "/open?a", ()),
            ("prefix", "/private", ()),
            ("regex", "/r12?a", ()),
            ("separated", "/s/a", ()),
            ("separated-not", "/sa", ()),
            ("case", "/Case", ()),
            ("header", "/h", ("x-h: 1",)),
            ("header-not", "/h", ()),
            ("query", "/q?a=b", ()),
            ("query-not", "/q?a=c", ()),
            ("none", "/", ()),
        ]
    ],
    guarded("no-rules", get(), rules=[]),
    guarded(
        "requirement-name",
        get(),
        rules=[{"match": {"prefix": "/"}, "requirement_name": "r"}],
        settings={"requirement_map": {"r": P}},
    ),
    guarded("per-route-disabled", get(), per_route={"disabled": True}),
    guarded(
        "per-route-name", get(), rules=[], per_route={"requirement_name": "r"}, settings={"requirement_map": {"r": P}}
    ),
    guarded(
        "per-route-wrong-name",
        get(),
        per_route={"requirement_name": "x"},
        settings={"requirement_map": {"r": P, "a": Q}},
        providers={"p": provider(), "q": provider()},
    ),
    guarded("per-route-wrong-name-of-none", get(), per_route={"requirement_name": "x"}),
    *[
        guarded(f"preflight-{name}", get("/", *lines, method=method), settings={"bypass_cors_preflight": True})
        for name, method, lines in [
            ("bypass", "OPTIONS", ("origin: http://a", "access-control-request-method: GET")),
            ("no-origin", "OPTIONS", ("access-control-request-method: GET",)),
            ("no-method", "OPTIONS", ("origin: http://a",)),
            ("get", "GET", ("origin: http://a", "access-control-request-method: GET")),
        ]
    ],
    # Keys from afar.
    guarded("remote", *TWICE, providers={"p": remote()}, upstreams=answering(key_answer(jwks())), shows="200"),
    guarded(
        "remote-ahead-of-use",
        0.5,
        *TWICE,
        providers={"p": remote(cache_duration="5s")},
        upstreams=answering(key_answer(jwks())),
    ),
    guarded("remote-missing", get(), providers={"p": remote()}, upstreams=answering(key_answer(jwks()))),
    guarded(
        "remote-expired", get("/", bearer(EXPIRED)), providers={"p": remote()}, upstreams=answering(key_answer(jwks()))
    ),
    guarded(
        "remote-cached-shortly",
        get("/1", bearer(GOOD)),
        1.5,
        get("/2", bearer(GOOD)),
        providers={"p": remote(cache_duration="1s")},
        upstreams=answering(key_answer(jwks())),
    ),
    guarded("remote-500", *TWICE, providers={"p": remote()}, upstreams=answering(key_answer("", 500))),
    guarded("remote-404", *TWICE, providers={"p": remote()}, upstreams=answering(key_answer("x", 404))),
    guarded("remote-no-keys", *TWICE, providers={"p": remote()}, upstreams=answering(key_answer('{"keys":[]}'))),
    guarded("remote-no-json", *TWICE, providers={"p": remote()}, upstreams=answering(key_answer("{"))),
    guarded("remote-empty", *TWICE, providers={"p": remote()}, upstreams=answering(key_answer(""))),
    guarded(
        "remote-recovers",
        *TWICE,
        providers={"p": remote()},
        upstreams=answering(key_answer("", 503), key_answer(jwks())),
    ),
    guarded(
        "remote-slow",
        get("/", bearer(GOOD)),
        providers={"p": remote()},
        upstreams=answering((3.0, key_answer(jwks()))),
        timing=True,
    ),
    guarded(
        "remote-refused",
        get("/", bearer(GOOD)),
        providers={"p": remote()},
        upstreams={"up": Upstream(), "up2": Upstream(mode="refuse")},
    ),
    guarded(
        "remote-retried",
        get("/", bearer(GOOD)),
        providers={"p": remote(retry_policy={"num_retries": 2, "retry_back_off": {"base_interval": "0.01s"}})},
        upstreams=answering(key_answer("", 503), key_answer("", 503), key_answer(jwks())),
    ),
    guarded(
        "remote-retried-in-vain",
        get("/", bearer(GOOD)),
        providers={"p": remote(retry_policy={"num_retries": 1, "retry_back_off": {"base_interval": "0.01s"}})},
        upstreams=answering(key_answer("", 503)),
    ),
    guarded(
        "remote-unknown-cluster",
        get("/", bearer(GOOD)),
        providers={
            "p": provider(
                local_jwks=None, remote_jwks={"http_uri": {"uri": "http://a/b", "cluster": "nowhere", "timeout": "1s"}}
            )
        },
    ),
    guarded(
        "remote-two-tokens-no-keys",
        get(f"/?access_token={GOOD}", bearer(GOOD)),
        providers={"p": remote()},
        upstreams=answering(key_answer("", 500)),
    ),
    guarded(
        "remote-body",
        get("/", bearer(GOOD), method="POST", body="a body"),
        providers={"p": remote()},
        upstreams=answering((0.2, key_answer(jwks()))),
    ),
    guarded("bad-local-keys", get(), providers={"p": provider(local_jwks={"inline_string": "{"})}, refused=True),
    guarded(
        "no-local-keys", get(), providers={"p": provider(local_jwks={"inline_string": '{"keys":[]}'})}, refused=True
    ),
    guarded("unknown-provider", get(), requires=Q, refused=True),
    guarded("unknown-requirement", get(), rules=[{"match": {"prefix": "/"}, "requirement_name": "r"}], refused=True),
    guarded("no-keys-at-all", get(), providers={"p": {"issuer": "iss"}}, refused=True),
    guarded("unknown-provider-of-no-rule", get(), settings={"requirement_map": {"r": Q}}, refused=True),
]
