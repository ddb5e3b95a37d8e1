"""In which order the addresses of an endpoint are tried."""

from __future__ import annotations

import pytest

from meshproxy.address import SocketAddress
from meshproxy.model.cluster import HappyEyeballs
from meshproxy.runtime.upstream.connections.connect import in_order


@pytest.mark.parametrize(
    ("given", "options", "expected"),
    [
        ("4a 4b 6a 6b", HappyEyeballs(), "4a 6a 4b 6b"),
        ("6a 4a 4b 4c", HappyEyeballs(), "6a 4a 4b 4c"),
        ("4a 4b 6a 6b", HappyEyeballs(first_v6=True), "6a 4a 6b 4b"),
        ("6a 6b 4a 4b", HappyEyeballs(first_v6=False, first_count=2), "4a 4b 6a 6b"),
        ("4a 4b 4c 6a 6b", HappyEyeballs(first_count=2), "4a 4b 6a 4c 6b"),
        ("4a", HappyEyeballs(first_v6=True), "4a"),
    ],
)
def test_families_take_turns(given: str, options: HappyEyeballs, expected: str) -> None:
    addresses = {name: SocketAddress("::" if name[0] == "6" else "0.0.0.0", ord(name[1])) for name in given.split()}
    names = {address: name for name, address in addresses.items()}
    assert " ".join(names[each] for each in in_order(list(addresses.values()), options)) == expected
