"""Single rules of cases that have no golden file here: their text, in both forms, and their place."""

from __future__ import annotations

import dataclasses
import ipaddress
from typing import Any

import pytest

from meshproxy_iptables import iptables_text, nft_text
from meshproxy_iptables.options import Cidr, Options
from meshproxy_iptables.plan import build


def texts(**changes: Any) -> tuple[list[str], list[str]]:
    plan = build(dataclasses.replace(Options(), **changes))
    return iptables_text.render(plan).splitlines(), nft_text.render(plan).splitlines()


def net(text: str) -> Cidr:
    address, prefix = text.split("/")
    return Cidr(ipaddress.ip_address(address), int(prefix))


NAT = "add rule inet istio-proxy-nat "
MANGLE = "add rule inet istio-proxy-mangle "
RAW = "add rule inet istio-proxy-raw "
CASES: list[tuple[str, dict[str, Any], list[str], list[str]]] = [
    (
        "drop-invalid",
        {"drop_invalid": True},
        ["-A PREROUTING -m conntrack --ctstate INVALID -j ISTIO_DROP", "-A ISTIO_DROP -j DROP"],
        [
            f"{MANGLE}prerouting meta l4proto tcp ct state invalid counter jump istio-drop",
            f"{MANGLE}istio-drop counter drop",
        ],
    ),
    (
        "tproxy with a list of ports",
        {"tproxy": True, "inbound_ports": (32000,)},
        [
            "-A ISTIO_INBOUND -p tcp --dport 32000 -m conntrack --ctstate RELATED,ESTABLISHED -j ISTIO_DIVERT",
            "-A ISTIO_INBOUND -p tcp --dport 32000 -j ISTIO_TPROXY",
        ],
        [
            f"{MANGLE}istio-inbound meta l4proto tcp ct state related,established tcp dport 32000 "
            "counter jump istio-divert",
            f"{MANGLE}istio-inbound meta l4proto tcp tcp dport 32000 counter jump istio-tproxy",
        ],
    ),
    (
        "excluded inbound ports",
        {"inbound_all": True, "inbound_ports_exclude": (15021,)},
        ["-A ISTIO_INBOUND -p tcp --dport 15021 -j RETURN", "-A ISTIO_INBOUND -p tcp -j ISTIO_IN_REDIRECT"],
        [
            f"{NAT}istio-inbound meta l4proto tcp tcp dport 15021 counter return",
            f"{NAT}istio-inbound meta l4proto tcp counter jump istio-in-redirect",
        ],
    ),
    (
        "excluded inbound ports with tproxy",
        {"inbound_all": True, "inbound_ports_exclude": (15021,), "tproxy": True},
        ["-A ISTIO_INBOUND -p tcp --dport 15021 -j RETURN", "-A ISTIO_INBOUND -p tcp -j ISTIO_TPROXY"],
        [
            f"{MANGLE}istio-inbound meta l4proto tcp tcp dport 15021 counter return",
            f"{MANGLE}istio-inbound meta l4proto tcp counter jump istio-tproxy",
        ],
    ),
    (
        "excluded and captured outbound ports",
        {"outbound_ports": (99,), "outbound_ports_exclude": (77,)},
        [
            "-A ISTIO_OUTPUT -p tcp --dport 77 -j RETURN",
            "-A ISTIO_OUTPUT -p udp --dport 77 -j RETURN",
            "-A ISTIO_OUTPUT -o lo -s 127.0.0.6/32 -j RETURN",
            "-A ISTIO_OUTPUT -p tcp --dport 99 -j ISTIO_REDIRECT",
        ],
        [
            f"{NAT}istio-output tcp dport 77 counter return",
            f"{NAT}istio-output udp dport 77 counter return",
            f"{NAT}istio-output oifname lo ip saddr 127.0.0.6/32 counter return",
            f"{NAT}istio-output tcp dport 99 counter jump istio-redirect",
        ],
    ),
    (
        "excluded groups",
        {"owner_groups_exclude": ("888", "ftp")},
        [
            "-A ISTIO_OUTPUT -m owner --gid-owner 1337 -j RETURN",
            "-A ISTIO_OUTPUT -m owner --gid-owner 888 -j RETURN",
            "-A ISTIO_OUTPUT -m owner --gid-owner ftp -j RETURN",
        ],
        [
            f"{NAT}istio-output skgid 1337 counter return",
            f"{NAT}istio-output skgid 888 counter return",
            f"{NAT}istio-output skgid ftp counter return",
        ],
    ),
    (
        "virtual interfaces and networks",
        {"virtual_interfaces": ("eth1", "eth2"), "outbound_cidrs": (net("10.0.0.0/8"),)},
        [
            "-I PREROUTING 1 -i eth1 -d 10.0.0.0/8 -j ISTIO_REDIRECT",
            "-I PREROUTING 1 -i eth2 -d 10.0.0.0/8 -j ISTIO_REDIRECT",
            "-A ISTIO_OUTPUT -d 10.0.0.0/8 -j ISTIO_REDIRECT",
        ],
        [
            "insert rule inet istio-proxy-nat prerouting index 0 iifname eth1 ip daddr 10.0.0.0/8 "
            "counter jump istio-redirect",
            "insert rule inet istio-proxy-nat prerouting index 0 iifname eth2 ip daddr 10.0.0.0/8 "
            "counter jump istio-redirect",
            f"{NAT}istio-output ip daddr 10.0.0.0/8 counter jump istio-redirect",
        ],
    ),
    (
        "all of DNS",
        {"dns": True, "dns_all": True},
        [
            "-A ISTIO_OUTPUT -j ISTIO_OUTPUT_DNS",
            "-A ISTIO_OUTPUT_DNS -p tcp --dport 53 -j REDIRECT --to-ports 15053",
            "-A ISTIO_OUTPUT_DNS -p udp --dport 53 -j REDIRECT --to-port 15053",
            "-A ISTIO_OUTPUT -d 127.0.0.1/32 -j RETURN",
            "-A PREROUTING -j ISTIO_INBOUND",
            "-A ISTIO_OUTPUT_DNS -p udp --dport 53 -j CT --zone 2",
            "-A ISTIO_INBOUND -p udp --sport 53 -j CT --zone 1",
        ],
        [
            f"{NAT}istio-output counter jump istio-output-dns",
            f"{NAT}istio-output-dns meta l4proto tcp tcp dport 53 counter redirect to :15053",
            f"{NAT}istio-output-dns udp dport 53 counter redirect to :15053",
            f"{NAT}istio-output ip daddr 127.0.0.1/32 counter return",
            f"{RAW}prerouting counter jump istio-inbound",
            f"{RAW}istio-output-dns udp dport 53 counter ct zone set 2",
            f"{RAW}istio-inbound udp sport 53 counter ct zone set 1",
        ],
    ),
]


@pytest.mark.parametrize(("case", "changes", "iptables", "nft"), CASES, ids=[case[0] for case in CASES])
def test_rules_and_their_order(case: str, changes: dict[str, Any], iptables: list[str], nft: list[str]) -> None:
    for expected, text in zip((iptables, nft), texts(**changes), strict=True):
        assert [line for line in text if line in expected] == expected


def test_an_included_loopback_address_lifts_the_exemption_of_self_calls() -> None:
    iptables, nft = texts(outbound_cidrs=(net("127.1.2.3/32"),), dns=True, dns_servers_v4=("127.0.0.53",))
    assert not any("! --uid-owner" in line or "! --gid-owner" in line for line in iptables)
    assert not any("skuid != " in line or "skgid != " in line for line in nft)


def test_dns_capture_without_a_resolver_is_off_altogether() -> None:
    off = texts(ipv6=True, proxy_uids=("3",))
    assert texts(ipv6=True, proxy_uids=("3",), dns=True) == off
    assert texts(proxy_uids=("3",), dns=True, dns_servers_v6=("fd00::1",)) == texts(proxy_uids=("3",))


def test_ipv6_values_appear_only_with_ipv6() -> None:
    iptables, nft = texts(outbound_cidrs=(net("fd00::/8"),), outbound_cidrs_exclude=(net("fd01::/16"),))
    assert not any("fd0" in line for line in [*iptables, *nft])
    iptables, nft = texts(outbound_cidrs=(net("fd00::/8"),), ipv6=True)
    assert iptables.count("-A ISTIO_OUTPUT -d fd00::/8 -j ISTIO_REDIRECT") == 1
    assert f"{NAT}istio-output ip6 daddr fd00::/8 counter jump istio-redirect" in nft


def test_each_family_jumps_to_dns_only_if_it_has_a_resolver() -> None:
    jump = "-A ISTIO_OUTPUT -j ISTIO_OUTPUT_DNS"
    for v4, v6 in (((), ("fd00::1",)), (("10.0.0.1",), ())):
        iptables, nft = texts(dns=True, ipv6=True, dns_servers_v4=v4, dns_servers_v6=v6)
        second = iptables.index("* nat", 1)
        assert (jump in iptables[:second], jump in iptables[second:]) == (bool(v4), bool(v6))
        assert nft.count(f"{NAT}istio-output counter jump istio-output-dns") == 1
