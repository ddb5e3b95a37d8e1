"""Parts of a virtual host that are counted by themselves: which one a request belongs to."""

from __future__ import annotations

import pytest

from meshproxy.headers import RequestHeaders
from meshproxy.model.route import ForwardAction, PathMatch, Route, VirtualCluster
from meshproxy.model.route_counts import RouteCounts
from meshproxy.testing import FilterHarness
from meshproxy_filters.http.router.router import Router


def posts(request: RequestHeaders, stream: object) -> bool:
    return request.method == "POST"


@pytest.mark.parametrize(("method", "counted"), [("POST", [1, 0, 0]), ("GET", [0, 0, 1])])
def test_a_request_counts_for_the_first_that_takes_it(method: str, counted: list[int]) -> None:
    clusters = (
        VirtualCluster("first", (posts,), RouteCounts()),
        VirtualCluster("second", (posts,), RouteCounts()),
        VirtualCluster("", (), RouteCounts()),
    )
    own = RouteCounts()
    route = Route(PathMatch("prefix", "/"), ForwardAction(cluster="upstream"), counts=(own,), virtual_clusters=clusters)
    proxy = FilterHarness(Router, {})
    proxy.cluster("upstream").returns(200)
    exchange = proxy.request(method, route=route)
    assert exchange.status == 200
    assert [cluster.counts.total for cluster in clusters] == counted
    assert [cluster.counts.codes[200] for cluster in clusters] == counted
    assert own.total == 1
    assert exchange.stream.virtual_cluster_name == ("first" if method == "POST" else "")
