"""A line for each attempt: when it is written, and what it says."""

from __future__ import annotations

from typing import Any

import pytest

from meshproxy.model.retry import RetryPolicy
from meshproxy.model.route import ForwardAction, PathMatch, Route
from meshproxy.plugin.replies import ResetReason
from meshproxy.testing import FilterHarness
from meshproxy.testing.scripted_request import Answer
from meshproxy_filters.http.router.router import Router

LOG = {
    "name": "f",
    "typed_config": {"@type": "type.googleapis.com/envoy.extensions.access_loggers.stream.v3.StdoutAccessLog"},
}
RETRY = RetryPolicy(frozenset(("5xx", "connect-failure")), back_off_base=0.001, back_off_max=0.001)


def exchange(*answers: Answer, options: dict[str, Any] | None = None, **action: Any) -> tuple[FilterHarness, Any]:
    proxy = FilterHarness(Router, {"upstream_log": [LOG], "upstream_log_options": options or {}})
    cluster = proxy.cluster("upstream")
    cluster.answers(lambda received: answers[cluster.requests.index(received)])
    route = Route(PathMatch("prefix", "/"), ForwardAction(cluster="upstream", retry_policy=RETRY, **action), name="r")
    return proxy, proxy.request("POST", "/x", body=b"abc", route=route)


def lines(exchanged: Any) -> list[tuple[str, int, str]]:
    return [(info.access_log_type, info.response_code, info.flags) for info in exchanged.stream.record.logged]


def test_each_attempt_has_its_own_line() -> None:
    proxy, exchanged = exchange(Answer(503), Answer(reset=ResetReason.CONNECT_FAILURE), Answer(200, body=b"hello"))
    policy_allows_one = lines(exchanged)
    assert policy_allows_one[0] == ("UpstreamEnd", 503, "")
    proxy.clock.advance(1)
    assert lines(exchanged) == [("UpstreamEnd", 503, ""), ("UpstreamEnd", 0, "UF")]


def test_bytes_are_seen_from_the_host() -> None:
    _, exchanged = exchange(Answer(200, body=b"hello"))
    (info,) = exchanged.stream.record.logged
    assert (info.bytes_received, info.bytes_sent) == (5, 3)


def test_a_client_that_leaves_ends_the_attempt_once() -> None:
    _, exchanged = exchange(Answer())
    assert lines(exchanged) == []
    exchanged.client_leaves()
    assert lines(exchanged) == [("UpstreamEnd", 0, "")]


@pytest.mark.parametrize(
    ("options", "kinds"),
    [({"upstream_log_flush_interval": "0.3s"}, ["UpstreamPeriodic"] * 3), ({}, [])],
)
def test_what_is_written_meanwhile(options: dict[str, Any], kinds: list[str]) -> None:
    proxy, exchanged = exchange(Answer(), options=options)
    for _ in range(10):
        proxy.clock.advance(0.1)
    assert [line[0] for line in lines(exchanged)] == kinds
