"""Statistics of a virtual host's parts: `virtual_clusters`, and beside them the `stat_prefix` of routes."""

from __future__ import annotations

from typing import Any

from ..case import OK, Case, Op, Upstream, get

HOST = """
virtual_clusters:
- {name: users, headers: [{name: ':path', string_match: {prefix: /users}}, {name: ':method', string_match: {exact: GET}}]}
- {name: posts, headers: [{name: ':method', string_match: {exact: POST}}]}
"""
STATS = r"^vhost\.v\.(vcluster|route)\."
LOG = "%REQ(:PATH)% vc=%VIRTUAL_CLUSTER_NAME% rc=%RESPONSE_CODE%\n"
BAD = "HTTP/1.1 503 No\r\ncontent-length: 0\r\n\r\n"


def case(name: str, *sends: Op, route: str = "", vhost: str = HOST, **more: Any) -> Case:
    routes = (
        f"- {{match: {{prefix: /}}, stat_prefix: all, route: {{cluster: $up, timeout: 0.4s{route and ', ' + route}}}}}"
    )
    more.setdefault("routes", routes)
    more.setdefault("stats", STATS)
    more.setdefault("alone", True)
    return Case(f"vcluster-{name}", sends, vhost=vhost, log=LOG, timing=False, **more)


SENDS = (get("/users/1"), 0.1, get("/other"), 0.1, get("/x", method="POST", body="hello"), 0.1, get("/users"))
CASES = [
    case("several", *SENDS),
    case(
        "codes",
        *SENDS,
        upstreams={"up": Upstream(((BAD,), (OK,), ("HTTP/1.1 404 No\r\ncontent-length: 0\r\n\r\n",), (OK,)))},
    ),
    case(
        "retries",
        get("/users"),
        route="retry_policy: {retry_on: 5xx, num_retries: 2}",
        upstreams={"up": Upstream(((BAD,), (BAD,), (OK,)))},
        masks=((r"(expected-rq-timeout-ms): \d+", r"\1: <left>"),),
    ),
    case(
        "retries-exhausted",
        get("/users"),
        route="retry_policy: {retry_on: 5xx, num_retries: 1}",
        upstreams={"up": Upstream(((BAD,),))},
        masks=((r"(expected-rq-timeout-ms): \d+", r"\1: <left>"),),
    ),
    case("timeout", get("/users"), 0.8, upstreams={"up": Upstream(((1.0, OK),))}),
    case("refused", get("/users"), upstreams={"up": Upstream(mode="refuse")}),
    case("direct", get("/users"), routes="- {match: {prefix: /}, direct_response: {status: 200}}"),
    case("none", get("/users"), vhost="{}"),
]
