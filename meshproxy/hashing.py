"""xxHash64, which Envoy hashes keys of requests and addresses of hosts with: the same key must find the same host.
MurmurHash2 is what rings of hosts may be made with instead.

After the specification (github.com/Cyan4973/xxHash, doc/xxhash_spec.md). It takes some microseconds and is called once
for a request whose route has a hash policy, and for each entry of a ring when hosts change.
"""

from __future__ import annotations

from typing import Final

_P1: Final = 0x9E3779B185EBCA87
_P2: Final = 0xC2B2AE3D27D4EB4F
_P3: Final = 0x165667B19E3779F9
_P4: Final = 0x85EBCA77C2B2AE63
_P5: Final = 0x27D4EB2F165667C5
_MASK: Final = 0xFFFFFFFFFFFFFFFF


def _rotate(value: int, bits: int) -> int:
    return (value << bits | value >> (64 - bits)) & _MASK


def _round(accumulator: int, lane: int) -> int:
    return _rotate((accumulator + lane * _P2) & _MASK, 31) * _P1 & _MASK


def xxhash64(data: bytes, seed: int = 0) -> int:
    """The hash, as a number of 64 bits without sign."""
    length = len(data)
    position = 0
    number = int.from_bytes
    if length >= 32:
        lanes = [(seed + _P1 + _P2) & _MASK, (seed + _P2) & _MASK, seed, (seed - _P1) & _MASK]
        while position + 32 <= length:
            for index in range(4):
                lanes[index] = _round(lanes[index], number(data[position : position + 8], "little"))
                position += 8
        result = sum(map(_rotate, lanes, (1, 7, 12, 18))) & _MASK
        for lane in lanes:
            result = ((result ^ _round(0, lane)) * _P1 + _P4) & _MASK
    else:
        result = (seed + _P5) & _MASK
    result = (result + length) & _MASK
    while position + 8 <= length:
        result ^= _round(0, number(data[position : position + 8], "little"))
        result = (_rotate(result, 27) * _P1 + _P4) & _MASK
        position += 8
    if position + 4 <= length:
        result ^= number(data[position : position + 4], "little") * _P1 & _MASK
        result = (_rotate(result, 23) * _P2 + _P3) & _MASK
        position += 4
    for byte in data[position:]:
        result = _rotate(result ^ (byte * _P5 & _MASK), 11) * _P1 & _MASK
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
