"""The texts are byte for byte those of istio-iptables (its own golden files, final newline aside)."""

from __future__ import annotations

import dataclasses
import ipaddress
from pathlib import Path
from typing import Any

import pytest

from meshproxy_iptables import iptables_text, nft_text
from meshproxy_iptables.options import Cidr, Options
from meshproxy_iptables.plan import build

GOLDENS = Path(__file__).parent / "goldens"


def cidrs(*texts: str) -> tuple[Cidr, ...]:
    parts = (text.split("/") for text in texts)
    return tuple(Cidr(ipaddress.ip_address(address), int(prefix)) for address, prefix in parts)


DNS: dict[str, Any] = {"dns": True, "dns_servers_v4": ("127.0.0.53",)}
IDS: dict[str, Any] = {"proxy_uids": ("3", "4"), "proxy_gids": ("1", "2")}
DB8: dict[str, Any] = {"outbound_cidrs": cidrs("2001:db8::/32"), "outbound_cidrs_exclude": cidrs("2001:db8::/32")}

CASES: dict[str, dict[str, Any]] = {
    "empty": {},
    "ipv6-empty-inbound-ports": {"ipv6": True},
    "ip-range": {"outbound_cidrs": cidrs("9.9.0.0/16"), "outbound_cidrs_exclude": cidrs("1.1.0.0/16"), **DNS, **IDS},
    "tproxy": {
        "tproxy": True,
        "inbound_all": True,
        "outbound_cidrs": cidrs("9.9.0.0/16"),
        "outbound_cidrs_exclude": cidrs("1.1.0.0/16"),
        "exclude_interfaces": ("not-istio-nic",),
        "ipv6": True,
        **DNS,
    },
    "ipv6-inbound-ports": {"inbound_ports": (4000, 5000), "ipv6": True},
    "ipv6-ipnets": {
        "inbound_ports": (4000, 5000),
        "inbound_ports_exclude": (6000, 7000),
        "virtual_interfaces": ("eth0", "eth1"),
        "ipv6": True,
        **DB8,
    },
    "kube-virt-interfaces": {"virtual_interfaces": ("eth1", "eth2"), "outbound_all": True},
    "ipnets": {"outbound_cidrs": cidrs("10.0.0.0/8")},
    "inbound-ports-include": {"inbound_ports": (32000, 31000)},
    "inbound-ports-wildcard": {"inbound_all": True},
    "dns-uid-gid": {"ipv6": True, "dns_servers_v6": ("::127.0.0.53",), **DNS, **IDS},
    "outbound-owner-groups": {"owner_groups": ("java", "202")},
    "basic-exclude-nic": {"exclude_interfaces": ("not-istio-nic",)},
    "drop-invalid": {"drop_invalid": True},
    "host-ipv4-loopback-cidr": {"loopback_cidr": "127.0.0.1/8"},
}


def names(folder: str) -> list[str]:
    return sorted(path.stem for path in (GOLDENS / folder).glob("*.golden"))


def options(name: str) -> Options:
    return dataclasses.replace(Options(), **CASES[name])


@pytest.mark.parametrize("name", names("istio-iptables"))
def test_iptables_restore_text(name: str) -> None:
    lines = (GOLDENS / "istio-iptables" / f"{name}.golden").read_text().splitlines()
    expected = [line for line in lines if line not in ("iptables-save", "ip6tables-save")]
    assert iptables_text.render(build(options(name))).splitlines() == expected


@pytest.mark.parametrize("name", names("istio-nftables"))
def test_nft_transaction(name: str) -> None:
    expected = (GOLDENS / "istio-nftables" / f"{name}.golden").read_text().rstrip("\n")
    assert nft_text.render(build(options(name))).rstrip("\n") == expected
