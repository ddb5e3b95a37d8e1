"""The filter alone: no socket is opened, and time passes only when a test says so."""

from __future__ import annotations

import pytest
from token_gate.filter import TokenGate, TokenGateConfig

from meshproxy.errors import ConfigError
from meshproxy.plugin.replies import ResetReason
from meshproxy.testing import Answer, FilterHarness, Received


def gate(**changes: object) -> FilterHarness:
    harness = FilterHarness(TokenGate, {"token_cluster": "tokens", **changes})
    harness.cluster("tokens").returns(200, {"x-user": "ann"})
    return harness


def test_a_good_token_becomes_a_user() -> None:
    harness = gate()
    exchange = harness.request(headers={"x-api-token": "a/b", "x-user": "root"})
    assert exchange.upstream_headers["x-user"] == "ann"
    assert harness.cluster("tokens").requests[0].path == "/t/a%2Fb"


def test_an_unknown_token_is_401() -> None:
    harness = gate()
    harness.cluster("tokens").answers(lambda asked: Answer(200 if asked.path == "/t/good" else 404))
    assert harness.request(headers={"x-api-token": "good"}).status == 200
    exchange = harness.request(headers={"x-api-token": "bad"})
    assert exchange.status == 401
    assert not exchange.reached_upstream


def test_without_a_token_nobody_is_asked() -> None:
    harness = gate()
    assert harness.request().status == 401
    assert harness.cluster("tokens").requests == []


def test_denied_prefixes() -> None:
    exchange = gate(deny_prefixes=["/admin"]).request(path="/admin/x", headers={"x-api-token": "t"})
    assert (exchange.status, exchange.response_body) == (403, b"denied")


def test_an_answer_is_remembered() -> None:
    harness = gate(remember=10)
    for _ in range(3):
        assert harness.request(headers={"x-api-token": "t"}).upstream_headers["x-user"] == "ann"
    assert len(harness.cluster("tokens").requests) == 1
    harness.clock.advance(11)
    harness.request(headers={"x-api-token": "t"})
    assert len(harness.cluster("tokens").requests) == 2


def test_a_request_waits_for_the_answer_with_its_body() -> None:
    harness = gate(timeout=1.0)
    harness.cluster("tokens").returns(200, {"x-user": "ann"}, after=0.5)
    exchange = harness.request("POST", headers={"x-api-token": "t"}, chunks=[b"a", b"b"])
    assert exchange.waiting
    assert exchange.paused
    harness.clock.advance(0.5)
    assert exchange.upstream_body == b"ab"


@pytest.mark.parametrize(("fail_open", "status"), [(False, 503), (True, 200)])
@pytest.mark.parametrize("how", ["hangs", "fails"])
def test_when_the_service_can_not_be_asked(how: str, fail_open: bool, status: int) -> None:
    harness = gate(fail_open=fail_open)
    cluster = harness.cluster("tokens")
    cluster.hangs() if how == "hangs" else cluster.fails(ResetReason.CONNECT_FAILURE)
    exchange = harness.request(headers={"x-api-token": "t"})
    harness.clock.advance(0.2)
    assert exchange.status == status
    assert harness.stats["http.test.token_gate.failed"] == 1


def test_a_client_that_leaves_ends_the_question() -> None:
    harness = gate()
    harness.cluster("tokens").hangs()
    harness.request(headers={"x-api-token": "t"}).client_leaves()
    asked: Received = harness.cluster("tokens").requests[0]
    assert asked.was_reset


def test_a_fault_in_the_configuration_is_named() -> None:
    with pytest.raises(ConfigError, match="deny_prefixes"):
        gate(deny_prefixes=5)
    assert TokenGateConfig("tokens").header == "x-api-token"
