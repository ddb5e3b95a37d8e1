"""What must hold for every combination of options, judged from the printed rules by an evaluator of their own.

Each packet is judged by the iptables text and by the nftables text, and both have to agree.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, replace

from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from meshproxy_iptables import iptables_text, nft_text
from meshproxy_iptables.options import Cidr, Options
from meshproxy_iptables.plan import build

from .evaluator import Chains, Packet, from_iptables, from_nft, judge

PROXY_IDS = ("1337", "3", "4")
APP = "1000"
PORTS = (80, 443, 8080, 9999, 15021)
RESOLVER = {4: "10.0.0.53", 6: "fd00::53"}
POD = {4: "10.0.0.2", 6: "fd00::2"}
OUTSIDE = {4: ("10.0.0.3", "192.0.2.7", "10.9.1.1", "10.0.0.53"), 6: ("fd00::3", "2001:db8::7", "fd09::1", "fd00::53")}


def cidr(text: str) -> Cidr:
    address, prefix = text.split("/")
    return Cidr(ipaddress.ip_address(address), int(prefix))


CIDRS = [cidr(text) for text in ("10.9.0.0/16", "192.0.2.0/24", "127.1.2.3/32", "fd09::/16", "2001:db8::/32")]
ports = st.lists(st.sampled_from(PORTS), unique=True, max_size=3).map(tuple)
cidrs = st.lists(st.sampled_from(CIDRS), unique=True, max_size=3).map(tuple)
ids = st.lists(st.sampled_from(PROXY_IDS), unique=True, min_size=1, max_size=2).map(tuple)
groups = st.lists(st.sampled_from(("5001", "5002")), unique=True, min_size=1).map(tuple)


@st.composite
def all_options(draw: st.DrawFn) -> Options:
    inbound_all, outbound_all, dns_all = draw(st.booleans()), draw(st.booleans()), draw(st.booleans())
    v4, v6 = draw(
        st.sampled_from([((), ()), (("10.0.0.53",), ()), ((), ("fd00::53",)), (("10.0.0.53",), ("fd00::53",))])
    )
    included = draw(ports)
    return Options(
        proxy_uids=draw(ids),
        proxy_gids=draw(ids),
        tproxy=draw(st.booleans()),
        inbound_all=inbound_all,
        inbound_ports=() if inbound_all else draw(ports),
        inbound_ports_exclude=draw(ports),
        exclude_interfaces=draw(st.sampled_from([(), ("net1",), ("net1", "net2")])),
        virtual_interfaces=draw(st.sampled_from([(), ("vnet0",)])),
        outbound_all=outbound_all,
        outbound_cidrs=() if outbound_all else draw(cidrs),
        outbound_cidrs_exclude=draw(cidrs),
        outbound_ports=included,
        outbound_ports_exclude=tuple(port for port in draw(ports) if port not in included),
        dns=draw(st.booleans()),
        dns_all=dns_all,
        dns_servers_v4=v4,
        dns_servers_v6=v6,
        drop_invalid=draw(st.booleans()),
        ipv6=True,
        loopback_cidr=draw(st.sampled_from(["127.0.0.1/32", "127.0.0.1/8"])),
        owner_groups=draw(st.none() | groups),
        owner_groups_exclude=(),
    )


@dataclass
class Rules:
    """One plan in both texts."""

    options: Options
    iptables: dict[int, Chains]
    nft: Chains

    def __call__(self, packet: Packet) -> tuple[str, int]:
        verdict = judge(self.iptables[packet.family], packet)
        assert judge(self.nft, packet) == verdict, "the two texts disagree"
        return verdict


everything = settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])


def rules_of(options: Options) -> Rules:
    plan = build(options)
    return Rules(options, from_iptables(iptables_text.render(plan)), from_nft(nft_text.render(plan)))


with_rules = all_options().map(rules_of)
with_dns = all_options().map(lambda options: rules_of(replace(options, dns=True)))
with_virtual_machines = all_options().map(
    lambda options: rules_of(
        replace(options, virtual_interfaces=("vnet0",), outbound_all=True, outbound_cidrs=(), tproxy=False)
    )
)


@st.composite
def outbound(draw: st.DrawFn) -> Packet:
    family = draw(st.sampled_from((4, 6)))
    return Packet(
        family=family,
        source=POD[family],
        destination=draw(st.sampled_from(OUTSIDE[family])),
        protocol=draw(st.sampled_from(("tcp", "udp"))),
        dport=draw(st.sampled_from((*PORTS, 53, 15008, 15001, 15006))),
        uid=APP,
        gid=APP,
    )


def is_dns(rules: Rules, packet: Packet) -> bool:
    """Whether DNS capture is meant to take this packet."""
    options = rules.options
    servers = options.dns_servers_v4 if packet.family == 4 else options.dns_servers_v6
    return options.dns and packet.dport == 53 and (options.dns_all or packet.destination in servers)


def captured_group(rules: Rules) -> str:
    return rules.options.owner_groups[0] if rules.options.owner_groups else APP


@everything
@given(with_rules, outbound(), st.data())
def test_the_proxys_own_traffic_never_comes_back(rules: Rules, packet: Packet, data: st.DataObject) -> None:
    uid = data.draw(st.sampled_from(rules.options.proxy_uids))
    gid = data.draw(st.sampled_from(rules.options.proxy_gids))
    assert rules(replace(packet, uid=uid)) == ("pass", 0)
    assert rules(replace(packet, gid=gid)) == ("pass", 0)
    assert rules(replace(packet, uid=uid, gid=gid)) == ("pass", 0)


@everything
@given(with_rules, st.sampled_from((4, 6)), st.sampled_from(PORTS), st.sampled_from((APP, *PROXY_IDS)))
def test_the_inbound_listeners_call_of_the_application_is_left_alone(
    rules: Rules, family: int, port: int, uid: str
) -> None:
    source = {4: "127.0.0.6", 6: "::6"}[family]
    out = Packet(family=family, interface="lo", source=source, destination=POD[family], dport=port, uid=uid, gid=uid)
    assert rules(out) == ("pass", 0)
    if rules.options.tproxy:
        assert rules(replace(out, local=False)) == ("pass", 0)


@everything
@given(with_rules, st.sampled_from((4, 6)), st.sampled_from(PORTS))
def test_packets_that_the_proxy_marked_are_not_captured_again(rules: Rules, family: int, port: int) -> None:
    assume(rules.options.tproxy)
    packet = Packet(family=family, local=False, source="10.0.0.9" if family == 4 else "fd00::9", dport=port)
    packet = replace(packet, destination=POD[family], mark=rules.options.tproxy_mark)
    assert rules(packet) == ("pass", 0)
    from_itself = replace(packet, mark=0, interface="lo", source=POD[family])
    assert rules(from_itself) == ("pass", 0), "the application talks to itself"
    expected = ("tproxy", 15006) if rules(replace(packet, mark=0, interface="eth0"))[0] == "tproxy" else ("pass", 0)
    assert rules(replace(from_itself, mark=1338)) == expected, "the hairpin passes like a call from outside"


@everything
@given(with_rules, st.sampled_from((4, 6)), st.sampled_from(PORTS))
def test_the_hairpin_passes_the_inbound_listener(rules: Rules, family: int, port: int) -> None:
    assume(port not in rules.options.outbound_ports_exclude)
    uid = rules.options.proxy_uids[0]
    packet = Packet(family=family, interface="lo", source=POD[family], destination=POD[family], dport=port, uid=uid)
    assert rules(packet) == ("redirect", 15006)
    assert rules(replace(packet, dport=15008)) == ("pass", 0)
    localhost = {4: "127.0.0.1", 6: "::1"}[family]
    assert rules(replace(packet, source=localhost, destination=localhost)) == ("pass", 0)


@everything
@given(with_rules, outbound(), st.data())
def test_excluded_outbound_traffic_is_not_captured(rules: Rules, packet: Packet, data: st.DataObject) -> None:
    options = rules.options
    packet = replace(packet, gid=captured_group(rules))
    for port in options.outbound_ports_exclude:
        assert rules(replace(packet, dport=port)) == ("pass", 0)
    for name in options.exclude_interfaces:
        assert rules(replace(packet, interface=name)) == ("pass", 0)
    if options.owner_groups is not None:
        assert rules(replace(packet, gid="6000")) == ("pass", 0)
    address = ipaddress.ip_address(packet.destination)
    excluded = any(address.version == c.version and address in c.network for c in options.outbound_cidrs_exclude)
    if excluded and not is_dns(rules, packet):
        assert rules(packet) == ("pass", 0)


@everything
@given(with_rules, outbound())
def test_what_is_named_outbound_is_captured(rules: Rules, packet: Packet) -> None:
    options = rules.options
    packet = replace(packet, gid=captured_group(rules))
    address = ipaddress.ip_address(packet.destination)

    def within(cidrs: tuple[Cidr, ...]) -> bool:
        return any(address.version == c.version and address in c.network for c in cidrs)

    if packet.dport in options.outbound_ports_exclude:
        expected = ("pass", 0)
    elif is_dns(rules, packet):
        expected = ("redirect", 15053)
    elif packet.protocol == "udp" or within(options.outbound_cidrs_exclude):
        expected = ("pass", 0)
    elif packet.dport in options.outbound_ports or options.outbound_all or within(options.outbound_cidrs):
        expected = ("redirect", 15001)
    else:
        expected = ("pass", 0)
    assert rules(packet) == expected


@everything
@given(with_dns, st.sampled_from((4, 6)), st.sampled_from(("tcp", "udp")))
def test_dns(rules: Rules, family: int, protocol: str) -> None:
    options = rules.options
    packet = Packet(family=family, source=POD[family], destination=RESOLVER[family], protocol=protocol, dport=53)
    packet = replace(packet, gid=captured_group(rules))
    named = options.dns_all or (options.dns_servers_v4 if family == 4 else options.dns_servers_v6)
    if named:
        assert rules(packet) == ("redirect", 15053)
        assert rules(replace(packet, interface="lo")) == ("redirect", 15053), "a resolver of this host"
    assert rules(replace(packet, uid=options.proxy_uids[-1])) == ("pass", 0), "the agent asks the resolver itself"
    if options.owner_groups is not None:
        assert rules(replace(packet, gid="6000")) == ("pass", 0)


@everything
@given(with_rules, st.sampled_from((4, 6)), st.sampled_from((*PORTS, 4444)), st.sampled_from(("tcp", "udp")))
def test_inbound(rules: Rules, family: int, port: int, protocol: str) -> None:
    options = rules.options
    packet = Packet(family=family, local=False, destination=POD[family], source=OUTSIDE[family][0], dport=port)
    packet = replace(packet, protocol=protocol)
    named = (options.inbound_all and port not in options.inbound_ports_exclude) or port in options.inbound_ports
    captured = ("tproxy" if options.tproxy else "redirect", 15006)
    assert rules(packet) == (captured if named and protocol == "tcp" else ("pass", 0))
    for name in options.exclude_interfaces:
        assert rules(replace(packet, interface=name)) == ("pass", 0)
    if options.drop_invalid and protocol == "tcp":
        assert rules(replace(packet, state="invalid"))[0] == "drop"


@everything
@given(with_rules, st.sampled_from((4, 6)), st.sampled_from(PORTS))
def test_the_application_talks_to_itself_directly(rules: Rules, family: int, port: int) -> None:
    assume(not any(c.loopback for c in rules.options.outbound_cidrs))
    for address in (POD[family], {4: "127.0.0.1", 6: "::1"}[family]):
        packet = Packet(family=family, interface="lo", source=address, destination=address, dport=port)
        assert rules(packet) == ("pass", 0)


@everything
@given(with_virtual_machines, st.sampled_from((4, 6)))
def test_a_virtual_machines_traffic_is_outbound(rules: Rules, family: int) -> None:
    packet = Packet(family=family, local=False, interface="vnet0", destination=OUTSIDE[family][0], source=POD[family])
    assert rules(packet) == ("redirect", 15001)
