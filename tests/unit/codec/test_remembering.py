"""What is remembered of what peers send is bounded in bytes, not only in number."""

from __future__ import annotations

import tracemalloc

import pytest

from meshproxy.address import canonical_ip
from meshproxy.codec.framing import connection_options

MOST = 4 * 1024 * 1024


def test_options_of_a_connection() -> None:
    tracemalloc.start()
    try:
        for number in range(64):
            value = ", ".join(f"{number}x{each}" for each in range(2000))
            assert len(connection_options(value)) == 2000
        grown, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert grown < MOST


def test_addresses_with_a_zone() -> None:
    assert canonical_ip("fe80::1%eth0") == "fe80::1"
    tracemalloc.start()
    try:
        for number in range(500):
            with pytest.raises(ValueError, match="too long"):
                canonical_ip(f"fe80::{number:x}%{'z' * 20_000}")
        grown, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert grown < MOST
