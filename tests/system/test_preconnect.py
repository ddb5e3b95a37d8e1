"""Connections to the hosts that come next. How many Envoy opens is by chance there, so this is not compared."""

from __future__ import annotations

from tests.system.upstream_rig import Peer, Upstream, bootstrap, endpoints, running, until


async def serve(peer: Peer) -> None:
    while await peer.head():
        peer.answer(b"ok")


async def test_the_next_host_has_a_connection_before_its_first_request() -> None:
    async with Upstream(serve) as one, Upstream(serve) as two:
        cluster = "preconnect_policy: {predictive_preconnect_ratio: 2.0}, " + endpoints(one.address, two.address)
        async with running(bootstrap(cluster)) as proxy:
            assert (await proxy.get()).body == b"ok"
            await until(lambda: proxy.stat("upstream_cx_active") == 2)
            assert [host.cx_active for host in proxy.cluster.hosts()] == [1, 1]
            for _ in range(4):
                assert (await proxy.get()).body == b"ok"
            assert [host.rq_total for host in proxy.cluster.hosts()] in ([2, 3], [3, 2])
            assert proxy.stat("upstream_cx_total") == 2
