"""The addresses of this machine or pod, as the kernel tells them under /proc/net: of any use to others, IPv4 first."""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path

_LOCAL_V4 = re.compile(r"\|-- ([0-9.]+)\s+/32 host LOCAL")


def read_v4(fib_trie: str) -> list[str]:
    """Of `/proc/net/fib_trie`."""
    return list(dict.fromkeys(_LOCAL_V4.findall(fib_trie)))


def read_v6(if_inet6: str) -> list[str]:
    """Of `/proc/net/if_inet6`."""
    digits = [line.split()[0] for line in if_inet6.splitlines() if line.strip()]
    return [str(ipaddress.IPv6Address(bytes.fromhex(each))) for each in digits]


def local_addresses(root: Path = Path("/proc/net")) -> list[str]:
    """Without those that mean something on this machine or link alone."""
    found = []
    for name, read in (("fib_trie", read_v4), ("if_inet6", read_v6)):
        try:
            found += read((root / name).read_text())
        except (OSError, ValueError):
            continue  # a kernel without this family
    return [ip for ip in found if not (address := ipaddress.ip_address(ip)).is_loopback and not address.is_link_local]
