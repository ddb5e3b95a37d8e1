"""xxHash64 against values of the reference implementation."""

from __future__ import annotations

import pytest

from meshproxy.hashing import murmurhash2, xxhash64


@pytest.mark.parametrize(
    ("data", "seed", "expected"),
    [
        (b"", 0, 0xEF46DB3751D8E999),
        (b"", 1, 0xD5AFBA1336A3BE4B),
        (b"a", 0, 0xD24EC4F1A98C6E5B),
        (b"abc", 0, 0x44BC2CF5AD770999),
        (b"message digest", 0, 0x066ED728FCEEB3BE),
        (b"abcdefghijklmnopqrstuvwxyz", 0, 0xCFE1F278FA89835C),
        (b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789", 0, 0xAAA46907D3047814),
        (b"1234567890" * 8, 0, 0xE04A477F19EE145D),
    ],
)
def test_known_values(data: bytes, seed: int, expected: int) -> None:
    assert xxhash64(data, seed) == expected


@pytest.mark.parametrize("length", [0, 1, 7, 8, 9, 16, 23])
def test_murmurhash2_has_64_bits_and_hears_every_byte(length: int) -> None:
    data = bytes(range(length))
    found = murmurhash2(data)
    assert 0 <= found < 1 << 64
    others = {murmurhash2(data[:at] + b"\xff" + data[at + 1 :]) for at in range(length)}
    assert len(others | {found}) == length + 1
