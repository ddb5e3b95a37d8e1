"""The TCP proxy, on the proxy's own connection object; what it answers to failures is Envoy's (tests/parity)."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from meshproxy.errors import ConfigError
from meshproxy.plugin.replies import LocalReply, ResetReason
from meshproxy.plugin.stream_info import StreamInfo
from meshproxy.plugin.upstream import Host, HostChoice, Prepared
from meshproxy.testing import NetworkHarness
from meshproxy_filters.network.direct_response import DirectResponse
from meshproxy_filters.network.echo import Echo
from meshproxy_filters.network.tcp_proxy import TcpProxy

FORMAT = (
    "%RESPONSE_FLAGS% %BYTES_RECEIVED% %BYTES_SENT% "
    "%UPSTREAM_HOST% %UPSTREAM_CLUSTER% %UPSTREAM_TRANSPORT_FAILURE_REASON%"
)
LOG = {
    "name": "file",
    "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog",
        "path": "/dev/stdout",
        "log_format": {"text_format_source": {"inline_string": FORMAT}},
    },
}


def proxy(**config: Any) -> NetworkHarness:
    if "weighted_clusters" not in config:
        config.setdefault("cluster", "up")
    harness = NetworkHarness(TcpProxy, {"stat_prefix": "t", "access_log": [LOG], **config})
    harness.cluster("up")
    return harness


def test_bytes_go_both_ways() -> None:
    harness = proxy()
    client = harness.connect().send(b"hello")
    harness.upstream_sends("up", b"hi")
    upstream = harness.cluster("up").connections[0]
    assert upstream.received == b"hello"
    assert client.received == b"hi"
    client.leave()
    assert upstream.closed_by_proxy == "close"
    assert harness.access_log == ["- 5 2 192.0.2.1:80 up -"]
    assert harness.stats["tcp.t.downstream_cx_rx_bytes_total"] == 5
    assert harness.stats["tcp.t.downstream_cx_tx_bytes_total"] == 2


def test_the_client_is_not_read_before_the_upstream_is_connected() -> None:
    harness = proxy()
    harness.cluster("up").hangs()
    client = harness.connect()
    assert client.paused
    with harness.loop.entered():
        harness.cluster("up").connections[0].connected()
    assert not client.paused


@pytest.mark.parametrize("client_first", [True, False])
def test_each_direction_ends_by_itself(client_first: bool) -> None:
    harness = proxy()
    client = harness.connect()
    upstream = harness.cluster("up").connections[0]
    if client_first:
        client.send(b"q", end=True)
        assert upstream.ended
        assert not client.ended
        harness.upstream_sends("up", b"a", end=True)
    else:
        harness.upstream_sends("up", b"a", end=True)
        assert client.ended
        assert upstream.closed_by_proxy == ""
        client.send(b"q", end=True)
    assert (upstream.received, client.received) == (b"q", b"a")
    assert (client.closed, upstream.closed_by_proxy) == ("close", "close")
    assert harness.access_log == ["- 1 1 192.0.2.1:80 up -"]


def test_a_client_that_resets_resets_the_upstream() -> None:
    harness = proxy()
    harness.connect().leave(reset=True)
    assert harness.cluster("up").connections[0].closed_by_proxy == "reset"


def test_an_upstream_that_resets_resets_the_client() -> None:
    harness = proxy()
    client = harness.connect()
    harness.upstream_closes("up", ResetReason.CONNECTION_TERMINATION)
    assert client.closed == "reset"
    assert harness.access_log == ["UR 0 0 192.0.2.1:80 up -"]


@pytest.mark.parametrize("attempts", [1, 3])
@pytest.mark.parametrize("reason", [ResetReason.CONNECT_FAILURE, ResetReason.CONNECT_TIMEOUT])
def test_connecting_is_tried_so_often_and_then_given_up(attempts: int, reason: ResetReason) -> None:
    harness = proxy(max_connect_attempts=attempts)
    harness.cluster("up").fails(reason, "delayed connect error: x")
    client = harness.connect()
    assert len(harness.cluster("up").connections) == attempts
    assert client.closed == "close"
    assert harness.access_log == ["UF,URX 0 0 192.0.2.1:80 up delayed_connect_error:_x"]


def test_a_second_attempt_may_succeed() -> None:
    harness = proxy(max_connect_attempts=2)
    harness.cluster("up").hangs()
    client = harness.connect()
    harness.upstream_closes("up", ResetReason.CONNECT_FAILURE)
    assert client.paused
    with harness.loop.entered():
        harness.cluster("up").connections[1].connected()
    client.send(b"x").leave()
    assert harness.cluster("up").connections[1].received == b"x"


class Lookups:
    """What stands for a dynamic forward proxy: the first host is known, the next one has to be waited for."""

    default_port = 80
    own_clusters = False

    def __init__(self, later: LocalReply | Exception | None) -> None:
        self.later = later
        self.found = asyncio.Event()
        self.count = 0

    def look_up(self, stream: StreamInfo) -> Prepared:
        self.count += 1
        return None if self.count == 1 else self._wait()

    async def _wait(self) -> LocalReply | None:
        await self.found.wait()
        if isinstance(self.later, Exception):
            raise self.later
        return self.later

    def prepare_cluster(self, authority: str, timeout: float) -> Prepared:
        raise NotImplementedError  # nothing here has a cluster made


@pytest.mark.parametrize("back_off", [{}, {"backoff_options": {"base_interval": "1s"}}])
def test_a_second_attempt_waits_for_its_host(back_off: dict[str, Any]) -> None:
    harness = proxy(max_connect_attempts=2, **back_off)
    up = harness.cluster("up").hangs()
    lookups = up.forwarding = Lookups(None)
    client = harness.connect()
    harness.upstream_closes("up", ResetReason.CONNECT_FAILURE)
    harness.clock.advance(1.0)
    assert (lookups.count, len(up.connections)) == (2, 1)
    with harness.loop.entered():
        lookups.found.set()
    harness.clock.advance(0.0)
    with harness.loop.entered():
        up.connections[1].connected()
    client.send(b"x")
    assert up.connections[1].received == b"x"


@pytest.mark.parametrize(
    ("later", "closed"), [(LocalReply(503), "close"), (RuntimeError("broken"), "reset")], ids=["unknown", "broken"]
)
def test_a_host_that_a_second_attempt_does_not_find(later: LocalReply | Exception, closed: str) -> None:
    harness = proxy(max_connect_attempts=2)
    up = harness.cluster("up").hangs()
    lookups = up.forwarding = Lookups(later)
    client = harness.connect()
    harness.upstream_closes("up", ResetReason.CONNECT_FAILURE)
    with harness.loop.entered():
        lookups.found.set()
    harness.clock.advance(0.0)
    assert (client.closed, len(up.connections)) == (closed, 1)


def test_no_connection_left_is_an_overflow_without_a_host() -> None:
    harness = proxy(max_connect_attempts=3)
    harness.cluster("up").fails(ResetReason.OVERFLOW)
    harness.connect()
    assert harness.access_log == ["UO 0 0 - up -"]


def test_an_unknown_cluster_and_one_without_hosts() -> None:
    harness = proxy(cluster="none")
    assert harness.connect().closed == "close"
    assert harness.access_log == ["NC 0 0 - - -"]
    assert harness.stats["tcp.t.downstream_cx_no_route"] == 1
    harness = proxy()
    harness.cluster("up").has_hosts(0, 0)
    assert harness.connect().closed == "close"
    assert harness.access_log == ["UH 0 0 - up -"]


def test_idle_timeout_counts_from_the_last_byte_of_either_side() -> None:
    harness = proxy(idle_timeout="1s")
    client = harness.connect()
    for _ in range(3):
        harness.clock.advance(0.8)
        client.send(b"x")
        harness.clock.advance(0.8)
        harness.upstream_sends("up", b"y")
    assert not client.ended
    harness.clock.advance(1.1)
    assert client.closed == "close"
    assert harness.stats["tcp.t.idle_timeout"] == 1
    assert harness.access_log == ["- 3 3 192.0.2.1:80 up -"]


@pytest.mark.parametrize(("config", "lives"), [({}, 3599), ({"idle_timeout": "0s"}, 1e6)])
def test_the_idle_timeout_is_an_hour_and_zero_means_none(config: dict[str, str], lives: float) -> None:
    harness = proxy(**config)
    client = harness.connect()
    harness.clock.advance(lives)
    assert not client.closed


def test_max_duration() -> None:
    harness = proxy(max_downstream_connection_duration="2s")
    client = harness.connect().send(b"x")
    harness.clock.advance(2)
    assert client.closed == "close"
    assert harness.access_log == ["DT 1 0 192.0.2.1:80 up -"]
    assert harness.stats["tcp.t.max_downstream_connection_duration"] == 1


def test_back_pressure_goes_both_ways() -> None:
    harness = proxy()
    client = harness.connect()
    harness.upstream_blocks("up", True)
    assert client.paused
    harness.upstream_blocks("up", False)
    assert not client.paused
    client.blocks(True)
    assert harness.cluster("up").connections[0].paused
    client.blocks(False)
    assert not harness.cluster("up").connections[0].paused
    assert harness.stats["tcp.t.downstream_flow_control_paused_reading_total"] == 1


def test_weights() -> None:
    entries = [{"name": "up", "weight": 1}, {"name": "other", "weight": 3}]
    harness = proxy(weighted_clusters={"clusters": entries})
    harness.cluster("other")
    for _ in range(400):
        harness.connect()
    assert 60 < len(harness.cluster("up").connections) < 140
    assert len(harness.cluster("up").connections) + len(harness.cluster("other").connections) == 400


def test_a_client_that_leaves_while_connecting_ends_the_attempt() -> None:
    harness = proxy()
    harness.cluster("up").hangs()
    harness.connect().leave()
    assert harness.cluster("up").connections[0].closed_by_proxy == "close"
    assert len(harness.access_log) == 1


def test_more_rows_in_the_log_while_a_connection_lives() -> None:
    harness = proxy(access_log_options={"flush_access_log_on_connected": True, "access_log_flush_interval": "1s"})
    client = harness.connect()
    harness.clock.advance(2.5)
    client.leave()
    assert len(harness.access_log) == 4


@pytest.mark.parametrize("config", [{"cluster": None}, {"tunneling_config": {"hostname": "x:1", "post_path": "/"}}])
def test_what_is_refused(config: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        proxy(**config)


def test_the_client_and_the_metadata_narrow_the_choice_of_a_host() -> None:
    harness = proxy(
        hash_policy=[{"source_ip": {}}], metadata_match={"filter_metadata": {"envoy.lb": {"stage": "prod"}}}
    )
    seen: list[tuple[int | None, Any]] = []
    cluster = harness.cluster("up")
    pick = cluster.pick

    def noted(stream: StreamInfo, choice: HostChoice | None = None) -> Host | None:
        seen.append((stream.lb_hash, stream.lb_metadata))
        return pick(stream, choice)

    cluster.pick = noted  # type: ignore[method-assign]  # the one call that is looked at
    harness.connect()
    ((number, wanted),) = seen
    assert number is not None
    assert wanted == {"stage": "prod"}


def test_echo() -> None:
    client = NetworkHarness(Echo, {}).connect().send(b"a").send(b"b", end=True)
    assert client.received == b"ab"
    assert client.closed == "close"


def test_echo_does_not_read_what_it_can_not_send() -> None:
    client = NetworkHarness(Echo, {}).connect().blocks(True)
    assert client.paused
    assert not client.blocks(False).paused


def test_direct_response() -> None:
    client = NetworkHarness(DirectResponse, {"response": {"inline_string": "bye"}}).connect()
    assert client.received == b"bye"
    assert client.closed == "close"
    assert client.connection.stream.details == "direct_response"


def test_a_connect_that_failed_is_tried_again_after_a_while() -> None:
    harness = proxy(max_connect_attempts=3, backoff_options={"base_interval": "1s", "max_interval": "1.5s"})
    cluster = harness.cluster("up")
    cluster.fails()
    client = harness.connect()
    for _ in range(20):
        harness.clock.advance(0.2)
    assert len(cluster.connections) == 3
    assert client.closed


def test_nobody_is_connected_for_a_client_that_has_left() -> None:
    harness = proxy(max_connect_attempts=3, backoff_options={"base_interval": "100s"})
    cluster = harness.cluster("up")
    cluster.fails()
    client = harness.connect()
    client.leave(reset=True)
    harness.clock.advance(1000)
    assert len(cluster.connections) == 1


def test_connections_do_not_all_end_at_once() -> None:
    ends: set[tuple[int, int]] = set()
    harness = proxy(
        max_downstream_connection_duration="10s", max_downstream_connection_duration_jitter_percentage={"value": 50}
    )
    clients = [harness.connect() for _ in range(5)]
    for step in range(200):
        ends |= {
            (index, step)
            for index, client in enumerate(clients)
            if client.closed and not any(index == i for i, _ in ends)
        }
        harness.clock.advance(0.1)
    steps = {step for _, step in ends}
    assert len(ends) == 5
    assert len(steps) > 1
    assert min(steps) >= 99
    assert max(steps) <= 152


def early(**config: Any) -> NetworkHarness:
    harness = proxy(max_early_data_bytes=4, **config)
    harness.cluster("up").hangs()
    return harness


def test_early_data_wait_for_the_upstream_up_to_a_limit() -> None:
    harness = early()
    client = harness.connect().send(b"abc")
    assert not client.paused
    client.send(b"de")
    assert client.paused
    upstream = harness.cluster("up").connections[0]
    assert upstream.received == b""
    with harness.loop.entered():
        upstream.connected()
    assert upstream.received == b"abcde"
    assert not client.paused
    client.send(b"f")
    assert upstream.received == b"abcdef"


def test_the_first_byte_starts_the_connect_and_an_end_alone_does_not() -> None:
    harness = early(upstream_connect_mode="ON_DOWNSTREAM_DATA")
    harness.connect().send(b"", end=True)
    client = harness.connect()
    assert not harness.cluster("up").connections
    client.send(b"a").send(b"b", end=True)
    (upstream,) = harness.cluster("up").connections
    with harness.loop.entered():
        upstream.connected()
    assert upstream.received == b"ab"
    assert upstream.ended
    assert harness.stats["tcp.t.early_data_received_count_total"] == 4
