"""oauth2: browsers that have a login, that come for one, that come back with one, and that leave.

The secret is known here, so cookies that Envoy or meshproxy would have given are made without asking either.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from typing import Any

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from ..case import Case, Upstream, get

_TYPE = "type.googleapis.com/envoy.extensions.filters.http.oauth2.v3."
_SECRET = b"the hmac secret"
_SECRETS = [
    {"name": "oauth2-token", "generic_secret": {"secret": {"inline_string": "the token: secret%~+"}}},
    {"name": "oauth2-hmac", "generic_secret": {"secret": {"inline_string": _SECRET.decode()}}},
    {"name": "oauth2-empty", "generic_secret": {"secret": {"inline_string": ""}}},
]
_LOG = "%RESPONSE_CODE% %RESPONSE_CODE_DETAILS% %RESPONSE_FLAGS%\n"
_MASKS = (
    (r"(Oauth(?:Nonce|HMAC)|Code(?:Verifier))\.[0-9a-f]{16}=", r"\1.<flow>="),
    (r"(set-cookie: OauthNonce[^=]*)=[0-9a-f]{16}\.[\w+/=]*", r"\1=<nonce>"),
    (r"(set-cookie: OauthHMAC)=[\w+/=]*", r"\1=<signature>"),
    (r"(set-cookie: OauthExpires)=\d+", r"\1=<date>"),
    (r"(set-cookie: (?:BearerToken|IdToken|RefreshToken|CodeVerifier)[^=]*)=(?!deleted)[\w-]+", r"\1=<sealed>"),
    (r"(state|code_challenge)=[\w-]{40,}", r"\1=<random>"),
)
_FLOW, _VERIFIER = "0123456789abcdef", "verifier-of-the-flow"
_FAR = "4102444800"
_MATCH = {"string_match": {"exact": "/special"}}


def _url64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _sign(*lines: str) -> str:
    return base64.b64encode(hmac.digest(_SECRET, "\n".join(lines).encode(), "sha256")).decode()


def _seal(text: str) -> str:
    nonce = b"twelve bytes"
    return "gcm." + _url64(nonce + AESGCM(hashlib.sha256(_SECRET).digest()).encrypt(nonce, text.encode(), None))


def _cookies(**values: str) -> str:
    return "cookie: " + "; ".join(f"{name}={value}" for name, value in values.items())


def login(access: str = "", refresh: str = "", expires: str = _FAR, host: str = "h.test", **others: str) -> str:
    cookies = {"OauthHMAC": _sign(host, expires, access, "", refresh), "OauthExpires": expires}
    for name, token in (("BearerToken", access), ("RefreshToken", refresh)):
        if token:
            cookies[name] = _seal(token)
    return _cookies(**cookies | others)


_NONCE = f"{_FLOW}.{_sign(_FLOW)}"


def state(url: str = "https://h.test/wanted?a=b", token: str = _NONCE, **more: Any) -> str:
    return _url64(json.dumps({"url": url, "csrf_token": token, "flow_id": _FLOW} | more).encode())


def flow(**others: str) -> str:
    return _cookies(**{f"OauthNonce.{_FLOW}": _NONCE, f"CodeVerifier.{_FLOW}": _seal(_VERIFIER)} | others)


def oauth2(name: str, *requests: str | float, answer: str = "{}", status: str = "200 OK", **more: Any) -> Case:
    credentials = {
        "client_id": "id: %~+é",
        "token_secret": {"name": "oauth2-token"},
        "hmac_secret": {"name": "oauth2-hmac"},
        **more.pop("credentials", {}),
    }
    config = {
        "token_endpoint": {"cluster": "$idp", "uri": "https://idp.test/token?a=b", "timeout": "3s"},
        "authorization_endpoint": "https://idp.test/authorize?z=1&client_id=none&z=2",
        "redirect_uri": "https://%REQ(:authority)%/callback",
        "redirect_path_matcher": {"path": {"exact": "/callback"}},
        "signout_path": {"path": {"exact": "/signout"}},
        "credentials": credentials,
        **more.pop("config", {}),
    }
    filters = [{"name": "oauth2", "typed_config": {"@type": f"{_TYPE}OAuth2", "config": config}}]
    if more.pop("of_route", False):
        filters[0]["typed_config"] = {"@type": f"{_TYPE}OAuth2"}
        more["vhost"] = json.dumps(
            {"typed_per_filter_config": {"oauth2": {"@type": f"{_TYPE}OAuth2PerRoute", "config": config}}}
        )
    reply = f"HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {len(answer)}\r\n\r\n{answer}"
    return Case(
        f"oauth2-{name}",
        tuple(part for request in requests for part in (request, 0.05)) or (get("/a?b=c"),),
        filters=json.dumps(filters),
        bootstrap=json.dumps({"static_resources": {"secrets": _SECRETS}}),
        upstreams={"up": Upstream(), "idp": Upstream(((reply,),))},
        timing=False,
        log=_LOG,
        **{"masks": _MASKS, "stats": r"^http\.$case\.(foo\.)?oauth_"} | more,
    )


_TOKENS = '{"access_token":"A","id_token":"I","refresh_token":"R","expires_in":600,"scope":"x"}'
_OLD = login("A", "R", expires="1700000000")
_BACK = get(f"/callback?code=C%20D&state={state()}", flow())
_COOKIES = {
    "bearer_token_cookie_config": {"same_site": "LAX", "path": "/q", "partitioned": True},
    "oauth_nonce_cookie_config": {"same_site": "STRICT"},
}

CASES = [
    oauth2("away", get("/a?b=c"), get("/", "x-envoy-oauth-status: x", "authorization: x", method="POST", body="xx")),
    oauth2("away-settings", config={"cookie_configs": _COOKIES, "resources": ["http://r.test", "a b"], "auth_scopes": ["a", "b c"], "csrf_token_expires_in": "5s"}, credentials={"cookie_domain": "test"}),
    oauth2("away-grpc", get("/", "content-type: application/grpc", "te: trailers", method="POST")),
    oauth2("in", get("/", login("A"), "authorization: own"), config={"forward_bearer_token": True}),
    oauth2("in-older", get("/", f"cookie: OauthHMAC={_sign('h.test', _FAR, 'plain', '', '')}; OauthExpires={_FAR}; BearerToken=plain")),
    oauth2("in-no-more", get("/", login("A", expires="1700000000")), get("/", login("A", host="other")), get("/", login("A", expires="never"))),
    oauth2("in-by-route", get("/", login("A")), get("/"), of_route=True, stats=r"^route\.$case\.", config={"stat_prefix": "route.$case."}),
    oauth2("in-identity", get("/", login("", IdToken="x"), "x-id: spoofed"), config={"forward_id_token": {"header": "X-Id"}}),
    oauth2("callback", _BACK, answer=_TOKENS),
    oauth2("callback-basic", _BACK, answer=_TOKENS, config={"auth_type": "BASIC_AUTH", "use_refresh_token": False}),
    oauth2("callback-by-tls", _BACK, answer='{"access_token":"A"}', config={"auth_type": "TLS_CLIENT_AUTH", "default_expires_in": "7s"}),
    oauth2("callback-no-key", _BACK, answer=_TOKENS, config={"auth_type": "PRIVATE_KEY_JWT"}),
    oauth2("callback-chunks", _BACK, answer=json.dumps({"access_token": "A" * 900, "expires_in": 5}), config={"token_cookie_chunking": {"max_cookie_size": 512, "max_chunks": 3}}),
    oauth2("callback-too-long", _BACK, answer=json.dumps({"access_token": "A" * 1200, "expires_in": 5}), config={"token_cookie_chunking": {"max_cookie_size": 512, "max_chunks": 3}}),
    oauth2("callback-refused", _BACK, status="400 Bad Request", answer="no"),
    oauth2("callback-no-token", _BACK),
    oauth2("callback-no-time", _BACK, answer='{"access_token":"A"}'),
    oauth2("callback-error", get(f"/callback?error=no&z=1&state={state()}", flow())),
    oauth2("callback-odd", *(get(f"/callback?{query}", flow()) for query in ("code=1", f"state={state()}", "code=1&state=e30", f"code=1&state={state(token='x.y')}", f"code=1&state={state('/x')}"))),
    oauth2("callback-no-cookies", get(f"/callback?code=1&state={state()}"), get(f"/callback?code=1&state={state()}", f"cookie: OauthNonce={_NONCE}"), get(f"/callback?code=1&state={state()}", f"cookie: OauthNonce={_NONCE}; CodeVerifier=xx")),
    oauth2("callback-elsewhere", _BACK, config={"allowed_redirect_domains": ["*.h.test", "x.test"]}),
    oauth2("callback-race", get(f"/callback?code=1&state={state()}", login("A", **{f"OauthNonce.{_FLOW}": _NONCE}))),
    oauth2("callback-loop", get(f"/callback?code=1&state={state('https://h.test/callback?x')}", login("A", **{f"OauthNonce.{_FLOW}": _NONCE}))),
    oauth2("refresh", get("/", _OLD), answer='{"access_token":"B","expires_in":600}', config={"forward_bearer_token": True, "stat_prefix": "foo."}),
    oauth2("refresh-refused", get("/", _OLD), get("/special", _OLD), status="400 Bad Request", config={"deny_redirect_matcher": [{"name": ":path", **_MATCH}]}),
    oauth2("refresh-no-json", get("/", _OLD), get("/special", _OLD), answer="<", config={"allow_failed_matcher": [{"name": ":path", **_MATCH}]}, masks=(*_MASKS, (r"parse_oauth_response_body:.*", "parse"))),
    oauth2("sign-out", get("/signout", login("A", CodeVerifier="1", BearerToken_chunks="2", BearerToken_0="x", BearerToken_1="y"))),
    oauth2("sign-out-everywhere", get("/signout", "cookie: IdToken=I"), config={"end_session_endpoint": "https://idp.test/end", "auth_scopes": ["openid"], "post_logout_redirect_uri": {"uri": "https://%REQ(:authority)%/bye"}}),
    oauth2("special", get("/special", "x-envoy-oauth-status: spoofed"), get("/special?x"), config={"pass_through_matcher": [{"name": ":path", **_MATCH}]}),
    oauth2("denied", get("/special"), config={"deny_redirect_matcher": [{"name": ":path", **_MATCH}]}),
    oauth2("allowed", get("/special", "cookie: BearerToken=x; OauthNonce=y; own=1"), config={"allow_failed_matcher": [{"name": ":path", **_MATCH}]}),
    oauth2("no-secret", credentials={"token_secret": {"name": "oauth2-empty"}}),
    oauth2("two-for-authorization", config={"forward_bearer_token": True, "preserve_authorization_header": True}, refused=True),
    oauth2("no-url", config={"authorization_endpoint": "/authorize"}, refused=True),
    oauth2("no-openid", config={"end_session_endpoint": "https://idp.test/end"}, refused=True),
    oauth2("unknown-secret", credentials={"hmac_secret": {"name": "oauth2-unknown"}}, refused=True),
]  # fmt: skip
