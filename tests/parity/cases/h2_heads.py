"""Heads of HTTP/2 requests: what of them may be, by which name their faults go, and what HTTP/1 and HTTP/2 hosts get.

The scheme of a request is the client's where it says one; X-Forwarded-Proto says what the connection had.
"""

from __future__ import annotations

from typing import Any

from ..case import Case, Upstream, get
from ..h2_peer import OK
from ..h2_wire import head
from ..known import BAD_PROTOCOL
from .h2_downstream import TUNNELS, h2
from .h2_upstream import CERTS, EXPLICIT, SOCKET

Pairs = tuple[tuple[str, str], ...]
SCHEME_LOG = "scheme=%REQ(:SCHEME)% xfp=%REQ(X-FORWARDED-PROTO)%\n"
TO_HTTP2 = {"up": Upstream((OK,), mode="h2")}
REMOTE = "use_remote_address: true"
OF_UPSTREAM = "scheme_header_transformation: {match_upstream: true}"
REDIRECT = "[{match: {prefix: /}, redirect: {path_redirect: /x}}]"


def pseudo(**values: str | None) -> Pairs:
    """The four, with other values or (None) without one."""
    fields: dict[str, str | None] = {"method": "GET", "path": "/", "scheme": "http", "authority": "h.test"}
    fields.update(values)
    return tuple((f":{name}", value) for name, value in fields.items() if value is not None)


def case(name: str, fields: Pairs, **options: Any) -> Case:
    return Case(f"h2-head-{name}", clients=h2(head(1, *fields)), timing=False, **options)


def scheme(name: str, fields: Pairs, **options: Any) -> Case:
    options.setdefault("cluster", EXPLICIT)
    options.setdefault("upstreams", TO_HTTP2)
    return case(f"scheme-{name}", fields, log=SCHEME_LOG, **options)


def http1_scheme(name: str, send: str, hcm: str = "") -> Case:
    return Case(f"h1-scheme-{name}", send, hcm=hcm, cluster=EXPLICIT, upstreams=TO_HTTP2, log=SCHEME_LOG, timing=False)


def proto(value: str) -> Pairs:
    return (("x-forwarded-proto", value),)


PLAIN = pseudo()
CASES = [
    *(
        case(f"{name}-http{version}", fields, **({"cluster": EXPLICIT, "upstreams": TO_HTTP2} if version == 2 else {}))
        for version in (1, 2)
        for name, fields in (
            ("path-odd", pseudo(path='/a"<>\\^`{|}%2e%2e%2f%00%zz%;x/..;/a?b?c')),
            ("authority-odd", pseudo(authority="H_t%2e~!$&'()*+,;=.")),
            ("authority-and-host", (*PLAIN, ("host", "other"))),
            ("host-alone", (*pseudo(authority=None), ("host", "h.test"))),
            ("query-without-type", pseudo(method="QUERY")),
            ("te-in-capitals", (*PLAIN, ("te", "Trailers"))),
            ("te-twice", (*PLAIN, ("te", "trailers"), ("te", "trailers"))),
            ("length-zeros", (*PLAIN, ("content-length", "00"))),
            ("cookies", (*PLAIN, ("cookie", "a=1"), ("x", "1"), ("cookie", "b=2"))),
            ("name-any-token", (*PLAIN, ("!#$%&'*+-.^_`|~", "a"))),
            ("value-obs-text", (*PLAIN, ("x", "\x80\xff"), ("y", "a\tb"), ("z", ""))),
            ("method-any-token", pseudo(method="A!~")),
            ("order", tuple(reversed(PLAIN))),
            ("trailer-and-expectation", (*PLAIN, ("trailer", "x"), ("expect", "foo"), ("priority", "u=1"))),
        )
    ),
    *(
        case(f"refused-{name}", fields)
        for name, fields in (
            ("path-space", pseudo(path="/a b")),
            ("path-tab", pseudo(path="/a\tb")),
            ("path-delete", pseudo(path="/\x7f")),
            ("path-star", pseudo(path="*")),
            ("path-no-slash", pseudo(path="a")),
            ("path-absolute", pseudo(path="http://h.test/")),
            ("path-none", pseudo(path=None)),
            ("path-empty", pseudo(path="")),
            ("authority-slash", pseudo(authority="h.test/x")),
            ("authority-user", pseudo(authority="u@h.test")),
            ("authority-query", pseudo(authority="h.test?x")),
            ("authority-fragment", pseudo(authority="h.test#x")),
            ("authority-quote", pseudo(authority='h"t')),
            ("authority-none", pseudo(authority=None)),
            ("host-twice", (*pseudo(authority=None), ("host", "a"), ("host", "b"))),
            ("host-empty", (*pseudo(authority=None), ("host", ""))),
            ("method-space", pseudo(method="GET /x")),
            ("method-none", pseudo(method=None)),
            ("scheme-space", pseudo(scheme="ht tp")),
            ("scheme-colon", pseudo(scheme="http:")),
            ("scheme-none", pseudo(scheme=None)),
            ("te-list", (*PLAIN, ("te", "trailers, gzip"))),
            ("value-lines", (*PLAIN, ("x", "a\r\nb: c"))),
            ("value-nul", (*PLAIN, ("x", "a\0b"))),
            ("name-in-capitals", (*PLAIN, ("X", "a"))),
            ("name-colon", (*PLAIN, ("x:y", "a"))),
            ("connection-field", (*PLAIN, ("proxy-connection", "close"))),
            ("length-list", (*PLAIN, ("content-length", "0, 0"))),
            ("length-without-body", (*PLAIN, ("content-length", "5"))),
            ("pseudo-late", (*PLAIN[:3], ("x", "1"), *PLAIN[3:])),
            ("pseudo-unknown", (*PLAIN, (":foo", "1"))),
            ("connect-path", ((":method", "CONNECT"), (":authority", "h.test:80"), (":path", "/"))),
            ("connect-host", ((":method", "CONNECT"), ("host", "h.test:80"))),
        )
    ),
    case("refused-protocol-of-get", (*PLAIN, (":protocol", "websocket")), hcm=TUNNELS),
    case(
        "refused-protocol-no-token",
        ((":method", "CONNECT"), *PLAIN[1:], (":protocol", "a b")),
        hcm=TUNNELS,
        differs=BAD_PROTOCOL,
    ),
    scheme("other-than-transport", pseudo(scheme="https")),
    scheme("in-capitals", pseudo(scheme="HTTPS"), hcm=REMOTE),
    scheme("unknown", (*pseudo(scheme="ftp"), *proto("https"))),
    scheme("forwarded", (*PLAIN, *proto("https"))),
    scheme("forwarded-unknown", (*pseudo(scheme="https"), *proto("gopher"))),
    scheme("overwritten", PLAIN, hcm="scheme_header_transformation: {scheme_to_overwrite: https}"),
    scheme("of-upstream", pseudo(scheme="https"), hcm=OF_UPSTREAM),
    scheme("of-upstream-redirect", pseudo(scheme="https"), hcm=OF_UPSTREAM, routes=REDIRECT),
    scheme(
        "of-upstream-tls",
        PLAIN,
        hcm=OF_UPSTREAM,
        cluster=f"{EXPLICIT}\n{SOCKET % 'alpn_protocols: [h2], '}",
        upstreams={"up": Upstream((OK,), mode="h2", tls=CERTS.server_context)},
    ),
    scheme("redirect", pseudo(scheme="https"), routes=REDIRECT),
    scheme("redirect-forwarded", (*PLAIN, *proto("https")), routes=REDIRECT),
    scheme("tls-required", pseudo(scheme="https"), vhost="require_tls: ALL"),
    scheme("tls-required-forwarded", (*PLAIN, *proto("https")), vhost="require_tls: ALL"),
    http1_scheme("none", get()),
    http1_scheme("forwarded", get("/", "x-forwarded-proto: HTTPS")),
    http1_scheme("forwarded-unknown", get("/", "x-forwarded-proto: gopher")),
    http1_scheme("forwarded-outside", get("/", "x-forwarded-proto: https"), hcm=REMOTE),
    http1_scheme("absolute", "GET https://h.test/ HTTP/1.1\r\nhost: h.test\r\nx-forwarded-proto: http\r\n\r\n"),
    Case("te-in-capitals", get("/", "te: Trailers")),
    Case("te-in-capitals-named", get("/", "te: TRAILERS", "connection: te")),
]
