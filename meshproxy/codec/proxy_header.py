"""Writing the header of the PROXY protocol, versions 1 and 2 (HAProxy's proxy-protocol.txt).

It is the first thing on a connection, before TLS, and says on whose behalf the connection was opened. Addresses are
(ip, port) with the ip in canonical form.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address

from meshproxy.model.proxy_header import Tlv

_SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
_TCP4, _TCP6 = 0x11, 0x21

LOCAL_V2 = _SIGNATURE + b"\x20\x00\x00\x00"
"""A connection of the sender's own, such as a health check's."""


def encode_v1(source: tuple[str, int], destination: tuple[str, int]) -> bytes:
    """The line of version 1. Of two families each address is written as what it is, as Envoy writes it."""
    family = "TCP6" if ":" in source[0] else "TCP4"
    return f"PROXY {family} {source[0]} {destination[0]} {source[1]} {destination[1]}\r\n".encode("ascii")


def encode_v2(source: tuple[str, int], destination: tuple[str, int], tlvs: Iterable[Tlv] = ()) -> bytes | None:
    """The header of version 2; None when the entries are too long for one."""
    if ":" in source[0] or ":" in destination[0]:
        family, packed = _TCP6, _packed_v6(source[0]) + _packed_v6(destination[0])
    else:
        family = _TCP4
        packed = IPv4Address(source[0]).packed + IPv4Address(destination[0]).packed
    ports = source[1].to_bytes(2, "big") + destination[1].to_bytes(2, "big")
    try:
        entries = b"".join(bytes((kind,)) + len(value).to_bytes(2, "big") + value for kind, value in tlvs)
        length = (len(packed) + len(ports) + len(entries)).to_bytes(2, "big")
    except OverflowError:
        return None
    return _SIGNATURE + bytes((0x21, family)) + length + packed + ports + entries


def _packed_v6(ip: str) -> bytes:
    return IPv6Address(ip if ":" in ip else f"::ffff:{ip}").packed
