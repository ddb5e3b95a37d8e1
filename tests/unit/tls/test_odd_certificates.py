"""Certificates made to hurt: whatever a peer sends is a ValueError or a certificate."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshproxy.runtime.tls.facts import facts_of
from tests.certificates import Authority, dns, uri

GOOD = Authority("root").issue("c", uri("spiffe://a/b"), dns("a.test")).der


@settings(max_examples=300)
@given(st.lists(st.tuples(st.integers(0, len(GOOD) - 1), st.integers(0, 255)), min_size=1, max_size=6))
def test_flipped_bytes(changes: list[tuple[int, int]]) -> None:
    der = bytearray(GOOD)
    for position, value in changes:
        der[position] = value
    try:
        facts = facts_of(bytes(der))
    except ValueError:
        return
    for name in (*facts.uri, *facts.dns, *facts.email, *facts.ip, facts.subject, facts.issuer):
        assert not set(name) & set(map(chr, (*range(32), 127)))
        assert all(ord(character) < 256 for character in name)


@pytest.mark.parametrize(
    "length",
    [0, 1, 10, len(GOOD) // 2, len(GOOD) - 1],
    ids=["nothing", "one-byte", "ten-bytes", "half", "all-but-one-byte"],
)
def test_cut_short(length: int) -> None:
    with pytest.raises(ValueError):
        facts_of(GOOD[:length])
