"""A cluster that forwards to whatever host a request names, against a name server on loopback."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from tests.system.dns_server import DnsServer, Zone
from tests.system.upstream_rig import Peer, Response, Running, Upstream, bootstrap, running, until

_EXT = "type.googleapis.com/envoy.extensions"


@pytest.fixture
def server() -> Iterator[DnsServer]:
    server = DnsServer(Zone())
    yield server
    server.close()


def forwarding(server: DnsServer, more: str = "") -> str:
    where = f"resolvers: [{{socket_address: {{address: 127.0.0.1, port_value: {server.port}}}}}]"
    cares = f"'@type': {_EXT}.network.dns_resolver.cares.v3.CaresDnsResolverConfig, query_tries: 1"
    resolver = f"{{name: c, typed_config: {{{cares}, query_timeout_seconds: 1, {where}}}}}"
    cache = f"{{name: names, dns_lookup_family: V4_ONLY, typed_dns_resolver_config: {resolver}{more}}}"
    kind = f"'@type': {_EXT}.clusters.dynamic_forward_proxy.v3.ClusterConfig, dns_cache_config: {cache}"
    return bootstrap(f"lb_policy: CLUSTER_PROVIDED, cluster_type: {{name: d, typed_config: {{{kind}}}}}")


async def get(proxy: Running, host: str) -> Response:
    client = await proxy.client()
    client.writer.write(f"GET / HTTP/1.1\r\nhost: {host}\r\n\r\n".encode())
    try:
        return await client.response("GET")
    finally:
        client.close()


async def serve(peer: Peer) -> None:
    while head := await peer.head():
        peer.answer(head.split("\r\n")[1].encode())


async def test_a_name_is_looked_up_once_and_requests_wait_for_it_together(server: DnsServer) -> None:
    server.zone.records["a.test", "A"] = [(600, "127.0.0.1")]
    server.zone.delayed["a.test"] = 0.3
    async with Upstream(serve) as upstream, running(forwarding(server)) as proxy:
        host = f"a.test:{upstream.address[1]}"
        responses = await asyncio.gather(*(get(proxy, host) for _ in range(5)))
        assert {response.body for response in responses} == {f"host: {host}".encode()}
        assert server.zone.asked == [("a.test", "A", "udp")]
        assert [each.hostname for each in proxy.cluster.hosts()] == [host]


async def test_the_loop_goes_on_while_a_name_is_looked_up(server: DnsServer) -> None:
    server.zone.silent = {"silent.test"}
    async with Upstream(serve) as upstream, running(forwarding(server)) as proxy:
        waiting = asyncio.create_task(get(proxy, "silent.test"))
        assert (await get(proxy, f"127.0.0.1:{upstream.address[1]}")).status == 200
        assert not waiting.done()
        response = await waiting
        assert (response.status, response.body) == (503, b"no healthy upstream")


async def test_a_changed_address_is_taken_and_a_failure_keeps_it(server: DnsServer) -> None:
    server.zone.records["a.test", "A"] = [(1, "127.0.0.2")]
    async with running(forwarding(server, ", dns_min_refresh_rate: 1s, dns_refresh_rate: 1s")) as proxy:
        await get(proxy, "a.test:9")
        (host,) = proxy.cluster.hosts()
        server.zone.records["a.test", "A"] = [(1, "127.0.0.3")]
        await until(lambda: host.text == "127.0.0.3:9")
        server.zone.refused = {"a.test"}
        asked = len(server.zone.asked)
        await until(lambda: len(server.zone.asked) > asked)
        assert host.text == "127.0.0.3:9"
        assert proxy.cluster.hosts() == [host]


async def test_a_name_that_came_to_be_is_found_by_the_next_request(server: DnsServer) -> None:
    async with Upstream(serve) as upstream, running(forwarding(server)) as proxy:
        host = f"late.test:{upstream.address[1]}"
        assert (await get(proxy, host)).status == 503
        server.zone.records["late.test", "A"] = [(600, "127.0.0.1")]
        assert (await get(proxy, host)).status == 200


async def test_a_name_that_nobody_uses_is_forgotten(server: DnsServer) -> None:
    server.zone.records["a.test", "A"] = [(1, "127.0.0.2")]
    options = ", dns_min_refresh_rate: 1s, host_ttl: 0.5s"
    async with running(forwarding(server, options)) as proxy:
        await get(proxy, "a.test:9")
        assert len(proxy.cluster.hosts()) == 1
        await until(lambda: not proxy.cluster.hosts())
        counters = proxy.proxy.worker.stats.snapshot().counters
        assert counters["dns_cache.names.host_removed"][0] == 1
