"""Where a redirected connection was going before the packet filter brought it here.

After REDIRECT the kernel answers SO_ORIGINAL_DST with the address the client asked for; the option has the same number,
80, for both families, but another level. The level goes by the family of the *peer's* address: on a dual-stack socket
an IPv4 client needs the IPv4 level. Under TPROXY, and with eBPF's sk_lookup, nothing was rewritten and the socket's
own name is the original destination.
"""

from __future__ import annotations

import socket
import struct

_SO_ORIGINAL_DST = 80  # linux/netfilter_ipv4.h; IP6T_SO_ORIGINAL_DST in linux/netfilter_ipv6/ip6_tables.h
_V4_MAPPED = "::ffff:"


def plain_ip(ip: str) -> str:
    """An address without the IPv4-mapped form and without a zone."""
    if ip.startswith(_V4_MAPPED) and "." in ip:
        return ip[len(_V4_MAPPED) :]
    return ip.partition("%")[0]


def kernel_destination(accepted: socket.socket, peer_ip: str) -> tuple[str, int] | None:
    """(ip, port) that the kernel remembers for this connection; None when it rewrote nothing."""
    try:
        if ":" not in peer_ip:
            raw = accepted.getsockopt(socket.SOL_IP, _SO_ORIGINAL_DST, 16)
            (port,) = struct.unpack_from("!H", raw, 2)
            return socket.inet_ntop(socket.AF_INET, raw[4:8]), port
        raw = accepted.getsockopt(socket.IPPROTO_IPV6, _SO_ORIGINAL_DST, 28)
        (port,) = struct.unpack_from("!H", raw, 2)
        return plain_ip(socket.inet_ntop(socket.AF_INET6, raw[8:24])), port
    except OSError:  # ENOENT: no connection tracking entry, so nothing was rewritten; or the module isn't there
        return None
