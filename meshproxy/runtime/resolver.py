"""Names to addresses, without blocking the loop."""

from __future__ import annotations

import asyncio
import socket
from dataclasses import dataclass

from meshproxy.address import is_ip
from meshproxy.runtime.original_destination import plain_ip


class ResolveError(Exception):
    """The name has no address, or nobody could say."""


@dataclass(frozen=True, slots=True)
class Resolution:
    """The addresses of a name, and for how many seconds they may be kept (0: not said)."""

    addresses: tuple[str, ...]
    ttl: float = 0.0


_FAMILIES = {"V4_ONLY": socket.AF_INET, "V6_ONLY": socket.AF_INET6}


async def resolve(name: str, family: str) -> Resolution:
    """Look `name` up. family: see `DnsOptions.lookup_family`. Raises ResolveError."""
    if is_ip(name):
        return Resolution((name,))
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(
            name, None, family=_FAMILIES.get(family, socket.AF_UNSPEC), type=socket.SOCK_STREAM
        )
    except OSError as error:
        raise ResolveError(error.strerror or str(error)) from error
    v4 = [str(entry[4][0]) for entry in found if entry[0] == socket.AF_INET]
    v6 = [plain_ip(str(entry[4][0])) for entry in found if entry[0] == socket.AF_INET6]
    if family == "ALL":
        chosen = v6 + v4
    elif family in ("V4_ONLY", "V4_PREFERRED"):
        chosen = v4 or ([] if family == "V4_ONLY" else v6)
    else:
        chosen = v6 or ([] if family == "V6_ONLY" else v4)
    if not chosen:
        raise ResolveError("no address of the wanted family")
    return Resolution(tuple(dict.fromkeys(chosen)))
