"""On whose behalf a connection to a host is opened, said by the PROXY protocol.

The header names the client's connection, so connections of different clients can't be shared: what it says is part of
what a pool is found by (`ServerName.proxy`). A connection that nobody asked for (health checks, calls of our own) is
the proxy's own: version 2 says LOCAL, version 1, which has no such thing, the addresses of the socket.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterable

from meshproxy.codec.proxy_header import LOCAL_V2, encode_v1, encode_v2
from meshproxy.model.proxy_header import ProxyHeaderOptions, Tlv
from meshproxy.plugin.stream_info import StreamInfo, split_address

_UNSPECIFIED = frozenset(("0.0.0.0", "::"))


class ProxyHeader:
    """The bytes of a header. Those with the same `key` may share connections."""

    __slots__ = ("data", "key")

    def __init__(self, data: bytes, key: object) -> None:
        self.data = data
        self.key = key

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ProxyHeader) and self.key == other.key

    def __hash__(self) -> int:
        return hash(self.key)


def proxy_header(options: ProxyHeaderOptions, info: StreamInfo | None) -> ProxyHeader | None:
    """The header for a stream or a connection; None: it isn't known who the client is."""
    if info is None or (info.hides_addresses and info.connection.proxy_tlvs is None):
        return None
    connection = info.connection
    ends = split_address(connection.remote_address), split_address(connection.local_address)
    if not (ends[0][0] and ends[1][0]):
        return None  # a Unix socket
    if not options.unspecified and not _UNSPECIFIED.isdisjoint((ends[0][0], ends[1][0])):
        return None
    if options.version == 1:
        return ProxyHeader(encode_v1(*ends), ends)
    tlvs = tuple(_entries(options, info))
    data = encode_v2(*ends, tlvs)
    if data is None:
        data = encode_v2(*ends)
        assert data is not None
    return ProxyHeader(data, (ends, tlvs) if options.entries_part_pools else ends)


def _entries(options: ProxyHeaderOptions, info: StreamInfo) -> Iterable[Tlv]:
    """Ours, then those of the client that are passed on and that ours don't take the place of."""
    bare = StreamInfo()  # of formats only what they say of the connection is known here, as in Envoy
    bare.connection = info.connection
    own = {kind for kind, _ in options.added}
    for kind, make in options.added:
        yield kind, make(bare)
    for kind, value in info.connection.proxy_tlvs or () if info.own_tlvs is None else info.own_tlvs:
        if kind not in own and (options.passed is None or kind in options.passed):
            yield kind, value


async def send_header(
    loop: asyncio.AbstractEventLoop, sock: socket.SocketType, options: ProxyHeaderOptions, header: ProxyHeader | None
) -> int:
    """Write it on a socket that has just been connected. Returns how many bytes it has. Raises OSError."""
    if header is not None:
        data = header.data
    elif options.version == 2 or sock.family == socket.AF_UNIX:
        data = LOCAL_V2 if options.version == 2 else b"PROXY UNKNOWN\r\n"
    else:
        data = encode_v1(sock.getsockname()[:2], sock.getpeername()[:2])
    await loop.sock_sendall(sock, data)  # type: ignore[arg-type]  # it only sends
    return len(data)
