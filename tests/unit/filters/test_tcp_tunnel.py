"""Connections through an HTTP proxy, without sockets: what is asked for, and what counts as an answer."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest

from meshproxy.headers import ResponseHeaders
from meshproxy.plugin.replies import ResetReason
from meshproxy.testing import NetworkHarness
from meshproxy.testing.scripted_request import Received
from meshproxy_filters.network import tcp_proxy
from meshproxy_filters.network.tcp_proxy import TcpProxy
from meshproxy_filters.network.tcp_tunnel import HttpTunnel


class Recorded(HttpTunnel):
    """Remembers all that were made."""

    made: ClassVar[list[Recorded]] = []

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.made.append(self)


@pytest.fixture(autouse=True)
def tunnels(monkeypatch: pytest.MonkeyPatch) -> list[Recorded]:
    Recorded.made.clear()
    monkeypatch.setattr(tcp_proxy, "HttpTunnel", Recorded)
    return Recorded.made


def connected(**tunnel: Any) -> tuple[NetworkHarness, Any, list[Received]]:
    """A client that is connected to a proxy that hasn't answered yet."""
    config = {"stat_prefix": "t", "cluster": "up", "tunneling_config": {"hostname": "far.test:443", **tunnel}}
    harness = NetworkHarness(TcpProxy, {**config, "max_connect_attempts": 2})
    cluster = harness.cluster("up")
    cluster.hangs()
    return harness, harness.connect(), cluster.requests


def test_nothing_is_sent_before_the_tunnel_is_there() -> None:
    harness, client, requests = connected()
    (request,) = requests
    assert (request.headers.method, request.headers.authority) == ("CONNECT", "far.test:443")
    client.send(b"hello")
    assert request.body == b""
    with harness.loop.entered():
        Recorded.made[0].on_upstream_response(ResponseHeaders(200), False)
    assert request.body == b"hello"
    with harness.loop.entered():
        Recorded.made[0].on_upstream_body(b"back", False)
    assert client.received == b"back"


@pytest.mark.parametrize(("status", "end"), [(403, False), (403, True), (200, True), (302, False), (503, True)])
def test_what_is_no_tunnel_is_tried_again(status: int, end: bool) -> None:
    harness, client, requests = connected()
    with harness.loop.entered():
        Recorded.made[0].on_upstream_response(ResponseHeaders(status), end)
    assert len(requests) == 2
    assert requests[0].was_reset is not end
    with harness.loop.entered():
        Recorded.made[1].on_upstream_reset(ResetReason.CONNECT_FAILURE, "gone")
    assert client.closed


def test_the_end_of_a_posted_tunnel_over_http1_ends_the_connection() -> None:
    harness, client, requests = connected(use_post=True, post_path="/t")
    (request,) = requests
    assert (request.headers.method, request.headers.path) == ("POST", "/t")
    with harness.loop.entered():
        Recorded.made[0].on_upstream_response(ResponseHeaders(200), False)
        Recorded.made[0].on_upstream_body(b"back", True)
    assert client.received == b"back"
    assert client.closed


def test_what_the_proxy_said_is_kept_for_the_log() -> None:
    harness, _, _ = connected(propagate_response_headers=True)
    with harness.loop.entered():
        Recorded.made[0].on_upstream_response(ResponseHeaders(200, [("x-a", "1")]), False)
    state = (Recorded.made[0].stream_info.filter_state or {})["envoy.tcp_proxy.propagate_response_headers"]
    assert state == {"headers": [{"key": ":status", "value": "200"}, {"key": "x-a", "value": "1"}]}
