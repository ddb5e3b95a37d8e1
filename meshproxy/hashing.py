"""xxHash64, which Envoy hashes keys of requests and addresses of hosts with: the same key must find the same host.
MurmurHash2 is what rings of hosts may be made with instead.

After the specification (github.com/Cyan4973/xxHash, doc/xxhash_spec.md). It takes some microseconds and is called once
for a request whose route has a hash policy, and for each entry of a ring when hosts change.
"""

from __future__ import annotations

import struct
from typing import Final

_P1: Final = 0x9E3779B185EBCA87
_P2: Final = 0xC2B2AE3D27D4EB4F
_P3: Final = 0x165667B19E3779F9
_P4: Final = 0x85EBCA77C2B2AE63
_P5: Final = 0x27D4EB2F165667C5
_MASK: Final = 0xFFFFFFFFFFFFFFFF


_stripes = struct.Struct("<4Q").iter_unpack
_words = struct.Struct("<Q").iter_unpack


def xxhash64(data: bytes, seed: int = 0) -> int:
    """The hash, as a number of 64 bits without sign. Without calls for its rounds, which were half of its time."""
    length = len(data)
    striped = length & ~31
    if striped:
        one, two, three, four = (seed + _P1 + _P2) & _MASK, (seed + _P2) & _MASK, seed, (seed - _P1) & _MASK
        for first, second, third, fourth in _stripes(data[:striped]):
            one = (one + first * _P2) & _MASK
            one = (one << 31 | one >> 33) * _P1 & _MASK
            two = (two + second * _P2) & _MASK
            two = (two << 31 | two >> 33) * _P1 & _MASK
            three = (three + third * _P2) & _MASK
            three = (three << 31 | three >> 33) * _P1 & _MASK
            four = (four + fourth * _P2) & _MASK
            four = (four << 31 | four >> 33) * _P1 & _MASK
        result = (one << 1 | one >> 63) + (two << 7 | two >> 57)
        result += (three << 12 | three >> 52) + (four << 18 | four >> 46)
        for lane in (one, two, three, four):
            lane = lane * _P2 & _MASK
            result = ((result ^ (lane << 31 | lane >> 33) * _P1) * _P1 + _P4) & _MASK
    else:
        result = (seed + _P5) & _MASK
    result = (result + length) & _MASK
    whole = length & ~7
    for (word,) in _words(data[striped:whole]):
        word = word * _P2 & _MASK
        result = (result ^ (word << 31 | word >> 33) * _P1) & _MASK
        result = ((result << 27 | result >> 37) * _P1 + _P4) & _MASK
    if length & 4:
        result ^= int.from_bytes(data[whole : whole + 4], "little") * _P1 & _MASK
        result = ((result << 23 | result >> 41) * _P2 + _P3) & _MASK
        whole += 4
    for byte in data[whole:]:
        result ^= byte * _P5 & _MASK
        result = (result << 11 | result >> 53) * _P1 & _MASK
    result = (result ^ result >> 33) * _P2 & _MASK
    result = (result ^ result >> 29) * _P3 & _MASK
    return result ^ result >> 32


_MURMUR: Final = 0xC6A4A7935BD1E995


def murmurhash2(data: bytes, seed: int = 0xC70F6907) -> int:
    """MurmurHash64A, with the seed that C++ libraries have for `std::hash`; a number of 64 bits without sign."""
    length = len(data)
    result = seed ^ (length * _MURMUR & _MASK)
    whole = length - length % 8
    for position in range(0, whole, 8):
        block = int.from_bytes(data[position : position + 8], "little") * _MURMUR & _MASK
        block = (block ^ block >> 47) * _MURMUR & _MASK
        result = (result ^ block) * _MURMUR & _MASK
    if whole < length:
        result = (result ^ int.from_bytes(data[whole:], "little")) * _MURMUR & _MASK
    result = (result ^ result >> 47) * _MURMUR & _MASK
    return result ^ result >> 47
