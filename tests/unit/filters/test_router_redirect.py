"""Redirects that are followed in the client's place, without sockets: where they lead, and when they don't."""

from __future__ import annotations

from typing import Any

import pytest

from meshproxy.model.redirect import InternalRedirects
from meshproxy.model.route import ForwardAction, PathMatch, Route
from meshproxy.testing import FilterHarness
from meshproxy.testing.scripted_request import Answer
from meshproxy_filters.http.router.redirect import parse_target
from meshproxy_filters.http.router.router import Router


@pytest.mark.parametrize(
    ("location", "target"),
    [
        ("http://h", ("http", "h", "/")),
        ("HTTP://H.test:81/a?b#c", ("http", "H.test:81", "/a?b")),
        ("https://me:pw@h/a", ("https", "h", "/a")),
        ("http://[::1]:80/", ("http", "[::1]:80", "/")),
        ("http://h?q", ("http", "h", "/?q")),
        ("http://h#f", ("http", "h", "/")),
        ("http://h/\n", None),
        ("http://h/\x00", None),
        ("http://h/ a", None),
        ("http://h/\xe4", None),
        ("http://h:99999/", None),
        ("http://h:/", None),
        ("http:///a", None),
        ("//h/a", None),
        ("/a", None),
        ("", None),
        ("http://a@b@c/", None),
    ],
)
def test_where_a_location_leads(location: str, target: tuple[str, str, str] | None) -> None:
    assert parse_target(location) == target


def asked(location: str, status: int = 302, method: str = "GET", **policy: Any) -> tuple[FilterHarness, Any]:
    proxy = FilterHarness(Router, {})
    proxy.cluster("upstream").answers(lambda received: Answer(status, (("location", location), ("x-r", "1"))))
    redirects = InternalRedirects(**policy)
    route = Route(PathMatch("prefix", "/"), ForwardAction(cluster="upstream", redirects=redirects), name="r")
    exchange = proxy.request(method, "/old", authority="old.test", body=b"body" * (method == "POST"), route=route)
    return proxy, exchange


def test_the_request_is_pointed_at_its_target_and_not_answered() -> None:
    proxy, exchange = asked("http://new.test/new", method="POST", copied=("x-r",))
    assert not exchange.answered
    assert exchange.stream.record.followed == b"body"
    request = exchange.stream.request
    assert (request.authority, request.path) == ("new.test", "/new")
    assert request["x-envoy-original-url"] == "http://old.test/old"
    assert request["x-r"] == "1"
    assert proxy.stats["cluster.upstream.upstream_internal_redirect_succeeded_total"] == 1


def test_what_is_not_followed_leaves_the_request_as_it_was() -> None:
    refuses = InternalRedirects(predicates=(lambda *asked: False,)).predicates
    proxy, exchange = asked("http://new.test/new", copied=("x-r",), predicates=refuses)
    assert exchange.status == 302
    assert (exchange.stream.request.authority, exchange.stream.request.path) == ("old.test", "/old")
    assert "x-r" not in exchange.stream.request
    assert proxy.stats["cluster.upstream.upstream_internal_redirect_failed_total"] == 1


def test_see_other_asks_with_get_and_without_the_body() -> None:
    _, exchange = asked("http://new.test/new", 303, "POST", codes=frozenset((303,)))
    assert exchange.stream.record.followed == b""
    assert exchange.stream.request.method == "GET"
    assert "content-length" not in exchange.stream.request


@pytest.mark.parametrize("limit", [0, 1, 3])
def test_a_loop_ends(limit: int) -> None:
    _, exchange = asked("http://old.test/old", limit=limit)
    history = exchange.stream.redirects
    assert (history.count if history is not None else 0) == min(limit, 1)
    assert exchange.answered == (limit == 0)
