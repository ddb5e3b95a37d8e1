"""Redirects that the proxy follows itself (`internal_redirect_policy`)."""

from __future__ import annotations

from typing import Any

from .. import known
from ..case import OK, Case, Op, Upstream, get
from ..h2_wire import h2get
from .h2_downstream import h2

STATS = r"(cluster\.$up2?\.(upstream_(rq_(total|completed|[23]xx|30[1-8]|rx_reset|tx_reset)|internal_redirect.*)|retry_or_shadow.*)|http\.$case\.(passthrough_.*|rq_(total|direct_response|redirect)|downstream_rq_(total|active|completed|[23]xx)|no_route|no_cluster))$"


def predicate(kind: str, fields: str = "") -> str:
    kind = f"type.googleapis.com/envoy.extensions.internal_redirect.{kind}"
    return f"predicates: [{{name: p, typed_config: {{'@type': {kind}{fields}}}}}]"


def only_to(names: str) -> str:
    return predicate("allow_listed_routes.v3.AllowListedRoutesConfig", f", allowed_route_names: [{names}]")


PREVIOUS = predicate("previous_routes.v3.PreviousRoutesConfig")
SAFE = predicate("safe_cross_scheme.v3.SafeCrossSchemeConfig")
LOG = (
    "%REQ(:METHOD)% %REQ(:AUTHORITY)%%REQ(:PATH)% rc=%RESPONSE_CODE% rf=%RESPONSE_FLAGS% rcd=%RESPONSE_CODE_DETAILS% "
    "rx=%BYTES_RECEIVED% tx=%BYTES_SENT% up=%UPSTREAM_CLUSTER_RAW% route=%ROUTE_NAME% "
    "peer=%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT% orig=%REQ(X-ENVOY-ORIGINAL-URL)% attempts=%UPSTREAM_REQUEST_ATTEMPT_COUNT%\n"
)


def to(location: str, code: int = 302, *lines: str, body: str = "") -> str:
    head = [f"HTTP/1.1 {code} Moved", f"location: {location}", f"content-length: {len(body)}", *lines]
    return "\r\n".join([*head, "", body])


def redirected(name: str, policy: str = "{}", *sends: Op, **more: Any) -> Case:
    """`/` is under the policy and leads to $up; `/other` goes to $up2."""
    routes = f"""
- {{match: {{prefix: /other}}, name: other, route: {{cluster: $up2}}}}
- {{match: {{prefix: /direct}}, name: direct, direct_response: {{status: 201, body: {{inline_string: here}}}}}}
- {{match: {{prefix: /gone}}, name: gone, route: {{cluster: $up2, cluster_header: nobody}}}}
- {{match: {{prefix: /redirect}}, name: redirect, redirect: {{path_redirect: /elsewhere}}}}
- match: {{prefix: /}}
  name: first
  route: {{cluster: $up, internal_redirect_policy: {policy}}}
""".replace("cluster: $up2, cluster_header: nobody", "cluster_header: nobody")
    more.setdefault("routes", routes)
    more.setdefault("log", LOG)
    more.setdefault("stats", STATS)
    more.setdefault("timing", False)
    more.setdefault("flat_upstream", True)
    more.setdefault("upstreams", {"up": Upstream(), "up2": Upstream()})
    return Case(f"redirects-{name}", tuple(sends) or get("/a?b=c"), **more)


def following(*scripts: str | tuple[Any, ...]) -> dict[str, Upstream]:
    given = tuple((script,) if isinstance(script, str) else script for script in scripts)
    return {"up": Upstream(given), "up2": Upstream()}


OTHER = following(to("http://other.test/other?x=1"))
CHUNKED = "POST /c HTTP/1.1\r\nhost: h.test\r\ntransfer-encoding: chunked\r\n\r\n5\r\nfirst\r\n6\r\nsecond\r\n0\r\n\r\n"
TRAILED = "POST /c HTTP/1.1\r\nhost: h.test\r\ntransfer-encoding: chunked\r\n\r\n5\r\nfirst\r\n0\r\nx-t: 1\r\n\r\n"
POST = get("/p", method="POST", body="hello")

CASES = [
    redirected("plain", upstreams=OTHER, shows="internal_redirect"),
    redirected("body-in-redirect", upstreams=following(to("http://other.test/other", body="moved")), shows="rc=200"),
    redirected("no-policy", upstreams=OTHER, routes="- {match: {prefix: /}, route: {cluster: $up}}", shows="rc=302"),
    redirected("code-not-listed", upstreams=following(to("http://other.test/other", 301)), shows="rc=301"),
    redirected(
        "codes", "{redirect_response_codes: [301, 308]}", upstreams=following(to("http://other.test/other", 308))
    ),
    redirected("codes-not-302", "{redirect_response_codes: [301, 308]}", upstreams=OTHER, shows="rc=302"),
    redirected("code-that-is-none", "{redirect_response_codes: [200, 307]}", upstreams=following(OK), shows="rc=200"),
    redirected("relative", upstreams=following(to("/other")), shows="bad_location"),
    redirected("no-location", upstreams=following("HTTP/1.1 302 Moved\r\ncontent-length: 0\r\n\r\n")),
    redirected("empty-location", upstreams=following(to("")), shows="bad_location"),
    redirected("bad-location", upstreams=following(to("http://other test/other"))),
    redirected("bad-port", upstreams=following(to("http://other.test:99999/other"))),
    redirected("port", upstreams=following(to("http://other.test:81/other"))),
    redirected("no-path", upstreams=following(to("http://other.test"), OK)),
    redirected("fragment", upstreams=following(to("http://other.test/other?q#part"))),
    redirected("user", upstreams=following(to("http://me@other.test/other"))),
    redirected("ipv6", upstreams=following(to("http://[::1]:80/other"))),
    redirected(
        "other-scheme", "{allow_cross_scheme_redirect: true}", upstreams=following(to("ftp://other.test/other"))
    ),
    redirected("cross-scheme", upstreams=following(to("https://other.test/other")), shows="unsafe_scheme"),
    redirected(
        "cross-scheme-allowed", "{allow_cross_scheme_redirect: true}", upstreams=following(to("https://o.test/other"))
    ),
    redirected(
        "safe-cross-scheme",
        f"{{allow_cross_scheme_redirect: true, {SAFE}}}",
        upstreams=following(to("https://o.test/other")),
        differs=known.REDIRECT_NOT_FOLLOWED,
    ),
    redirected("once", upstreams=following(to("http://h.test/again"), to("http://h.test/more")), shows="too_many"),
    redirected(
        "twice",
        "{max_internal_redirects: 2}",
        upstreams=following(to("http://h.test/again"), to("http://h.test/other"), OK),
    ),
    redirected("never", "{max_internal_redirects: 0}", upstreams=OTHER),
    redirected("listed", "{" + only_to("other, third") + "}", upstreams=OTHER),
    redirected("not-listed", "{" + only_to("third") + "}", upstreams=OTHER, differs=known.REDIRECT_NOT_FOLLOWED),
    redirected(
        "previous-routes",
        f"{{max_internal_redirects: 5, {PREVIOUS}}}",
        upstreams=following(to("http://h.test/again"), to("http://h.test/more"), OK),
    ),
    redirected(
        "no-route",
        upstreams=following(to("http://nowhere.test/other")),
        vhost="{domains: [h.test]}",
        differs=known.REDIRECT_NOT_FOLLOWED,
    ),
    redirected("to-no-cluster", upstreams=following(to("http://h.test/gone"))),
    redirected("to-redirect", upstreams=following(to("http://h.test/redirect"))),
    redirected(
        "post-303", "{redirect_response_codes: [303]}", POST, upstreams=following(to("http://h.test/other", 303))
    ),
    redirected(
        "head-303",
        "{redirect_response_codes: [303]}",
        get("/p", method="HEAD"),
        upstreams=following(to("http://h.test/other", 303)),
    ),
    redirected("post-302", "{}", POST, upstreams=OTHER),
    redirected(
        "post-307", "{redirect_response_codes: [307]}", POST, upstreams=following(to("http://h.test/other", 307))
    ),
    redirected("chunked", "{}", CHUNKED, upstreams=OTHER),
    redirected("trailers", "{}", TRAILED, upstreams=OTHER, hcm="{http_protocol_options: {enable_trailers: true}}"),
    redirected(
        "before-the-end",
        "{}",
        CHUNKED[:-5],
        0.3,
        CHUNKED[-5:],
        upstreams={"up": Upstream(((to("http://h.test/other"),),), at="head"), "up2": Upstream()},
    ),
    redirected("too-long", "{}", POST, upstreams=OTHER, vhost="{per_request_buffer_limit_bytes: 3}"),
    redirected(
        "copies-headers",
        "{response_headers_to_copy: [x-a, x-b, x-c]}",
        get("/", "x-a: old", "x-c: kept?"),
        upstreams=following(to("http://h.test/other", 302, "x-a: new", "x-b: one", "x-b: two", "x-d: no")),
    ),
    redirected("forwarded-for", "{}", get("/", "x-forwarded-for: 1.2.3.4"), upstreams=OTHER),
    redirected("edge", "{}", get("/", "x-envoy-retry-on: 5xx"), hcm="{use_remote_address: true}", upstreams=OTHER),
    redirected("normalised", upstreams=following(to("http://h.test/x/../other")), hcm="{normalize_path: true}"),
    redirected(
        "rewritten",
        routes="""
- {match: {prefix: /other}, name: other, route: {cluster: $up2, prefix_rewrite: /new}, request_headers_to_add: [{header: {key: x-two, value: b}}]}
- {match: {prefix: /}, name: first, route: {cluster: $up, prefix_rewrite: /before, host_rewrite_literal: r.test, internal_redirect_policy: {}}, request_headers_to_add: [{header: {key: x-one, value: a}}]}
""",
        upstreams=OTHER,
    ),
    redirected(
        "kept-alive",
        "{}",
        get("/1"),
        0.2,
        get("/2"),
        upstreams=following(to("http://h.test/other"), to("http://h.test/other")),
    ),
    redirected("pipelined", "{}", get("/1") + get("/2"), upstreams=following(to("http://h.test/other"), OK)),
    redirected(
        "after-retry",
        "{}",
        POST,
        routes="""
- {match: {prefix: /other}, name: other, route: {cluster: $up2}}
- {match: {prefix: /}, name: first, route: {cluster: $up, retry_policy: {retry_on: 5xx}, internal_redirect_policy: {}}}
""",
        upstreams=following("HTTP/1.1 503 X\r\ncontent-length: 0\r\n\r\n", to("http://h.test/other")),
        masks=((r"(x-envoy-expected-rq-timeout-ms): 1\d{4}\b", r"\1: <what is left>"),),
    ),
    redirected(
        "older-fields",
        routes="""
- {match: {prefix: /other}, name: other, route: {cluster: $up2}}
- {match: {prefix: /}, name: first, route: {cluster: $up, internal_redirect_action: HANDLE_INTERNAL_REDIRECT}}
""",
        upstreams=OTHER,
    ),
    redirected("over-http2", clients=h2(h2get(1, "/a", method="POST", body=b"hello")), upstreams=OTHER),
    # CVE-2022-21655: a redirect to a route with a direct response.
    redirected("cve-2022-21655", upstreams=following(to("http://h.test/direct")), shows="here"),
    # CVE-2022-29227: a request with a body, and then a reply of our own.
    redirected("cve-2022-29227", "{}", POST, upstreams=following(to("http://h.test/direct")), shows="here"),
    redirected(
        "cve-2022-29227-trailers",
        "{}",
        TRAILED,
        upstreams=following(to("http://h.test/gone")),
        hcm="{http_protocol_options: {enable_trailers: true}}",
    ),
    redirected("refused-header", "{response_headers_to_copy: [':path']}", refused=True, stats=""),
    redirected(
        "refused-predicate",
        "{predicates: [{name: p, typed_config: {'@type': type.googleapis.com/google.protobuf.StringValue}}]}",
        refused=True,
        stats="",
    ),
    redirected("refused-codes", "{redirect_response_codes: [301, 302, 303, 307, 308, 300]}", refused=True, stats=""),
]
