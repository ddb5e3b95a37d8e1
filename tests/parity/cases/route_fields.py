"""Fields of routes, virtual hosts and weighted clusters that few configurations have."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..case import OK, Case, Op, Upstream, Wait, client, get

KIND = "type.googleapis.com/envoy.extensions.path"
TWO = {"up": Upstream(), "up2": Upstream()}
LOG = "%REQ(:PATH)% rc=%RESPONSE_CODE% rf=%RESPONSE_FLAGS% rcd=%RESPONSE_CODE_DETAILS% up=%UPSTREAM_CLUSTER_RAW% route=%ROUTE_NAME%\n"


def fields(name: str, routes: str, *sends: str | tuple[Op, ...], **more: Any) -> Case:
    """Each request on a connection of its own, one after the other."""
    more.setdefault("upstreams", TWO)
    more.setdefault("log", LOG)
    scripts = [(send,) if isinstance(send, str) else send for send in sends or (get(),)]
    clients = tuple(client(*script, start=0.1 * number, timing=False) for number, script in enumerate(scripts))
    return Case(f"fields-{name}", clients=clients, routes=routes, flat_upstream=True, sort_log=True, **more)


def weighted(name: str, clusters: str, more: str, *sends: str, route: str = "", **options: Any) -> Case:
    routes = f"- match: {{prefix: /}}\n  route: {{weighted_clusters: {{clusters: [{clusters}]{more and ', ' + more}}}{route and ', ' + route}}}\n"
    return fields(f"weighted-{name}", routes, *sends, **options)


def template(name: str, pattern: str, *paths: str, rewrite: str = "", **options: Any) -> Case:
    policy = f"path_match_policy: {{name: m, typed_config: {{'@type': {KIND}.match.uri_template.v3.UriTemplateMatchConfig, path_template: '{pattern}'}}}}"
    change = ""
    if rewrite:
        change = f", path_rewrite_policy: {{name: r, typed_config: {{'@type': {KIND}.rewrite.uri_template.v3.UriTemplateRewriteConfig, path_template_rewrite: '{rewrite}'}}}}"
    routes = f"- {{match: {{{policy}}}, name: t, route: {{cluster: $up{change}}}}}"
    return fields(f"template-{name}", routes, *(get(path) for path in paths), **options)


def mutated(name: str, adds: Sequence[tuple[str, str, str]], *requests: str, removes: str = "", **more: Any) -> Case:
    """adds: name, value and action of each addition to a request; each is one level's."""
    entries = ", ".join(
        f"{{header: {{key: {key}, value: '{value}'}}{action and f', append_action: {action}'}}}"
        for key, value, action in adds
    )
    routes = (
        "- match: {prefix: /}\n  route: {cluster: $up}\n"
        f"  request_headers_to_add: [{entries}]\n  request_headers_to_remove: [{removes}]\n"
    )
    return fields(f"mutations-{name}", routes, *requests, **more)


ADD, ABSENT, OVER, EXISTS = "", "ADD_IF_ABSENT", "OVERWRITE_IF_EXISTS_OR_ADD", "OVERWRITE_IF_EXISTS"
HALVES = "{name: $up, weight: 50}, {name: $up2, weight: 50}"
BY_USER = "hash_policy: [{header: {header_name: x-user}}]"
USERS = tuple(get("/", f"x-user: {user}") for user in ("a", "b", "c", "d", "e", "f", "g", "h"))
BAD = "HTTP/1.1 503 No\r\ncontent-length: 0\r\n\r\n"
CASES = [
    weighted("by-hash", HALVES, "use_hash_policy: true", *USERS, route=BY_USER),
    weighted(
        "by-hash-uneven",
        "{name: $up, weight: 90}, {name: $up2, weight: 10}",
        "use_hash_policy: true",
        *USERS,
        route=BY_USER,
    ),
    weighted(
        "by-hash-cookie",
        HALVES,
        "use_hash_policy: true",
        *(get("/", f"cookie: u={user}") for user in "abcdef"),
        route="hash_policy: [{cookie: {name: u, ttl: 10s}}]",
    ),
    weighted("by-hash-without-policy", "{name: $up, weight: 100}", "use_hash_policy: true"),
    weighted(
        "by-header-named",
        "{cluster_header: x-to, weight: 100}",
        "",
        get("/", "x-to: $up"),
        get("/", "x-to: $up2"),
        get("/", "x-to: nobody"),
        get(),
    ),
    weighted("by-header-and-name", "{cluster_header: x-to, name: $up, weight: 100}", "", refused=True),
    weighted(
        "by-header-host-rewrite",
        "{cluster_header: x-to, weight: 100, host_rewrite_literal: w.test}",
        "",
        get("/", "x-to: $up"),
    ),
    weighted("zero", "{name: $up, weight: 0}, {name: $up2, weight: 1}", "", get(), get()),
    fields(
        "path-rewrite",
        "- {match: {prefix: /}, route: {cluster: $up, path_rewrite: '/new/%REQ(x-p)%'}}",
        get("/a?b=c", "x-p: v"),
        get("/a?b=c"),
        get("/a", "x-p: /q?r"),
    ),
    fields(
        "path-rewrite-and-prefix",
        "- {match: {prefix: /}, route: {cluster: $up, path_rewrite: /x, prefix_rewrite: /y}}",
        refused=True,
    ),
    fields(
        "host-rewrite",
        "- {match: {prefix: /}, route: {cluster: $up, host_rewrite: '%REQ(x-p)%.test'}}",
        get("/a", "x-p: v"),
        get("/a"),
    ),
    fields(
        "host-rewrite-appends",
        "- {match: {prefix: /}, route: {cluster: $up, host_rewrite: 'x.test', append_x_forwarded_host: true}}",
    ),
    fields(
        "no-parameters",
        "- {match: {path: /a/b}, name: path, route: {cluster: $up}}\n- {match: {prefix: /c/}, name: prefix, route: {cluster: $up}}\n- {match: {safe_regex: {regex: '/r[a-z]+'}}, name: regex, route: {cluster: $up}}",
        *(get(path) for path in ("/a;x=1/b", "/a/b;x", "/a/b;x?y;z", "/c;p/d", "/rabc;1", "/a/b?q=;")),
        route_config="{ignore_path_parameters_in_path_matching: true}",
    ),
    fields(
        "with-parameters",
        "- {match: {path: /a/b}, name: path, route: {cluster: $up}}",
        *(get(path) for path in ("/a;x=1/b", "/a/b;x", "/a/b?q=;")),
    ),
    fields(
        "vhost-header",
        "",
        get("/", "x-host: two.test"),
        get("/", host="two.test"),
        get("/", "x-host: TWO.test"),
        get(),
        vhosts="[{name: a, domains: ['two.test'], routes: [{match: {prefix: /}, name: two, route: {cluster: $up2}}]}, {name: b, domains: ['*'], routes: [{match: {prefix: /}, name: any, route: {cluster: $up}}]}]",
        route_config="{vhost_header: x-host}",
    ),
    fields(
        "vhost-header-and-port",
        "",
        get("/", "x-host: two.test:81"),
        get("/"),
        vhosts="[{name: a, domains: ['two.test'], routes: [{match: {prefix: /}, name: two, route: {cluster: $up2}}]}]",
        route_config="{vhost_header: x-host, ignore_port_in_host_matching: true}",
    ),
    fields(
        "timeout-retry",
        "- {match: {prefix: /}, route: {cluster: $up, retry_policy: {retry_on: '5xx', num_retries: 2, per_try_timeout: 2s}}}",
        (get(), Wait("ok", seconds=10)),
        vhost="{include_is_timeout_retry_header: true, include_request_attempt_count: true}",
        upstreams={"up": Upstream(((5.0, OK), (BAD,), (OK,))), "up2": Upstream()},
        masks=((r"(expected-rq-timeout-ms): \d+", r"\1: <left>"),),
    ),
    template("plain", "/a/{who}/b", "/a/x/b", "/a/x/y/b", "/a//b", "/a/x/b?q", "/a/x/b/", "/A/x/b"),
    template("glob", "/a/*/c", "/a/b/c", "/a//c", "/a/b/d/c"),
    template("rest", "/a/**", "/a/b/c", "/a/", "/a", "/a/b?x=/c"),
    template("rest-with-suffix", "/a/**.mp4", "/a/b/c.mp4", "/a/c.mp4", "/a/c.mp3", "/a/.mp4"),
    template("named-rest", "/a/{rest=**}", "/a/b/c", "/a/", "/a"),
    template("named-pattern", "/a/{v=x/*/z}/end", "/a/x/y/z/end", "/a/x/z/end"),
    template(
        "characters",
        "/a/{v}",
        "/a/b%20c",
        "/a/b.c~d-e_f",
        "/a/b:c@d",
        "/a/b;c",
        "/a/b!c$d&e(f)g*h+i,j=k",
        "/a/b[c",
        "/a/b%zz",
    ),
    template("rewrite", "/a/{who}/{what}", "/a/x/y", "/a/x/y?q=1", rewrite="/{what}/is/{who}"),
    template("rewrite-rest", "/a/{rest=**}", "/a/b/c?q", rewrite="/new/{rest}"),
    template("rewrite-unknown", "/a/{who}", "/a/x", rewrite="/{what}", refused=True),
    template("refused-unbalanced", "/a/{who", "/a/x", refused=True),
    template("refused-twice", "/a/{who}/{who}", "/a/x", refused=True),
    template("text-after-rest", "/a/**/b", "/a/x", "/a/x/y/b", "/a/b", "/a//b"),
    template("refused-six", "/{a}/{b}/{c}/{d}/{e}/{f}", "/a/x", refused=True),
    template("refused-relative", "a/{b}", "/a/x", refused=True),
    template("refused-name", "/a/{1b}", "/a/x", refused=True),
    template("refused-empty", "/a/{}", "/a/x", refused=True),
    template("refused-double-slash", "/a//{b}", "/a/x", refused=True),
    template("refused-operator-after-rest", "/a/**/{b}", "/a/x", refused=True),
    template("refused-open-name", "/a/{b=}", "/a/x", refused=True),
    template("refused-long-name", "/a/{b1234567890123456}", "/a/x", refused=True),
    template("long-name", "/a/{b123456789012345}", "/a/x"),
    template("slash-at-end", "/a/{b}/", "/a/x/", "/a/x"),
    template("only-a-slash", "/", "/", "/a"),
    template("only-rest", "/**", "/", "/a/b"),
    template("insensitive", "/a/{b}", "/A/x"),
    mutated("see-no-others", (("x-a", "1", ADD), ("x-b", "%REQ(x-a)%.", ADD), ("x-c", "%REQ(x-b)%", ADD))),
    mutated("see-what-was", (("x-a", "1", OVER), ("x-b", "%REQ(x-a)%", ADD)), get("/", "x-a: old")),
    mutated("overwrite-first", (("x-a", "1", ADD), ("x-a", "2", OVER), ("x-a", "3", ADD)), get("/", "x-a: old"), get()),
    mutated("absent-twice", (("x-a", "1", ABSENT), ("x-a", "2", ABSENT)), get(), get("/", "x-a: old")),
    mutated("absent-and-added", (("x-a", "1", ADD), ("x-a", "2", ABSENT), ("x-a", "3", EXISTS))),
    mutated("overwritten-twice", (("x-a", "1", OVER), ("x-a", "2", EXISTS)), get(), get("/", "x-a: old")),
    mutated("after-removal", (("x-b", "%REQ(x-r)%.", ADD), ("x-r", "new", EXISTS)), get("/", "x-r: v"), removes="x-r"),
    fields(
        "mutations-of-responses",
        "- {match: {prefix: /}, route: {cluster: $up}, response_headers_to_add: [{header: {key: x-a, value: '1'}}, "
        "{header: {key: x-b, value: '%RESP(x-a)%.'}}, "
        "{header: {key: content-type, value: t}, append_action: OVERWRITE_IF_EXISTS_OR_ADD}]}",
    ),
]
