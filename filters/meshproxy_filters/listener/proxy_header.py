"""The header of the PROXY protocol, versions 1 and 2 (HAProxy's proxy-protocol.txt of 2020-03-05).

It says on whose behalf a connection was opened, and is believed, so it is taken literally or not at all: what the
specification doesn't allow is INVALID, also where Envoy is lax (`+1` as a port, white space at the end, a zone).
Addresses that no TCP connection has (any, broadcast, multicast) are refused, as in Envoy. TLVs are handed on as bytes:
nothing is decoded, so nothing in them can fail; their framing must be right.

Invariant: the verdict depends on the bytes, not on how they were cut: it is NEED_MORE for every prefix that can still
become a header, and final from there on. Nothing is looked at beyond `MAX_PROXY_HEADER` bytes.
"""

from __future__ import annotations

from enum import Enum
from ipaddress import IPv4Address, IPv6Address, ip_address

from meshproxy.address import canonical_ip, parse_port
from meshproxy.records import dataclass

MAX_PROXY_HEADER = 16 + 0xFFFF
"""The longest header: version 2 with a full length field."""

_V1_PREFIX = b"PROXY "
_V1_MAX = 108  # 107 in the specification, with CRLF; Envoy looks at 108
_V2_SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
_LOCAL, _PROXY = 0, 1
_ADDRESS_LENGTHS = {1: 4, 2: 16}  # AF_INET, AF_INET6
_TRANSPORTS = (1, 2)  # STREAM, DGRAM


class ProxyVerdict(Enum):
    """NEED_MORE; ABSENT: it begins with something else; INVALID: it begins like a header and isn't one."""

    NEED_MORE = "need more"
    ABSENT = "absent"
    INVALID = "invalid"


@dataclass(frozen=True, slots=True)
class ProxyHeader:
    """length: bytes to take off the stream. source, destination: (ip, port), None for a connection of the sender's own
    (LOCAL, UNKNOWN): then those of the socket stand. tlvs: (type, value) in order, version 2 only."""

    length: int
    source: tuple[str, int] | None = None
    destination: tuple[str, int] | None = None
    tlvs: tuple[tuple[int, bytes], ...] = ()
    version: int = 2


def read_proxy_header(data: bytes) -> ProxyHeader | ProxyVerdict:
    """The verdict on the first bytes of a connection; `data` is all of them so far."""
    if data[:12] == _V2_SIGNATURE[: len(data)]:
        return _read_v2(data) if len(data) >= 16 else _check_v2_start(data)
    if data[:6] == _V1_PREFIX[: len(data)]:
        return _read_v1(data)
    return ProxyVerdict.ABSENT


def _read_v1(data: bytes) -> ProxyHeader | ProxyVerdict:
    line_end = data.find(b"\n", 0, _V1_MAX)
    if line_end < 0:
        return ProxyVerdict.NEED_MORE if len(data) < _V1_MAX else ProxyVerdict.INVALID
    parts = data[len(_V1_PREFIX) : line_end].split(b" ")
    if not parts[-1].endswith(b"\r"):
        return ProxyVerdict.INVALID
    parts[-1] = parts[-1][:-1]
    if parts[0] == b"UNKNOWN":
        return ProxyHeader(line_end + 1, version=1)
    if parts[0] not in (b"TCP4", b"TCP6") or len(parts) != 5:
        return ProxyVerdict.INVALID
    make = IPv4Address if parts[0] == b"TCP4" else IPv6Address
    try:
        texts = [part.decode("ascii") for part in parts[1:]]
        source, destination = make(texts[0]), make(texts[1])
        ports = parse_port(texts[2]), parse_port(texts[3])
    except ValueError:
        return ProxyVerdict.INVALID
    if "%" in texts[0] + texts[1]:
        return ProxyVerdict.INVALID
    return _header(line_end + 1, source, destination, ports, (), 1)


def _check_v2_start(data: bytes) -> ProxyVerdict:
    """Refuse a wrong version or command as soon as it is there."""
    if len(data) > 12 and (data[12] >> 4 != 2 or data[12] & 15 not in (_LOCAL, _PROXY)):
        return ProxyVerdict.INVALID
    return ProxyVerdict.NEED_MORE


def _read_v2(data: bytes) -> ProxyHeader | ProxyVerdict:
    if _check_v2_start(data) is ProxyVerdict.INVALID:
        return ProxyVerdict.INVALID
    family, transport, length = data[13] >> 4, data[13] & 15, int.from_bytes(data[14:16], "big")
    end = 16 + length
    if data[12] & 15 == _LOCAL:
        return ProxyHeader(end) if len(data) >= end else ProxyVerdict.NEED_MORE
    size = _ADDRESS_LENGTHS.get(family, 0)
    if not size or transport not in _TRANSPORTS or length < 2 * size + 4:
        return ProxyVerdict.INVALID
    if len(data) < end:
        return ProxyVerdict.NEED_MORE
    ports_at = 16 + 2 * size
    tlvs = _read_tlvs(data[ports_at + 4 : end])
    if tlvs is None:
        return ProxyVerdict.INVALID
    source, destination = ip_address(data[16 : 16 + size]), ip_address(data[16 + size : ports_at])
    ports = (
        int.from_bytes(data[ports_at : ports_at + 2], "big"),
        int.from_bytes(data[ports_at + 2 : ports_at + 4], "big"),
    )
    return _header(end, source, destination, ports, tlvs, 2)


def _read_tlvs(data: bytes) -> tuple[tuple[int, bytes], ...] | None:
    """Type, length of two bytes, value; None when they don't fill the header exactly."""
    tlvs, position = [], 0
    while position < len(data):
        start = position + 3
        position = start + int.from_bytes(data[position + 1 : start], "big")
        if position > len(data):
            return None
        tlvs.append((data[start - 3], data[start:position]))
    return tuple(tlvs)


def _header(
    length: int,
    source: IPv4Address | IPv6Address,
    destination: IPv4Address | IPv6Address,
    ports: tuple[int, int],
    tlvs: tuple[tuple[int, bytes], ...],
    version: int,
) -> ProxyHeader | ProxyVerdict:
    if not (_is_unicast(source) and _is_unicast(destination)):
        return ProxyVerdict.INVALID
    ends = (canonical_ip(str(source)), ports[0]), (canonical_ip(str(destination)), ports[1])
    return ProxyHeader(length, *ends, tlvs, version)


def _is_unicast(address: IPv4Address | IPv6Address) -> bool:
    return not address.is_unspecified and not address.is_multicast and address.packed != b"\xff\xff\xff\xff"
