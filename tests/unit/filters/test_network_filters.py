"""The small network filters, each before a tcp_proxy or alone; what they do is Envoy's (tests/parity)."""

from __future__ import annotations

from typing import Any

import pytest

from meshproxy.errors import ConfigError
from meshproxy.plugin.listener import Socket
from meshproxy.testing import NetworkHarness
from meshproxy.testing.network import Client
from meshproxy_filters.network.connection_limit import ConnectionLimit
from meshproxy_filters.network.echo import Echo
from meshproxy_filters.network.local_ratelimit import LocalRateLimit
from meshproxy_filters.network.rbac import Rbac
from meshproxy_filters.network.set_filter_state import SetFilterState
from meshproxy_filters.network.sni_cluster import SniCluster
from meshproxy_filters.network.tcp_proxy import TcpProxy

ANY = {"any": True}


def rules(action: str = "ALLOW", permission: dict[str, Any] = ANY, principal: dict[str, Any] = ANY) -> dict[str, Any]:
    return {"action": action, "policies": {"my pol": {"permissions": [permission], "principals": [principal]}}}


def behind(filter_class: Any, config: dict[str, Any]) -> NetworkHarness:
    """An echo behind the filter."""
    return NetworkHarness(Echo, {}, before=[(filter_class, config)])


def from_address(remote: str, local: str = "192.0.2.10", name: str = "") -> Socket:
    return Socket(
        local=(local, 8080), remote=(remote, 40000), direct_local=(local, 8080), direct_remote=(remote, 40000),
        server_name=name,
    )  # fmt: skip


def test_rbac_decides_with_the_first_bytes_and_only_then() -> None:
    harness = behind(Rbac, {"stat_prefix": "tcp", "rules": rules()})
    client = harness.connect()
    assert harness.stats == {}
    client.send(b"a").send(b"b")
    assert client.received == b"ab"
    assert harness.stats == {"tcp.rbac.allowed": 1}


def test_rbac_decides_again_with_each_piece_where_so_configured() -> None:
    harness = behind(Rbac, {"stat_prefix": "tcp.", "rules": rules(), "enforcement_type": "CONTINUOUS"})
    harness.connect().send(b"a").send(b"b")
    assert harness.stats == {"tcp.rbac.allowed": 2}


def test_rbac_denies_and_says_why() -> None:
    harness = behind(Rbac, {"stat_prefix": "tcp.", "rules": rules("DENY")})
    client = harness.connect().send(b"abc")
    assert (client.received, client.closed) == (b"", "close")
    info = client.connection.info
    assert info.termination_details == "rbac_access_denied_matched_policy[my_pol]"
    assert info.local_close_reason == "rbac_deny_close"
    assert client.connection.stream.bytes_received == 3
    assert harness.stats == {"tcp.rbac.denied": 1}


def test_rbac_lets_a_refused_peer_wait() -> None:
    harness = behind(Rbac, {"stat_prefix": "t", "rules": rules("DENY"), "delay_deny": "2s"})
    client = harness.connect().send(b"abc")
    harness.clock.advance(1.9)
    assert (client.closed, client.paused) == ("", True)
    client.send(b"more")
    harness.clock.advance(0.2)
    assert (client.received, client.closed) == (b"", "close")


@pytest.mark.parametrize(
    ("permission", "principal", "passes"),
    [
        (ANY, {"direct_remote_ip": {"address_prefix": "192.0.2.0", "prefix_len": 24}}, True),
        (ANY, {"remote_ip": {"address_prefix": "198.51.100.0", "prefix_len": 24}}, False),
        ({"destination_port": 8080}, ANY, True),
        ({"destination_port_range": {"start": 1, "end": 8080}}, ANY, False),
        ({"destination_ip": {"address_prefix": "192.0.2.10", "prefix_len": 32}}, ANY, True),
        ({"requested_server_name": {"suffix": ".test"}}, ANY, True),
        (ANY, {"authenticated": {}}, False),
        (ANY, {"metadata": {"filter": "f", "path": [{"key": "k"}], "value": {"present_match": True}}}, False),
    ],
)
def test_rbac_rules_of_connections(permission: dict[str, Any], principal: dict[str, Any], passes: bool) -> None:
    facts = from_address("192.0.2.20", name="a.test")
    for action, wanted in (("ALLOW", passes), ("DENY", not passes)):
        harness = behind(Rbac, {"stat_prefix": "t", "rules": rules(action, permission, principal)})
        assert bool(harness.connect(facts).send(b"x").received) is wanted


def test_rbac_shadow_rules_are_told_but_not_enforced() -> None:
    config = {"stat_prefix": "t", "shadow_rules": rules("DENY"), "shadow_rules_stat_prefix": "dry_"}
    harness = behind(Rbac, config)
    client = harness.connect().send(b"x")
    assert client.received == b"x"
    assert harness.stats == {"t.rbac.dry_.shadow_denied": 1}
    assert client.connection.stream.dynamic_metadata == {
        "envoy.filters.network.rbac": {
            "dry_shadow_effective_policy_id": "my pol",
            "dry_shadow_engine_result": "denied",
        }
    }


@pytest.mark.parametrize(
    "principal",
    [
        {"header": {"name": "a", "present_match": True}},
        {"not_id": {"url_path": {"path": {"exact": "/"}}}},
        {"and_ids": {"ids": [{"or_ids": {"ids": [{"header": {"name": "a", "present_match": True}}]}}]}},
    ],
)
def test_rbac_rules_about_requests_are_refused_wherever_they_stand(principal: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="no request"):
        behind(Rbac, {"stat_prefix": "t", "rules": rules("DENY", principal=principal)})


def test_the_address_of_a_proxy_protocol_line_is_the_remote_one_but_not_the_direct_one() -> None:
    """CVE-2020-35470: rules on the peer's own address mustn't be met by what the peer says of itself."""
    facts = from_address("10.0.0.1")
    facts.direct_remote = ("192.0.2.20", 40000)
    told = {"address_prefix": "10.0.0.0", "prefix_len": 8}
    for kind, passes in (("remote_ip", True), ("direct_remote_ip", False)):
        harness = behind(Rbac, {"stat_prefix": "t", "rules": rules(principal={kind: told})})
        client = harness.connect(facts)
        client.connection.info.direct_remote_address = "192.0.2.20:40000"
        assert bool(client.send(b"x").received) is passes


def limit(**config: Any) -> NetworkHarness:
    return behind(ConnectionLimit, {"stat_prefix": "t", "max_connections": 1, **config})


def test_one_connection_too_many_is_closed() -> None:
    harness = limit()
    first, second = harness.connect(), harness.connect()
    assert (first.closed, second.closed) == ("", "close")
    assert harness.stats == {
        "connection_limit.t.active_connections": 1,
        "connection_limit.t.limited_connections": 1,
    }
    first.send(b"x").leave()
    assert first.received == b"x"
    assert harness.connect().closed == ""


def test_a_refused_connection_may_have_to_wait_and_isnt_heard_meanwhile() -> None:
    harness = limit(delay="3s")
    first = harness.connect()
    second = harness.connect()
    assert (second.closed, second.paused) == ("", True)
    assert harness.stats["connection_limit.t.active_connections"] == 2
    second.send(b"x")
    harness.clock.advance(3.1)
    assert (second.received, second.closed) == (b"", "close")
    first.leave()
    assert "connection_limit.t.active_connections" not in harness.stats


def test_a_refused_connection_that_leaves_gives_nothing_back() -> None:
    harness = limit(delay="3s")
    harness.connect()
    harness.connect().leave()
    assert harness.connect().paused


def test_the_limit_can_be_off() -> None:
    harness = limit(runtime_enabled={"default_value": False, "runtime_key": "k"})
    assert [harness.connect().closed for _ in range(3)] == [""] * 3
    assert harness.stats == {}


def test_runtime_switches_the_limit_on() -> None:
    config = {
        "stat_prefix": "t", "max_connections": 1, "runtime_enabled": {"default_value": False, "runtime_key": "k"},
    }  # fmt: skip
    harness = NetworkHarness(Echo, {}, before=[(ConnectionLimit, config)], runtime={"k": True})
    assert [harness.connect().closed for _ in range(2)] == ["", "close"]


def bucket(maximum: int, interval: str = "1s") -> dict[str, Any]:
    return {"max_tokens": maximum, "fill_interval": interval}


def test_a_connection_takes_a_token() -> None:
    harness = behind(LocalRateLimit, {"stat_prefix": "t", "token_bucket": bucket(2)})
    clients = [harness.connect() for _ in range(3)]
    assert [client.closed for client in clients] == ["", "", "close"]
    assert clients[2].connection.stream.flags == "URX"
    assert harness.stats == {"local_rate_limit.t.rate_limited": 1}
    harness.clock.advance(1.0)
    assert harness.connect().closed == ""


def test_a_bucket_is_shared_by_key_and_shape() -> None:
    def entry(key: str, maximum: int = 2) -> Any:
        return LocalRateLimit, {"stat_prefix": key, "token_bucket": bucket(maximum), "share_key": key}

    both = NetworkHarness(Echo, {}, before=[entry("a"), entry("a")])
    assert [both.connect().closed for _ in range(2)] == ["", "close"]
    apart = NetworkHarness(Echo, {}, before=[entry("a"), entry("b"), entry("a", 3)])
    assert [apart.connect().closed for _ in range(3)] == ["", "", "close"]


def test_an_interval_must_not_be_too_short() -> None:
    with pytest.raises(ConfigError, match="50ms"):
        behind(LocalRateLimit, {"stat_prefix": "t", "token_bucket": bucket(1, "0.04s")})


def proxied(*before: Any, clusters: tuple[str, ...] = ("up", "other.test")) -> NetworkHarness:
    harness = NetworkHarness(TcpProxy, {"stat_prefix": "t", "cluster": "up"}, before=before)
    for name in clusters:
        harness.cluster(name)
    return harness


def connected_to(harness: NetworkHarness, client: Client) -> str:
    return client.connection.stream.upstream_cluster


def test_the_server_name_is_the_cluster() -> None:
    harness = proxied((SniCluster, {}))
    assert connected_to(harness, harness.connect(from_address("192.0.2.1", name="other.test"))) == "other.test"
    assert connected_to(harness, harness.connect(from_address("192.0.2.1"))) == "up"
    lost = harness.connect(from_address("192.0.2.1", name="nowhere.test"))
    assert (lost.connection.stream.flags, lost.closed) == ("NC", "close")


def state(key: str, text: str, kind: str = "envoy.string", **more: Any) -> dict[str, Any]:
    source = {"text_format_source": {"inline_string": text}}
    return {"object_key": key, "factory_key": kind, "format_string": source, **more}


def test_state_of_a_connection() -> None:
    entries = [
        state("k", "from %DOWNSTREAM_REMOTE_ADDRESS%"),
        state("empty", "", skip_if_empty=True),
        state("envoy.tcp_proxy.cluster", "other.test", kind=""),
    ]
    harness = proxied((SetFilterState, {"on_new_connection": entries}))
    client = harness.connect()
    wanted = {"k": "from 192.0.2.20:40000", "envoy.tcp_proxy.cluster": "other.test"}
    assert client.connection.stream.filter_state == wanted
    assert client.connection.info.filter_state == wanted
    assert connected_to(harness, client) == "other.test"


def test_what_nobody_reads_cant_be_set() -> None:
    with pytest.raises(ConfigError, match=r"envoy\.network\.upstream_server_name"):
        proxied((SetFilterState, {"on_new_connection": [state("envoy.network.upstream_server_name", "x", kind="")]}))


def test_a_filter_kept_from_a_connection_still_logs_its_end() -> None:
    harness = proxied((LocalRateLimit, {"stat_prefix": "t", "token_bucket": bucket(1)}))
    harness.connect()
    harness.connect()
    assert harness.stats["tcp.t.downstream_cx_total"] == 2
    assert len(harness.cluster("up").connections) == 1
