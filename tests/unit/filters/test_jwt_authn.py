"""JSON Web Tokens. What Envoy does in each of these situations, tests/parity shows; here are time, keys and attacks."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshproxy.errors import ConfigError
from meshproxy.plugin.replies import ResetReason
from meshproxy.testing import Answer, FilterHarness
from meshproxy_filters.http.jwt_authn.jwt_authn import JwtAuthn
from meshproxy_filters.http.jwt_authn.keys import check_signature, read_jwks
from meshproxy_filters.http.jwt_authn.token import Jwt, JwtError, decode_base64url
from tests.tokens import ALGORITHMS, base64url, jwk, jwks, raw_token, token

PER_ROUTE = "envoy.extensions.filters.http.jwt_authn.v3.PerRouteConfig"
START = 1_700_000_000  # what the harness's clock says at first
URI = {"uri": "https://keys.test/jwks", "cluster": "keys", "timeout": "1s"}
GOOD = token()
P = {"provider_name": "p"}


def provider(**settings: Any) -> dict[str, Any]:
    base = {"issuer": "iss", "local_jwks": {"inline_string": jwks()}}
    return {key: value for key, value in {**base, **settings}.items() if value is not None}


def remote(**settings: Any) -> dict[str, Any]:
    return provider(local_jwks=None, remote_jwks={"http_uri": URI, **settings})


def guarding(requires: Any = P, providers: Any = None, route_config: Any = None, **settings: Any) -> FilterHarness:
    config = {
        "providers": providers or {"p": provider()},
        "rules": [{"match": {"prefix": "/"}, "requires": requires}],
        **settings,
    }
    return FilterHarness(JwtAuthn, config, **({"route_config": route_config} if route_config else {}))


def bearer(text: str) -> dict[str, str]:
    return {"authorization": f"Bearer {text}"}


def refusal(harness: FilterHarness, text: str = GOOD) -> str:
    """The body of the answer; "" if the request passed."""
    exchange = harness.request(headers=bearer(text))
    return "" if exchange.reached_upstream else exchange.response_body.decode()


def test_a_good_token_passes_and_goes_no_further() -> None:
    harness = guarding()
    exchange = harness.request(headers=bearer(GOOD))
    assert exchange.reached_upstream
    assert "authorization" not in exchange.upstream_headers
    assert harness.stats["http.test.jwt_authn.allowed"] == 1


def test_a_missing_token_is_refused() -> None:
    exchange = guarding().request("GET", "/a?b")
    assert exchange.status == 401
    assert exchange.response_body == b"Jwt is missing"
    assert exchange.response["www-authenticate"] == 'Bearer realm="http://test.example/a?b"'
    assert exchange.stream.details == "jwt_authn_access_denied{Jwt_is_missing}"


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_signatures(algorithm: str) -> None:
    keys = read_jwks(jwks(jwk(algorithm)).encode())
    good = token(algorithm=algorithm)
    check_signature(Jwt(good), keys)
    signed, _, signature = good.rpartition(".")
    flipped = bytearray(decode_base64url(signature) or b"")
    flipped[-1] ^= 1
    with pytest.raises(JwtError, match="verification fails"):
        check_signature(Jwt(f"{signed}.{base64url(bytes(flipped))}"), keys)
    other = raw_token(json.dumps({"alg": algorithm}).encode(), b'{"iss":"evil"}', algorithm).split(".")[1]
    with pytest.raises(JwtError, match="verification fails"):
        check_signature(Jwt(f"{signed.split('.')[0]}.{other}.{signature}"), keys)


def test_a_public_key_is_no_secret() -> None:
    """The oldest trick: HMAC with the public key as its secret."""
    for kind in ("RS256", "ES256", "EdDSA"):
        with pytest.raises(JwtError):
            check_signature(Jwt(token(algorithm="HS256")), read_jwks(jwks(jwk(kind)).encode()))


def test_no_signature_is_none() -> None:
    assert refusal(guarding(), raw_token(b'{"alg":"none"}', b'{"iss":"iss"}')) == "Jwt header [alg] is not supported"


def test_dates_are_those_of_the_wall_clock() -> None:
    harness = guarding()
    text = token({"nbf": START + 100, "exp": START + 200})
    assert refusal(harness, text) == "Jwt not yet valid"
    harness.clock.advance(40)
    assert refusal(harness, text) == ""
    harness.clock.advance(220)
    assert refusal(harness, text) == ""
    harness.clock.advance(1)
    assert refusal(harness, text) == "Jwt is expired"


@pytest.mark.parametrize(
    "requires", [{"requires_any": {"requirements": [P, {"allow_missing": {}}]}}, {"allow_missing": {}}]
)
def test_cve_2021_21378_an_unknown_issuer_is_not_a_missing_token(requires: Any) -> None:
    harness = guarding(requires)
    assert harness.request().reached_upstream
    assert refusal(harness, token({"iss": "nobody"})) == "Jwt issuer is not configured"
    assert refusal(harness, GOOD[:-4] + "AAAA") != ""


def test_cve_2021_43824_a_regex_and_a_request_without_path() -> None:
    rules = [{"match": {"safe_regex": {"regex": ".*"}}, "requires": P}]
    harness = guarding(rules=rules)
    assert harness.request("CONNECT", "", headers=bearer("x")).reached_upstream
    assert harness.errors == []
    connects = guarding(rules=[{"match": {"connect_matcher": {}}, "requires": P}])
    assert connects.request("CONNECT", "").status == 401


def test_cve_2023_27487_what_a_client_says_of_its_path_is_not_believed() -> None:
    rules = [{"match": {"prefix": "/open"}}, {"match": {"prefix": "/"}, "requires": P}]
    exchange = guarding(rules=rules).request("GET", "/private", headers={"x-envoy-original-path": "/open"})
    assert exchange.status == 401
    assert exchange.response["www-authenticate"] == 'Bearer realm="http://test.example/private"'


def test_cve_2024_45809_a_route_cleared_by_a_claim() -> None:
    source = provider(claim_to_headers=[{"header_name": "x-c", "claim_name": "sub"}], clear_route_cache=True)
    harness = guarding(providers={"p": source})
    exchange = harness.request(headers=bearer(GOOD), route=None)
    assert exchange.upstream_headers["x-c"] == "ann"
    assert harness.errors == []


def test_cve_2025_64527_two_tokens_whose_keys_can_not_be_fetched() -> None:
    harness = guarding(providers={"p": remote()})
    harness.cluster("keys").returns(500)
    exchange = harness.request("GET", f"/?access_token={GOOD}", headers=bearer(GOOD))
    assert exchange.response_body == b"Jwks remote fetch is failed"
    assert len(harness.cluster("keys").requests) == 1
    assert harness.errors == []


@pytest.mark.parametrize("depth", [101, 5000, 100_000])
def test_cve_2026_48042_json_of_any_depth(depth: int) -> None:
    harness = guarding()
    for opening, closing in (("[", "]"), ('{"a":', "}")):
        deep = opening * depth + "1" + closing * depth
        text = raw_token(b'{"alg":"RS256"}', f'{{"iss":"iss","a":{deep}}}'.encode())
        assert refusal(harness, text) == "Jwt payload is an invalid JSON"
    with pytest.raises(JwtError):
        read_jwks(b'{"keys":' + b"[" * depth + b"]" * depth + b"}")
    assert harness.errors == []


@given(st.text(st.characters(max_codepoint=255), max_size=80))
def test_a_token_of_any_text(text: str) -> None:
    with pytest.raises(JwtError):
        Jwt(text)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9) | st.just("RS256"),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["alg", "iss", "aud", "exp", "kty", "n", "e", "x", "keys", "kid"]), inner)
    ),
    max_leaves=12,
)


@given(JSON, JSON)
def test_a_token_of_any_json(header: Any, payload: Any) -> None:
    parts = [base64url(json.dumps(part).encode()) for part in (header, payload)]
    try:
        Jwt(f"{parts[0]}.{parts[1]}.AAAA")
    except JwtError:
        pass


@given(JSON)
def test_keys_of_any_json(value: Any) -> None:
    kinds = ("RSA", "EC", "OKP", "oct")
    entries = [{"kty": kind, "crv": "P-256", **(value if isinstance(value, dict) else {})} for kind in kinds]
    for data in (value, {"keys": value}, {"keys": entries}):
        try:
            read_jwks(json.dumps(data).encode())
        except JwtError:
            pass


def test_headers_that_only_a_token_may_set() -> None:
    source = provider(
        claim_to_headers=[{"header_name": "x-claim", "claim_name": "none"}], forward_payload_header="x-payload"
    )
    harness = guarding({"requires_any": {"requirements": [P, {"allow_missing": {}}]}}, {"p": source})
    headers = harness.request(headers={"x-claim": "forged", "x-payload": "forged"}).upstream_headers
    assert "x-claim" not in headers
    assert "x-payload" not in headers


def test_a_claim_that_no_header_can_hold() -> None:
    source = provider(claim_to_headers=[{"header_name": "x-c", "claim_name": "c"}])
    exchange = guarding(providers={"p": source}).request(headers=bearer(token({"c": "a\r\nx-admin: 1"})))
    assert "x-c" not in exchange.upstream_headers
    assert "x-admin" not in exchange.upstream_headers


def test_several_tokens_must_all_be_good() -> None:
    harness = guarding({"allow_missing": {}})
    bad = GOOD[:-6] + "AAAAAA"
    for first, second in ((GOOD, bad), (bad, GOOD)):
        assert harness.request("GET", f"/?access_token={second}", headers=bearer(first)).status == 401
    assert harness.request("GET", f"/?access_token={GOOD}", headers=bearer(GOOD)).reached_upstream


def test_metadata() -> None:
    source = provider(payload_in_metadata="payload", header_in_metadata="header")
    exchange = guarding(providers={"p": source}).request(headers=bearer(token({"a": 1}, kid="k1")))
    assert exchange.stream.metadata("envoy.filters.http.jwt_authn") == {
        "payload": {"iss": "iss", "sub": "ann", "a": 1},
        "header": {"alg": "RS256", "kid": "k1"},
    }


# Keys from afar.


def test_keys_are_fetched_once_and_kept() -> None:
    harness = guarding(providers={"p": remote(cache_duration="60s")})
    keys = harness.cluster("keys").returns(body=jwks().encode())
    assert [refusal(harness) for _ in range(3)] == [""] * 3
    (request,) = keys.requests
    assert (request.method, request.path, request.headers.authority) == ("GET", "/jwks", "keys.test")
    harness.clock.advance(61)
    assert refusal(harness) == ""
    assert len(keys.requests) == 2
    assert harness.stats["http.test.jwt_authn.jwks_fetch_success"] == 2


def test_a_request_waits_for_its_keys() -> None:
    harness = guarding(providers={"p": remote()})
    harness.cluster("keys").returns(body=jwks().encode(), after=0.5)
    exchange = harness.request("POST", "/", headers=bearer(GOOD), body=b"body")
    assert exchange.waiting
    assert exchange.paused
    harness.clock.advance(0.6)
    assert exchange.upstream_body == b"body"


def test_keys_that_come_too_late() -> None:
    harness = guarding(providers={"p": remote()})
    harness.cluster("keys").hangs()
    exchange = harness.request(headers=bearer(GOOD))
    harness.clock.advance(0.9)
    assert not exchange.answered
    harness.clock.advance(0.2)
    assert exchange.response_body == b"Jwks remote fetch is failed"


def test_a_client_that_leaves_takes_its_fetch_along() -> None:
    harness = guarding(providers={"p": remote()})
    keys = harness.cluster("keys").hangs()
    harness.request(headers=bearer(GOOD)).client_leaves()
    harness.clock.advance(0.1)
    assert keys.requests[0].was_reset
    assert "http.test.jwt_authn.denied" not in harness.stats


def test_a_bad_token_asks_for_no_keys() -> None:
    """Else anybody could make us ask as often as they like."""
    harness = guarding(providers={"p": remote()})
    for text in ("x", token({"iss": "nobody"}), token({"exp": 1})):
        assert refusal(harness, text) != ""
    assert harness.cluster("keys").requests == []


@pytest.mark.parametrize("body", [b"{", b'{"keys":[]}', b"[]", b"", b"\xff"])
def test_keys_that_are_none(body: bytes) -> None:
    harness = guarding(providers={"p": remote()})
    harness.cluster("keys").returns(body=body)
    assert refusal(harness) == "Jwks remote fetch is failed"


def test_a_fetch_is_tried_again() -> None:
    retry = {"num_retries": 2, "retry_back_off": {"base_interval": "0.2s", "max_interval": "0.4s"}}
    harness = guarding(providers={"p": remote(retry_policy=retry)})
    script = iter([Answer(503), Answer(reset=ResetReason.CONNECT_FAILURE), Answer(200, body=jwks().encode())])
    keys = harness.cluster("keys").answers(lambda request: next(script))
    exchange = harness.request(headers=bearer(GOOD))
    assert len(keys.requests) == 1
    harness.clock.advance(0.7)
    assert exchange.reached_upstream
    assert len(keys.requests) == 3


def test_after_a_failure_an_asynchronous_fetch_pauses() -> None:
    harness = guarding(providers={"p": remote(async_fetch={"failed_refetch_duration": "2s", "fast_listener": True})})
    keys = harness.cluster("keys").returns(500)
    assert [refusal(harness) for _ in range(3)] == ["Jwks remote fetch is failed"] * 3
    assert len(keys.requests) == 1
    keys.returns(body=jwks().encode())
    harness.clock.advance(2.1)
    assert refusal(harness) == ""


def test_new_keys_make_remembered_tokens_prove_themselves_again() -> None:
    harness = guarding(providers={"p": {**remote(cache_duration="60s"), "jwt_cache_config": {}}})
    keys = harness.cluster("keys").returns(body=jwks().encode())
    assert [refusal(harness) for _ in range(2)] == ["", ""]
    assert harness.stats["http.test.jwt_authn.jwt_cache_hit"] == 1
    keys.returns(body=jwks(jwk("ES256")).encode())
    harness.clock.advance(61)
    assert refusal(harness) == "Jwt verification fails"


def test_remembered_tokens_expire() -> None:
    harness = guarding(providers={"p": provider(jwt_cache_config={"jwt_cache_size": 2})})
    text = token({"exp": START + 10})
    assert refusal(harness, text) == ""
    harness.clock.advance(100)
    assert refusal(harness, text) == "Jwt is expired"
    for number in range(5):
        assert refusal(harness, token({"n": number})) == ""
    cache = harness._specs[0].config.rules[0][1].provider.cache
    assert len(cache._tokens) == 2


# What the configuration may say.


def test_what_a_route_says() -> None:
    off = {"@type": PER_ROUTE, "disabled": True}
    assert guarding(route_config=off).request().reached_upstream
    by_name = {"@type": PER_ROUTE, "requirement_name": "r"}
    settings = {"rules": [], "requirement_map": {"r": P}}
    assert guarding(route_config=by_name, **settings).request().status == 401
    exchange = guarding(route_config={**by_name, "requirement_name": "x"}, **settings).request()
    assert exchange.status == 403
    assert exchange.response_body == b"Failed JWT authentication: Wrong requirement_name: x. It should be one of [r]"


def test_filter_state_names_a_requirement() -> None:
    harness = guarding(rules=[], filter_state_rules={"name": "who", "requires": {"guest": {}, "user": P}})

    def status(value: str) -> int:
        return harness.request(prepare=lambda stream: stream.set_filter_state("who", value)).status

    assert [status(value) for value in ("guest", "user", "other")] == [200, 401, 200]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"providers": {"p": {"issuer": "a"}}}, "one of 'remote_jwks', 'local_jwks' is required"),
        ({"providers": {"p": provider(local_jwks={"inline_string": "{"})}}, "invalid JSON"),
        ({"requires": {"provider_name": "x"}}, "'x'] is not configured"),
        ({"rules": [{"match": {"prefix": "/"}, "requirement_name": "x"}]}, "Wrong requirement_name"),
        ({"providers": {"p": provider(forward_payload_header="a b")}}, "forward_payload_header"),
    ],
)
def test_what_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        guarding(**settings)
