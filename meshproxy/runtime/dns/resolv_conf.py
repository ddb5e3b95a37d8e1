"""What the system says about names: /etc/resolv.conf (resolv.conf(5)) and /etc/hosts (hosts(5)).

Both are small, and both may change while the program runs, so they are read again when their modification time or
inode changed. A file that can't be read counts as empty.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Generic, TypeVar

from meshproxy.address import canonical_ip
from meshproxy.records import dataclass

T = TypeVar("T")

_PORT = 53
_MAX_SERVERS = 3
_MAX_NDOTS = 15


@dataclass(frozen=True, slots=True)
class ResolvConf:
    """Name servers as (ip, port), search domains, and from how many dots on a name is first tried as it is."""

    servers: tuple[tuple[str, int], ...] = (("127.0.0.1", _PORT),)
    search: tuple[str, ...] = ()
    ndots: int = 1
    rotate: bool = False


def parse_resolv_conf(text: str) -> ResolvConf:
    """The last `search` or `domain` line counts; what isn't understood is left out, as in the C library."""
    servers: list[tuple[str, int]] = []
    search: tuple[str, ...] = ()
    ndots, rotate = 1, False
    for line in text.splitlines():
        if line[:1] in ("#", ";"):
            continue
        words = line.split()
        keyword, values = (words[0], words[1:]) if words else ("", [])
        if keyword == "nameserver" and values:
            ip = _address(values[0])
            if ip:
                servers.append((ip, _PORT))
        elif keyword in ("search", "domain"):
            search = tuple(value.rstrip(".") for value in values if value != ".")
        elif keyword == "options":
            for value in values:
                name, _, number = value.partition(":")
                if name == "ndots" and number.isascii() and number.isdigit():
                    ndots = min(int(number), _MAX_NDOTS)
                elif name == "rotate":
                    rotate = True
    default = ResolvConf()
    return ResolvConf(tuple(servers[:_MAX_SERVERS]) or default.servers, search, ndots, rotate)


def _address(text: str) -> str:
    if text.lower().startswith("fe80:") and "%" in text:
        return text  # only its zone says on which link it is
    try:
        return canonical_ip(text)
    except ValueError:
        return ""


def parse_hosts(text: str) -> dict[str, tuple[str, ...]]:
    """Addresses by name in lower case, in the order of the file."""
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        words = line.partition("#")[0].split()
        if len(words) < 2:
            continue
        ip = _address(words[0])
        if ip:
            for name in words[1:]:
                addresses = found.setdefault(name.lower().rstrip("."), [])
                if ip not in addresses:
                    addresses.append(ip)
    return {name: tuple(addresses) for name, addresses in found.items()}


class WatchedFile(Generic[T]):
    """A file parsed once for each version of it."""

    def __init__(self, path: str, parse: Callable[[str], T]) -> None:
        self._path = path
        self._parse = parse
        self._version: tuple[int, int, int] | None = None
        self._value = parse("")

    def read(self) -> T:
        """What it says now."""
        try:
            status = os.stat(self._path)
            version = (status.st_mtime_ns, status.st_ino, status.st_size)
            if version != self._version:
                with open(self._path, encoding="utf-8", errors="replace") as file:
                    self._value = self._parse(file.read())
                self._version = version
        except OSError:
            if self._version is not None:
                self._version = None
                self._value = self._parse("")
        return self._value
