"""A raw connection to a host: protocol object of its transport and the handle that the TCP proxy holds."""

from __future__ import annotations

import asyncio
import socket
import struct
from typing import TYPE_CHECKING, Any

from meshproxy.balance.host import Host
from meshproxy.plugin.replies import ResetReason
from meshproxy.plugin.upstream import TcpUpstream, TcpUpstreamSink
from meshproxy.runtime.connect import describe_failure, local_text, open_connection

if TYPE_CHECKING:
    from meshproxy.runtime.cluster import ActiveCluster

_RESET = struct.pack("ii", 1, 0)
"""SO_LINGER with a time of zero: close() sends RST instead of FIN."""


class RawUpstream(TcpUpstream):
    """Connects when made. What is written before the connection is there waits; the sink isn't told of room then."""

    host: Host

    def __init__(self, cluster: ActiveCluster, host: Host, sink: TcpUpstreamSink) -> None:
        self.cluster = cluster
        self.host = host
        self.transport: Any = None
        self._sink: TcpUpstreamSink | None = sink
        self._waiting: list[tuple[bytes, bool]] = []
        self._counted = False
        self._paused = False
        self._limits = cluster.limits()
        self._opening: asyncio.Task[None] | None = None
        stats = cluster.stats
        if not self._limits.connections.try_acquire():
            stats.upstream_cx_overflow.inc()
            cluster.worker.loop.call_soon(self._end, ResetReason.OVERFLOW, "")
            return
        self._counted = True
        stats.upstream_cx_total.inc()
        host.cx_total += 1
        self._rx = stats.upstream_cx_rx_bytes_total
        self._tx = stats.upstream_cx_tx_bytes_total
        self._opening = cluster.worker.loop.create_task(self._open())

    async def _open(self) -> None:
        stats = self.cluster.stats
        began = self.cluster.worker.loop.time()
        try:
            async with asyncio.timeout(self.cluster.config.connect_timeout):
                await open_connection(self.cluster, self.host, lambda: self)
            stats.upstream_cx_connect_ms.record((self.cluster.worker.loop.time() - began) * 1000)
        except TimeoutError:
            stats.upstream_cx_connect_timeout.inc()
            self._failed(ResetReason.CONNECT_TIMEOUT, "")
        except OSError as error:
            self._failed(ResetReason.CONNECT_FAILURE, describe_failure(error))

    def _failed(self, reason: ResetReason, detail: str) -> None:
        self.cluster.stats.upstream_cx_connect_fail.inc()
        self.cluster.stats.upstream_cx_destroy.inc()
        self.cluster.stats.upstream_rq_pending_failure_eject.inc()
        self.host.cx_connect_fail += 1
        self._end(reason, detail)

    def _end(self, reason: ResetReason | None, detail: str) -> None:
        if self._counted:
            self._counted = False
            self._limits.connections.release()
        sink, self._sink = self._sink, None
        if sink is not None:
            sink.on_upstream_closed(reason, detail)

    # What the transport calls.

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.connection_id = self.cluster.worker.next_connection_id()
        self.local_address = local_text(transport)
        transport.set_write_buffer_limits(high=self.cluster.config.per_connection_buffer_limit)
        self.cluster.stats.upstream_cx_active.inc()
        self.host.cx_active += 1
        if self._sink is None:
            transport.abort()
            return
        self._sink.on_upstream_connected(self)
        waiting, self._waiting = self._waiting, []
        for data, end in waiting:
            self.write(data, end)
        if self._paused:
            # uvloop begins to read when this returns, whatever was said in here; nothing is read before its next turn.
            self.cluster.worker.loop.call_soon(self._pause_if_still_wanted)

    def _pause_if_still_wanted(self) -> None:
        if self._paused and not self.transport.is_closing():
            self.transport.pause_reading()

    def data_received(self, data: bytes) -> None:
        self._rx.value += len(data)
        if self._sink is not None:
            self._sink.on_upstream_data(data, False)

    def eof_received(self) -> bool:
        if self._sink is not None:
            self._sink.on_upstream_data(b"", True)
        return True

    def pause_writing(self) -> None:
        if self._sink is not None:
            self._sink.on_upstream_blocked(True)

    def resume_writing(self) -> None:
        if self._sink is not None:
            self._sink.on_upstream_blocked(False)

    def connection_lost(self, error: Exception | None) -> None:
        self.cluster.stats.upstream_cx_active.dec()
        self.cluster.stats.upstream_cx_destroy.inc()
        self.host.cx_active -= 1
        self._end(None if error is None else ResetReason.CONNECTION_TERMINATION, "")

    # What the TCP proxy calls.

    def write(self, data: bytes, end: bool) -> None:
        transport = self.transport
        if transport is None:
            self._waiting.append((data, end))
            return
        if transport.is_closing():
            return
        if data:
            self._tx.value += len(data)
            transport.write(data)
        if end and transport.can_write_eof():
            transport.write_eof()

    def read_disable(self, disable: bool) -> None:
        if disable == self._paused:
            return
        self._paused = disable
        if self.transport is not None and not self.transport.is_closing():
            if disable:
                self.transport.pause_reading()
            else:
                self.transport.resume_reading()

    def close(self, *, reset: bool = False) -> None:
        self._sink = None
        if self.transport is not None:
            if reset:
                raw = self.transport.get_extra_info("socket")
                if raw is not None:
                    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                self.transport.abort()
            else:
                self.transport.close()
        elif self._opening is not None:
            self._opening.cancel()
            self._end(None, "")
