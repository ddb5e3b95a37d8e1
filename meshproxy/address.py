"""Addresses of sockets, and tables of address ranges.

An address is compared, hashed, logged and put into headers far more often than it is made, so its text is made once,
in Envoy's form: `1.2.3.4:80`, `[::1]:80`, the path of a Unix socket, or `envoy://listener/endpoint`. What the kernel
reports for an IPv4 peer of a dual-stack socket (`::ffff:1.2.3.4`) becomes IPv4 at the door, so that a rule written for
IPv4 sees it.

A table of ranges keeps one dict per prefix length: a look-up costs one shift and one dict access for each *length*
in use, however many ranges there are.

Invariants:
- `SocketAddress.ip` is canonical (RFC 5952 for IPv6, no zone, never IPv4-mapped), so equal addresses are equal text;
- parsing accepts ASCII only and raises ValueError, whatever it is given: some of these texts come from peers.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import field
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address
from typing import Generic, TypeVar

from meshproxy.records import dataclass

T = TypeVar("T")

INTERNAL_SCHEME = "envoy://"
INTERNAL_CLIENT = f"{INTERNAL_SCHEME}internal_client_address/"
"""What an internal listener sees of whoever connects to it."""
_V4_MAPPED = "::ffff:"
_OCTET = "(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
IPV4_PATTERN = rf"{_OCTET}\.{_OCTET}\.{_OCTET}\.{_OCTET}"
_IPV4 = re.compile(IPV4_PATTERN)


_LONGEST_IP = 64
"""With the zone, the name of an interface. Clients write addresses too, and what is read here is remembered."""


@lru_cache(maxsize=4096)
def _ip_number(ip: str) -> tuple[int, int]:
    """Width in bits (32 or 128) and value of an IP address; IPv4-mapped IPv6 is IPv4. Raises ValueError."""
    if len(ip) > _LONGEST_IP:
        raise ValueError("too long for an IP address")
    if ":" not in ip:
        return 32, int(IPv4Address(ip))
    address = IPv6Address(ip.partition("%")[0])
    mapped = address.ipv4_mapped
    return (128, int(address)) if mapped is None else (32, int(mapped))


def canonical_ip(ip: str) -> str:
    """`ip` in canonical form; IPv4-mapped IPv6 becomes IPv4, a zone is dropped. Raises ValueError for anything else."""
    if _IPV4.fullmatch(ip):
        return ip  # the one way to write it
    width, number = _ip_number(ip)
    return str(IPv4Address(number)) if width == 32 else str(IPv6Address(number))


def is_ip(text: str) -> bool:
    """Whether `text` is an IP address, without port or brackets."""
    try:
        _ip_number(text)
    except ValueError:
        return False
    return True


def parse_port(text: str) -> int:
    """A port from decimal ASCII digits, 0 to 65535. Raises ValueError."""
    if not (text.isascii() and text.isdigit() and len(text) <= 5) or (port := int(text)) > 65535:
        raise ValueError(f"{text!r} is not a port")
    return port


@dataclass(frozen=True, slots=True)
class SocketAddress:
    """An IP address with a port. `ip` must be canonical: whatever comes from outside goes through a function below."""

    ip: str
    port: int
    text: str = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        text = f"[{self.ip}]:{self.port}" if ":" in self.ip else f"{self.ip}:{self.port}"
        object.__setattr__(self, "text", text)

    @property
    def is_v6(self) -> bool:
        """Whether this is IPv6."""
        return ":" in self.ip

    @property
    def is_loopback(self) -> bool:
        """Whether this is the canonical loopback address, 127.0.0.1 or ::1; as in Envoy, 127.0.0.6 is not."""
        return self.ip in ("127.0.0.1", "::1")

    @property
    def is_any(self) -> bool:
        """Whether this is the wildcard address of its family."""
        return self.ip in ("0.0.0.0", "::")

    def with_port(self, port: int) -> SocketAddress:
        """The same address with another port."""
        return SocketAddress(self.ip, port)

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True)
class PipeAddress:
    """The path of a Unix socket; a leading `@` stands for the abstract name space. `mode` 0 leaves the mode alone."""

    path: str
    mode: int = 0

    @property
    def text(self) -> str:
        """The path, as Envoy prints it."""
        return self.path

    @property
    def bind_name(self) -> str:
        """What the kernel is given: the abstract name space begins with NUL."""
        return "\0" + self.path[1:] if self.path.startswith("@") else self.path

    def __str__(self) -> str:
        return self.path


@dataclass(frozen=True, slots=True)
class InternalAddress:
    """A listener of this program by its name: an *internal listener*. endpoint_id tells endpoints there apart."""

    listener: str
    endpoint_id: str = ""

    @property
    def text(self) -> str:
        """As Envoy prints it."""
        return f"{INTERNAL_SCHEME}{self.listener}/{self.endpoint_id}"

    def __str__(self) -> str:
        return self.text


BoundAddress = SocketAddress | PipeAddress
"""One that the kernel knows."""
Address = BoundAddress | InternalAddress


def make_address(ip: str, port: int) -> SocketAddress:
    """An address from an IP address in any notation and a port. Raises ValueError."""
    if not 0 <= port <= 65535:
        raise ValueError(f"{port} is not a port")
    return SocketAddress(canonical_ip(ip), port)


def from_sockaddr(sockaddr: tuple[object, ...]) -> SocketAddress:
    """An address from what the kernel reports: `(ip, port)` or `(ip, port, flow, scope)`; the ip is canonical there."""
    ip, port = sockaddr[0], sockaddr[1]
    if not isinstance(ip, str) or not isinstance(port, int):
        raise ValueError(f"{sockaddr!r} is not the address of an IP socket")
    if ":" not in ip:
        return SocketAddress(ip, port)
    if ip.startswith(_V4_MAPPED) and "." in ip:
        return SocketAddress(ip[len(_V4_MAPPED) :], port)
    return SocketAddress(ip.partition("%")[0], port)


def parse_internal(text: str) -> InternalAddress | None:
    """The address that `text` is of an internal listener; None for any other."""
    if not text.startswith(INTERNAL_SCHEME):
        return None
    listener, _, endpoint_id = text.removeprefix(INTERNAL_SCHEME).partition("/")
    return InternalAddress(listener, endpoint_id)


def parse_address(text: str) -> SocketAddress:
    """An address from `1.2.3.4:80` or `[::1]:80`; IPv6 needs its brackets. Raises ValueError."""
    host, colon, port = text.rpartition(":")
    if not colon:
        raise ValueError(f"{text!r} has no port")
    if host.startswith("["):
        if not host.endswith("]") or ":" not in host or "%" in host:
            raise ValueError(f"{text!r} is not an IPv6 address with a port")
        host = host[1:-1]
    elif ":" in host:
        raise ValueError(f"{text!r}: an IPv6 address with a port needs brackets")
    return SocketAddress(canonical_ip(host), parse_port(port))


@dataclass(frozen=True, slots=True)
class CidrRange:
    """A range of addresses: `width` is 32 or 128, `network` the leading `length` bits as a number."""

    width: int
    network: int
    length: int

    @classmethod
    def parse(cls, address: str, length: int | None = None) -> CidrRange:
        """A range from `10.0.0.0/8`, or from `core.v3.CidrRange`'s prefix and length (no length: one address).

        Bits beyond the prefix are dropped, as Envoy does. Raises ValueError for what is no address or too long.
        """
        if length is None and "/" in address:
            address, _, digits = address.partition("/")
            length = parse_port(digits)
        if "%" in address:
            raise ValueError(f"{address!r}: a range has no zone")
        # A range written in IPv6 stays IPv6, also an IPv4-mapped one: its length counts from bit 128.
        width = 128 if ":" in address else 32
        number = int(IPv6Address(address)) if width == 128 else int(IPv4Address(address))
        if length is None:
            length = width
        if not 0 <= length <= width:
            raise ValueError(f"{address}/{length}: the prefix length is beyond {width}")
        if width == 128 and length >= 96 and number >> 32 == 0xFFFF:
            return cls(32, (number & 0xFFFFFFFF) >> (128 - length), length - 96)
        return cls(width, number >> (width - length), length)

    def contains(self, ip: str) -> bool:
        """Whether `ip` lies in the range. Raises ValueError if it is no address."""
        width, number = _ip_number(ip)
        return width == self.width and number >> (width - self.length) == self.network

    def __str__(self) -> str:
        number = self.network << (self.width - self.length)
        return f"{IPv4Address(number) if self.width == 32 else IPv6Address(number)}/{self.length}"


class CidrTable(Generic[T]):
    """Ranges with a value each; the longest range that holds an address wins."""

    __slots__ = ("_by_width",)

    def __init__(self, entries: Iterable[tuple[CidrRange, T]]) -> None:
        """Raises ValueError when a range stands twice."""
        lengths: dict[int, dict[int, dict[int, T]]] = {32: {}, 128: {}}
        for range_, value in entries:
            networks = lengths[range_.width].setdefault(range_.length, {})
            if range_.network in networks:
                raise ValueError(f"the range {range_} stands twice")
            networks[range_.network] = value
        # Longest prefix first, each with the number of bits to shift away.
        self._by_width = {
            width: tuple((width - length, table[length]) for length in sorted(table, reverse=True))
            for width, table in lengths.items()
        }

    def find(self, ip: str, default: T | None = None) -> T | None:
        """The value of the longest range that holds `ip`. Raises ValueError if it is no address."""
        width, number = _ip_number(ip)
        for shift, networks in self._by_width[width]:
            network = number >> shift
            if network in networks:
                return networks[network]
        return default


class CidrSet:
    """Ranges of which only membership is asked."""

    __slots__ = ("_table",)

    def __init__(self, ranges: Iterable[CidrRange]) -> None:
        self._table: CidrTable[bool] = CidrTable((range_, True) for range_ in dict.fromkeys(ranges))

    def __contains__(self, ip: str) -> bool:
        """Whether a range holds `ip`. Raises ValueError if it is no address."""
        return self._table.find(ip) is not None
