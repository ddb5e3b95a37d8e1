"""JA3 and JA4 of ClientHellos; the values are those that Envoy 1.40 logs for the same bytes."""

from __future__ import annotations

import pytest

from meshproxy_filters.listener.tls_fingerprints import ja3, ja4, read_offer
from tests.parity.cases.client_hellos import (
    FORMATS,
    GROUPS,
    MADE_UP,
    SIGNATURES,
    SUITES,
    VERSIONS,
    A,
    alpn,
    extension,
    hello,
)

PROTOCOLS = alpn(b"h2", b"http/1.1")


@pytest.mark.parametrize(
    ("message", "first", "second"),
    [
        (
            hello(MADE_UP, A, GROUPS, FORMATS, SIGNATURES, PROTOCOLS, VERSIONS, suites=SUITES),
            "bbde0daa7a5751ef917f1028311d3983",
            "t13d0506h2_4af71558c6a0_f28383709ce3",
        ),
        (hello(GROUPS), "c2a872a403b2d2e8e2efaf23dd5dcf68", "t12i020100_777cda164f4b_a8f3e973773c"),
        (
            hello(MADE_UP, suites=b"\x1a\x1a"),
            "bddda940f9963577c41d7c28b1a5f65f",
            "t12i000000_000000000000_000000000000",
        ),
        (
            hello(A, FORMATS, version=0x0301),
            "8ee749f6852047b7b13798cb6b013b3a",
            "t10d020200_777cda164f4b_bcb145a8c2a7",
        ),
        (
            hello(A, alpn(b"\xabq\x00"), SIGNATURES),
            "7d1ca8d988ebbf6e24be569bf1e0da5d",
            "t12d0203a0_777cda164f4b_a2a6ef175e3a",
        ),
        (
            hello(A, extension(10, b"\0\5\0\x1d"), extension(13, b"\0"), extension(43, b"\3\3")),
            "2ed27b402ccec78fa09a154569835704",
            "t00d020400_777cda164f4b_304562746881",
        ),
    ],
)
def test_fingerprints(message: bytes, first: str, second: str) -> None:
    offer = read_offer(message[4:])
    assert (ja3(offer), ja4(offer)) == (first, second)
