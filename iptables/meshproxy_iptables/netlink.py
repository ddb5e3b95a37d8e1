"""Just enough of rtnetlink: addresses, policy rules and routes of the current network namespace.

pyroute2 does all of this and much more, and its import alone takes several times what the whole run may take, so the
few messages that are needed are packed by hand (rtnetlink(7), `linux/rtnetlink.h`, `linux/fib_rules.h`).

What we add carries our protocol number, `OURS`: so that cleanup removes what we added, and only that. Kernels before
5.18 do not keep it for addresses; see `keeps_address_protocol`.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass

OURS = 109

_NEWADDR, _DELADDR, _GETADDR = 20, 21, 22
_NEWROUTE, _DELROUTE, _GETROUTE = 24, 25, 26
_NEWRULE, _DELRULE, _GETRULE = 32, 33, 34
_REQUEST, _ACK, _EXCL, _CREATE, _DUMP = 0x1, 0x4, 0x200, 0x400, 0x300
_ERROR, _DONE = 2, 3
_IFA_ADDRESS, _IFA_LOCAL, _IFA_PROTO = 1, 2, 11
_FRA_PRIORITY, _FRA_FWMARK, _FRA_TABLE, _FRA_FWMASK, _FRA_PROTOCOL = 6, 10, 15, 16, 21
_RTA_OIF, _RTA_TABLE = 4, 15
_TO_TABLE, _LOCAL, _SCOPE_HOST = 1, 2, 254

_HEADER = struct.Struct("=IHHII")
_ATTRIBUTE = struct.Struct("=HH")
_IFADDRMSG = struct.Struct("=BBBBI")
_RTMSG = struct.Struct("=BBBBBBBBI")
FAMILY = {4: socket.AF_INET, 6: socket.AF_INET6}


@dataclass(frozen=True, slots=True)
class InterfaceAddress:
    """An address of an interface; `scope` 0 is global, 253 link-local, 254 host (loopback)."""

    version: int
    index: int
    address: str
    prefix: int
    scope: int
    protocol: int


@dataclass(frozen=True, slots=True)
class MarkRule:
    """A policy rule: packets with `mark` use `table`."""

    version: int
    mark: int
    table: int
    priority: int
    protocol: int


@dataclass(frozen=True, slots=True)
class LocalRoute:
    """`local default dev lo table …`: everything that looks here is delivered on this host."""

    version: int
    table: int
    protocol: int


class Netlink:
    """A connection to the kernel. Every method raises OSError with the kernel's error."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
        self._socket.bind((0, 0))
        self._sequence = 0

    def __enter__(self) -> Netlink:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def addresses(self) -> list[InterfaceAddress]:
        """All addresses of all interfaces, in the kernel's order (IPv4 first)."""
        found = []
        for body in self._dump(_GETADDR, _IFADDRMSG.pack(0, 0, 0, 0, 0)):
            family, prefix, _, scope, index = _IFADDRMSG.unpack_from(body)
            fields = attributes(body[_IFADDRMSG.size :])
            raw = fields.get(_IFA_LOCAL) or fields.get(_IFA_ADDRESS)
            if raw is None or family not in (socket.AF_INET, socket.AF_INET6):
                continue
            version = 4 if family == socket.AF_INET else 6
            protocol = fields.get(_IFA_PROTO, b"\0")[0]
            found.append(InterfaceAddress(version, index, socket.inet_ntop(family, raw), prefix, scope, protocol))
        return found

    def add_address(self, version: int, address: str, prefix: int, index: int) -> None:
        """Adds an address marked as ours; FileExistsError if the interface has it."""
        self._request(_NEWADDR, _CREATE | _EXCL, _address(version, address, prefix, index))

    def delete_address(self, version: int, address: str, prefix: int, index: int) -> None:
        """Removes an address."""
        self._request(_DELADDR, 0, _address(version, address, prefix, index))

    def mark_rules(self) -> list[MarkRule]:
        """The policy rules that look at a mark."""
        found = []
        for version, family in FAMILY.items():
            for body in self._dump(_GETRULE, _RTMSG.pack(family, *[0] * 8)):
                table = _RTMSG.unpack_from(body)[4]
                fields = attributes(body[_RTMSG.size :])
                if _FRA_FWMARK not in fields:
                    continue
                found.append(
                    MarkRule(
                        version,
                        _u32(fields[_FRA_FWMARK]),
                        _u32(fields.get(_FRA_TABLE, struct.pack("=I", table))),
                        _u32(fields.get(_FRA_PRIORITY, b"\0" * 4)),
                        fields.get(_FRA_PROTOCOL, b"\0")[0],
                    )
                )
        return found

    def add_mark_rule(self, version: int, mark: int, table: int) -> None:
        """`ip rule add fwmark MARK lookup TABLE`, marked as ours. The kernel does not refuse a second one."""
        self._request(_NEWRULE, _CREATE | _EXCL, _mark_rule(version, mark, table) + _byte(_FRA_PROTOCOL, OURS))

    def delete_mark_rule(self, rule: MarkRule) -> None:
        """Removes exactly this rule."""
        body = _mark_rule(rule.version, rule.mark, rule.table) + _word(_FRA_PRIORITY, rule.priority)
        self._request(_DELRULE, 0, body + _byte(_FRA_PROTOCOL, rule.protocol))

    def local_routes(self, tables: set[int]) -> list[LocalRoute]:
        """The `local default` routes of some tables."""
        found = []
        for version, family in FAMILY.items():
            for body in self._dump(_GETROUTE, _RTMSG.pack(family, *[0] * 8)):
                _, length, _, _, table, protocol, _, kind, _ = _RTMSG.unpack_from(body)
                fields = attributes(body[_RTMSG.size :])
                table = _u32(fields.get(_RTA_TABLE, struct.pack("=I", table)))
                if kind == _LOCAL and length == 0 and table in tables:
                    found.append(LocalRoute(version, table, protocol))
        return found

    def add_local_route(self, version: int, table: int, index: int) -> None:
        """`ip route add local default dev INDEX table TABLE`, marked as ours; FileExistsError if it is there."""
        self._request(_NEWROUTE, _CREATE | _EXCL, _local_route(version, table, OURS) + _word(_RTA_OIF, index))

    def delete_local_route(self, route: LocalRoute) -> None:
        """Removes exactly this route."""
        self._request(_DELROUTE, 0, _local_route(route.version, route.table, route.protocol))

    def _send(self, kind: int, flags: int, body: bytes) -> int:
        self._sequence += 1
        length = _HEADER.size + len(body)
        self._socket.sendto(_HEADER.pack(length, kind, flags | _REQUEST, self._sequence, 0) + body, (0, 0))
        return self._sequence

    def _request(self, kind: int, flags: int, body: bytes) -> None:
        sequence = self._send(kind, flags | _ACK, body)
        for _ in self._replies(sequence):
            pass

    def _dump(self, kind: int, body: bytes) -> list[bytes]:
        try:
            return list(self._replies(self._send(kind, _DUMP, body)))
        except OSError as error:
            # A kernel without IPv6 has no IPv6 rules or routes to list.
            if error.errno in (errno.EAFNOSUPPORT, errno.EOPNOTSUPP):
                return []
            raise

    def _replies(self, sequence: int) -> Iterator[bytes]:
        """The bodies of the answers up to the final message; raises its error."""
        while True:
            data = self._socket.recv(1 << 18)
            while len(data) >= _HEADER.size:
                length, kind, _, answered, _ = _HEADER.unpack_from(data)
                body, data = data[_HEADER.size : length], data[(length + 3) & ~3 :]
                if answered != sequence:
                    continue
                if kind in (_ERROR, _DONE):
                    code = struct.unpack_from("=i", body)[0] if len(body) >= 4 else 0
                    if code:
                        raise OSError(-code, os.strerror(-code))
                    return
                yield body


def keeps_address_protocol() -> bool:
    """Whether this kernel remembers who added an address (IFA_PROTO, Linux 5.18)."""
    major, _, rest = os.uname().release.partition(".")
    minor = "".join(character for character in rest.partition(".")[0] if character.isdigit())
    return (int(major), int(minor or 0)) >= (5, 18)


def attributes(data: bytes) -> dict[int, bytes]:
    """The attributes of a message by their number, the last of each."""
    found = {}
    while len(data) >= _ATTRIBUTE.size:
        length, kind = _ATTRIBUTE.unpack_from(data)
        if length < _ATTRIBUTE.size:
            break
        found[kind] = data[_ATTRIBUTE.size : length]
        data = data[(length + 3) & ~3 :]
    return found


def attribute(kind: int, value: bytes) -> bytes:
    """One attribute, padded."""
    return _ATTRIBUTE.pack(_ATTRIBUTE.size + len(value), kind) + value + b"\0" * (-len(value) % 4)


def _word(kind: int, value: int) -> bytes:
    return attribute(kind, struct.pack("=I", value))


def _byte(kind: int, value: int) -> bytes:
    return attribute(kind, bytes([value]))


def _u32(value: bytes) -> int:
    return int(struct.unpack("=I", value)[0])


def _address(version: int, address: str, prefix: int, index: int) -> bytes:
    family = FAMILY[version]
    raw = socket.inet_pton(family, address)
    head = _IFADDRMSG.pack(family, prefix, 0, 0, index)
    return head + attribute(_IFA_LOCAL, raw) + attribute(_IFA_ADDRESS, raw) + _byte(_IFA_PROTO, OURS)


def _mark_rule(version: int, mark: int, table: int) -> bytes:
    head = _RTMSG.pack(FAMILY[version], 0, 0, 0, table if table < 256 else 0, 0, 0, _TO_TABLE, 0)
    return head + _word(_FRA_FWMARK, mark) + _word(_FRA_FWMASK, 0xFFFFFFFF) + _word(_FRA_TABLE, table)


def _local_route(version: int, table: int, protocol: int) -> bytes:
    scope = _SCOPE_HOST if version == 4 else 0
    head = _RTMSG.pack(FAMILY[version], 0, 0, 0, table if table < 256 else 0, protocol, scope, _LOCAL, 0)
    return head + _word(_RTA_TABLE, table)
