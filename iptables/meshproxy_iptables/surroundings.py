"""What the pod looks like: its addresses, its resolvers, the uid of the proxy."""

from __future__ import annotations

import ipaddress
import pwd

from .netlink import InterfaceAddress, Netlink
from .processes import read_file
from .settings import Surroundings

RESOLV_CONF = "/etc/resolv.conf"
MAGIC_V6 = "::6"
"""Added to lo by an earlier run; no address of the pod."""


def of_this_host() -> Surroundings:
    """Asks the kernel and the files of this host."""
    return Surroundings(has_ipv6=_has_ipv6, resolvers=lambda: resolvers(read_file(RESOLV_CONF)), user_id=_user_id)


def speaks_ipv6(addresses: list[InterfaceAddress], dual_stack: bool) -> bool:
    """Istio's rule: IPv6 is on if the first address that is neither loopback nor link-local is IPv6; with
    `dual_stack`, if any is. The kernel lists IPv4 first."""
    parsed = [ipaddress.ip_address(address.address) for address in addresses]
    real = [
        address.version
        for address in parsed
        if not address.is_loopback and not address.is_link_local and str(address) != MAGIC_V6
    ]
    return 6 in real if dual_stack else bool(real) and real[0] == 6


def has_global_ipv6(addresses: list[InterfaceAddress]) -> bool:
    """Whether the pod can be reached over IPv6 at all."""
    return speaks_ipv6(addresses, dual_stack=True)


def pod_addresses(addresses: list[InterfaceAddress]) -> dict[int, str]:
    """The first address of each IP version that is neither loopback nor link-local."""
    found: dict[int, str] = {}
    for address in addresses:
        parsed = ipaddress.ip_address(address.address)
        if not parsed.is_loopback and not parsed.is_link_local and address.address != MAGIC_V6:
            found.setdefault(parsed.version, address.address)
    return found


def resolvers(text: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The IPv4 and IPv6 resolvers of a resolv.conf(5); what is not an address is skipped, as the resolver does."""
    found: dict[int, list[str]] = {4: [], 6: []}
    for line in text.splitlines():
        words = line.split()
        if len(words) < 2 or words[0] != "nameserver":
            continue
        try:
            address = ipaddress.ip_address(words[1].partition("%")[0])
        except ValueError:
            continue
        found[address.version].append(words[1].partition("%")[0])
    return tuple(found[4]), tuple(found[6])


def addresses() -> list[InterfaceAddress]:
    """All addresses of this network namespace."""
    with Netlink() as netlink:
        return netlink.addresses()


def _has_ipv6(dual_stack: bool) -> bool:
    return speaks_ipv6(addresses(), dual_stack)


def _user_id(name: str) -> int | None:
    try:
        return pwd.getpwnam(name).pw_uid
    except KeyError:
        return None
