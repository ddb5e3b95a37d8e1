"""Clusters that are found by name, against a name server on loopback. What is asserted was seen with Envoy 1.40."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from typing import Any

import pytest

from meshproxy.model.dns import DnsResolverOptions
from meshproxy.runtime.dns.resolver import ResolveError, Resolver
from tests.system.dns_server import DnsServer, Zone
from tests.system.upstream_rig import Peer, Upstream, bootstrap, endpoints, running, until


@pytest.fixture
def server() -> Iterator[DnsServer]:
    server = DnsServer(Zone())
    yield server
    server.close()


def resolver(server: DnsServer, tmp_path: object = "/nonexistent", **options: Any) -> Resolver:
    made = DnsResolverOptions(servers=(("127.0.0.1", server.port),), **options)
    return Resolver(made, resolv_conf=f"{tmp_path}/resolv.conf", hosts=f"{tmp_path}/hosts")


def dns_cluster(server: DnsServer, kind: str, name: str, port: int, more: str = "") -> str:
    cares = "type.googleapis.com/envoy.extensions.network.dns_resolver.cares.v3.CaresDnsResolverConfig"
    where = f"resolvers: [{{socket_address: {{address: 127.0.0.1, port_value: {server.port}}}}}]"
    return bootstrap(
        f"type: {kind}, dns_lookup_family: V4_ONLY, {more} {endpoints((name, port))}, typed_dns_resolver_config: "
        f'{{name: c, typed_config: {{"@type": {cares}, {where}, query_timeout_seconds: 1, query_tries: 1}}}}'
    )


async def serve(peer: Peer) -> None:
    while await peer.head():
        peer.answer(f"connection {peer.number}".encode())


async def test_addresses_and_the_shortest_ttl_through_aliases(server: DnsServer) -> None:
    server.zone.records = {
        ("www.test", "CNAME"): [(7, "a.test")],
        ("a.test", "CNAME"): [(30, "b.test")],
        ("b.test", "A"): [(60, "127.0.0.2"), (60, "127.0.0.3"), (60, "127.0.0.2")],
        ("b.test", "AAAA"): [(60, "::1")],
    }
    found = await resolver(server).resolve("WWW.test", "V4_ONLY")
    assert (found.addresses, found.ttl) == (("127.0.0.2", "127.0.0.3"), 7)
    assert (await resolver(server).resolve("www.test", "V6_ONLY")).addresses == ("::1",)


@pytest.mark.parametrize(
    ("family", "name", "expected"),
    [
        ("AUTO", "both.test", ("::5",)),
        ("AUTO", "four.test", ("127.0.0.4",)),
        ("V4_PREFERRED", "both.test", ("127.0.0.5",)),
        ("V4_PREFERRED", "six.test", ("::6",)),
        ("ALL", "both.test", ("::5", "127.0.0.5")),
        ("V6_ONLY", "four.test", ()),
    ],
)
async def test_families(server: DnsServer, family: str, name: str, expected: tuple[str, ...]) -> None:
    server.zone.records = {
        ("both.test", "A"): [(60, "127.0.0.5")],
        ("both.test", "AAAA"): [(60, "::5")],
        ("four.test", "A"): [(60, "127.0.0.4")],
        ("six.test", "AAAA"): [(60, "::6")],
    }
    assert (await resolver(server).resolve(name, family)).addresses == expected


async def test_an_answer_that_did_not_fit_comes_over_tcp(server: DnsServer) -> None:
    many = [(60, f"127.1.{i // 250}.{i % 250 + 1}") for i in range(700)]
    server.zone.records = {("big.test", "A"): many}
    server.zone.truncated = {"big.test"}
    found = await resolver(server).resolve("big.test", "V4_ONLY")
    assert found.addresses == tuple(ip for _, ip in many)
    assert [transport for _, _, transport in server.zone.asked] == ["udp", "tcp"]


async def test_only_tcp_when_asked_for(server: DnsServer) -> None:
    server.zone.records = {("a.test", "A"): [(60, "127.0.0.2")]}
    await resolver(server, use_tcp=True).resolve("a.test", "V4_ONLY")
    assert server.zone.asked == [("a.test", "A", "tcp")]


async def test_an_answer_with_another_id_is_passed_over(server: DnsServer) -> None:
    server.zone.records = {("a.test", "A"): [(60, "127.0.0.2")]}
    server.zone.forged = {"a.test"}
    assert (await resolver(server).resolve("a.test", "V4_ONLY")).addresses == ("127.0.0.2",)


async def test_no_such_name_is_an_answer_and_a_broken_server_is_none(server: DnsServer) -> None:
    assert (await resolver(server).resolve("nothing.test", "V4_ONLY")).addresses == ()
    server.zone.refused = {"broken.test"}
    with pytest.raises(ResolveError, match="SERVFAIL"):
        await resolver(server, tries=1).resolve("broken.test", "V4_ONLY")
    server.zone.silent = {"silent.test"}
    with pytest.raises(ResolveError, match="in time"):
        await resolver(server, tries=1, timeout=0.1).resolve("silent.test", "V4_ONLY")
    with pytest.raises(ResolveError, match="not a name"):
        await resolver(server).resolve("a" * 64 + ".test", "V4_ONLY")


async def test_the_next_server_is_asked_when_one_is_down(server: DnsServer) -> None:
    server.zone.records = {("a.test", "A"): [(60, "127.0.0.2")]}
    other = DnsServer()
    other.close()
    two = DnsResolverOptions(servers=(("127.0.0.1", other.port), ("127.0.0.1", server.port)), timeout=1.0)
    found = await Resolver(two, "/nonexistent", "/nonexistent").resolve("a.test", "V4_ONLY")
    assert found.addresses == ("127.0.0.2",)


async def test_search_domains_and_hosts_and_localhost(server: DnsServer, tmp_path: object) -> None:
    with open(f"{tmp_path}/resolv.conf", "w") as file:
        file.write("search ns.svc.test svc.test\noptions ndots:2\n")
    with open(f"{tmp_path}/hosts", "w") as file:
        file.write("127.0.0.9 Here here.test # a comment\n::9 here\n")
    server.zone.records = {("db.svc.test", "A"): [(60, "127.0.0.2")], ("a.b.c", "A"): [(60, "127.0.0.3")]}
    made = resolver(server, tmp_path)
    assert (await made.resolve("db", "V4_ONLY")).addresses == ("127.0.0.2",)
    assert (await made.resolve("a.b.c", "V4_ONLY")).addresses == ("127.0.0.3",)
    assert (await made.resolve("db.", "V4_ONLY")).addresses == ()
    assert [name for name, _, _ in server.zone.asked] == ["db.ns.svc.test", "db.svc.test", "a.b.c", "db"]
    assert (await made.resolve("here", "ALL")).addresses == ("::9", "127.0.0.9")
    assert (await made.resolve("localhost", "V4_ONLY")).addresses == ("127.0.0.1",)
    with open(f"{tmp_path}/hosts", "w") as file:
        file.write("127.0.0.10 here\n")
    assert (await made.resolve("here", "V4_ONLY")).addresses == ("127.0.0.10",)


async def test_strict_dns_follows_the_ttl_and_loses_hosts_with_the_name(server: DnsServer) -> None:
    records = server.zone.records
    records["a.test", "A"] = [(1, "127.0.0.2"), (1, "127.0.0.3")]
    text = dns_cluster(server, "STRICT_DNS", "a.test", 9, "respect_dns_ttl: true, dns_refresh_rate: 1.5s,")
    async with running(text) as proxy:
        assert proxy.hosts() == ["127.0.0.2:9", "127.0.0.3:9"]
        records["a.test", "A"] = [(1, "127.0.0.3"), (1, "127.0.0.4")]
        await until(lambda: proxy.hosts() == ["127.0.0.3:9", "127.0.0.4:9"])
        assert proxy.stat("membership_change") == 2
        server.zone.refused = {"a.test"}
        await until(lambda: proxy.stat("update_failure") == 1)
        assert proxy.hosts() == ["127.0.0.3:9", "127.0.0.4:9"]
        server.zone.refused = set()
        records.clear()
        await until(lambda: proxy.hosts() == [])
        response = await proxy.get()
        assert (response.status, response.body) == (503, b"no healthy upstream")


async def test_strict_dns_makes_one_host_of_an_address_that_two_names_share(server: DnsServer) -> None:
    server.zone.records = {
        ("a.test", "A"): [(60, "127.0.0.2")],
        ("b.test", "A"): [(60, "127.0.0.2"), (60, "127.0.0.3")],
    }
    text = dns_cluster(server, "STRICT_DNS", "a.test", 9).replace(
        endpoints(("a.test", 9)), endpoints(("a.test", 9), ("b.test", 9), ("127.0.0.3", 9))
    )
    async with running(text) as proxy:
        assert proxy.hosts() == ["127.0.0.2:9", "127.0.0.3:9"]


async def test_logical_dns_keeps_its_connection_until_the_address_is_gone(server: DnsServer) -> None:
    records = server.zone.records
    records["a.test", "A"] = [(60, "127.0.0.1")]
    async with Upstream(serve) as upstream:
        text = dns_cluster(server, "LOGICAL_DNS", "a.test", upstream.address[1], "dns_refresh_rate: 0.1s,")
        async with running(text) as proxy:
            assert (await proxy.get()).body == b"connection 1"
            records["a.test", "A"] = [(60, "127.0.0.1"), (60, "127.0.0.77")]
            attempts = proxy.stat("update_attempt")
            await until(lambda: proxy.stat("update_attempt") > attempts + 1)
            assert (await proxy.get()).body == b"connection 1"
            records.clear()
            await until(lambda: proxy.stat("update_failure") > 0)
            assert (await proxy.get()).body == b"connection 1"
            records["a.test", "A"] = [(60, "127.0.0.77"), (60, "127.0.0.1")]
            await until(lambda: proxy.hosts() == [f"127.0.0.77:{upstream.address[1]}"])
            await until(lambda: proxy.stat("upstream_cx_active") == 0)


async def test_a_silent_name_server_holds_the_start_up_no_longer_than_bounded(
    server: DnsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    from meshproxy.runtime.upstream.clusters import Clusters

    server.zone.silent = {"a.test"}
    warm = Clusters.warm

    async def warm_shortly(self: Clusters, timeout: float = 0.3) -> bool:
        return await warm(self, timeout)

    monkeypatch.setattr(Clusters, "warm", warm_shortly)
    began = time.monotonic()
    async with running(dns_cluster(server, "STRICT_DNS", "a.test", 9)) as proxy:
        assert 0.3 <= time.monotonic() - began < 2
        assert (await proxy.get()).body == b"no healthy upstream"


async def test_the_loop_goes_on_while_a_name_is_looked_up(server: DnsServer) -> None:
    server.zone.records = {("slow.test", "A"): [(60, "127.0.0.2")]}
    server.zone.delayed = {"slow.test": 0.3}
    longest, last = 0.0, time.monotonic()
    task = asyncio.create_task(resolver(server).resolve("slow.test", "V4_ONLY"))
    while not task.done():
        await asyncio.sleep(0.005)
        now = time.monotonic()
        longest, last = max(longest, now - last), now
    assert task.result().addresses == ("127.0.0.2",)
    assert longest < 0.2
