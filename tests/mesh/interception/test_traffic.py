"""Real traffic through real rules, on every backend: who answers, and what was recovered of the destination.

The numbers in the names are the case groups of docs/interception.md. A connection proves who answered it, on which
listener, and which original destination that listener recovered.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from .pods import OUT4, OUT6, PEER4, PEER6, POD4, POD6, VIP4, VIP6, Namespace, Pods

APP, PROXY = 1000, 1337
FLAGS = (
    "-p=15001", "-z=15006", "-u=1337", "-g=1337", "-b=*", "-d=15090,15021,15020,9999", "-i=*",
    f"-x={OUT4}/32,{OUT6}/128", "-o=7777", "--redirect-dns", f"--dns-servers-v4={PEER4}",
    f"--dns-servers-v6={PEER6}", "--ipv6=on",
)  # fmt: skip
BACKENDS = {
    "legacy": ("--force-iptables-binary=legacy",),
    "nft": ("--force-iptables-binary=nft",),
    "native": ("--native-nftables",),
    "tproxy-legacy": ("--force-iptables-binary=legacy", "-m=TPROXY"),
    "tproxy-nft": ("--force-iptables-binary=nft", "-m=TPROXY"),
    "tproxy-native": ("--native-nftables", "-m=TPROXY"),
}
PEERS = [pytest.param(PEER4, id="v4"), pytest.param(PEER6, id="v6")]
PODS = [pytest.param(POD4, id="v4"), pytest.param(POD6, id="v6")]


@dataclass
class Mesh:
    """The pod with rules, application and proxy; the world with its servers."""

    a: Namespace
    b: Namespace
    tproxy: bool
    proxy: subprocess.Popen[str] = field(init=False)

    def __post_init__(self) -> None:
        self.proxy = self.start_proxy()

    def start_proxy(self) -> subprocess.Popen[str]:
        ports = ("15001", "15006", "15021", "--dns", "15053")
        return self.a.serve("proxy", *ports, uid=PROXY, transparent=self.tproxy)


@pytest.fixture(scope="module", params=BACKENDS)
def mesh(request: pytest.FixtureRequest) -> Iterator[Mesh]:
    pods = Pods()
    try:
        done = pods.a.intercept(*FLAGS, *BACKENDS[request.param], ISTIO_OUTBOUND_OWNER_GROUPS_EXCLUDE="4242")
        assert done.returncode == 0, done.stderr
        pods.a.serve("app", "8080", "9999", uid=APP)
        pods.b.serve("peer", "8080", "7777", "--dns", "53", "5353", uid=0)
        yield Mesh(pods.a, pods.b, "tproxy" in request.param)
    finally:
        pods.close()


@pytest.mark.parametrize("host", [*PEERS, pytest.param(VIP4, id="vip4"), pytest.param(VIP6, id="vip6")])
def test_1_what_the_application_sends_reaches_the_outbound_port(mesh: Mesh, host: str) -> None:
    answer = mesh.a.tcp(host, 8080)
    assert (answer["tag"], answer["listener"]) == ("proxy", 15001)
    assert answer["orig"] == [host, 8080]
    assert answer["peername"] == [host, 8080], "the application believes that it talks to whom it asked for"


def test_1_root_is_captured_too(mesh: Mesh) -> None:
    assert mesh.a.tcp(PEER4, 8080, uid=0)["tag"] == "proxy"


@pytest.mark.parametrize("host", PEERS)
def test_2_the_proxy_itself_goes_out(mesh: Mesh, host: str) -> None:
    assert mesh.a.tcp(host, 8080, uid=PROXY)["tag"] == "peer"
    assert mesh.a.tcp(host, 8080, uid=APP, gid=PROXY)["tag"] == "peer"


@pytest.mark.parametrize(("host", "peer"), [(POD4, PEER4), (POD6, PEER6)], ids=["v4", "v6"])
def test_3_what_arrives_for_the_application_reaches_the_inbound_port(mesh: Mesh, host: str, peer: str) -> None:
    answer = mesh.b.tcp(host, 8080, uid=0)
    assert (answer["tag"], answer["listener"]) == ("proxy", 15006)
    assert answer["peer"][0] == peer
    if mesh.tproxy:
        assert answer["local"] == [host, 8080]
    else:
        assert answer["orig"] == [host, 8080]
        assert answer["local"][1] == 15006


@pytest.mark.parametrize("host", PODS)
def test_3_a_port_that_nobody_serves_is_captured_too(mesh: Mesh, host: str) -> None:
    assert mesh.b.tcp(host, 4444, uid=0)["listener"] == 15006


@pytest.mark.parametrize("host", PODS)
def test_4_excluded_inbound_ports(mesh: Mesh, host: str) -> None:
    assert mesh.b.tcp(host, 9999, uid=0)["tag"] == "app"
    direct = mesh.b.tcp(host, 15021, uid=0)
    assert (direct["tag"], direct["listener"]) == ("proxy", 15021)


@pytest.mark.parametrize("host", PODS)
def test_4_the_tunnel_port_is_not_captured(mesh: Mesh, host: str) -> None:
    answer = mesh.b.tcp(host, 15008, uid=0)
    if mesh.tproxy:
        # Istio's rules know the tunnel port in the nat table only, and TPROXY captures in mangle.
        assert answer.get("listener") == 15006
    else:
        assert answer["error"] == "ConnectionRefusedError"


@pytest.mark.parametrize("host", [POD4, POD6, "127.0.0.1", "::1"])
def test_5_the_application_talks_to_itself_directly(mesh: Mesh, host: str) -> None:
    assert mesh.a.tcp(host, 8080)["tag"] == "app"


@pytest.mark.parametrize("host", PODS)
def test_6_hairpin(mesh: Mesh, host: str) -> None:
    answer = mesh.a.tcp(host, 8080, uid=PROXY)
    assert (answer["tag"], answer["listener"], answer["orig"]) == ("proxy", 15006, [host, 8080])


@pytest.mark.parametrize(("host", "source"), [(POD4, "127.0.0.6"), (POD6, "::6")], ids=["v4", "v6"])
def test_6_the_inbound_listener_reaches_the_application(mesh: Mesh, host: str, source: str) -> None:
    assert mesh.a.tcp(host, 8080, uid=PROXY, bind=source)["tag"] == "app"


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_6_the_proxy_reaches_the_application_on_localhost(mesh: Mesh, host: str) -> None:
    assert mesh.a.tcp(host, 8080, uid=PROXY)["tag"] == "app"


@pytest.mark.parametrize("host", PEERS)
def test_7_excluded_outbound_port(mesh: Mesh, host: str) -> None:
    assert mesh.a.tcp(host, 7777)["tag"] == "peer"


@pytest.mark.parametrize("host", [OUT4, OUT6])
def test_7_excluded_network(mesh: Mesh, host: str) -> None:
    assert mesh.a.tcp(host, 8080)["tag"] == "peer"


@pytest.mark.parametrize("host", PEERS)
def test_7_excluded_group(mesh: Mesh, host: str) -> None:
    assert mesh.a.tcp(host, 8080, gid=4242)["tag"] == "peer"


@pytest.mark.parametrize("host", PEERS)
def test_8_dns_goes_to_the_agent_and_the_answer_seems_to_come_from_the_resolver(mesh: Mesh, host: str) -> None:
    answer = mesh.a.udp(host, 53)
    assert (answer["tag"], answer["listener"], answer["source"]) == ("proxy", 15053, [host, 53])
    assert mesh.a.tcp(host, 53)["listener"] == 15053


@pytest.mark.parametrize("host", PEERS)
def test_8_the_agents_own_queries_and_other_ports_are_not_captured(mesh: Mesh, host: str) -> None:
    assert mesh.a.udp(host, 53, uid=PROXY)["tag"] == "peer"
    assert mesh.a.udp(host, 5353)["tag"] == "peer"


def test_8_another_resolver_is_not_captured(mesh: Mesh) -> None:
    assert mesh.a.udp(VIP4, 53)["tag"] == "peer"


def test_9_a_call_of_the_proxys_own_port_can_be_told(mesh: Mesh) -> None:
    """The listener has to drop these: the destination is the listener itself."""
    outbound = mesh.a.tcp("127.0.0.1", 15001)
    assert (outbound["listener"], outbound["orig"] or outbound["local"]) == (15001, ["127.0.0.1", 15001])
    for port in (15001, 15006):
        inbound = mesh.b.tcp(POD4, port, uid=0)
        assert inbound["listener"] == 15006
        assert (inbound["local"] if mesh.tproxy else inbound["orig"]) == [POD4, port]


def test_12_without_the_proxy_nothing_gets_through(mesh: Mesh) -> None:
    mesh.a.stop(mesh.proxy)
    try:
        assert mesh.a.tcp(PEER4, 8080)["error"] == "ConnectionRefusedError"
        assert mesh.a.tcp(PEER6, 8080)["error"] == "ConnectionRefusedError"
        assert "error" in mesh.b.tcp(POD4, 8080, uid=0)
    finally:
        mesh.proxy = mesh.start_proxy()


def test_14_an_ipv4_client_of_an_ipv6_socket(mesh: Mesh) -> None:
    answer = mesh.a.tcp(f"::ffff:{PEER4}", 8080)
    assert (answer["tag"], answer["orig"]) == ("proxy", [PEER4, 8080])


def test_15_the_neighbour_is_untouched(mesh: Mesh) -> None:
    assert mesh.b.output("nft", "list", "ruleset") == ""
    assert mesh.b.tcp(VIP4, 8080, uid=APP)["tag"] == "peer"


def test_16_one_of_two_workers_dies(mesh: Mesh) -> None:
    worker = mesh.a.serve("worker", "15001", "15006", uid=PROXY, transparent=mesh.tproxy)
    both = {mesh.a.tcp(PEER4, 8080)["tag"] for _ in range(40)}
    mesh.a.stop(worker)
    assert both == {"proxy", "worker"}
    assert {mesh.a.tcp(PEER4, 8080)["tag"] for _ in range(10)} == {"proxy"}
    assert {mesh.b.tcp(POD6, 8080, uid=0)["tag"] for _ in range(10)} == {"proxy"}
