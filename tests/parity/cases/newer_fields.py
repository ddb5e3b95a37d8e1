"""Fields of routes and clusters that came with the last releases of Envoy."""

from __future__ import annotations

from ..case import Case, get
from .route_fields import fields


def by_cookies(name: str, matchers: str, *requests: tuple[str, ...]) -> Case:
    """Each request has these lines; those that match go to $up2."""
    routes = (
        f"- {{match: {{prefix: /, cookies: [{matchers}]}}, route: {{cluster: $up2}}}}\n"
        "- {match: {prefix: /}, route: {cluster: $up}}\n"
    )
    return fields(f"cookies-{name}", routes, *(get(f"/{number}", *lines) for number, lines in enumerate(requests)))


COOKIES = (
    (),
    ("cookie: a=b",),
    ("cookie: x=y; a=b;",),
    ('cookie: a="b"',),
    ("cookie: a=c; a=b",),
    ("cookie: a=b", "cookie: a=c"),
    ("cookie: a",),
    ("cookie: a=",),
    ("cookie: A=b",),
    ("cookie:  a = b ",),
    ("cookie: aa=b; a=b=c",),
)


def redirected(name: str, redirect: str) -> Case:
    routes = f"- {{match: {{prefix: /}}, redirect: {{path_rewrite: {redirect}}}}}\n"
    return fields(f"redirect-{name}", routes, get("/a?b=c", "x-to: z"), get("/q"))


A_IS_B = "name: a, string_match: {exact: b}"

CASES = [
    by_cookies("exact", f"{{{A_IS_B}}}", *COOKIES),
    by_cookies("inverted", f"{{{A_IS_B}, invert_match: true}}", *COOKIES),
    by_cookies("empty", "{name: a, string_match: {exact: ''}}", *COOKIES),
    by_cookies(
        "two",
        f"{{{A_IS_B}}}, {{name: c, string_match: {{prefix: D, ignore_case: true}}}}",
        ("cookie: a=b; c=d",),
        ("cookie: a=b",),
        ("cookie: c=de", "cookie: a=b"),
    ),
    redirected("formatted", "'/n/%REQ(x-to)%/%PATH(NQ)%'"),
    redirected("own-query", "'/n/%REQ(x-to)%?x=y', strip_query: true"),
    redirected("stripped", "'/n/%REQ(x-to)%', strip_query: true"),
    redirected("nothing", "'%REQ(x-none)%'"),
    redirected("relative", "'r%REQ(x-to)%', host_redirect: h"),
]
