"""DNS messages (RFC 1035), as much as a client needs that asks for the addresses of a name.

Bytes from the network are read with one rule: whatever isn't well formed raises `MalformedAnswer`, nothing else. A
compression pointer may only point backwards, so that no message makes the reader go in circles.
"""

from __future__ import annotations

import socket
import struct

from meshproxy.records import dataclass

A = 1
AAAA = 28
_CNAME = 5
_IN = 1
NOERROR = 0
NXDOMAIN = 3

MAX_NAME = 253
_MAX_ALIASES = 16


class MalformedAnswer(Exception):
    """The bytes aren't an answer to the question."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a name server said. ttl: seconds, the shortest of all records that led to the addresses."""

    code: int
    truncated: bool
    addresses: tuple[str, ...]
    ttl: int


def encode_query(identity: int, name: str, kind: int) -> bytes:
    """A question for the records of type `kind`. Raises ValueError for what can't be a name."""
    return struct.pack("!HHHHHH", identity, 0x0100, 1, 0, 0, 0) + _encode_name(name) + struct.pack("!HH", kind, _IN)


def _encode_name(name: str) -> bytes:
    labels = name.rstrip(".").encode("ascii").split(b".")
    if len(name) > MAX_NAME or any(not 0 < len(label) < 64 for label in labels):
        raise ValueError(f"{name!r} is not a name")
    return b"".join(bytes((len(label),)) + label for label in labels) + b"\0"


def decode_answer(message: bytes, query: bytes) -> Answer:
    """The answer to `query`, aliases followed. Raises MalformedAnswer, also when it answers another question."""
    try:
        return _decode(message, query)
    except (struct.error, IndexError) as error:
        raise MalformedAnswer("cut short") from error


def _decode(message: bytes, query: bytes) -> Answer:
    identity, flags, questions, answers = struct.unpack_from("!HHHH", message)
    asked = query[12:]
    if identity != int.from_bytes(query[:2], "big") or not flags & 0x8000 or flags & 0x7800:
        raise MalformedAnswer("not an answer to this query")
    if questions != 1 or message[12 : 12 + len(asked)].lower() != asked.lower():
        raise MalformedAnswer("not an answer to this question")
    kind = int.from_bytes(asked[-4:-2], "big")
    name, _ = _read_name(query, 12)
    code, truncated = flags & 0x000F, bool(flags & 0x0200)
    if truncated or code != NOERROR:
        return Answer(code, truncated, (), 0)
    aliases, addresses = _read_records(message, 12 + len(asked), answers, kind)
    return _follow(name, aliases, addresses)


_Aliases = dict[bytes, tuple[bytes, int]]
_Addresses = dict[bytes, list[tuple[str, int]]]


def _read_records(message: bytes, offset: int, count: int, kind: int) -> tuple[_Aliases, _Addresses]:
    aliases: _Aliases = {}
    addresses: _Addresses = {}
    size = 4 if kind == A else 16
    for _ in range(count):
        owner, offset = _read_name(message, offset)
        found, klass, ttl, length = struct.unpack_from("!HHIH", message, offset)
        offset += 10
        data = message[offset : offset + length]
        if len(data) != length:
            raise MalformedAnswer("cut short")
        ttl = 0 if ttl & 0x80000000 else ttl  # RFC 2181 section 8
        if klass == _IN and found == _CNAME:
            aliases[owner] = (_read_name(message, offset)[0], ttl)
        elif klass == _IN and found == kind:
            if length != size:
                raise MalformedAnswer("an address of the wrong length")
            ip = socket.inet_ntop(socket.AF_INET if kind == A else socket.AF_INET6, data)
            addresses.setdefault(owner, []).append((ip, ttl))
        offset += length
    return aliases, addresses


def _follow(name: bytes, aliases: _Aliases, addresses: _Addresses) -> Answer:
    ttls = []
    for _ in range(_MAX_ALIASES):
        if name in addresses:
            found = addresses[name]
            ttls += [ttl for _, ttl in found]
            return Answer(NOERROR, False, tuple(dict.fromkeys(ip for ip, _ in found)), min(ttls))
        if name not in aliases:
            break
        name, ttl = aliases[name]
        ttls.append(ttl)
    return Answer(NOERROR, False, (), 0)


def _read_name(message: bytes, offset: int) -> tuple[bytes, int]:
    """The name at `offset` in lower case, and where what follows it begins."""
    labels: list[bytes] = []
    after = -1
    lowest = offset
    size = 0
    while length := message[offset]:
        if length >= 0xC0:
            target = (length & 0x3F) << 8 | message[offset + 1]
            if target >= lowest:
                raise MalformedAnswer("a pointer that doesn't point backwards")
            if after < 0:
                after = offset + 2
            offset = lowest = target
            continue
        size += length + 1
        if length > 63 or size > MAX_NAME + 1:
            raise MalformedAnswer("a name that is too long")
        labels.append(message[offset + 1 : offset + 1 + length].lower())
        offset += length + 1
    return b".".join(labels), after if after >= 0 else offset + 1
