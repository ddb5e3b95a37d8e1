"""Active health checks over real sockets. The sequences were seen with Envoy 1.40."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest

from meshproxy.address import SocketAddress
from tests.system.test_grpc import HTTP2
from tests.system.upstream_rig import Peer, Upstream, bootstrap, endpoints, running, until

HEAD = "timeout: 0.2s, interval: 0.1s, no_traffic_interval: 0.1s, unhealthy_threshold: 2, healthy_threshold: 2"
NO_PANIC = "common_lb_config: {healthy_panic_threshold: {value: 0}}, "


class Checked:
    """An upstream whose health can be set. checks: the heads of checks, by connection."""

    def __init__(self) -> None:
        self.status = 200
        self.hang = False
        self.checks: list[tuple[int, str]] = []
        self.upstream = Upstream(self.serve)

    async def serve(self, peer: Peer) -> None:
        while head := await peer.head():
            if not head.split()[1].startswith("/health"):
                peer.answer(b"traffic")
                continue
            self.checks.append((peer.number, head))
            if self.hang:
                await peer.ended()
                return
            peer.send(b"HTTP/1.1 %d X\r\ncontent-length: 4\r\n\r\nbody" % self.status)


def http(more: str = "", text: str = HEAD) -> str:
    return NO_PANIC + f"health_checks: [{{{text}, http_health_check: {{path: /health{more}}}}}], "


async def test_the_life_of_a_checked_host() -> None:
    checked = Checked()
    async with checked.upstream as upstream, running(bootstrap(http() + endpoints(upstream.address))) as proxy:
        (host,) = proxy.cluster.hosts()
        assert host.health_flags == "healthy"
        assert proxy.stat("membership_healthy") == 1
        assert checked.checks[0][1] == "GET /health HTTP/1.1\r\nhost: c\r\nuser-agent: Envoy/HC\r\n\r\n"
        assert (await proxy.get()).body == b"traffic"

        checked.status = 503
        await until(lambda: host.health_flags == "/failed_active_hc")
        assert (await proxy.get()).body == b"no healthy upstream"
        assert proxy.stat("membership_healthy") == 0
        checked.status = 200
        count = proxy.stat("health_check.success")
        await until(lambda: host.health_flags == "healthy")
        assert proxy.stat("health_check.success") == count + 2
        assert {number for number, _ in checked.checks} == {1}  # one connection for all checks so far

        checked.hang = True
        await until(lambda: host.health_flags == "/failed_active_hc/active_hc_timeout")
        assert proxy.stat("health_check.network_failure") >= 2
        checked.hang = False
        await until(lambda: host.health_flags == "healthy")
        assert (await proxy.get()).body == b"traffic"
        assert proxy.stat("health_check.healthy") == 1
        attempts = proxy.stat("health_check.attempt")
        assert proxy.stat("health_check.success") + proxy.stat("health_check.failure") in (attempts, attempts - 1)


async def test_statuses_headers_and_a_host_of_its_own() -> None:
    checked = Checked()
    checked.status = 418
    more = (
        ", host: check.test, method: HEAD, expected_statuses: [{start: 400, end: 420}], "
        "request_headers_to_add: [{header: {key: x-a, value: b}}], request_headers_to_remove: [user-agent]"
    )
    async with checked.upstream as upstream, running(bootstrap(http(more) + endpoints(upstream.address))) as proxy:
        assert proxy.stat("membership_healthy") == 1
        assert checked.checks[0][1].split("\r\n")[:3] == ["HEAD /health HTTP/1.1", "host: check.test", "x-a: b"]


async def test_a_retriable_status_needs_the_threshold() -> None:
    checked = Checked()
    more = ", retriable_statuses: [{start: 500, end: 501}]"
    async with checked.upstream as upstream, running(bootstrap(http(more) + endpoints(upstream.address))) as proxy:
        (host,) = proxy.cluster.hosts()
        failures = proxy.stat("health_check.failure")
        checked.status = 500
        await until(lambda: host.health_flags != "healthy")
        assert proxy.stat("health_check.failure") == failures + 2


async def test_what_the_body_must_contain() -> None:
    checked = Checked()
    good = ", receive: [{text: '62'}, {text: '6479'}]"  # b ... dy
    bad = ", receive: [{text: '6479'}, {text: '62'}]"
    async with checked.upstream as upstream:
        async with running(bootstrap(http(good) + endpoints(upstream.address))) as proxy:
            assert proxy.stat("membership_healthy") == 1
        async with running(bootstrap(http(bad) + endpoints(upstream.address))) as proxy:
            assert proxy.stat("membership_healthy") == 0


async def test_a_host_that_is_not_there() -> None:
    closed = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)
    address = closed.sockets[0].getsockname()
    closed.close()
    async with running(bootstrap(http() + endpoints(address))) as proxy:
        assert proxy.stat("health_check.network_failure") == 1
        assert (await proxy.get()).body == b"no healthy upstream"


async def test_without_reuse_each_check_has_its_connection() -> None:
    checked = Checked()
    text = HEAD + ", reuse_connection: false"
    async with checked.upstream as upstream, running(bootstrap(http(text=text) + endpoints(upstream.address))):
        await until(lambda: len(checked.checks) >= 3)
        assert [number for number, _ in checked.checks[:3]] == [1, 2, 3]


async def test_tcp_checks() -> None:
    said: list[bytes] = []

    async def pong(peer: Peer) -> None:
        while data := await peer.reader.read(100):
            said.append(data)
            peer.send(b"po")
            await asyncio.sleep(0.01)
            peer.send(b"ng")

    said_and_heard = "send: {text: '70696e67'}, receive: [{text: '706f6e67'}]"
    text = f"health_checks: [{{{HEAD}, tcp_health_check: {{{said_and_heard}}}}}], "
    async with Upstream(pong) as upstream, running(bootstrap(NO_PANIC + text + endpoints(upstream.address))) as proxy:
        assert proxy.stat("membership_healthy") == 1
        await until(lambda: proxy.stat("health_check.success") >= 3)
        assert said[0] == b"ping"
        assert len(upstream.peers) == 1
    other = text.replace("706f6e67", "00")
    async with Upstream(pong) as upstream, running(bootstrap(NO_PANIC + other + endpoints(upstream.address))) as proxy:
        assert proxy.stat("membership_healthy") == 0
        assert proxy.stat("health_check.network_failure") == 1
    connect = f"health_checks: [{{{HEAD}, tcp_health_check: {{}}}}], "
    async with Upstream(pong) as upstream, running(bootstrap(connect + endpoints(upstream.address))) as proxy:
        await until(lambda: proxy.stat("health_check.success") >= 3)
        await until(lambda: len(upstream.peers) >= 3)


async def test_another_port_and_none_at_all() -> None:
    checked = Checked()
    async with checked.upstream as checks, Upstream(Checked().serve) as upstream:
        text = http(text=HEAD + f", alt_port: {checks.address[1]}")
        async with running(bootstrap(text + endpoints(upstream.address))) as proxy:
            assert (await proxy.get()).body == b"traffic"
            assert len(checked.checks) >= 1
        off = endpoints(upstream.address).replace(
            "{endpoint: {", "{endpoint: {health_check_config: {disable_active_health_check: true}, "
        )
        before = len(checked.checks)
        async with running(bootstrap(text + off)) as proxy:
            assert (await proxy.get()).body == b"traffic"
            assert len(checked.checks) == before


async def test_a_removed_host_is_not_checked_any_more() -> None:
    checked = Checked()
    async with checked.upstream as upstream, running(bootstrap(http() + endpoints(upstream.address))) as proxy:
        proxy.cluster.update([])
        count = len(checked.checks)
        await asyncio.sleep(0.25)
        assert len(checked.checks) <= count + 1


async def test_a_success_brings_an_ejected_host_back() -> None:
    checked = Checked()
    text = "outlier_detection: {consecutive_5xx: 1, max_ejection_percent: 100}, " + http()
    async with checked.upstream as upstream, running(bootstrap(text + endpoints(upstream.address))) as proxy:
        (host,) = proxy.cluster.hosts()
        assert proxy.cluster.outlier is not None
        proxy.cluster.outlier.detector.on_response(host, 500, 0.0)
        assert "failed_outlier_check" in host.health_flags
        await until(lambda: host.health_flags == "healthy")


class HealthService(grpc.GenericRpcHandler):
    """gRPC's health service. status: of the answer; asked: names that were asked about."""

    def __init__(self) -> None:
        self.status = 1
        self.asked: list[bytes] = []

    def service(self, details: Any) -> Any:
        if details.method != "/grpc.health.v1.Health/Check":
            return None
        return grpc.unary_unary_rpc_method_handler(self.check)

    async def check(self, request: bytes, context: Any) -> bytes:
        self.asked.append(request)
        return bytes((8, self.status))


async def test_hosts_that_speak_grpc_are_asked_in_its_terms() -> None:
    service = HealthService()
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((service,))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    check = NO_PANIC + f"health_checks: [{{{HEAD}, grpc_health_check: {{service_name: my.Service}}}}], {HTTP2}, "
    try:
        async with running(bootstrap(check + endpoints(("127.0.0.1", port)))) as proxy:
            (host,) = proxy.cluster.hosts()
            assert host.health_flags == "healthy"
            assert service.asked[0] == b"\x0a\x0amy.Service"
            service.status = 2
            await until(lambda: host.health_flags == "/failed_active_hc")
            service.status = 1
            await until(lambda: host.health_flags == "healthy")
            await server.stop(0)
            await until(lambda: host.health_flags == "/failed_active_hc")
            assert proxy.stat("health_check.network_failure") >= 1
    finally:
        await server.stop(0)


async def test_a_host_may_ask_for_no_more_requests_itself() -> None:
    checked = Checked()

    async def serve(peer: Peer) -> None:
        while head := await peer.head():
            more = b"" if head.split()[1].startswith("/health") else b"x-envoy-immediate-health-check-fail: true\r\n"
            peer.send(b"HTTP/1.1 200 X\r\n%scontent-length: 0\r\n\r\n" % more)

    slow = HEAD.replace("interval: 0.1s", "interval: 60s")
    checked.upstream = Upstream(serve)
    async with (
        checked.upstream as upstream,
        running(bootstrap(http(text=slow) + endpoints(upstream.address))) as proxy,
    ):
        (host,) = proxy.cluster.hosts()
        assert (await proxy.get()).status == 200
        assert host.health_flags == "/failed_active_hc/excluded_via_immediate_hc_fail"
        assert (await proxy.get()).status == 503
        assert (proxy.stat("health_check.passive_failure"), proxy.stat("membership_excluded")) == (1, 1)


async def test_a_host_that_discovery_takes_away_stays_while_it_is_well() -> None:
    checked = Checked()
    async with checked.upstream as upstream:
        cluster = http() + "type: STRICT_DNS, dns_refresh_rate: 60s, " + endpoints(upstream.address)
        async with running(bootstrap(cluster)) as proxy:
            (host,) = proxy.cluster.hosts()
            proxy.cluster.update(())
            assert proxy.cluster.hosts() == [host]
            assert host.health_flags == "/pending_dynamic_removal"
            assert (await proxy.get()).status == 200
            proxy.cluster.update([host.endpoint])
            assert host.health_flags == "healthy"
            proxy.cluster.update(())
            checked.status = 503
            await until(lambda: not proxy.cluster.hosts())
            assert proxy.stat("membership_total") == 0


async def test_a_host_goes_at_once_where_its_health_does_not_matter() -> None:
    checked = Checked()
    async with checked.upstream as upstream:
        cluster = http() + "type: STRICT_DNS, ignore_health_on_host_removal: true, " + endpoints(upstream.address)
        async with running(bootstrap(cluster)) as proxy:
            proxy.cluster.update(())
            assert proxy.cluster.hosts() == []


async def test_new_hosts_do_not_count_before_their_first_check() -> None:
    """Two hosts out of three have yet to be checked: without them all are well, and there is no panic."""
    checked, hanging = Checked(), Checked()
    hanging.hang = True
    slow = HEAD.replace("timeout: 0.2s", "timeout: 10s")
    options = "common_lb_config: {healthy_panic_threshold: {value: 60}, ignore_new_hosts_until_first_hc: true}, "
    async with checked.upstream as one, hanging.upstream as two:
        where = endpoints(one.address, two.address, two.address)
        cluster = options + http(text=slow).removeprefix(NO_PANIC) + where
        configuration = running(bootstrap(cluster), warm_within=0.3)
        async with configuration as proxy:
            await until(lambda: proxy.stat("membership_healthy") == 1)
            assert proxy.stat("membership_excluded") == 2
            flags = sorted(host.health_flags for host in proxy.cluster.hosts())
            assert flags == ["/failed_active_hc/pending_active_hc"] * 2 + ["healthy"]
            for _ in range(8):
                assert (await proxy.get()).body == b"traffic"
            assert proxy.stat("lb_healthy_panic") == 0


async def test_events_are_written_as_envoy_words_them(tmp_path: Path) -> None:
    checked = Checked()
    log = tmp_path / "events"
    sink = "type.googleapis.com/envoy.extensions.health_check.event_sinks.file.v3.HealthCheckEventFileSink"
    text = HEAD + (
        f", always_log_health_check_failures: true, event_logger: [{{name: f, typed_config: {{'@type': {sink}, "
        f"event_log_path: {log}}}}}]"
    )
    async with checked.upstream as upstream:
        async with running(bootstrap(http(text=text) + endpoints(upstream.address))) as proxy:
            checked.status = 503
            (host,) = proxy.cluster.hosts()
            await until(lambda: host.health_flags != "healthy")
            checked.status = 200
            await until(lambda: host.health_flags == "healthy")
        events = [json.loads(line) for line in log.read_text().splitlines()]
    for event in events:
        assert event["health_checker_type"] == "HTTP"
        assert event["host"]["socket_address"]["port_value"] == upstream.address[1]
        assert event["timestamp"].endswith("Z")
        for name in ("health_checker_type", "host", "cluster_name", "timestamp", "locality"):
            del event[name]
    failed = {"failure_type": "ACTIVE", "first_check": False, "http_status_code": 503}
    assert events[0] == {"add_healthy_event": {"first_check": True}}
    assert events[1] == {"eject_unhealthy_event": {"failure_type": "ACTIVE", "http_status_code": 503}}
    assert events[2] == {"health_check_failure_event": failed}
    assert events[-1] == {"add_healthy_event": {"first_check": False}}


async def test_connections_leave_a_host_that_is_found_ill() -> None:
    """What is idle is closed at once; a raw connection only where the cluster says so."""
    checked = Checked()
    async with checked.upstream as upstream, running(bootstrap(http() + endpoints(upstream.address))) as proxy:
        assert (await proxy.get()).status == 200
        assert proxy.stat("upstream_cx_active") == 1
        checked.status = 503
        await until(lambda: proxy.stat("upstream_cx_active") == 0)


@pytest.mark.parametrize("closes", [True, False])
async def test_raw_connections_end_with_the_health_of_their_host(closes: bool) -> None:
    checked = Checked()
    async with checked.upstream as upstream:
        option = f"close_connections_on_host_health_failure: {str(closes).lower()}, "
        async with running(bootstrap(option + http() + endpoints(upstream.address), tcp=True)) as proxy:
            reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
            await until(lambda: proxy.stat("upstream_cx_active") == 1)
            (host,) = proxy.cluster.hosts()
            checked.status = 503
            await until(lambda: host.health_flags != "healthy")
            if closes:
                assert await asyncio.wait_for(reader.read(), 20) == b""
            else:
                writer.write(b"GET / HTTP/1.1\r\n\r\n")
                assert (await asyncio.wait_for(reader.readline(), 20)).startswith(b"HTTP/1.1 200")
            writer.close()


async def test_connections_are_renewed_when_the_hosts_change() -> None:
    checked, other = Checked(), Checked()
    option = "common_lb_config: {close_connections_on_host_set_change: true}, "
    async with (
        checked.upstream as one,
        other.upstream as two,
        running(bootstrap(option + endpoints(one.address))) as proxy,
    ):
        await proxy.get()
        assert proxy.stat("upstream_cx_active") == 1
        (host,) = proxy.cluster.hosts()
        proxy.cluster.update([host.endpoint, replace(host.endpoint, address=SocketAddress(*two.address))])
        await until(lambda: proxy.stat("upstream_cx_active") == 0)
        assert (await proxy.get()).status == 200


async def test_how_checks_choose_their_transport_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the criteria of the check and not by the host's metadata, and with the protocols it says."""
    seen: list[tuple[Any, str]] = []

    async def connect(cluster: Any, target: Any, protocol: Any, name: Any) -> None:
        seen.append((target.metadata, name.alpn))
        raise OSError("seen enough")

    monkeypatch.setattr("meshproxy.runtime.upstream.health.health_checker.open_connection", connect)
    more = ", tls_options: {alpn_protocols: [h2, http/1.1]}, transport_socket_match_criteria: {plain: true}"
    async with running(bootstrap(http(text=HEAD + more) + endpoints(("127.0.0.1", 9)))):
        await until(lambda: bool(seen))
    assert seen[0] == ({"envoy.transport_socket_match": {"plain": True}}, "h2,http/1.1")


async def test_the_host_must_be_of_the_service_that_is_meant() -> None:
    names = ["other", "mine"]

    async def serve(peer: Peer) -> None:
        while await peer.head():
            name = b"x-envoy-upstream-healthchecked-cluster: " + names[0].encode()
            peer.send(b"HTTP/1.1 200 X\r\n%s\r\ncontent-length: 0\r\n\r\n" % name)

    cluster = http(", service_name_matcher: {prefix: mi}")
    async with Upstream(serve) as upstream, running(bootstrap(cluster + endpoints(upstream.address))) as proxy:
        (host,) = proxy.cluster.hosts()
        assert host.health_flags == "/failed_active_hc"
        assert proxy.stat("health_check.verify_cluster") > 0
        names.pop(0)
        await until(lambda: host.health_flags == "healthy")


async def test_a_failed_check_may_take_the_host_out_of_the_count() -> None:
    async def serve(peer: Peer) -> None:
        while await peer.head():
            peer.send(b"HTTP/1.1 503 X\r\nx-envoy-immediate-health-check-fail: true\r\ncontent-length: 0\r\n\r\n")

    async with Upstream(serve) as upstream, running(bootstrap(http() + endpoints(upstream.address))) as proxy:
        (host,) = proxy.cluster.hosts()
        await until(lambda: host.health_flags == "/failed_active_hc/excluded_via_immediate_hc_fail")
        assert proxy.stat("membership_excluded") == 1
