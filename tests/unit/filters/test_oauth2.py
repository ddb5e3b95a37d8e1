"""oauth2 with its own cookies: what a browser is given lets it in, and nothing else does. What Envoy does with a
request, and that it takes the same cookies, tests/parity shows."""

from __future__ import annotations

import base64
import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from meshproxy.headers import ResponseHeaders
from meshproxy.plugin.replies import ResetReason
from meshproxy.testing import Exchange, FilterHarness
from meshproxy_filters.http.oauth2.assertion import CannotSign, ClientAssertion
from meshproxy_filters.http.oauth2.cookies import Chunking, Cookie, TooLong
from meshproxy_filters.http.oauth2.oauth2 import OAuth2

TOKENS: dict[str, Any] = {"access_token": "A" * 40, "id_token": "I", "refresh_token": "R", "expires_in": 600}


class Browser:
    """Keeps cookies."""

    def __init__(self, harness: FilterHarness) -> None:
        self.harness = harness
        self.cookies: dict[str, str] = {}

    def get(self, path: str) -> Exchange:
        cookies = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        exchange = self.harness.request("GET", path, headers=[("cookie", cookies)] if cookies else [])
        for line in exchange.response.get_all("set-cookie"):
            name, _, value = line.partition(";")[0].partition("=")
            if value == "deleted":
                self.cookies.pop(name, None)
            else:
                self.cookies[name] = value
        return exchange

    def log_in(self) -> Exchange:
        state = re.search(r"state=([\w-]+)", self.get("/wanted").response["location"])
        assert state is not None
        return self.get(f"/callback?code=c&state={state[1]}")


def oauth2(folder: Path, secret: str = "s3cret", **settings: Any) -> FilterHarness:
    kind = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"
    resources = [
        {"@type": kind, "name": name, "generic_secret": {"secret": {"inline_string": value}}}
        for name, value in (("token", "pw"), ("hmac", secret))
    ]
    (folder / "new").write_text(json.dumps({"resources": resources}))
    os.replace(folder / "new", folder / "secrets.json")
    source = {"path_config_source": {"path": str(folder / "secrets.json")}}
    config = {
        "token_endpoint": {"uri": "http://idp.test/token", "cluster": "idp", "timeout": "5s"},
        "authorization_endpoint": "https://idp.test/authorize",
        "redirect_uri": "https://app.test/callback",
        "redirect_path_matcher": {"path": {"exact": "/callback"}},
        "signout_path": {"path": {"exact": "/signout"}},
        "forward_bearer_token": True,
        "credentials": {
            "client_id": "me",
            "token_secret": {"name": "token", "sds_config": source},
            "hmac_secret": {"name": "hmac", "sds_config": source},
        },
        **settings,
    }
    harness = FilterHarness(OAuth2, {"config": config})
    harness.cluster("idp").returns(200, body=json.dumps(TOKENS).encode())
    return harness


def test_what_a_browser_is_given_lets_it_in(tmp_path: Path) -> None:
    browser = Browser(oauth2(tmp_path))
    assert browser.log_in().status == 302
    inside = browser.get("/wanted")
    assert inside.upstream_headers["authorization"] == "Bearer " + TOKENS["access_token"]
    assert inside.upstream_headers["cookie"] == f"BearerToken={TOKENS['access_token']}; IdToken=I"


@pytest.mark.parametrize("name", ["OauthHMAC", "OauthExpires", "BearerToken", "IdToken", "RefreshToken"])
def test_none_of_the_cookies_can_be_another(tmp_path: Path, name: str) -> None:
    browser = Browser(oauth2(tmp_path, use_refresh_token=False))
    browser.log_in()
    browser.cookies[name] = "1900000000"
    assert browser.get("/wanted").status == 302


def test_a_login_ends_with_its_time_and_with_its_secret(tmp_path: Path) -> None:
    harness = oauth2(tmp_path, use_refresh_token=False)
    browser = Browser(harness)
    browser.log_in()
    harness.clock.advance(599)
    assert browser.get("/").reached_upstream
    harness.clock.advance(2)
    assert not browser.get("/").reached_upstream
    browser.log_in()
    assert browser.get("/").reached_upstream
    oauth2(tmp_path, "another")
    harness.clock.advance(1)
    assert not browser.get("/").reached_upstream


def test_a_refresh_token_makes_a_new_login_on_the_way(tmp_path: Path) -> None:
    harness = oauth2(tmp_path)
    browser = Browser(harness)
    browser.log_in()
    harness.clock.advance(700)
    harness.cluster("idp").returns(200, body=b'{"access_token":"B","expires_in":9}')
    assert browser.get("/").upstream_headers["authorization"] == "Bearer B"
    harness.cluster("idp").fails(ResetReason.CONNECT_FAILURE)
    assert browser.get("/").upstream_headers["authorization"] == "Bearer B", "the new login holds"
    harness.clock.advance(10)
    assert browser.get("/").status == 302
    assert harness.stats["http.test.oauth_refreshtoken_failure"] == 1


def test_a_callback_is_for_the_browser_that_was_sent_away(tmp_path: Path) -> None:
    harness = oauth2(tmp_path)
    sent, other = Browser(harness), Browser(harness)
    state = re.search(r"state=([\w-]+)", sent.get("/").response["location"])
    other.get("/")
    assert state is not None
    assert other.get(f"/callback?code=stolen&state={state[1]}").status == 401
    assert not harness.cluster("idp").requests


def test_tokens_in_parts_come_together(tmp_path: Path) -> None:
    harness = oauth2(tmp_path, token_cookie_chunking={"max_cookie_size": 512})
    harness.cluster("idp").returns(200, body=json.dumps(TOKENS | {"access_token": "A" * 900}).encode())
    browser = Browser(harness)
    lines = browser.log_in().response.get_all("set-cookie")
    assert browser.cookies["BearerToken_chunks"] == "3"
    assert max(map(len, lines)) <= 512
    assert browser.get("/").upstream_headers["authorization"] == "Bearer " + "A" * 900


def test_chunks_are_as_many_as_they_may_be() -> None:
    cookie, chunking = Cookie("C", "/", "", ""), Chunking(512, 3)
    room = 512 - len("C_15=") - len(cookie.tail(60))
    assert list(map(len, chunking.split(cookie, "x" * room * 3, 60))) == [room] * 3
    with pytest.raises(TooLong):
        chunking.split(cookie, "x" * (room * 3 + 1), 60)


@pytest.mark.parametrize("answer", [b"\xff", b"[" * 5000, b'{"access_token":"a\\r\\nb: c","expires_in":9}', b"null"])
def test_a_server_that_says_anything_at_all(tmp_path: Path, answer: bytes) -> None:
    harness = oauth2(tmp_path)
    harness.cluster("idp").returns(200, body=answer)
    assert Browser(harness).log_in().status == 401


@pytest.mark.parametrize("algorithm", ["RS256", "ES384"])
def test_a_client_signs_who_it_is(algorithm: str) -> None:
    key: Any = (
        rsa.generate_private_key(65537, 2048) if algorithm == "RS256" else ec.generate_private_key(ec.SECP384R1())
    )
    form = serialization.PrivateFormat.PKCS8
    pem = key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())
    token = ClientAssertion(algorithm, 60, "https://idp.test").make("me", pem, 1000)
    signed, _, signature = token.rpartition(".")
    claims = json.loads(base64.urlsafe_b64decode(signed.partition(".")[2] + "=="))
    assert (claims["iss"], claims["aud"], claims["exp"]) == ("me", "https://idp.test", 1060)
    raw = base64.urlsafe_b64decode(signature + "==")
    if algorithm == "RS256":
        key.public_key().verify(raw, signed.encode(), padding.PKCS1v15(), hashes.SHA256())
    else:
        first, second = (int.from_bytes(half, "big") for half in (raw[:48], raw[48:]))
        key.public_key().verify(encode_dss_signature(first, second), signed.encode(), ec.ECDSA(hashes.SHA384()))
    with pytest.raises(CannotSign):
        ClientAssertion("RS256" if algorithm == "ES384" else "ES256", 60, "").make("me", pem, 0)
    with pytest.raises(CannotSign):
        ClientAssertion(algorithm, 60, "").make("me", b"no key", 0)


def test_deleting_says_secure_where_the_name_demands_it() -> None:
    response = ResponseHeaders(302)
    Cookie("__Host-C", "/", "", "").delete(response)
    assert response["set-cookie"].endswith("; Secure")
