"""The address by which others know this machine, for the X-Forwarded-For entry of clients on loopback."""

from __future__ import annotations

import fcntl
import socket
import struct
from functools import cache

_SIOCGIFADDR = 0x8915  # linux/sockios.h: the IPv4 address of an interface


@cache
def node_ip() -> str:
    """The first IPv4 address of an interface other than loopback; "127.0.0.1" where there is none.

    Envoy: `Network::Utility::getLocalAddress`.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        for _, name in socket.if_nameindex():
            try:
                answer = fcntl.ioctl(probe, _SIOCGIFADDR, struct.pack("256s", name.encode()[:15]))
            except OSError:
                continue  # an interface without an IPv4 address
            address = socket.inet_ntoa(answer[20:24])
            if not address.startswith("127."):
                return address
    return "127.0.0.1"
