"""Which cluster a request goes to, and what its head becomes on the way."""

from __future__ import annotations

import random
from typing import Any

import pytest

from meshproxy.headers import RequestHeaders
from meshproxy.model.route import ForwardAction, PathMatch, Route, WeightedCluster
from meshproxy.plugin.stream_info import StreamInfo
from meshproxy.routing.finalize import choose_cluster, finalize_request

CLUSTERS = WeightedCluster("a", 1), WeightedCluster("b", 3)


def chosen(hashed: int | None, cookies: tuple[str, ...] = ()) -> tuple[str, StreamInfo]:
    def policy(stream: Any) -> None:
        stream.lb_hash, stream.lb_cookies = hashed, cookies

    action = ForwardAction(weighted_clusters=CLUSTERS, total_weight=4, weights_by_hash=True, hash_policy=policy)
    stream = StreamInfo()
    return choose_cluster(action, RequestHeaders(), random.Random(1), stream)[0], stream


def test_a_hash_chooses_the_cluster_and_is_left_to_the_router() -> None:
    assert [chosen(number)[0] for number in range(5)] == ["a", "b", "b", "b", "a"]
    assert chosen(1)[1].lb_hash is None


def test_a_cookie_that_the_client_does_not_have_yet_chooses_nothing() -> None:
    names = {chosen(0, ("c=1",))[0] for _ in range(3)}
    assert names == {chosen(None)[0]}
    assert chosen(0, ("c=1",))[1].lb_cookies == ()


@pytest.mark.parametrize(("fields", "name"), [([("x-to", "t")], "t"), ([], "")])
def test_a_weighted_cluster_may_be_named_by_the_request(fields: list[tuple[str, str]], name: str) -> None:
    action = ForwardAction(weighted_clusters=(WeightedCluster("", 1, "x-to"),), total_weight=1)
    assert choose_cluster(action, RequestHeaders(fields=fields), random.Random(1), StreamInfo())[0] == name


@pytest.mark.parametrize(
    ("made", "path"),
    [
        ("/new", "/new?q"),
        ("", "/old?q"),
        ("new", "/old?q"),
        ("/a b", "/old?q"),
        ("/a\r\nx: y", "/old?q"),
        ("/\xe4", "/old?q"),
    ],
)
def test_a_path_that_a_format_makes_has_to_be_one(made: str, path: str) -> None:
    request = RequestHeaders(path="/old?q")
    route = Route(PathMatch("prefix", "/"), ForwardAction(cluster="c", format_path=lambda stream: made))
    finalize_request(route, None, request, StreamInfo(), tell_original=True)
    assert request.path == path
    assert request.get("x-envoy-original-path") == ("/old?q" if path != "/old?q" else None)
