"""A raw connection to a host: protocol object of its transport and the handle that the TCP proxy holds.

    made -> waits for the connection -> connected -> one side has ended, or both -> closed

Invariants:
- what is counted (connection, waiting or active request) is given back once, in `_end`, however the connection ends;
- the sink hears nothing before its constructor's caller has returned, and nothing after it has closed us;
- bytes written before the connection is there go out first and in order.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from meshproxy.balance.host import Host
from meshproxy.model.proxy_header import ProxyHeaderOptions
from meshproxy.plugin.peer_exchange import PeerPart, TooLong
from meshproxy.plugin.replies import ResetReason
from meshproxy.plugin.upstream import TcpUpstream, TcpUpstreamSink
from meshproxy.plugin.workload import NO_PEER, UPSTREAM_PEER, Peer, Workload
from meshproxy.runtime.resetting import reset as send_reset
from meshproxy.runtime.time_limit import TimeLimit
from meshproxy.runtime.upstream.connections.auto_sni import NO_NAME, ServerName, upstream_source
from meshproxy.runtime.upstream.connections.connect import (
    TransportFailure,
    connect_at_once,
    describe_failure,
    local_text,
    open_connection,
)
from meshproxy.runtime.upstream.connections.internal_connection import shared_state
from meshproxy.runtime.upstream.connections.proxy_header import proxy_header

if TYPE_CHECKING:
    from meshproxy.runtime.upstream.cluster import ActiveCluster


class RawUpstream(TcpUpstream):
    """Connects when made. What is written before the connection is there waits; the sink isn't told of room then.

    As in Envoy it counts as a waiting request until it is connected and as an active one from then on, so that circuit
    breakers and the least-request policy see connections as they see requests.
    """

    host: Host

    def __init__(
        self, cluster: ActiveCluster, host: Host, sink: TcpUpstreamSink, header: ProxyHeaderOptions | None = None
    ) -> None:
        self.cluster = cluster
        self.host = host
        self.transport: Any = None
        self._sink: TcpUpstreamSink | None = sink
        self._waiting: list[tuple[bytes, bool]] = []
        self._first = b""
        self._peer: PeerPart | None = None
        if header is not None:
            written = proxy_header(header, getattr(sink, "stream_info", None))
            self._first = written.data if written is not None else b""
        self._counted = self._pending = self._active = False
        self._paused = False
        self._closing = self._ended_by_host = False
        self._opened = 0.0
        self._limits = cluster.limits()
        self._opening: asyncio.Task[None] | None = None
        stats = cluster.stats
        if not self._limits.connections.try_acquire():
            stats.upstream_cx_overflow.inc()
            cluster.worker.loop.call_soon(self._end, ResetReason.OVERFLOW, "")
            return
        self._counted = True
        if not self._limits.pending_requests.try_acquire():
            stats.upstream_rq_pending_overflow.inc()
            cluster.worker.loop.call_soon(self._end, ResetReason.OVERFLOW, "")
            return
        self._pending = True
        stats.upstream_rq_pending_total.inc()
        stats.upstream_rq_pending_active.inc()
        stats.upstream_cx_total.inc()
        host.cx_total += 1
        self._rx = stats.upstream_cx_rx_bytes_total
        self._tx = stats.upstream_cx_tx_bytes_total
        if connect_at_once(cluster, host, self, self._name()):
            stats.upstream_cx_connect_ms.record(0)
        else:
            self._opening = cluster.worker.loop.create_task(self._open())

    async def _open(self) -> None:
        stats = self.cluster.stats
        began = self.cluster.worker.loop.time()
        try:
            async with TimeLimit(self.cluster.worker.loop, self.cluster.config.connect_timeout):
                await open_connection(self.cluster, self.host, lambda: self, self._name())
            stats.upstream_cx_connect_ms.record((self.cluster.worker.loop.time() - began) * 1000)
        except TimeoutError:
            stats.upstream_cx_connect_timeout.inc()
            self._failed(ResetReason.CONNECT_TIMEOUT, "")
        except OSError as error:
            self._failed(ResetReason.CONNECT_FAILURE, describe_failure(error, self.host.address))

    def _name(self) -> ServerName:
        """With the client's address, where the cluster's transport socket tells it or the connection comes from it."""
        options = self.cluster.proxy_header(self.host) if self.cluster.proxies else None
        name = NO_NAME
        if options is not None:
            name = name._replace(proxy=proxy_header(options, getattr(self._sink, "stream_info", None)))
        if self.cluster.worker.sources_vary:
            name = name._replace(source=upstream_source(self._sink))
        if self.cluster.passes_state:
            name = name._replace(shared=shared_state(getattr(self._sink, "stream_info", None)))
        return name

    def _failed(self, reason: ResetReason, detail: str) -> None:
        if self._sink is None:
            return  # closed before this came
        stats = self.cluster.stats
        stats.upstream_cx_connect_fail.inc()
        stats.count_destroy(remote=reason is ResetReason.CONNECT_FAILURE, active=False)
        stats.upstream_rq_pending_failure_eject.inc()
        self.host.cx_connect_fail += 1
        if self.host.monitor is not None:
            self.host.monitor.on_failure(connected=False, timeout=reason is ResetReason.CONNECT_TIMEOUT)
        self._end(reason, detail)

    def _end(self, reason: ResetReason | None, detail: str) -> None:
        """Give back what is counted, once, and tell the sink unless it has closed us."""
        if self._counted:
            self._counted = False
            self._limits.connections.release()
        self._leave_queue()
        if self._active:
            self._active = False
            self._limits.requests.release()
            self.host.rq_active -= 1
        self.cluster.forget_raw(self)
        sink, self._sink = self._sink, None
        if sink is not None:
            sink.on_upstream_closed(reason, detail)

    def _leave_queue(self) -> None:
        if self._pending:
            self._pending = False
            self._limits.pending_requests.release()
            self.cluster.stats.upstream_rq_pending_active.dec()

    # What the transport calls.

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.connection_id = self.cluster.worker.next_connection_id()
        self.local_address = local_text(transport, self.host)
        transport.set_write_buffer_limits(high=self.cluster.config.per_connection_buffer_limit)
        self.cluster.stats.upstream_cx_active.inc()
        self.host.cx_active += 1
        self._opened = self.cluster.worker.loop.time()
        self._leave_queue()
        if self._sink is None:
            self._closing = True
            transport.abort()
            return
        self._active = True
        self._limits.requests.acquire()  # counted and, as in Envoy, not limited
        if self.host.monitor is not None:
            self.host.monitor.on_connected()
        self.host.rq_total += 1
        self.host.rq_active += 1
        if self._first:
            self.write(self._first, False)
        exchange = self.cluster.config.peer_exchange
        if exchange is not None and exchange.protocol and self._alpn() == exchange.protocol:
            self._peer = PeerPart(exchange.labels)
            self.write(exchange.own, False)
        elif exchange is not None:
            self._remember_peer(None)
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

    def _alpn(self) -> str | None:
        tls = self.transport.get_extra_info("ssl_object")
        return None if tls is None else tls.selected_alpn_protocol()

    def data_received(self, data: bytes) -> None:
        self._rx.value += len(data)
        if self._peer is not None:
            data = self._without_peer_part(self._peer, data)
            if not data:
                return
        if self._sink is not None:
            self._sink.on_upstream_data(data, False)

    def _without_peer_part(self, peer: PeerPart, data: bytes, end: bool = False) -> bytes:
        try:
            data = peer.feed(data, end)
        except TooLong:
            self.transport.abort()
            return b""
        if peer.over:
            self._peer = None
            self._remember_peer(peer.workload)
        return data

    def _remember_peer(self, workload: Workload | None) -> None:
        info = getattr(self._sink, "stream_info", None)
        if info is not None:
            told = Peer(workload).under(UPSTREAM_PEER) if workload else {NO_PEER: True}
            info.upstream_filter_state = {**(info.upstream_filter_state or {}), **told}

    def eof_received(self) -> bool:
        self._ended_by_host = True
        rest = self._without_peer_part(self._peer, b"", True) if self._peer is not None else b""
        if self._sink is not None:
            self._sink.on_upstream_data(rest, True)
        return True

    def pause_writing(self) -> None:
        if self._sink is not None:
            self._sink.on_upstream_blocked(True)

    def resume_writing(self) -> None:
        if self._sink is not None:
            self._sink.on_upstream_blocked(False)

    def connection_lost(self, error: Exception | None) -> None:
        stats = self.cluster.stats
        stats.upstream_cx_active.dec()
        stats.count_destroy(remote=self._ended_by_host or not self._closing, active=self._active)
        stats.upstream_cx_length_ms.record(int((self.cluster.worker.loop.time() - self._opened) * 1000))
        self.host.cx_active -= 1
        # What TLS can't read ends the connection as its host's own end would, as far as its client is concerned.
        orderly = error is None or isinstance(error, TransportFailure)
        self._end(None if orderly else ResetReason.CONNECTION_TERMINATION, "")

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

    def end(self) -> None:
        """Close it because its host isn't well; the sink hears of it."""
        sink = self._sink
        self.close()
        if sink is not None:
            sink.on_upstream_closed(None, "")

    def close(self, *, reset: bool = False) -> None:
        self._sink = None
        self._closing = True
        if self.transport is not None:
            if reset:
                send_reset(self.transport)
            else:
                self.transport.close()
        else:
            if self._opening is not None:
                self._opening.cancel()
            if self._pending:
                self.cluster.stats.upstream_rq_cancelled.inc()
            self._end(None, "")
