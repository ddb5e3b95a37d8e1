"""The way to the authorization server and back (RFC 6749 section 4.1).

A browser takes along a state: the URL that it had asked for, and a value that it also holds as a cookie and that only
we can have signed. It comes back with that state and a code; who has the one without the other is refused.
"""

from __future__ import annotations

import hmac
import json
import re
from typing import Any
from urllib.parse import quote

from meshproxy.absolute_url import parse_absolute_url
from meshproxy.headers import RequestHeaders, ResponseHeaders
from meshproxy.plugin.context import Stream
from meshproxy.records import dataclass
from meshproxy_filters.http.jwt_authn.token import decode_base64url, read_json_object
from meshproxy_filters.http.oauth2.login import Browser
from meshproxy_filters.http.oauth2.query import read_query, write_query
from meshproxy_filters.http.oauth2.sealing import code_challenge, encode_base64url, new_code_verifier, new_flow_id
from meshproxy_filters.http.oauth2.settings import OAuth2Config

_PORT = re.compile(r":[0-9]+\Z")


class Refused(Exception):
    """A callback that can't be trusted. flow_id: of the flow that is over by it, "" where that can't be trusted."""

    def __init__(self, details: str, flow_id: str = "") -> None:
        super().__init__(details)
        self.flow_id = flow_id


@dataclass(frozen=True, slots=True)
class Callback:
    code: str
    url: str
    flow_id: str


def send_away(request: RequestHeaders, stream: Stream, config: OAuth2Config) -> ResponseHeaders:
    """The answer that sends a browser to the authorization server. Raises Refused."""
    to = config.authorization
    scheme = "http" if request.scheme.lower() == "http" else "https"
    own = f"{scheme}://{request.authority}" if to.own_uri is None else to.own_uri(stream)
    if not _is_allowed(own, to.domains):
        raise Refused(f"authority or original_request_uri failed domain allow-list validation: {own}")
    back = to.redirect_uri(stream)
    if not _is_allowed(back, to.domains):
        raise Refused(f"redirect_uri failed domain allow-list validation: {back}")
    sealer, own_cookies = config.sealer, config.cookies
    flow_id, verifier = new_flow_id(), new_code_verifier()
    token = f"{flow_id}.{sealer.sign(flow_id)}"
    sealed = sealer.seal(verifier)
    response = ResponseHeaders(302)
    for suffix in (f".{flow_id}", ""):
        own_cookies.nonce.set(response, token, to.nonce_seconds, suffix)
    for suffix in (f".{flow_id}", ""):
        own_cookies.verifier.set(response, sealed, to.verifier_seconds, suffix)
    parameters = {
        **to.parameters,
        "state": [_encode_state(url=f"{own}{request.path}", csrf_token=token, flow_id=flow_id)],
        "redirect_uri": [quote(back, safe="", encoding="latin-1")],
        "code_challenge": [code_challenge(verifier)],
        "code_challenge_method": ["S256"],
    }
    response["location"] = f"{to.url}{write_query(parameters)}{to.resources}"
    return response


def _encode_state(**fields: str) -> str:
    text = json.dumps(fields, separators=(",", ":"), ensure_ascii=False)
    return encode_base64url(text.encode())


def read_callback(path: str, browser: Browser, config: OAuth2Config) -> Callback:
    """What the browser brings back. Raises Refused."""
    query = read_query(path.partition("#")[0].partition("?")[2])
    code, state = query.get("code"), query.get("state")
    if "error" in query:
        try:
            flow_id = _read_state(state[0], browser, config)[1] if state is not None else ""
        except Refused as refused:
            flow_id = refused.flow_id
        raise Refused(f"OAuth server returned an error: {write_query(query)}", flow_id)
    if code is None or state is None:
        raise Refused(f"Code or state query param does not exist: {write_query(query)}")
    url, flow_id = _read_state(state[0], browser, config)
    return Callback(code[0], url, flow_id)


def _read_state(text: str, browser: Browser, config: OAuth2Config) -> tuple[str, str]:
    """The URL that was asked for, and the flow. Raises Refused."""
    data = decode_base64url(text) or b""
    shown = data.decode("latin-1")
    state = read_json_object(data)
    if state is None:
        raise Refused(f"State query param is not a valid JSON: {shown}")
    if "url" not in state or "csrf_token" not in state:
        raise Refused(f"State query param does not contain url or CSRF token: {shown}")
    url, token, flow_id = (_text(state.get(name)) for name in ("url", "csrf_token", "flow_id"))
    if not _is_ours(token, browser.of_flow(config.cookies.nonce, flow_id), config):
        raise Refused("CSRF token validation failed")
    if parse_absolute_url(url) is None:
        raise Refused(f"State url can not be initialized: {url}", flow_id)
    if not _is_allowed(url, config.authorization.domains):
        raise Refused(f"State url host is not in the allowed redirect domains: {url}", flow_id)
    return url, flow_id


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _is_ours(token: str, held: str, config: OAuth2Config) -> bool:
    try:
        given = token.encode("latin-1")
    except UnicodeEncodeError:
        return False
    if not hmac.compare_digest(held.encode("latin-1"), given):
        return False
    value, dot, signature = token.partition(".")
    return bool(dot) and hmac.compare_digest(config.sealer.sign(value).encode(), signature.encode("latin-1"))


def _is_allowed(url: str, domains: tuple[str, ...]) -> bool:
    """Whether a URL is of one of the domains; any is where none are named."""
    if not domains:
        return True
    found = parse_absolute_url(url)
    if found is None:
        return False
    host = _PORT.sub("", found.host_and_port).strip("[]")
    return any(
        host.endswith(domain[1:]) and len(host) > len(domain) - 1
        if domain.startswith("*.")
        else host.lower() == domain.lower()
        for domain in domains
    )
