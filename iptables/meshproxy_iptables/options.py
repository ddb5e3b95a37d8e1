"""The options of the interception as checked values: everything that decides which rules there are.

`Options` is what the plan reads. Its values have been checked, so that the plan can't fail. The parsers below turn
the text of one flag into a value, or raise `OptionsError` naming the flag (or the variable) the text came from.

Formats follow istio-iptables (`tools/istio-iptables/pkg/cmd/root.go`): lists are separated by commas, empty elements
are dropped (`6000,7000,` has two), and addresses are printed as they were given. CIDRs keep their host bits, as Go's
`netip.Prefix` does.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from .errors import OptionsError

MAX_OWNER_GROUPS = 64
"""More don't fit: one rule carries one match for each (Istio's `ValidateOwnerGroups`)."""

_OWNER = re.compile(r"[0-9]{1,10}|[A-Za-z_][A-Za-z0-9_.-]{0,31}\$?")
_INTERFACE = re.compile(r"[A-Za-z0-9_.:@-]{1,15}\+?")
_PORT = re.compile(r"[0-9]{1,5}")
_INVALID_ID = 2**32 - 1

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Cidr:
    """A network as the user wrote it: `address` keeps its host bits."""

    address: ipaddress.IPv4Address | ipaddress.IPv6Address
    prefix: int

    @property
    def version(self) -> int:
        return self.address.version

    @property
    def loopback(self) -> bool:
        return self.address.is_loopback

    @property
    def network(self) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
        return ipaddress.ip_network(str(self), strict=False)

    def __str__(self) -> str:
        return f"{self.address}/{self.prefix}"


@dataclass(frozen=True, slots=True)
class Options:
    """Which traffic is captured. The fields are named after the flags; `*_all` stands for the flag's `*`.

    owner_groups: None captures every group, otherwise only the processes of these.
    dns_servers_v4, dns_servers_v6: the resolvers whose traffic is captured; unused with `dns_all`.
    """

    proxy_port: int = 15001
    inbound_capture_port: int = 15006
    inbound_tunnel_port: int = 15008
    proxy_uids: tuple[str, ...] = ("1337",)
    proxy_gids: tuple[str, ...] = ("1337",)
    tproxy: bool = False
    inbound_all: bool = False
    inbound_ports: tuple[int, ...] = ()
    inbound_ports_exclude: tuple[int, ...] = ()
    exclude_interfaces: tuple[str, ...] = ()
    virtual_interfaces: tuple[str, ...] = ()
    outbound_all: bool = False
    outbound_cidrs: tuple[Cidr, ...] = ()
    outbound_cidrs_exclude: tuple[Cidr, ...] = ()
    outbound_ports: tuple[int, ...] = ()
    outbound_ports_exclude: tuple[int, ...] = ()
    tproxy_mark: int = 1337
    tproxy_table: int = 133
    dns: bool = False
    dns_all: bool = False
    dns_servers_v4: tuple[str, ...] = ()
    dns_servers_v6: tuple[str, ...] = ()
    drop_invalid: bool = False
    ipv6: bool = False
    loopback_cidr: str = "127.0.0.1/32"
    owner_groups: tuple[str, ...] | None = None
    owner_groups_exclude: tuple[str, ...] = ()


def split(text: str) -> list[str]:
    """The elements of a comma-separated list; blanks around them and empty elements are dropped."""
    return [part.strip() for part in text.split(",") if part.strip()]


def parse_list(text: str, source: str, parse: Callable[[str, str], T]) -> tuple[T, ...]:
    """Every element through `parse(element, source)`."""
    return tuple(parse(part, source) for part in split(text))


def parse_port(text: str, source: str) -> int:
    """A port, 1 to 65535, in decimal."""
    if not _PORT.fullmatch(text) or not 1 <= int(text) <= 65535:
        raise OptionsError(source, f"{text!r} is not a port (1 to 65535)")
    return int(text)


def parse_ports_or_all(text: str, source: str) -> tuple[bool, tuple[int, ...]]:
    """`*`, or a list of ports."""
    if text.strip() == "*":
        return True, ()
    if "*" in split(text):
        raise OptionsError(source, "'*' already means every port: give it alone, or only ports")
    return False, parse_list(text, source, parse_port)


def parse_cidr(text: str, source: str) -> Cidr:
    """`address/prefix`; a bare address is refused as Istio refuses it."""
    if text == "*":
        raise OptionsError(source, "'*' can't stand here: name the networks")
    address, slash, prefix = text.partition("/")
    if not slash:
        raise OptionsError(source, f"{text!r} has no prefix length: write {text}/32 or {text}/128 for one address")
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        raise OptionsError(source, f"{text!r} is not a network (address/prefix)") from None
    if not re.fullmatch(r"[0-9]{1,3}", prefix) or int(prefix) > parsed.max_prefixlen:
        raise OptionsError(source, f"{text!r} has a bad prefix length (0 to {parsed.max_prefixlen})")
    if getattr(parsed, "scope_id", None):
        raise OptionsError(source, f"{text!r} has a zone: a network has none")
    return Cidr(parsed, int(prefix))


def parse_cidrs_or_all(text: str, source: str) -> tuple[bool, tuple[Cidr, ...]]:
    """`*`, or a list of IPv4 and IPv6 networks."""
    if text.strip() == "*":
        return True, ()
    if "*" in split(text):
        raise OptionsError(source, "'*' already means every address: give it alone, or only networks")
    return False, parse_list(text, source, parse_cidr)


def parse_owner(text: str, source: str) -> str:
    """A numeric id or a name. A name stays a name: the tool that installs the rule resolves it."""
    if text == "*":
        raise OptionsError(source, "'*' can't stand here: name the ids")
    if not _OWNER.fullmatch(text):
        raise OptionsError(source, f"{text!r} is neither a numeric id nor a name")
    if text.isdigit() and int(text) >= _INVALID_ID:
        raise OptionsError(source, f"{text} is beyond the largest id ({_INVALID_ID - 1})")
    return text


def parse_owner_groups(text: str, source: str) -> tuple[str, ...] | None:
    """`*` (every group: None), or a list of groups."""
    if text.strip() == "*":
        return None
    groups = parse_list(text, source, parse_owner)
    if not groups:
        raise OptionsError(source, "is empty, and would capture nobody: name groups, or '*' for all")
    if len(groups) > MAX_OWNER_GROUPS:
        raise OptionsError(source, f"has {len(groups)} groups; one rule holds at most {MAX_OWNER_GROUPS}")
    return groups


def parse_excluded_groups(text: str, source: str) -> tuple[str, ...]:
    """A list of groups, at most `MAX_OWNER_GROUPS`."""
    groups = parse_list(text, source, parse_owner)
    if len(groups) > MAX_OWNER_GROUPS:
        raise OptionsError(source, f"has {len(groups)} groups; at most {MAX_OWNER_GROUPS} are allowed")
    return groups


def parse_interface(text: str, source: str) -> str:
    """A network interface: up to 15 characters; a final `+` stands for any ending."""
    if not _INTERFACE.fullmatch(text):
        raise OptionsError(source, f"{text!r} is not the name of an interface")
    return text


def parse_server(version: int) -> Callable[[str, str], str]:
    """A parser of resolver addresses of one IP version; the address stays as it was written."""

    def parse(text: str, source: str) -> str:
        try:
            if ipaddress.ip_address(text).version == version and "%" not in text:
                return text
        except ValueError:
            pass
        raise OptionsError(source, f"{text!r} is not an IPv{version} address")

    return parse


def parse_loopback_cidr(text: str, source: str) -> str:
    """The IPv4 networks that count as "explicitly localhost": loopback, prefix 8 to 32 (Istio's rule)."""
    cidr = parse_cidr(text, source)
    if cidr.version != 4 or not cidr.loopback or not 8 <= cidr.prefix <= 32:
        raise OptionsError(source, f"{text!r} must be an IPv4 loopback network with a prefix of 8 to 32")
    return str(cidr)


def parse_number(text: str, source: str, low: int, high: int) -> int:
    """A decimal number in a range; 0x for hexadecimal, as `ip` and `iptables` write marks."""
    if not re.fullmatch(r"[0-9]{1,10}|0x[0-9a-fA-F]{1,8}", text) or not low <= (number := int(text, 0)) <= high:
        raise OptionsError(source, f"{text!r} is not a number from {low} to {high}")
    return number
