"""Sessions that stay at one host: by cookie and by field, strict and not."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from typing import Any

from ..case import OK, Case, Upstream, client, get

_HTTP = "type.googleapis.com/envoy.extensions."
_MASKS = (
    (r'(s=")[A-Za-z0-9+/=]+', r"\1<address>"),
    (r"(x-s: )[A-Za-z0-9+/=]+", r"\1<address>"),
)


def session(cookie: dict[str, Any] | None, **more: Any) -> dict[str, Any]:
    if cookie is None:
        state: dict[str, Any] = {
            "@type": f"{_HTTP}http.stateful_session.header.v3.HeaderBasedSessionState",
            "name": "x-s",
        }
    else:
        kind = f"{_HTTP}http.stateful_session.cookie.v3.CookieBasedSessionState"
        state = {"@type": kind, "cookie": {"name": "s", **cookie}}
    return {
        "session_state": {
            "name": f"envoy.http.stateful_session.{'header' if cookie is None else 'cookie'}",
            "typed_config": state,
        },
        **more,
    }


def held(name: str, config: dict[str, Any], *requests: str, **more: Any) -> Case:
    filters = [
        {
            "name": "session",
            "typed_config": {"@type": f"{_HTTP}filters.http.stateful_session.v3.StatefulSession", **config},
        }
    ]
    upstreams = {"up": Upstream(((OK,),))}
    return Case(
        f"session-{name}",
        clients=tuple(
            client(request, start=number * 0.2, timing=False) for number, request in enumerate(requests or (get("/a"),))
        ),
        filters=json.dumps(filters),
        upstreams=upstreams,
        masks=_MASKS,
        log="%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS%\n",
        **more,
    )


def enveloped(
    name: str, *lines: str, answer: str = "HTTP/1.1 200 OK\r\nx-s: own\r\ncontent-length: 0\r\n\r\n", **more: Any
) -> Case:
    kind = f"{_HTTP}http.stateful_session.envelope.v3.EnvelopeSessionState"
    state = {"name": "envoy.http.stateful_session.envelope", "typed_config": {"@type": kind, "header": {"name": "x-S"}}}
    case = held(f"envelope-{name}", {"session_state": state, "stat_prefix": "mine", **more}, get("/a", *lines))
    return replace(case, upstreams={"up": Upstream(((answer,),))}, stats=r"^http\.$case\.stateful_session")


_OWN = base64.b64encode(b"value").decode()
NOWHERE = base64.b64encode(b"\x0a\x0e127.0.0.1:9999").decode()
PLAIN_NOWHERE = base64.b64encode(b"127.0.0.1:9999").decode()
_PER_ROUTE = f"{_HTTP}filters.http.stateful_session.v3.StatefulSessionPerRoute"

CASES = [
    enveloped("new"),
    enveloped("of-nowhere", f"x-s: {PLAIN_NOWHERE};UV:{_OWN}"),
    enveloped("of-nowhere-strict", f"x-s: {PLAIN_NOWHERE};UV:{_OWN}", strict=True),
    enveloped("without-value", f"x-s: {PLAIN_NOWHERE}"),
    enveloped("odd-value", f"x-s: {PLAIN_NOWHERE};UV:%%"),
    enveloped("odd-address", f"x-s: %%;UV:{_OWN}"),
    enveloped("other-parts", f"x-s: ;{PLAIN_NOWHERE};a;UV:{_OWN};UV:b;"),
    enveloped("empty", "x-s:"),
    enveloped("no-field", answer="HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"),
    enveloped("two-fields", answer="HTTP/1.1 200 OK\r\nx-s: a\r\nx-s: b\r\ncontent-length: 0\r\n\r\n"),
    held("cookie", session({})),
    held("cookie-with-ttl", session({"ttl": "120s", "path": "/"})),
    held("cookie-with-path", session({"path": "/a"})),
    held("cookie-path-below", session({"path": "/a"}), get("/a/b"), get("/ab"), get("/a?x")),
    held("cookie-path-slash", session({"path": "/a/"}), get("/a/b"), get("/a")),
    held("cookie-attributes", session({"attributes": [{"name": "SameSite", "value": "Strict"}, {"name": "Secure"}]})),
    held("host-is-gone", session({}), get("/a", f"cookie: s={NOWHERE}")),
    held("host-is-gone-quoted", session({}), get("/a", f'cookie: s="{NOWHERE}"')),
    held("host-is-gone-strict", session({}, strict=True), get("/a", f"cookie: s={NOWHERE}")),
    held("no-cookie-strict", session({}, strict=True)),
    held("cookie-is-garbage", session({}), get("/a", "cookie: s=!!!"), get("/a", "cookie: s=AAAA")),
    held("header", session(None)),
    held("header-host-is-gone", session(None), get("/a", f"x-s: {PLAIN_NOWHERE}")),
    held("header-host-is-gone-strict", session(None, strict=True), get("/a", f"x-s: {PLAIN_NOWHERE}")),
    held("header-is-garbage", session(None), get("/a", "x-s: !")),
    held("nothing", {}),
    held("local-reply", session({}), routes="[{match: {prefix: /}, direct_response: {status: 200}}]"),
    held("route-off", session({}), routes=json.dumps([{"match": {"prefix": "/"}, "route": {"cluster": "$up"}, "typed_per_filter_config": {"session": {"@type": _PER_ROUTE, "disabled": True}}}])),
    held("route-of-its-own", {}, routes=json.dumps([{"match": {"prefix": "/"}, "route": {"cluster": "$up"}, "typed_per_filter_config": {"session": {"@type": _PER_ROUTE, "stateful_session": session({})}}}])),
]  # fmt: skip
