"""What measured connections to hosts note in the stream whose request they carry, whichever protocol they speak."""

from __future__ import annotations

from meshproxy.plugin.stream_info import StreamInfo
from meshproxy.runtime.upstream.connections.http_pool import Pooled


def note_connection(info: StreamInfo, connection: Pooled) -> None:
    """A request goes out on `connection`: forget the times of the attempt before, and tell those of the connection."""
    info.first_upstream_tx = info.last_upstream_tx = 0.0
    info.first_upstream_body_rx = info.last_upstream_rx = 0.0
    info.pool_ready = 0.0
    info.upstream_connect_start = connection.connect_began
    if connection.tls is None:
        info.upstream_connect_complete, info.upstream_handshake_complete = connection.opened, 0.0
    else:
        info.upstream_connect_complete, info.upstream_handshake_complete = connection.handshake_began, connection.opened


def note_body(info: StreamInfo, now: float, end: bool) -> None:
    """A piece of a response's body has come; end: nothing follows it."""
    if not info.first_upstream_body_rx:
        info.first_upstream_body_rx = now
    if end:
        info.last_upstream_rx = now
