"""Taking away an empty nftables table, and only an empty one.

`nft delete table` takes everything in the table along, so that a rule which somebody adds between looking and deleting
would be lost. The kernel has a flag for it that the tool does not send: with NLM_F_NONREC it refuses to delete what is
in use (`nf_tables_delchain` and `nf_tables_deltable` in `net/netfilter/nf_tables_api.c`). One batch, all or nothing:
only built-in chains are named, so a rule or a chain of somebody else's keeps the table.
"""

from __future__ import annotations

import os
import socket
import struct

from .netlink import attribute, attributes

_SUBSYSTEM = 10 << 8
_DELTABLE, _GETCHAIN, _DELCHAIN = _SUBSYSTEM | 2, _SUBSYSTEM | 4, _SUBSYSTEM | 5
_BATCH_BEGIN, _BATCH_END = 16, 17
_REQUEST, _ACK, _NONREC, _DUMP = 0x1, 0x4, 0x100, 0x300
_ERROR, _DONE = 2, 3
_NETLINK_NETFILTER = 12
_IPV4, _IPV6 = 2, 10
_NAME, _CHAIN_TABLE, _CHAIN_NAME = 1, 1, 3
_HEADER = struct.Struct("=IHHII")
_GENERIC = struct.Struct("=BB")
_BUILTIN = frozenset({"PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"})
_TIMEOUT = 5.0


def delete_empty_table(version: int, table: str) -> bool:
    """Deletes the table of one IP version, as iptables-nft makes it, if its chains hold no rule. Returns whether it
    did. Raises OSError if the kernel can't be asked."""
    family = _IPV6 if version == 6 else _IPV4
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_NETFILTER) as channel:
        channel.settimeout(_TIMEOUT)
        channel.bind((0, 0))
        chains = _chains(channel, family, table)
        name = attribute(_NAME, table.encode() + b"\0")
        batch = [_message(_BATCH_BEGIN, 0, 0, 10)]
        for chain in _BUILTIN.intersection(chains):
            named = name + attribute(_CHAIN_NAME, chain.encode() + b"\0")
            batch.append(_message(_DELCHAIN, _NONREC, family, 0, named))
        batch.append(_message(_DELTABLE, _NONREC | _ACK, family, 0, name))
        batch.append(_message(_BATCH_END, 0, 0, 10))
        channel.send(b"".join(batch))
        return _code(channel) == 0


def _chains(channel: socket.socket, family: int, table: str) -> list[str]:
    channel.send(_message(_GETCHAIN, _DUMP, family, 0))
    found: list[str] = []
    while True:
        data = channel.recv(1 << 18)
        while len(data) >= _HEADER.size:
            length, kind, _, _, _ = _HEADER.unpack_from(data)
            body, data = data[_HEADER.size : length], data[(length + 3) & ~3 :]
            if kind in (_ERROR, _DONE):
                code = struct.unpack_from("=i", body)[0] if len(body) >= 4 else 0
                if code:
                    raise OSError(-code, os.strerror(-code))
                return found
            fields = attributes(body[4:])
            if body[0] == family and fields.get(_CHAIN_TABLE, b"").rstrip(b"\0") == table.encode():
                found.append(fields[_CHAIN_NAME].rstrip(b"\0").decode())


def _code(channel: socket.socket) -> int:
    """The first error of the batch, or 0 when the table's deletion is acknowledged."""
    data = channel.recv(1 << 16)
    while len(data) >= _HEADER.size + 4:
        length, kind, _, _, _ = _HEADER.unpack_from(data)
        code: int = struct.unpack_from("=i", data, _HEADER.size)[0]
        if kind == _ERROR:
            return code
        data = data[(length + 3) & ~3 :]
    return -1


def _message(kind: int, flags: int, family: int, resource: int, body: bytes = b"") -> bytes:
    content = _GENERIC.pack(family, 0) + struct.pack("!H", resource) + body
    return _HEADER.pack(_HEADER.size + len(content), kind, flags | _REQUEST, 1, 0) + content
