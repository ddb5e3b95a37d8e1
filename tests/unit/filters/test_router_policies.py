"""The router's further attempts and copies, without sockets: hedging, mirroring, idleness, reset headers."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from meshproxy.model.mirror import MirrorPolicy
from meshproxy.model.retry import RetryPolicy
from meshproxy.model.route import ForwardAction, PathMatch, Route
from meshproxy.testing import FilterHarness
from meshproxy.testing.scripted_request import Answer, Received
from meshproxy_filters.http.router.router import Router


def route(**action: Any) -> Route:
    return Route(PathMatch("prefix", "/"), ForwardAction(cluster="upstream", **action))


RETRY = RetryPolicy(frozenset(("5xx",)), back_off_base=0.001, back_off_max=0.001)
HEDGED = replace(RETRY, per_try_timeout=0.3)


def harness() -> FilterHarness:
    return FilterHarness(Router, {})


def answers(harness: FilterHarness, *planned: Answer) -> list[Received]:
    """The i-th request gets the i-th answer."""
    cluster = harness.cluster("upstream")
    cluster.answers(lambda received: planned[cluster.requests.index(received)])
    return cluster.requests


def counted(harness: FilterHarness, name: str, cluster: str = "upstream") -> int:
    return harness.stats.get(f"cluster.{cluster}.{name}", 0)


def test_a_late_attempt_goes_on_and_may_still_win() -> None:
    proxy = harness()
    requests = answers(proxy, Answer(200, (("x-from", "first"),), after=0.5), Answer(200, (), after=5))
    exchange = proxy.request(route=route(retry_policy=HEDGED, hedges=True))
    proxy.clock.advance(0.4)
    assert len(requests) == 2
    assert not exchange.answered
    proxy.clock.advance(0.2)
    assert exchange.response["x-from"] == "first"
    assert requests[1].was_reset
    assert not requests[0].was_reset


def test_a_bad_answer_waits_for_the_other_attempt() -> None:
    proxy = harness()
    requests = answers(proxy, Answer(503, (), after=0.5), Answer(200, (), after=0.5))
    exchange = proxy.request(route=route(retry_policy=HEDGED, hedges=True))
    proxy.clock.advance(0.6)
    assert not exchange.answered
    proxy.clock.advance(0.5)
    assert exchange.status == 200
    assert len(requests) == 2


def test_the_last_bad_answer_is_what_the_client_gets() -> None:
    proxy = harness()
    answers(proxy, Answer(503, (), after=0.6), Answer(500, (), after=0.1))
    exchange = proxy.request(route=route(retry_policy=HEDGED, hedges=True))
    proxy.clock.advance(0.5)
    assert not exchange.answered
    proxy.clock.advance(0.5)
    assert exchange.status == 503


def test_every_attempt_ends_with_the_client() -> None:
    proxy = harness()
    requests = answers(proxy, Answer(), Answer())
    exchange = proxy.request(route=route(retry_policy=HEDGED, hedges=True))
    proxy.clock.advance(0.4)
    exchange.client_leaves()
    assert [received.was_reset for received in requests] == [True, True]


def test_an_idle_attempt_is_given_up_and_tried_again() -> None:
    proxy = harness()
    requests = answers(proxy, Answer(), Answer(200))
    exchange = proxy.request(route=route(retry_policy=replace(RETRY, per_try_idle_timeout=0.2)))
    proxy.clock.advance(0.3)
    assert exchange.status == 200
    assert requests[0].was_reset
    assert counted(proxy, "upstream_rq_per_try_idle_timeout") == 1


@pytest.mark.parametrize(
    ("form", "value", "waits"),
    [
        ("SECONDS", "2", (2.0, 3.0)),
        ("SECONDS", "20", (0.0, 0.01)),
        ("SECONDS", "-1", (0.0, 0.01)),
        ("SECONDS", "2.5", (0.0, 0.01)),
        ("UNIX_TIMESTAMP", "1", (0.0, 0.01)),
        ("UNIX_TIMESTAMP", "+3", (2.0, 4.5)),
    ],
)
def test_the_upstream_says_when_to_come_again(form: str, value: str, waits: tuple[float, float]) -> None:
    proxy = harness()
    if value.startswith("+"):
        value = str(int(proxy.clock.wall()) + int(value))
    requests = answers(proxy, Answer(503, (("x-reset", value),)), Answer(200))
    policy = replace(RETRY, reset_headers=(("x-reset", form),), reset_max_interval=10.0)
    exchange = proxy.request(route=route(retry_policy=policy, timeout=60.0))
    proxy.clock.advance(waits[0] * 0.99)
    assert waits[0] == 0.0 or len(requests) == 1
    proxy.clock.advance(waits[1])
    assert exchange.status == 200
    assert counted(proxy, "upstream_rq_retry_backoff_ratelimited") == (waits[0] > 0)


def test_a_copy_goes_to_the_mirror_and_its_answer_nowhere() -> None:
    proxy = harness()
    proxy.cluster("shadow").returns(500, body=b"nobody reads this")
    exchange = proxy.request(
        "POST", "/p", body=b"hello", authority="h:81", route=route(mirrors=(MirrorPolicy("shadow"),))
    )
    assert exchange.status == 200
    (copy,) = proxy.cluster("shadow").requests
    assert (copy.headers.authority, copy.path, copy.body) == ("h-shadow:81", "/p", b"hello")
    assert proxy.cluster("upstream").requests[0].headers.authority == "h:81"


def test_shares_of_copies_nest() -> None:
    proxy = harness()
    policies = tuple(
        MirrorPolicy(name, covers=partial(lambda limit, number: number % 100 < limit, limit))
        for name, limit in (("ten", 10), ("fifty", 50))
    )
    proxy.cluster("ten"), proxy.cluster("fifty")
    for _ in range(300):
        proxy.request(route=route(mirrors=policies))
    ten, fifty = len(proxy.cluster("ten").requests), len(proxy.cluster("fifty").requests)
    assert 10 < ten < 60
    assert 110 < fifty < 190


def test_a_copy_ends_with_a_client_that_left_in_the_middle() -> None:
    proxy = harness()
    proxy.cluster("shadow").hangs()
    exchange = proxy.request("POST", end=False, chunks=(b"a",), route=route(mirrors=(MirrorPolicy("shadow"),)))
    exchange.client_leaves()
    assert proxy.cluster("shadow").requests[0].was_reset


def test_a_copy_that_is_complete_outlives_its_stream() -> None:
    proxy = harness()
    proxy.cluster("shadow").hangs()
    assert proxy.request(route=route(mirrors=(MirrorPolicy("shadow"),))).complete
    assert not proxy.cluster("shadow").requests[0].was_reset


def test_a_mirror_that_isnt_there_is_no_matter() -> None:
    assert harness().request(route=route(mirrors=(MirrorPolicy(cluster_header="x-to"),))).status == 200
