"""Which route a request takes, and what the route does to it."""

from __future__ import annotations

from typing import Any

from ..case import LEFT, OK, REFUSE, Case, Upstream, answer, answers, get
from .request_headers import INTERNAL, REMOTE

TRUSTED = f"{REMOTE}\n{INTERNAL}"

NAMED = "HTTP/1.1 200 OK\r\nx-up: %s\r\ncontent-length: 0\r\n\r\n"
TWO = {"up": Upstream(((NAMED % "one",),)), "up2": Upstream(((NAMED % "two",),))}


def matched(name: str, match: str, *requests: str, body: str = "'yes'", **more: Any) -> Case:
    """Requests over one connection; `match` leads to direct response "yes", everything else to "no"."""
    ops = tuple(op for request in requests for op in (request, 0.1))
    routes = f"""
- name: hit
  match: {match}
  direct_response: {{status: 200, body: {{inline_string: "yes"}}}}
- name: miss
  match: {{prefix: /}}
  direct_response: {{status: 404, body: {{inline_string: "no"}}}}
"""
    return Case(f"match-{name}", ops, routes=routes, timing=False, shows=body, **more)


def routed(name: str, options: str, *requests: str, action: str = "", **more: Any) -> Case:
    """One route to the upstream; `action` goes into `route`, `options` beside it."""
    inner = f"{{cluster: $up, {action}}}" if action else "{cluster: $up}"
    routes = f"- match: {{prefix: /}}\n  route: {inner}\n" + "".join(f"  {line}\n" for line in options.splitlines())
    ops = tuple(op for request in requests or (get("/old/path?q=1"),) for op in (request, 0.1))
    return Case(f"route-{name}", ops, routes=routes, timing=False, **more)


def redirected(name: str, redirect: str, *requests: str, match: str = "{prefix: /}", **more: Any) -> Case:
    ops = tuple(op for request in requests or (get("/old/path?q=1"),) for op in (request, 0.1))
    routes = f"- match: {match}\n  redirect: {redirect}"
    return Case(f"redirect-{name}", ops, routes=routes, timing=False, **more)


def header_match(name: str, header: str, *lines: str) -> Case:
    requests = [get("/", *line.split("|")) if line else get() for line in lines]
    return matched(f"header-{name}", f"{{prefix: /, headers: [{header}]}}", *requests)


HOSTS = """
- {name: exact, domains: [a.test], routes: [{match: {prefix: /}, direct_response: {status: 201}}]}
- {name: suffix, domains: ["*.a.test"], routes: [{match: {prefix: /}, direct_response: {status: 202}}]}
- {name: longer-suffix, domains: ["*.b.a.test"], routes: [{match: {prefix: /}, direct_response: {status: 203}}]}
- {name: prefix, domains: ["a.*"], routes: [{match: {prefix: /}, direct_response: {status: 206}}]}
- {name: longer-prefix, domains: ["a.b.*"], routes: [{match: {prefix: /}, direct_response: {status: 207}}]}
- {name: port, domains: ["p.test:81"], routes: [{match: {prefix: /}, direct_response: {status: 208}}]}
- {name: dash, domains: ["*-x.test"], routes: [{match: {prefix: /}, direct_response: {status: 226}}]}
"""
ANY = '- {name: any, domains: ["*"], routes: [{match: {prefix: /}, direct_response: {status: 299}}]}\n'
HOST_LIST = (
    "a.test",
    "A.TEST",
    "x.a.test",
    "x.b.a.test",
    "b.a.test",
    "a.com",
    "a.b.com",
    "a.b.a.test",
    "p.test",
    "p.test:81",
    "p.test:82",
    "a.test:81",
    "q-x.test",
    "-x.test",
    "nobody",
    ".a.test",
    "a.",
)


def hosts(name: str, hcm: str = "", route_config: str = "", vhosts: str = HOSTS + ANY) -> Case:
    ops = tuple(op for host in HOST_LIST for op in (get(host=host), 0.05))
    return Case(f"hosts-{name}", ops, hcm=hcm, vhosts=vhosts, route_config=route_config, timing=False)


MUTATE = """
request_headers_to_add:
- {header: {key: x-level, value: %s}, append_action: %s}
request_headers_to_remove: [x-%s]
response_headers_to_add:
- {header: {key: x-rlevel, value: %s}, append_action: %s}
response_headers_to_remove: [x-r%s]
"""


def levels(name: str, action: str, route_config: str = "") -> Case:
    """The same header added at all levels: which ends up where."""

    def indent(level: str) -> str:
        text = MUTATE % (level, action, level, level, action, level)
        return "".join(f"    {line}\n" for line in text.strip().splitlines())

    routes = "- match: {prefix: /}\n  route:\n    weighted_clusters:\n      clusters:\n      - name: $up\n        weight: 1\n"
    routes += "".join(f"    {line}\n" for line in indent("weighted").splitlines())
    routes += "".join(f"{line[2:]}\n" for line in indent("route").splitlines())
    return Case(
        f"mutations-{name}",
        get("/", "x-level: client", "x-route: 1", "x-vhost: 1", "x-config: 1", "x-weighted: 1", "x-left: 1"),
        upstreams=answer(
            "HTTP/1.1 200 OK\r\nx-rlevel: up\r\nx-rroute: 1\r\nx-rvhost: 1\r\nx-rconfig: 1\r\nx-rleft: 1\r\ncontent-length: 0\r\n\r\n"
        ),
        routes=routes,
        vhost="".join(line[4:] + "\n" for line in indent("vhost").splitlines()),
        route_config="".join(line[4:] + "\n" for line in indent("config").splitlines()) + route_config,
    )


def formatted(name: str, value: str, *lines: str, **more: Any) -> Case:
    routes = f"""
- name: the-route
  match: {{prefix: /}}
  route: {{cluster: $up}}
  request_headers_to_add:
  - header: {{key: x-f, value: '[{value}]'}}
  - header: {{key: x-bare, value: '{value}'}}
  response_headers_to_add:
  - header: {{key: x-f, value: '[{value}]'}}
"""
    return Case(f"format-{name}", get("/p?q=1", *lines), routes=routes, **more)


A, B = get("/abc"), get("/")
CASES = [
    matched("prefix", "{prefix: /abc}", A, get("/abcd"), get("/ab"), get("/abc?x"), get("/ABC")),
    matched("prefix-ignore-case", "{prefix: /abc, case_sensitive: false}", get("/ABCd"), get("/ab")),
    Case(
        "match-prefix-with-query",
        (get("/abc?x=1"), 0.1, get("/abc%3Fx")),
        routes="- {match: {prefix: '/abc?x'}, direct_response: {status: 204}}",
        shows="404",
    ),
    matched("path", "{path: /abc}", A, get("/abc?x=1"), get("/abc/"), get("/abcd"), get("/ABC")),
    matched("path-ignore-case", "{path: /abc, case_sensitive: false}", get("/aBc"), get("/aBcd")),
    matched(
        "path-separated", "{path_separated_prefix: /abc}", A, get("/abc/d"), get("/abcd"), get("/abc?x"), get("/abc#")
    ),
    matched("regex", "{safe_regex: {regex: '/a[0-9]+'}}", get("/a12"), get("/a12b"), get("/a12?x"), get("/xa12")),
    matched("regex-alternatives", "{safe_regex: {regex: '/a|/ab'}}", get("/ab"), get("/abc"), get("/a")),
    matched("root-regex", "{safe_regex: {regex: '.*'}}", B, A),
    header_match("exact", "{name: x, string_match: {exact: v}}", "x: v", "x: V", "x: vv", "", "X:  v "),
    header_match("exact-ignore-case", "{name: x, string_match: {exact: v, ignore_case: true}}", "x: V", "x: w"),
    header_match("prefix", "{name: x, string_match: {prefix: ab}}", "x: abc", "x: cab", ""),
    header_match("suffix", "{name: x, string_match: {suffix: ab}}", "x: cab", "x: abc"),
    header_match("contains", "{name: x, string_match: {contains: ab}}", "x: cabc", "x: acb"),
    header_match("regex", "{name: x, string_match: {safe_regex: {regex: 'a+'}}}", "x: aaa", "x: aab"),
    header_match(
        "range", "{name: x, range_match: {start: 3, end: 5}}", "x: 3", "x: 4", "x: 5", "x: z", "x: -4", "x: 4x", "x: 04"
    ),
    header_match("present", "{name: x, present_match: true}", "x: 1", "x:", "", "y: 1"),
    header_match("absent", "{name: x, present_match: false}", "x: 1", ""),
    header_match("inverted", "{name: x, string_match: {exact: v}, invert_match: true}", "x: v", "x: w", ""),
    header_match("present-inverted", "{name: x, present_match: true, invert_match: true}", "x: v", ""),
    header_match(
        "missing-as-empty", "{name: x, string_match: {exact: ''}, treat_missing_header_as_empty: true}", "", "x: 1"
    ),
    header_match(
        "missing-as-empty-inverted",
        "{name: x, string_match: {exact: v}, invert_match: true, treat_missing_header_as_empty: true}",
        "",
        "x: v",
    ),
    header_match("two-lines", "{name: x, string_match: {exact: 'a,b'}}", "x: a|x: b", "x: a", "x: a,b", "x: a, b"),
    header_match("only-name", "{name: x}", "x: 1", ""),
    header_match("method", "{name: ':method', string_match: {exact: GET}}", ""),
    header_match("authority", "{name: ':authority', string_match: {suffix: test}}", ""),
    header_match("scheme", "{name: ':scheme', string_match: {exact: http}}", "", "x-forwarded-proto: https"),
    header_match("path-pseudo", "{name: ':path', string_match: {prefix: '/'}}", ""),
    header_match("host-name", "{name: host, string_match: {exact: h.test}}", ""),
    matched(
        "two-headers",
        "{prefix: /, headers: [{name: a, present_match: true}, {name: b, present_match: true}]}",
        get("/", "a: 1", "b: 1"),
        get("/", "a: 1"),
    ),
    matched(
        "query-exact",
        "{prefix: /, query_parameters: [{name: a, string_match: {exact: '1'}}]}",
        get("/?a=1"),
        get("/?a=2"),
        get("/?b=1&a=1"),
        get("/?a"),
        get("/?a=1&a=2"),
        get("/?a=%31"),
        get("/?A=1"),
        get("/?a=1#"),
    ),
    matched(
        "query-present",
        "{prefix: /, query_parameters: [{name: a, present_match: true}]}",
        get("/?a"),
        get("/?a="),
        get("/?ab"),
        get("/"),
        get("/?x&a&y"),
    ),
    matched(
        "query-regex",
        "{prefix: /, query_parameters: [{name: a, string_match: {safe_regex: {regex: '[0-9]+'}}}]}",
        get("/?a=12"),
        get("/?a=1x"),
    ),
    matched(
        "grpc",
        "{prefix: /, grpc: {}}",
        get("/", "content-type: application/grpc"),
        get("/", "content-type: application/grpc+proto"),
        get("/", "content-type: application/grpcx"),
        get("/"),
        get("/", "content-type: application/grpc;v=1"),
        body="grpc-message: yes",
    ),
    Case(
        "match-runtime-fraction",
        get("/x"),
        routes="""
- {match: {prefix: /, runtime_fraction: {default_value: {numerator: 0}}}, direct_response: {status: 204}}
- {match: {prefix: /, runtime_fraction: {default_value: {numerator: 100}}}, direct_response: {status: 205}}
""",
        shows="205",
    ),
    Case(
        "match-connect-not-get",
        get("/"),
        routes="- {match: {connect_matcher: {}}, direct_response: {status: 204}}",
        shows="404",
    ),
    hosts("all"),
    hosts("no-any", vhosts=HOSTS),
    hosts("ignore-port", route_config="ignore_port_in_host_matching: true"),
    hosts("strip-any-port", hcm="strip_any_host_port: true"),
    hosts("strip-matching-port", hcm="strip_matching_host_port: true"),
    hosts("strip-dot", hcm="strip_trailing_host_dot: true"),
    Case("strip-any-port-upstream", get(host="h.test:81"), hcm="strip_any_host_port: true"),
    Case(
        "strip-matching-port-upstream",
        (get(host="h.test:$port"), 0.1, get(host="h.test:81")),
        hcm="strip_matching_host_port: true",
    ),
    Case("strip-dot-upstream", (get(host="h.test."), 0.1, get(host="h.test.:80")), hcm="strip_trailing_host_dot: true"),
    Case("strip-port-ipv6", (get(host="[::1]:81"), 0.1, get(host="[::1]")), hcm="strip_any_host_port: true"),
    Case("require-tls-all", get("/a?b=1", host="h.test:80"), vhost="require_tls: ALL", shows="301"),
    Case("require-tls-external-internal", get("/a"), vhost="require_tls: EXTERNAL_ONLY"),
    Case("require-tls-forwarded-https", get("/a", "x-forwarded-proto: https"), vhost="require_tls: ALL"),
    Case(
        "require-tls-and-an-upgrade",
        get("/a", "connection: upgrade", "upgrade: websocket"),
        vhost="require_tls: ALL",
        shows="403",
    ),
    Case(
        "upgrade-without-a-route",
        get("/a", "connection: upgrade", "upgrade: websocket"),
        routes="- {match: {path: /b}, route: {cluster: $up}}",
        shows="404",
    ),
    Case(
        "hash-cookie-that-nobody-asks-for",
        get("/a"),
        routes="- {match: {prefix: /}, route: {cluster: $up, hash_policy: [{cookie: {name: c, ttl: 100s}}]}}",
    ),
    Case("require-tls-post", get("/a", method="POST", body="x"), vhost="require_tls: ALL"),
    routed(
        "timeout-header-not-internal",
        "",
        get("/", "x-envoy-upstream-rq-timeout-ms: 300"),
        upstreams=answer(0.6, OK),
        shows="200",
    ),
    routed(
        "timeout-header",
        "",
        get("/", "x-envoy-upstream-rq-timeout-ms: 300"),
        hcm=TRUSTED,
        upstreams=answer(1.0, OK),
        shows="504",
    ),
    routed(
        "timeout-header-external",
        "",
        get("/", "x-envoy-upstream-rq-timeout-ms: 300"),
        hcm="use_remote_address: true",
        upstreams=answer(0.6, OK),
        shows="200",
    ),
    routed("timeout-header-invalid", "", get("/", "x-envoy-upstream-rq-timeout-ms: abc"), hcm=TRUSTED),
    routed("timeout-header-zero", "", get("/", "x-envoy-upstream-rq-timeout-ms: 0"), hcm=TRUSTED),
    routed("timeout-zero", "", action="timeout: 0s"),
    routed("timeout-own", "", action="timeout: 3.5s", shows="rq-timeout-ms: 3500"),
    routed(
        "per-try-timeout-header",
        "",
        get("/", "x-envoy-upstream-rq-per-try-timeout-ms: 200", "x-envoy-retry-on: gateway-error"),
        hcm=TRUSTED,
        upstreams=answer(0.7, OK),
        masks=LEFT,
        shows="URX,UT",
    ),
    routed(
        "alt-response-header",
        "",
        get("/", "x-envoy-upstream-rq-timeout-ms: 200", "x-envoy-upstream-rq-timeout-alt-response: 1"),
        hcm=TRUSTED,
        upstreams=answer(0.8, OK),
        shows="204",
    ),
    routed(
        "retry-header",
        "",
        get("/", "x-envoy-retry-on: 5xx", "x-envoy-max-retries: 2"),
        hcm=TRUSTED,
        upstreams=answers(NAMED.replace("200 OK", "503 X") % 1, NAMED % 2),
        masks=LEFT,
        shows="x-up: 2",
    ),
    routed(
        "retry-header-external",
        "",
        get("/", "x-envoy-retry-on: 5xx"),
        hcm="use_remote_address: true",
        upstreams=answers(NAMED.replace("200 OK", "503 X") % 1, NAMED % 2),
        shows="x-up: 1",
    ),
    routed(
        "grpc-timeout",
        "",
        get("/", "content-type: application/grpc", "grpc-timeout: 300m"),
        action="max_stream_duration: {grpc_timeout_header_max: 5s}",
        upstreams=answer(1.0, OK),
    ),
    routed(
        "prefix-rewrite",
        "",
        action="prefix_rewrite: /new/",
        shows=("GET /new/old/path?q=1", "x-envoy-original-path: /old/path?q=1"),
    ),
    routed(
        "regex-rewrite",
        "",
        action="regex_rewrite: {pattern: {regex: '^/old/(.*)$'}, substitution: '/new/\\1'}",
        shows="GET /new/path?q=1",
    ),
    routed(
        "regex-rewrite-all", "", get("/a/a?a"), action="regex_rewrite: {pattern: {regex: 'a'}, substitution: 'b\\0'}"
    ),
    routed("regex-rewrite-no-match", "", action="regex_rewrite: {pattern: {regex: 'zzz'}, substitution: 'y'}"),
    routed("regex-rewrite-to-nothing", "", action="regex_rewrite: {pattern: {regex: '.*'}, substitution: ''}"),
    routed("host-rewrite", "", action="host_rewrite_literal: new.test", shows="host: new.test"),
    routed("host-rewrite-append", "", action="host_rewrite_literal: new.test, append_x_forwarded_host: true"),
    routed("host-rewrite-header", "", get("/", "x-h: from-header"), get("/"), action="host_rewrite_header: x-h"),
    routed("host-rewrite-header-twice", "", get("/", "x-h: a", "x-h: b"), action="host_rewrite_header: x-h"),
    routed(
        "host-rewrite-path-regex",
        "",
        get("/a/b?c"),
        action="host_rewrite_path_regex: {pattern: {regex: '^/(.+)/.+$'}, substitution: '\\1.test'}",
    ),
    routed("auto-host-rewrite-static", "", action="auto_host_rewrite: true"),
    Case(
        "route-cluster-header",
        (get("/", "x-c: $up2"), 0.1, get("/", "x-c: nowhere"), 0.1, get("/")),
        upstreams=TWO,
        routes="- {match: {prefix: /}, route: {cluster_header: x-c}}",
        timing=False,
        shows="x-up: two",
    ),
    Case(
        "route-weighted-0-100",
        (get("/1"), 0.1, get("/2"), 0.1, get("/3")),
        upstreams=TWO,
        routes="- {match: {prefix: /}, route: {weighted_clusters: {clusters: [{name: $up, weight: 0}, {name: $up2, weight: 100}]}}}",
        timing=False,
        shows="x-up: two",
    ),
    Case(
        "route-weighted-by-header",
        (get("/", "x-w: 0"), 0.1, get("/", "x-w: 99"), 0.1, get("/", "x-w: 50"), 0.1, get("/", "x-w: 49")),
        upstreams=TWO,
        routes="- {match: {prefix: /}, route: {weighted_clusters: {header_name: x-w, clusters: [{name: $up, weight: 50}, {name: $up2, weight: 50}]}}}",
        timing=False,
    ),
    Case(
        "route-weighted-headers",
        get("/", "x-gone: 1"),
        upstreams=TWO,
        routes="""
- match: {prefix: /}
  route:
    weighted_clusters:
      clusters:
      - name: $up
        weight: 1
        host_rewrite_literal: w.test
        request_headers_to_add: [{header: {key: x-w, value: one}}]
        request_headers_to_remove: [x-gone]
        response_headers_to_add: [{header: {key: x-w, value: one}}]
        response_headers_to_remove: [x-up]
      - {name: $up2, weight: 0}
""",
    ),
    routed("route-name-in-log", "name: my-route"),
    routed("metadata-ignored", "metadata: {filter_metadata: {x: {y: z}}}"),
    Case(
        "route-order-first-wins",
        (get("/a/b"), 0.1, get("/a")),
        upstreams=TWO,
        routes="""
- {match: {prefix: /a}, route: {cluster: $up}}
- {match: {path: /a/b}, route: {cluster: $up2}}
""",
    ),
    Case(
        "prefix-rewrite-slashes",
        (get("/api"), 0.1, get("/api/"), 0.1, get("/apix"), 0.1, get("/api/v1?x")),
        routes="- {match: {prefix: /api}, route: {cluster: $up, prefix_rewrite: /}}",
    ),
    Case(
        "prefix-rewrite-ignore-case",
        get("/API/x"),
        routes="- {match: {prefix: /api, case_sensitive: false}, route: {cluster: $up, prefix_rewrite: /n}}",
    ),
    Case(
        "path-rewrite-of-exact",
        get("/api?x=1"),
        routes="- {match: {path: /api}, route: {cluster: $up, prefix_rewrite: /n}}",
    ),
    Case(
        "path-rewrite-of-regex",
        get("/api/v?x=1"),
        routes="- {match: {safe_regex: {regex: '/api/.*'}}, route: {cluster: $up, prefix_rewrite: /n}}",
    ),
    Case(
        "path-separated-rewrite",
        (get("/api"), 0.1, get("/api/v")),
        routes="- {match: {path_separated_prefix: /api}, route: {cluster: $up, prefix_rewrite: /n}}",
    ),
    Case(
        "rewrite-refused-logged",
        get("/api/v"),
        upstreams=REFUSE,
        routes="- {match: {prefix: /api}, route: {cluster: $up, prefix_rewrite: /n}}",
    ),
    redirected(
        "https",
        "{https_redirect: true}",
        get("/a?b=1"),
        get("/a", host="h.test:8080"),
        get("/a", host="h.test:80"),
        shows="location: https://h.test/a?b=1",
    ),
    redirected("scheme", "{scheme_redirect: ftp}"),
    redirected("host", "{host_redirect: new.test}", get("/a?b"), get("/a", host="h.test:8080")),
    redirected("port", "{port_redirect: 8443}", get("/a"), get("/a", host="h.test:81"), get("/a", host="[::1]:81")),
    redirected("https-port-443", "{https_redirect: true, port_redirect: 443}", get("/a", host="h.test:80")),
    redirected("path", "{path_redirect: /new}", get("/a?b=1")),
    redirected("path-with-query", "{path_redirect: '/new?z'}", get("/a?b=1"), get("/a")),
    redirected("prefix", "{prefix_rewrite: /new}", get("/old/x?q"), match="{prefix: /old}"),
    redirected("regex", "{regex_rewrite: {pattern: {regex: '/old/(.*)'}, substitution: '/n/\\1'}}"),
    redirected("strip-query", "{path_redirect: /new, strip_query: true}"),
    redirected("strip-query-only", "{https_redirect: true, strip_query: true}"),
    *(
        redirected(f"code-{code.lower()}", f"{{host_redirect: n.test, response_code: {code}}}")
        for code in ("FOUND", "SEE_OTHER", "TEMPORARY_REDIRECT", "PERMANENT_REDIRECT")
    ),
    redirected("head-and-post", "{host_redirect: n.test}", get("/", method="HEAD"), get("/", method="POST")),
    redirected("close", "{host_redirect: n.test}", get("/", "connection: close")),
    redirected("forwarded-proto", "{host_redirect: n.test}", get("/", "x-forwarded-proto: https")),
    Case(
        "redirect-with-headers",
        get("/a"),
        routes="""
- match: {prefix: /}
  redirect: {path_redirect: /b}
  response_headers_to_add: [{header: {key: x-r, value: "1"}}]
""",
    ),
    levels("append", "APPEND_IF_EXISTS_OR_ADD"),
    levels("add-if-absent", "ADD_IF_ABSENT"),
    levels("overwrite", "OVERWRITE_IF_EXISTS_OR_ADD"),
    levels("overwrite-if-exists", "OVERWRITE_IF_EXISTS"),
    levels("append-most-specific-wins", "APPEND_IF_EXISTS_OR_ADD", "most_specific_header_mutations_wins: true"),
    levels("overwrite-most-specific-wins", "OVERWRITE_IF_EXISTS_OR_ADD", "most_specific_header_mutations_wins: true"),
    routed("mutate-host-refused", 'request_headers_to_add: [{header: {key: x-host, value: "%REQ(:AUTHORITY)%"}}]'),
    routed(
        "remove-several",
        "request_headers_to_remove: [x-a, user-agent, x-request-id, x-forwarded-proto]",
        get("/", "x-a: 1", "x-a: 2", "user-agent: u"),
    ),
    routed(
        "empty-value-kept",
        "request_headers_to_add: [{header: {key: x-e, value: '%REQ(none)%'}, keep_empty_value: true}, {header: {key: x-n, value: '%REQ(none)%'}}]",
    ),
    routed(
        "add-date-and-server",
        "response_headers_to_add: [{header: {key: server, value: mine}, append_action: OVERWRITE_IF_EXISTS_OR_ADD}, {header: {key: date, value: d}, append_action: OVERWRITE_IF_EXISTS_OR_ADD}]",
    ),
    formatted("protocol", "%PROTOCOL%"),
    formatted("req", "%REQ(x-in)% %REQ(none)% %REQ(none?x-in)% %REQ(:path)% %REQ(x-in):2%", "x-in: value"),
    formatted("req-pseudo", "%REQ(:METHOD)% %REQ(:AUTHORITY)% %REQ(:SCHEME)%"),
    formatted("resp", "%RESP(content-length)%"),
    formatted(
        "addresses",
        "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT% %DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_LOCAL_PORT% %DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT% %DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT%",
    ),
    formatted("upstream", "%UPSTREAM_HOST% %UPSTREAM_CLUSTER% %UPSTREAM_REMOTE_ADDRESS%"),
    formatted("route", "%ROUTE_NAME% %VIRTUAL_CLUSTER_NAME%"),
    formatted("response-code", "%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS%"),
    formatted("percent", "100%% %%REQ(x)%%"),
    formatted("start-time", "%START_TIME(%Y)%"),
    formatted("metadata", "%DYNAMIC_METADATA(a:b)% %CLUSTER_METADATA(a:b)% %UPSTREAM_METADATA(a:b)%"),
    formatted("filter-state", "%FILTER_STATE(a)% %PER_REQUEST_STATE(a)%"),
    formatted("hostname", "%HOSTNAME%"),
    formatted("tls", "%DOWNSTREAM_TLS_VERSION% %DOWNSTREAM_PEER_URI_SAN% %REQUESTED_SERVER_NAME%"),
    formatted("environment", "%ENVIRONMENT(NO_SUCH_VARIABLE_HERE)%"),
    formatted("attempts", "%UPSTREAM_REQUEST_ATTEMPT_COUNT%"),
    formatted("bytes", "%BYTES_RECEIVED% %BYTES_SENT%"),
    Case(
        "priority-high",
        get(),
        routes="- {match: {prefix: /}, route: {cluster: $up, priority: HIGH}}",
        cluster="circuit_breakers: {thresholds: [{priority: HIGH, max_requests: 0}]}",
        shows="503",
    ),
]
