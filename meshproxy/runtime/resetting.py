"""Ending a connection by RST in place of FIN."""

from __future__ import annotations

import socket
import struct
from typing import Any

_AT_ONCE = struct.pack("ii", 1, 0)
"""SO_LINGER with a time of zero: close() sends RST instead of FIN."""


def end_by_reset(transport: Any) -> None:
    """Have `close()` of this transport send RST, whoever calls it."""
    raw = transport.get_extra_info("socket")
    if raw is not None:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)


def reset(transport: Any) -> None:
    """Send RST now; what is unsent is lost. Over TLS no end is announced before: there is none in good order."""
    end_by_reset(transport)
    getattr(transport, "drop", transport.abort)()
