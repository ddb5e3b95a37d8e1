"""Pools of HTTP/1 connections over real sockets: reuse, limits, ends of every kind. Seen with Envoy 1.40 likewise."""

from __future__ import annotations

import asyncio
import os
import socket
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from meshproxy.runtime.upstream.connections.http1_pool import Http1Pool
from tests.streams import read_on, stop_reading
from tests.system.upstream_rig import Peer, Response, Upstream, bootstrap, endpoints, running, until

_HTTP = "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions"


def options(common: str) -> str:
    """`common_http_protocol_options` of a cluster."""
    return (
        'typed_extension_protocol_options: {envoy.extensions.upstreams.http.v3.HttpProtocolOptions: {"@type": '
        f"{_HTTP}, common_http_protocol_options: {{{common}}}, "
        "explicit_http_config: {http_protocol_options: {}}}}, "
    )


def thresholds(text: str) -> str:
    return f"circuit_breakers: {{thresholds: [{{{text}}}]}}, "


def static(upstream: Upstream, more: str = "", **kind: Any) -> str:
    return bootstrap(more + endpoints(upstream.address), **kind)


async def name_itself(peer: Peer) -> None:
    while await peer.head():
        peer.answer(str(peer.number).encode())


async def test_the_connection_used_last_is_used_again() -> None:
    async def serve(peer: Peer) -> None:
        while head := await peer.head():
            if "/slow" in head:
                await asyncio.sleep(0.1)
            peer.answer(str(peer.number).encode())

    async with Upstream(serve) as upstream, running(static(upstream)) as proxy:
        first = asyncio.create_task(proxy.get("/slow"))
        await until(lambda: len(upstream.peers) == 1)
        assert (await proxy.get("/")).body == b"2"
        assert (await first).body == b"1"
        assert [(await proxy.get()).body for _ in range(3)] == [b"1"] * 3
        assert proxy.stat("upstream_cx_total") == 2


async def test_whoever_waits_longest_is_served_first() -> None:
    order: list[str] = []
    all_wait = asyncio.Event()

    async def serve(peer: Peer) -> None:
        while head := await peer.head():
            order.append(head.split()[1])
            await all_wait.wait()
            peer.answer()

    async with Upstream(serve) as upstream, running(static(upstream, thresholds("max_connections: 1"))) as proxy:
        requests = []
        for number in range(5):
            requests.append(asyncio.create_task(proxy.get(f"/{number}")))
            await until(partial(lambda sent: proxy.stat("upstream_rq_pending_total") > sent, number))
        all_wait.set()
        assert [(await request).status for request in requests] == [200] * 5
        assert order == ["/0", "/1", "/2", "/3", "/4"]
        assert len(upstream.peers) == 1
        assert proxy.stat("upstream_rq_pending_active") == 0


async def test_a_refused_connection_fails_all_that_wait() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        async with running(bootstrap(endpoints(closed.getsockname()))) as proxy:
            answers = await asyncio.gather(*(proxy.get() for _ in range(5)))
            assert {answer.status for answer in answers} == {503}
            assert answers[0].body.endswith(b"reset reason: remote connection failure")
            assert proxy.stat("upstream_rq_pending_failure_eject") == 5
            breaker = proxy.cluster.limits()
            assert breaker.connections.active == breaker.pending_requests.active == breaker.requests.active == 0


async def test_a_connect_that_takes_too_long() -> None:
    with socket.socket() as full, socket.socket() as filler, socket.socket() as other:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for sock in (filler, other):
            sock.setblocking(False)
            sock.connect_ex(full.getsockname())
        async with running(bootstrap("connect_timeout: 0.2s, " + endpoints(full.getsockname()))) as proxy:
            began = asyncio.get_running_loop().time()
            answer = await proxy.get()
            assert 0.15 < asyncio.get_running_loop().time() - began < 2
            assert answer.status == 503
            assert proxy.stat("upstream_cx_connect_timeout") == 1
            assert proxy.stat("upstream_cx_destroy_local") == 1
            assert proxy.cluster.limits().connections.active == 0


async def test_limits_of_waiting_and_of_active_requests() -> None:
    release = asyncio.Event()

    async def serve(peer: Peer) -> None:
        while await peer.head():
            await release.wait()
            peer.answer()

    limits = thresholds("max_connections: 1, max_pending_requests: 1, track_remaining: true")
    async with Upstream(serve) as upstream, running(static(upstream, limits)) as proxy:
        first = asyncio.create_task(proxy.get())
        await until(lambda: proxy.stat("upstream_rq_active") == 1)
        second = asyncio.create_task(proxy.get())
        await until(lambda: proxy.stat("upstream_rq_pending_active") == 1)
        assert proxy.stat("circuit_breakers.default.cx_open") == 1
        assert proxy.stat("circuit_breakers.default.rq_pending_open") == 1
        assert proxy.stat("circuit_breakers.default.remaining_pending") == 0
        refused = await proxy.get()
        assert (refused.status, refused.headers["x-envoy-overloaded"]) == (503, "true")
        assert proxy.stat("upstream_rq_pending_overflow") == 1
        release.set()
        assert [(await first).status, (await second).status] == [200, 200]
        assert proxy.stat("circuit_breakers.default.remaining_pending") == 1
        assert proxy.stat("circuit_breakers.default.cx_open") == 1


async def test_the_limit_of_requests() -> None:
    release = asyncio.Event()

    async def serve(peer: Peer) -> None:
        while await peer.head():
            await release.wait()
            peer.answer()

    async with Upstream(serve) as upstream, running(static(upstream, thresholds("max_requests: 1"))) as proxy:
        first = asyncio.create_task(proxy.get())
        await until(lambda: proxy.stat("upstream_rq_active") == 1)
        assert (await proxy.get()).status == 503  # its connection was opened, and waits now
        assert (await proxy.get()).status == 503  # this one met the open connection
        assert proxy.stat("upstream_rq_active_overflow") == 2
        release.set()
        assert (await first).status == 200
        assert (await proxy.get()).status == 200


async def test_a_connection_ends_after_so_many_requests() -> None:
    text = options("max_requests_per_connection: 2")
    async with Upstream(name_itself) as upstream, running(static(upstream, text)) as proxy:
        assert [(await proxy.get()).body for _ in range(5)] == [b"1", b"1", b"2", b"2", b"3"]
        assert proxy.stat("upstream_cx_max_requests") == 2


async def test_an_idle_connection_is_closed() -> None:
    text = options("idle_timeout: 0.2s")
    async with Upstream(name_itself) as upstream, running(static(upstream, text)) as proxy:
        assert (await proxy.get()).body == b"1"
        await until(lambda: proxy.stat("upstream_cx_idle_timeout") == 1)
        assert proxy.stat("upstream_cx_active") == 0
        assert (await proxy.get()).body == b"2"


async def test_an_old_connection_is_closed_when_idle_and_after_its_request_when_busy() -> None:
    async def serve(peer: Peer) -> None:
        while head := await peer.head():
            if "/slow" in head:
                await asyncio.sleep(0.4)
            peer.answer(str(peer.number).encode())

    text = options("max_connection_duration: 0.2s")
    async with Upstream(serve) as upstream, running(static(upstream, text)) as proxy:
        assert (await proxy.get()).body == b"1"
        await until(lambda: proxy.stat("upstream_cx_max_duration_reached") == 1)
        assert proxy.stat("upstream_cx_active") == 0
        assert (await proxy.get("/slow")).body == b"2"
        assert (await proxy.get()).body == b"3"
        assert proxy.stat("upstream_cx_max_requests") == 0


async def test_a_connection_that_the_upstream_closed_while_idle_is_not_used() -> None:
    async def serve(peer: Peer) -> None:
        await peer.head()
        peer.answer(str(peer.number).encode())

    async with Upstream(serve) as upstream, running(static(upstream)) as proxy:
        for number in range(1, 6):
            assert (await proxy.get()).body == str(number).encode()
            await until(lambda: proxy.stat("upstream_cx_active") == 0)
        assert proxy.stat("upstream_cx_destroy_remote") == 5
        assert proxy.stat("upstream_cx_destroy_with_active_rq") == 0


@pytest.mark.parametrize("reset", [False, True])
async def test_a_connection_lost_in_the_race_is_503_and_the_next_request_is_well(reset: bool) -> None:
    async def serve(peer: Peer) -> None:
        await peer.head()
        if peer.number == 1:
            peer.answer()
            await peer.head()
            if reset:
                peer.abort()
            return
        peer.answer()

    async with Upstream(serve) as upstream, running(static(upstream)) as proxy:
        assert (await proxy.get()).status == 200
        lost = await proxy.get()
        assert (lost.status, lost.body.rpartition(b": ")[2]) == (503, b"connection termination")
        assert (await proxy.get()).status == 200
        assert proxy.stat("upstream_cx_destroy_remote_with_active_rq") == 1


@pytest.mark.parametrize(
    "extra",
    [b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil", b"x", b"\r\n", b"HTTP/1.1 100 Continue\r\n\r\n"],
)
@pytest.mark.parametrize("delay", [0.0, 0.05])
async def test_what_an_upstream_adds_behind_a_response_reaches_nobody(extra: bytes, delay: float) -> None:
    async def serve(peer: Peer) -> None:
        while await peer.head():
            peer.answer(b"%d" % peer.number)
            if delay:
                await asyncio.sleep(delay)
            peer.send(extra)

    async with Upstream(serve) as upstream, running(static(upstream)) as proxy:
        for number in range(1, 4):
            assert (await proxy.get()).body == b"%d" % number
            await until(lambda: proxy.stat("upstream_cx_active") == 0)
        assert len(upstream.peers) == 3


@pytest.mark.parametrize("garbage", [b"nonsense\r\n\r\n", b"\x00" * 100, b"HTTP/1.1 20 OK\r\n\r\n"])
async def test_an_answer_that_is_none_is_502(garbage: bytes) -> None:
    async def serve(peer: Peer) -> None:
        await peer.head()
        peer.send(garbage)
        await peer.ended()

    async with Upstream(serve) as upstream, running(static(upstream)) as proxy:
        assert (await proxy.get()).status == 502
        assert proxy.stat("upstream_cx_protocol_error") == 1
        assert proxy.stat("upstream_cx_active") == 0


@pytest.mark.parametrize(
    "start",
    [
        b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n",
    ],
)
async def test_a_cut_body_never_looks_whole(start: bytes) -> None:
    async def serve(peer: Peer) -> None:
        await peer.head()
        peer.send(start)

    async with Upstream(serve) as upstream, running(static(upstream)) as proxy:
        answer = await proxy.get()
        assert answer.status == 200
        assert not answer.whole


async def test_a_response_before_the_request_was_complete_costs_the_connection() -> None:
    async def serve(peer: Peer) -> None:
        await peer.head()
        peer.answer(b"early")
        await peer.ended()

    async with Upstream(serve) as upstream, running(static(upstream)) as proxy:
        client = await proxy.client()
        client.writer.write(b"POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 10\r\n\r\nabc")
        assert (await client.response()).body == b"early"
        await until(lambda: proxy.stat("upstream_cx_active") == 0)
        assert proxy.stat("upstream_cx_destroy_local_with_active_rq") == 1
        client.close()


async def test_a_client_that_leaves_takes_its_upstream_request_with_it() -> None:
    ended = asyncio.Event()

    async def serve(peer: Peer) -> None:
        await peer.head()
        await peer.ended()
        ended.set()

    async with Upstream(serve) as upstream, running(static(upstream)) as proxy:
        client = await proxy.client()
        client.send()
        await until(lambda: proxy.stat("upstream_rq_active") == 1)
        client.close()
        await asyncio.wait_for(ended.wait(), 20)
        assert proxy.stat("upstream_rq_active") == 0


async def test_a_tunnel_is_not_used_again() -> None:
    async def serve(peer: Peer) -> None:
        head = await peer.head()
        if "upgrade" in head.lower():
            peer.send(b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n")
            data = await peer.reader.readexactly(4)
            peer.send(data.upper())
            await peer.ended()
        else:
            peer.answer(b"plain")

    async with Upstream(serve) as upstream, running(static(upstream)) as proxy:
        client = await proxy.client()
        answer = await client.request(headers=("connection: upgrade", "upgrade: websocket"))
        assert answer.status == 101
        client.writer.write(b"ping")
        assert await client.reader.readexactly(4) == b"PING"
        assert (await proxy.get()).body == b"plain"
        assert len(upstream.peers) == 2
        client.close()
        await until(lambda: proxy.stat("upstream_cx_active") == 0)


async def test_a_slow_reader_stops_the_upstream() -> None:
    """40 MB are offered; what lies in the proxy stays near the buffer limits."""
    sent = 0

    async def serve(peer: Peer) -> None:
        nonlocal sent
        await peer.head()
        peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: 41943040\r\n\r\n")
        for _ in range(640):
            peer.send(bytes(65536))
            await peer.writer.drain()
            sent += 65536

    text = "per_connection_buffer_limit_bytes: 65536, "
    async with Upstream(serve) as upstream, running(static(upstream, text)) as proxy:
        client = await proxy.client()
        stop_reading(client.writer)
        client.send()
        await until(lambda: sent > 0)
        before = -1
        while before != sent:
            before = sent
            await asyncio.sleep(0.15)
        assert sent < 30 << 20
        read_on(client.writer)
        assert len((await client.response()).body) == 41943040
        client.close()


async def test_a_slow_upstream_stops_the_client() -> None:
    go_on = asyncio.Event()

    async def serve(peer: Peer) -> None:
        await peer.head()
        stop_reading(peer.writer)
        await go_on.wait()
        read_on(peer.writer)
        await peer.reader.readexactly(40 << 20)
        peer.answer()

    text = "per_connection_buffer_limit_bytes: 65536, "
    async with Upstream(serve) as upstream, running(static(upstream, text)) as proxy:
        client = await proxy.client()
        client.writer.write(b"POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 41943040\r\n\r\n")
        sent = 0

        async def upload() -> None:
            nonlocal sent
            for _ in range(640):
                client.writer.write(bytes(65536))
                await client.writer.drain()
                sent += 65536

        task = asyncio.create_task(upload())
        before = -1
        while before != sent:
            before = sent
            await asyncio.sleep(0.15)
        assert sent < 30 << 20
        go_on.set()
        assert (await client.response()).status == 200
        await task
        client.close()


async def test_from_a_bound_address() -> None:
    seen: list[str] = []

    async def serve(peer: Peer) -> None:
        seen.append(peer.writer.get_extra_info("peername")[0])
        while await peer.head():
            peer.answer()

    text = "upstream_bind_config: {source_address: {address: 127.0.0.6, port_value: 0}}, "
    async with Upstream(serve) as upstream, running(static(upstream, text)) as proxy:
        answers = await asyncio.gather(*(proxy.get() for _ in range(20)))
        assert {answer.status for answer in answers} == {200}
        assert set(seen) == {"127.0.0.6"}


async def test_an_address_that_is_not_ours_can_not_be_bound() -> None:
    text = "upstream_bind_config: {source_address: {address: 192.0.2.77, port_value: 0}}, "
    async with Upstream(name_itself) as upstream, running(static(upstream, text)) as proxy:
        assert (await proxy.get()).status == 503
        assert proxy.stat("bind_errors") == 1


async def test_unix_sockets_and_ipv6(tmp_path: Path) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\nconnection: close\r\n\r\nthis")
        await writer.drain()
        writer.close()

    path = str(tmp_path / "up.sock")
    abstract = f"meshproxy-test-{os.getpid()}"
    for bound, named in ((path, path), (f"\0{abstract}", f"@{abstract}")):
        listening = socket.socket(socket.AF_UNIX)
        listening.bind(bound)
        async with (
            await asyncio.start_unix_server(serve, sock=listening),
            running(bootstrap(endpoints(named))) as proxy,
        ):
            assert (await proxy.get()).body == b"this"
    six = await asyncio.start_server(serve, "::1", 0)
    address = six.sockets[0].getsockname()[:2]
    text = "upstream_bind_config: {source_address: {address: '::1', port_value: 0}}, "
    async with six, running(bootstrap(text + endpoints(address))) as proxy:
        assert (await proxy.get()).body == b"this"


async def test_keep_alive_probes_are_set_as_configured() -> None:
    probes = "keepalive_time: 33, keepalive_interval: 7, keepalive_probes: 4"
    text = f"upstream_connection_options: {{tcp_keepalive: {{{probes}}}}}, "
    async with Upstream(name_itself) as upstream, running(static(upstream, text)) as proxy:
        await proxy.get()
        (pool,) = proxy.cluster.pools.by_key.values()
        assert isinstance(pool, Http1Pool)
        (connection,) = pool.connections
        sock = connection.transport.get_extra_info("socket")
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        assert [
            sock.getsockopt(socket.IPPROTO_TCP, option)
            for option in (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT)
        ] == [33, 7, 4]


async def test_a_removed_host_finishes_its_requests_and_those_that_wait_for_it() -> None:
    release = asyncio.Event()

    async def serve(peer: Peer) -> None:
        while await peer.head():
            await release.wait()
            peer.answer()

    async with Upstream(serve) as upstream, running(static(upstream, thresholds("max_connections: 1"))) as proxy:
        requests = [asyncio.create_task(proxy.get()) for _ in range(2)]
        await until(lambda: proxy.stat("upstream_rq_pending_active") == 1 and proxy.stat("upstream_rq_active") == 1)
        proxy.cluster.update([])
        assert (await proxy.get()).body == b"no healthy upstream"
        release.set()
        assert [(await request).status for request in requests] == [200, 200]
        await until(lambda: proxy.stat("upstream_cx_active") == 0)
        assert proxy.stat("upstream_rq_total") == 2
        assert proxy.cluster.pools.is_idle


async def test_ten_thousand_requests_with_an_upstream_that_ends_every_seventh() -> None:
    """Only a request that crosses a FIN may fail, as 503; the answers of the others are their own."""

    async def serve(peer: Peer) -> None:
        for _ in range(7):
            head = await peer.head()
            if not head:
                return
            peer.answer(head.split()[1].encode())

    async with Upstream(serve) as upstream, running(static(upstream)) as proxy:
        outcomes = {200: 0, 503: 0}

        async def ask(worker: int) -> None:
            client = await proxy.client()
            for number in range(625):
                path = f"/{worker}/{number}"
                answer: Response = await client.request(path)
                outcomes[answer.status] += 1
                if answer.status == 200:
                    assert answer.body == path.encode()
                else:
                    assert answer.body.endswith(b"connection termination")
            client.close()

        await asyncio.gather(*(ask(worker) for worker in range(16)))
        assert sum(outcomes.values()) == 10_000
        assert outcomes[503] < 200
        breaker = proxy.cluster.limits()
        assert breaker.requests.active == breaker.pending_requests.active == 0
        assert proxy.stat("upstream_rq_total") == 10_000
        await until(lambda: breaker.connections.active == proxy.stat("upstream_cx_active"))
        print("503 in the race:", outcomes[503])
