"""The far end of a raw connection, played by a test."""

from __future__ import annotations

from meshproxy.plugin.replies import ResetReason
from meshproxy.plugin.upstream import (
    Host,
    TcpUpstream,
    TcpUpstreamSink,
)


class ScriptedTcpUpstream(TcpUpstream):
    """The far end of a raw connection, played by a test.

    received: what was written to it. ended: the writer has half-closed. closed_by_proxy: "close" or "reset" once the
    proxy has closed it. paused: the proxy doesn't read.
    """

    def __init__(self, host: Host, sink: TcpUpstreamSink) -> None:
        self.host = host
        self.local_address = "192.0.2.2:50000"
        self.connection_id = 7
        self.received = b""
        self.ended = False
        self.paused = False
        self.closed_by_proxy = ""
        self._sink: TcpUpstreamSink | None = sink

    # What the proxy calls.

    def write(self, data: bytes, end: bool) -> None:
        self.received += data
        self.ended = self.ended or end

    def read_disable(self, disable: bool) -> None:
        self.paused = disable

    def close(self, *, reset: bool = False) -> None:
        self._sink = None
        self.closed_by_proxy = "reset" if reset else "close"

    # What a test calls.

    def connected(self) -> None:
        """The connection is there."""
        if self._sink is not None:
            self._sink.on_upstream_connected(self)

    def send(self, data: bytes, end: bool = False) -> None:
        """Send bytes to the proxy; `end` half-closes."""
        if self._sink is not None:
            self._sink.on_upstream_data(data, end)

    def blocks(self, blocked: bool) -> None:
        """The proxy's buffer for this side is full (True), or empty again."""
        if self._sink is not None:
            self._sink.on_upstream_blocked(blocked)

    def close_by_peer(self, reason: ResetReason | None = None, detail: str = "") -> None:
        """The connection is over; `reason` None: in order."""
        sink, self._sink = self._sink, None
        if sink is not None:
            sink.on_upstream_closed(reason, detail)
