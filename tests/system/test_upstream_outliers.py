"""Outlier detection over real sockets."""

from __future__ import annotations

import asyncio

from tests.system.upstream_rig import Peer, Upstream, bootstrap, endpoints, running, until


async def well(peer: Peer) -> None:
    while await peer.head():
        peer.answer(b"well")


async def ill(peer: Peer) -> None:
    while await peer.head():
        peer.send(b"HTTP/1.1 500 Oops\r\ncontent-length: 3\r\n\r\nill")


async def silent(peer: Peer) -> None:
    await peer.ended()


def detection(text: str) -> str:
    return f"outlier_detection: {{max_ejection_percent: 50, {text}}}, "


async def test_a_host_that_answers_500_is_left_out_and_comes_back() -> None:
    text = detection("consecutive_5xx: 3, interval: 0.1s, base_ejection_time: 0.3s")
    async with (
        Upstream(well) as one,
        Upstream(ill) as two,
        running(bootstrap(text + endpoints(one.address, two.address))) as proxy,
    ):
        bodies = [(await proxy.get()).body for _ in range(6)]
        assert bodies.count(b"ill") == 3
        assert proxy.stat("outlier_detection.ejections_active") == 1
        assert proxy.stat("membership_healthy") == 1
        assert {host.health_flags for host in proxy.cluster.hosts()} == {"healthy", "/failed_outlier_check"}
        assert [(await proxy.get()).body for _ in range(4)] == [b"well"] * 4
        await until(lambda: proxy.stat("outlier_detection.ejections_active") == 0)
        assert proxy.stat("membership_healthy") == 2
        assert b"ill" in [(await proxy.get()).body for _ in range(2)]
        for name in ("total", "enforced_total", "consecutive_5xx", "detected_consecutive_5xx"):
            assert proxy.stat(f"outlier_detection.ejections_{name}") == 1


async def test_connect_failures_and_time_outs_count_as_answers() -> None:
    closed = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)
    refused = closed.sockets[0].getsockname()
    closed.close()
    text = detection("consecutive_5xx: 2, consecutive_gateway_failure: 2, enforcing_consecutive_gateway_failure: 100")
    async with Upstream(well) as one, Upstream(silent) as two:
        async with running(bootstrap(text + endpoints(one.address, refused))) as proxy:
            statuses = [(await proxy.get()).status for _ in range(8)]
            assert statuses.count(503) == 2
            assert proxy.stat("outlier_detection.ejections_enforced_total") == 1
        slow = bootstrap(text + endpoints(one.address, two.address), route="timeout: 0.1s")
        async with running(slow) as proxy:
            statuses = [(await proxy.get()).status for _ in range(8)]
            assert statuses.count(504) == 2


async def test_with_local_errors_apart_answers_do_not_count_as_failures_to_reach() -> None:
    text = detection(
        "consecutive_5xx: 100, split_external_local_origin_errors: true, consecutive_local_origin_failure: 2"
    )
    closed = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)
    refused = closed.sockets[0].getsockname()
    closed.close()
    async with Upstream(well) as one, running(bootstrap(text + endpoints(one.address, refused))) as proxy:
        for _ in range(8):
            await proxy.get()
        assert proxy.stat("outlier_detection.ejections_enforced_consecutive_local_origin_failure") == 1
        assert proxy.stat("outlier_detection.ejections_enforced_consecutive_5xx") == 0


async def test_raw_connections_that_fail_eject_too() -> None:
    closed = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)
    refused = closed.sockets[0].getsockname()
    closed.close()

    async def greet(peer: Peer) -> None:
        peer.send(b"hi")

    text = detection("consecutive_5xx: 2")
    async with Upstream(greet) as one, running(bootstrap(text + endpoints(one.address, refused), tcp=True)) as proxy:
        for _ in range(4):
            client = await proxy.client()
            try:
                await client.reader.read()
            except OSError:
                pass
            client.close()
        assert proxy.stat("outlier_detection.ejections_enforced_total") == 1


async def test_all_hosts_but_one_may_be_out_and_panic_serves_on() -> None:
    text = "outlier_detection: {max_ejection_percent: 100, consecutive_5xx: 1}, "
    async with (
        Upstream(ill) as one,
        Upstream(ill) as two,
        running(bootstrap(text + endpoints(one.address, two.address))) as proxy,
    ):
        assert [(await proxy.get()).status for _ in range(4)] == [500] * 4
        assert proxy.stat("outlier_detection.ejections_active") == 2
        assert proxy.stat("lb_healthy_panic") == 2
