"""Where meshproxy does otherwise on purpose, and no other case would show it; see `known`."""

from __future__ import annotations

from dataclasses import replace

from .. import known
from ..case import Act, Case, Client, Difference, Wait, answer, client, get, raw
from ..h2_peer import Data, Head
from ..h2_wire import data, frame, h2get, head, hello
from .client_address import append, early
from .clusters import DNS
from .compression import packed
from .custom_response import replaced
from .ext_proc import processed
from .filters import checked
from .grpc_web import FRAME, post, web
from .h2_downstream import CONNECT, PSEUDO, TUNNELS, h2
from .key_filters import each, keyed, passworded
from .network_filters import before_tcp, entry, rbac, rules
from .proxy_headers import proxied
from .route_fields import template

PLAIN = (("content-type", "text/plain"),)
SWITCHED_OFF = {"default_value": False, "runtime_key": "none"}


def trailing(name: str, value: str) -> Case:
    """A request over HTTP/2 whose trailers have this field, and another request behind it."""
    return Case(
        f"odd-h2-trailers-with-{name}",
        clients=h2(h2get(method="POST", end=False), data(1, b"abc"), head(1, (name, value)), 0.2, h2get(3)),
        differs=known.FRAMING_IN_TRAILERS,
    )


def rewritten(name: str, to: str, differs: Difference) -> Case:
    routes = f"- {{match: {{prefix: /}}, route: {{cluster: $up, path_rewrite: '{to}'}}}}"
    return Case(f"path-rewrite-{name}", get("/a"), routes=routes, timing=False, differs=differs)


CASES = [
    Case("odd-h2-value-in-spaces", clients=h2(head(1, *PSEUDO, ("x-a", " a "))), differs=known.VALUE_IN_SPACES),
    trailing("content-length", "3"),
    trailing("host", "h.test"),
    Case(
        "odd-h2-port-beyond-65535",
        clients=h2(head(1, *PSEUDO[:3], (":authority", "h.test:70000"))),
        differs=known.ODD_AUTHORITY,
    ),
    Case(
        "odd-h2-push-promise",
        clients=h2(h2get(), Wait("ok"), frame(5, b"\0\0\0\2", 4, 1)),
        differs=known.GOAWAY_FOR_FAULTS,
        timing=False,
    ),
    passworded("quote-in-the-path", {}, *each(get('/"a?b=c')), differs=known.QUOTE_IN_REALM),
    keyed(
        "hides-in-an-odd-query",
        {"forwarding": {"hide_credentials": True}},
        *each(get("/a?b=%41+c&key=k1&z")),
        differs=known.REST_OF_QUERY,
    ),
    rewritten("without-slash", "new", known.NO_PATH),
    rewritten("with-a-space", "/n w", known.NO_REQUEST_LINE),
    packed("garbage", b"this is no gzip at all", "content-encoding: gzip", differs=known.CORRUPT_BODY),
    early("connection", get("/", "x-a: 1"), append("connection", "x-a"), differs=known.CONNECTION_ADDED),
    template("star-inside", "/a/b*c", "/a/bxc", refused=True, differs=known.FIELDS_WITHOUT_EFFECT),
    early("removes-path", get(), "{remove: ':path'}", refused=True, differs=known.FIELDS_WITHOUT_EFFECT),
    rbac(
        "by-path",
        rules=rules(permission={"url_path": {"path": {"exact": "/"}}}),
        refused=True,
        differs=known.FIELDS_WITHOUT_EFFECT,
    ),
    proxied(
        "v1-with-tlvs",
        "version: V1, added_tlvs: [{type: 240, value: aGVsbG8=}]",
        refused=True,
        differs=known.FIELDS_WITHOUT_EFFECT,
    ),
    web(
        "answer-that-is-none",
        post("application/grpc-web", FRAME.decode("latin-1")),
        Head(200, PLAIN),
        Data(b"hi", True),
        differs=known.NO_GRPC_ANSWER,
    ),
    processed(
        "full-duplex",
        modes={"response_body_mode": "FULL_DUPLEX_STREAMED", "response_trailer_mode": "SEND"},
        refused=True,
        differs=known.NOT_THERE,
    ),
    before_tcp(
        "connection-limit-off",
        [entry("connection_limit", stat_prefix="$case", max_connections=1, runtime_enabled=SWITCHED_OFF)],
        Client(("hello", Wait("hello"), Act.CLOSE), raw=True),
        stats=r"^connection_limit\.$case\.active",
        differs=known.LIMIT_OFF,
    ),
    Case(
        "buffer-beyond-the-limit-in-one-frame",
        clients=(client(hello() + h2get(method="POST", body=b"more than ten"), h2=True, timing=False),),
        filters="[{buffer: {max_request_bytes: 10}}]",
        differs=known.FRAMED_AT_ONCE,
    ),
    Case(
        "authz-beyond-the-limit-in-one-frame",
        clients=(client(hello() + h2get(method="POST", body=b"more than ten"), h2=True, timing=False),),
        filters="""
- name: authz
  typed_config:
    "@type": envoy.extensions.filters.http.ext_authz.v3.ExtAuthz
    transport_api_version: V3
    http_service: {server_uri: {uri: "http://a", cluster: $up, timeout: 5s}}
    with_request_body: {max_request_bytes: 10}
""",
        differs=known.FRAMED_AT_ONCE,
    ),
    Case(
        "odd-h2-client-leaves-in-a-head",
        clients=h2(frame(1, b"\x82\x86", 1, 1), 0.2, Act.CLOSE),
        timing=False,
        differs=known.UNFINISHED_HEAD,
    ),
    Case(
        "connect-and-close",
        "CONNECT h.test:80 HTTP/1.1\r\nhost: h.test:80\r\nconnection: close\r\n\r\n",
        hcm=TUNNELS,
        routes=CONNECT,
        upstreams=raw("bye", Act.CLOSE),
        timing=False,
        differs=known.CLOSED_CONNECT,
    ),
    Case(
        "reset-ends-a-response-without-length",
        get(),
        upstreams=answer("HTTP/1.1 200 OK\r\n\r\nabc", 0.2, Act.RESET),
        timing=False,
        stats=r"^cluster\.$up\.upstream_cx_destroy_remote_with_active_rq",
        differs=known.RESET_AS_END,
    ),
    Case(
        "cluster-logical-dns-weight",
        get(),
        cluster=DNS % "LOGICAL_DNS",
        stats=r"^cluster\.$up\.max_host_weight",
        differs=known.WEIGHT_OF_LOGICAL_DNS,
    ),
    replace(replaced("without-details", policy={}), log="rcd=%RESPONSE_CODE_DETAILS%\n", differs=known.NO_DETAILS),
    checked(
        "with-a-body",
        "{pass_through_mode: false, headers: [{name: ':path', string_match: {exact: /}}]}",
        get("/", "content-length: 5", method="POST"),
        differs=known.CHECK_WITH_BODY,
    ),
]
