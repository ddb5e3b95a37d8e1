"""Hash policies of routes, from the request to the host."""

from __future__ import annotations

import re

from tests.system.upstream_rig import Peer, Upstream, bootstrap, endpoints, running


async def who(peer: Peer) -> None:
    port = peer.writer.get_extra_info("sockname")[1]
    while await peer.head():
        peer.answer(str(port).encode())


async def test_a_key_stays_with_its_host_and_keys_are_spread() -> None:
    async with Upstream(who) as one, Upstream(who) as two, Upstream(who) as three:
        for policy in ("RING_HASH", "MAGLEV"):
            text = f"lb_policy: {policy}, " + endpoints(one.address, two.address, three.address)
            route = "hash_policy: [{header: {header_name: x-key}}, {query_parameter: {name: q}}]"
            async with running(bootstrap(text, route=route)) as proxy:
                seen = set()
                for number in range(30):
                    bodies = {(await proxy.get(headers=(f"x-key: {number}",))).body for _ in range(2)}
                    assert len(bodies) == 1
                    seen |= bodies
                assert len(seen) == 3
                assert len({(await proxy.get("/?a=1&q=7")).body for _ in range(5)}) == 1


async def test_a_cookie_is_made_and_leads_back() -> None:
    route = "hash_policy: [{cookie: {name: ck, ttl: 10s, path: /p, attributes: [{name: SameSite, value: Strict}]}}]"
    async with Upstream(who) as one, Upstream(who) as two:
        text = "lb_policy: RING_HASH, " + endpoints(one.address, two.address)
        async with running(bootstrap(text, route=route)) as proxy:
            for _ in range(5):
                first = await proxy.get()
                cookie = re.fullmatch(
                    'ck="([0-9a-f]{16})"; Max-Age=10; Path=/p; SameSite=Strict; HttpOnly', first.headers["set-cookie"]
                )
                assert cookie is not None
                again = await proxy.get(headers=(f'cookie: other=1; ck="{cookie[1]}"',))
                assert again.body == first.body
                assert "set-cookie" not in again.headers


async def test_the_source_address() -> None:
    route = "hash_policy: [{connection_properties: {source_ip: true}}]"
    async with Upstream(who) as one, Upstream(who) as two, Upstream(who) as three:
        text = "lb_policy: MAGLEV, " + endpoints(one.address, two.address, three.address)
        async with running(bootstrap(text, route=route)) as proxy:
            assert len({(await proxy.get()).body for _ in range(9)}) == 1
