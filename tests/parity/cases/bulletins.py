"""Envoy's security bulletins, one case or a few for each: what was once let through, against what Envoy does now."""

from __future__ import annotations

from ..case import Act, Case, Upstream, get
from ..h2_peer import OK as OK2
from ..h2_wire import head
from .h2_downstream import h2
from .h2_heads import pseudo
from .h2_upstream import EXPLICIT

ROUTES = """
- match: {prefix: /, headers: [{name: x-role, %s}]}
  direct_response: {status: 200, body: {inline_string: matched}}
- {match: {prefix: /}, direct_response: {status: 200, body: {inline_string: other}}}
"""
EXACT = "string_match: {exact: b}"
RBAC = (
    "[{name: rbac, typed_config: {'@type': envoy.extensions.filters.http.rbac.v3.RBAC, rules: {action: DENY, policies: "
    "{p: {permissions: [{header: {name: x-role, string_match: {exact: admin}}}], principals: [{any: true}]}}}}}]"
)
TWO = ("x-role: a", "x-role: b")
CRUMBS = tuple(("cookie", f"c{number}=v") for number in range(97))
GRPC = ("content-type: application/grpc", "te: trailers")
BY_HEADERS = "- {match: {prefix: /}, route: {cluster: $up, max_stream_duration: {grpc_timeout_header_max: 0.5s}}}"


def crumbs(name: str, count: int) -> Case:
    return Case(
        f"cve-2026-47774-{name}",
        clients=h2(head(1, *pseudo(), *CRUMBS[:count])),
        timing=False,
    )


CASES = [
    *(
        Case(f"cve-2020-25017-{name}", get("/", *TWO), routes=ROUTES % matcher, upstreams={})
        for name, matcher in (
            ("exact", EXACT),
            ("exact-joined", 'string_match: {exact: "a,b"}'),
            ("prefix", "string_match: {prefix: b}"),
            ("inverted", f"{EXACT}, invert_match: true"),
            ("regex", "string_match: {safe_regex: {regex: b}}"),
            ("present", "present_match: false"),
        )
    ),
    Case("cve-2026-26308-two-values", get("/", "x-role: user", "x-role: admin"), filters=RBAC),
    Case("cve-2026-26308-joined", get("/", "x-role: user,admin"), filters=RBAC),
    Case("cve-2026-26308-one-value", get("/", "x-role: admin"), filters=RBAC, shows="403"),
    crumbs("within-limit", 96),
    crumbs("beyond-limit", 97),
    Case(
        "cve-2026-73550-dropped-host",
        clients=h2(head(1, *pseudo(), ("host", "h.test"), *(("x", "1"),) * 96)),
        timing=False,
    ),
    *(
        Case(
            f"cve-2021-28682-timeout-{value}",
            get("/", *GRPC, f"grpc-timeout: {value}", method="POST"),
            routes=BY_HEADERS,
            upstreams={"up": Upstream(((1.0, Act.CLOSE),))},
            timing=False,
            quiet=2.0,
        )
        for value in ("99999999H", "999999999H", "18446744073709551616n", "-1S", "0n", "1x", "S", "")
    ),
    Case(
        "cve-2019-18838-no-host",
        "GET / HTTP/1.1\r\nx: y\r\n\r\n",
        filters="[{name: b, typed_config: {'@type': envoy.extensions.filters.http.buffer.v3.Buffer, max_request_bytes: 10}}]",
    ),
    Case("cve-2019-18802-name-with-space", get("/", "x-role : admin"), filters=RBAC),
    Case("cve-2019-18802-value-with-space", get("/", "x-role: admin \t "), filters=RBAC, shows="403"),
    Case("cve-2019-9900-nul-in-value", get("/", "x-role: admin\0"), filters=RBAC),
    Case(
        "cve-2023-35944-scheme-in-mixed-case",
        clients=h2(head(1, *pseudo(scheme="HtTp"))),
        vhost="require_tls: ALL",
        cluster=EXPLICIT,
        upstreams={"up": Upstream((OK2,), mode="h2")},
        timing=False,
    ),
    Case("cve-2021-39156-fragment", get("/admin#x", "x-role: admin"), filters=RBAC),
]
