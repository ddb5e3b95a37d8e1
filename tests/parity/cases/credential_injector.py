"""credential_injector: requests that are given a secret, or a token of an OAuth 2 server."""

from __future__ import annotations

import json
from typing import Any

from ..case import Case, Upstream, get

_TYPE = "type.googleapis.com/envoy.extensions.filters.http.credential_injector.v3.CredentialInjector"
_KINDS = "type.googleapis.com/envoy.extensions.http.injected_credentials"
_SECRETS = [
    {"name": "injector-good", "generic_secret": {"secret": {"inline_string": "Bearer s3cret"}}},
    {"name": "injector-empty", "generic_secret": {"secret": {"inline_string": ""}}},
    {"name": "injector-odd", "generic_secret": {"secret": {"inline_string": "a:b c&é~%"}}},
]
_LOG = "%RESPONSE_CODE% %RESPONSE_CODE_DETAILS% %RESPONSE_FLAGS%\n"


def injecting(name: str, *requests: str | float, credential: dict[str, Any], **more: Any) -> Case:
    config = {"@type": _TYPE, **more.pop("settings", {})}
    if credential:
        config["credential"] = {"name": "c", "typed_config": credential}
    return Case(
        f"credential-injector-{name}",
        requests or (get("/a"),),
        filters=json.dumps([{"name": "injector", "typed_config": config}]),
        bootstrap=json.dumps({"static_resources": {"secrets": _SECRETS}}),
        timing=False,
        log=_LOG,
        **more,
    )


def generic(name: str, *requests: str | float, secret: str = "good", **more: Any) -> Case:
    credential = {"@type": f"{_KINDS}.generic.v3.Generic", "credential": {"name": f"injector-{secret}"}}
    credential |= more.pop("credential", {})
    stats = r"^http\.$case\.credential_injector\.(injected|failed|already_exists)"
    return injecting(name, *requests, credential=credential, stats=stats, **more)


def token(name: str, answer: str, *requests: str | float, status: str = "200 OK", **more: Any) -> Case:
    """The token server answers, and has had a moment to do so before the first request."""
    reply = f"HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {len(answer)}\r\n\r\n{answer}"
    credential = {
        "@type": f"{_KINDS}.oauth2.v3.OAuth2",
        "token_endpoint": {"uri": "https://auth.test:444/token?a=b", "cluster": "$auth", "timeout": "3s"},
        "client_credentials": {"client_id": "i d~*", "client_secret": {"name": "injector-odd"}},
        "token_fetch_retry_interval": "60s",
        **more.pop("credential", {}),
    }
    return injecting(
        name,
        *(requests or (0.5, get("/a"), 0.1, get("/b"))),
        credential=credential,
        upstreams={"up": Upstream(), "auth": Upstream(((reply,),))},
        stats=r"^http\.$case\.credential_injector\.((injected|failed|already_exists)|oauth2\.token_fetched)",
        flat_upstream=True,
        **more,
    )


_GOOD = '{"access_token":"T-1","expires_in":600,"token_type":"x"}'
_HERE = (get("/a", "authorization: own"), 0.05, get("/b"))

CASES = [
    generic("generic"),
    generic("generic-header", get("/a"), 0.05, get("/b", "x-key: k"), credential={"header": "X-Key"}),
    generic("here", *_HERE),
    generic("here-empty", get("/a", "authorization:")),
    generic("here-twice", get("/a", "authorization: a", "authorization: b"), settings={"overwrite": True}),
    generic("overwritten", *_HERE, settings={"overwrite": True}),
    generic("no-secret", secret="empty"),
    generic("no-secret-allowed", secret="empty", settings={"allow_request_without_credential": True}),
    generic("unknown-secret", credential={"credential": {"name": "injector-unknown"}}, refused=True),
    injecting("none", credential={}, refused=True),
    token("token", _GOOD),
    token("token-scopes", _GOOD, credential={"scopes": ["a b", "c:d"]}),
    token("token-text", '{"access_token":"T","expires_in":"600"}'),
    token("token-here", _GOOD, 0.5, *_HERE),
    token("token-bad", '{"access_token":"T"}'),
    token("token-no-json", "<html>"),
    token("token-refused", _GOOD, status="401 Unauthorized"),
    token("token-created", _GOOD, status="201 Created"),
    token("token-allowed", "{}", settings={"allow_request_without_credential": True}),
]
