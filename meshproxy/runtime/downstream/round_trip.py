"""How long the kernel's handshake with a client took, for the few formats that ask (`%DOWNSTREAM_CX_RTT%`)."""

from __future__ import annotations

import socket
import struct

from meshproxy.runtime.attach import LooseSocket

_RTT = struct.Struct("=68xI")  # linux/tcp.h: tcpi_rtt of struct tcp_info, in microseconds


def round_trip(accepted: LooseSocket) -> float:
    """Seconds; 0.0 where there is no TCP."""
    sock = socket.socket(accepted.family, accepted.type, 0, accepted.fileno())
    try:
        told = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _RTT.size)
    except OSError:
        return 0.0
    finally:
        sock.detach()
    return _RTT.unpack(told)[0] / 1_000_000 if len(told) == _RTT.size else 0.0
