"""`envoy.filters.network.tcp_proxy`: carries a connection's bytes to a cluster and back.

Theory. Two pipes and no buffers of our own: what is read from one side is written to the other in the same call, and
when one side can't take more the other isn't read. The client isn't read either until the upstream is connected, so
the kernel holds what it sends meanwhile; `max_early_data_bytes` has it read all the same, up to a limit, and then its
first bytes may be what a connect waits for (`tcp_proxy_early`). Each direction ends by itself (half-close); when both
have ended, both sockets are closed.

A failed connect is tried again, on another pick, up to `max_connect_attempts` times; then the client is closed. It
sees an RST where the kernel still holds unread data of it, which it does if it has spoken: as with Envoy.

Invariants:
- the client is read-disabled once while connecting (with early data: once they are too many), and once while the
  upstream is blocked;
- the log is written once when the connection is over; `_finished` is set first by whoever ends it;
- every piece of data moves `_last`, and only the idle timer looks at it, when it fires: data re-arm no timer.
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TYPE_CHECKING, ClassVar

from meshproxy.plugin.context import Connection, FactoryContext, Timer
from meshproxy.plugin.network import NetworkFilter
from meshproxy.plugin.replies import LocalReply, ResetReason
from meshproxy.plugin.stream_info import StreamInfo
from meshproxy.plugin.upstream import Cluster, TcpUpstream
from meshproxy_filters.filter_state_values import TCP_CLUSTER
from meshproxy_filters.network.tcp_proxy_config import TcpProxyConfig
from meshproxy_filters.network.tcp_proxy_early import EarlyData
from meshproxy_filters.network.tcp_tunnel import HttpTunnel

if TYPE_CHECKING:
    from meshproxy.plugin.view import ConfigView


_FAILURES = {"URX": 0, "UH": 1, "UO": 2, "NC": 3}
"""Envoy's numbers for why there is no upstream, by the flag: no connect, no host, over a limit, no cluster."""


class TcpProxy(NetworkFilter[TcpProxyConfig]):
    """One downstream connection and its upstream; the sink of that upstream."""

    terminal: ClassVar[bool] = True

    connection: Connection
    info: StreamInfo
    _upstream: TcpUpstream | None = None
    _cluster: Cluster
    _early: EarlyData | None = None
    _held: bool = False
    _connected: bool = False
    _attempts: int = 0
    _connect_began: float = 0.0
    _client_ended: bool = False
    _upstream_ended: bool = False
    _upstream_blocked: bool = False
    _finished: bool = False
    _duration_timer: Timer | None = None
    _idle_timer: Timer | None = None
    _log_timer: Timer | None = None
    _retry_timer: Timer | None = None
    _last: float = 0.0

    @property
    def stream_info(self) -> StreamInfo:
        """Whose connection this is, for what the upstream is told of it."""
        return self.info

    @classmethod
    def compile(cls, view: ConfigView, context: FactoryContext) -> TcpProxyConfig:
        return TcpProxyConfig.compile(view, context)

    # What the client's connection calls.

    def on_new_connection(self, connection: Connection) -> Awaitable[None] | None:
        self.connection = connection
        self.info = connection.stream
        self._now = connection.clock.now
        self._last = self._now()
        config = self.config
        config.stats.cx_total.value += 1
        if config.own_tlvs is not None:
            self.info.own_tlvs = config.own_tlvs.merged(self.info)
        self._rx_total = config.stats.rx_bytes_total
        self._tx_total = config.stats.tx_bytes_total
        if config.max_duration:
            longest = config.max_duration * (1 + config.duration_jitter * self.context.rng.random())
            self._duration_timer = connection.schedule(longest, self._duration_reached)
        if config.log_on_start:
            self._log("TcpConnectionStart")
        early = config.early
        if early is None:
            self._hold(True)
            return self._connect()
        self._early = EarlyData(early)
        if not early.starts:
            return self._connect()
        self._watch_idle()
        return None

    def on_data(self, data: bytes, end: bool, connection: Connection) -> None:
        size = len(data)
        self.info.bytes_received += size
        self._rx_total.value += size
        self._last = self._now()
        if self._early is not None:
            self._receive_early(self._early, data, end)
            return
        upstream = self._upstream
        if upstream is not None:
            upstream.write(data, end)
        if end:
            self._client_ended = True
            if self._upstream_ended:
                self._close()
        if self.config.check_drain:
            self._close_if_leaving()

    def _receive_early(self, early: EarlyData, data: bytes, end: bool) -> None:
        """There is no upstream yet; an end without a byte is nothing that one is wanted for."""
        self.config.stats.early_data.value += 1
        if early.keep(data, end):
            self._hold(True)
        if data and early.awaited:
            early.awaited = False
            self._reconnect()

    def _hold(self, held: bool) -> None:
        if held is not self._held:
            self._held = held
            self.connection.read_disable(held)

    def _close_if_leaving(self) -> None:
        if self.connection.leaving_now and not self._finished:
            self.config.stats.drain_close.value += 1
            self._close()

    def on_write_blocked(self, blocked: bool, connection: Connection) -> None:
        if self._upstream is not None:
            self._upstream.read_disable(blocked)

    def on_refused(self, connection: Connection) -> None:
        self.connection = connection
        self.info = connection.stream
        self._now = connection.clock.now
        self.config.stats.cx_total.value += 1
        self._over()

    def on_close(self, connection: Connection) -> None:
        if self._upstream is not None:
            upstream, self._upstream = self._upstream, None
            upstream.close(reset=connection.info.detected_close_type == "RemoteReset")
        if not self._connected:
            self._forget_received()
        self._over()

    # The upstream connection.

    def _connect(self) -> Awaitable[None] | None:
        """Pick a cluster and a host and open a connection; close the client where that can't be.

        Returns what has to be waited for where the cluster must find out about the host first.
        """
        info = self.info
        state = info.filter_state
        chosen = state.get(TCP_CLUSTER) if state else None
        name, info.lb_metadata = self.config.choose_cluster(self.context.rng)
        if chosen:
            name = str(chosen)
        cluster = self.connection.clusters.get(name)
        if cluster is None:
            self.config.stats.no_route.value += 1
            self._give_up("NC")
            return None
        self._cluster = cluster
        info.upstream_cluster = name
        info.upstream_cluster_alt = cluster.config.alt_stat_name
        info.upstream_cluster_metadata = cluster.config.metadata
        if self.config.hash_of is not None:
            info.lb_hash = self.config.hash_of(info)
        if cluster.forwarding is not None:
            found = cluster.forwarding.look_up(info)
            if found is not None:
                return self._open_later(found)
        self._open(cluster)
        return None

    async def _open_later(self, found: LocalReply | Awaitable[LocalReply | None]) -> None:
        reply = found if isinstance(found, LocalReply) else await found
        if reply is not None:
            self._give_up("UH")
        elif not self._finished and not self.connection.closed:
            self._open(self._cluster)

    def _open(self, cluster: Cluster) -> None:
        info = self.info
        host = cluster.pick(info)
        if host is None:
            self._give_up("UH")
            return
        self._attempts += 1
        info.attempt_count = self._attempts
        if not self._connect_began:
            self._connect_began = self._now()
        tunnel = self.config.tunnel
        if tunnel is None:
            self._upstream = cluster.connect(host, self)
        else:
            self._upstream = through = HttpTunnel(tunnel, host, self, info)
            through.start(cluster, self.context.rng)

    def on_upstream_connected(self, upstream: TcpUpstream) -> None:
        self._upstream = upstream
        self._connected = True
        self._note_host(upstream)
        info = self.info
        info.upstream_local_address = upstream.local_address
        info.upstream_remote_address = upstream.host.text
        info.upstream_connection_id = upstream.connection_id
        info.upstream_tls = upstream.tls
        info.upstream_connect_complete = self._last = self._now()
        info.upstream_connect_start = self._connect_began
        info.pool_ready = self._last - self._connect_began
        config = self.config
        self._watch_idle()
        if config.log_on_connected:
            self._log("TcpUpstreamConnected")
        if config.log_interval:
            self._log_timer = self.connection.schedule(config.log_interval, self._log_periodically)
        early, self._early = self._early, None
        if early is not None and (early.data or early.ended):
            self._client_ended = early.ended
            upstream.write(early.data, early.ended)
        self._hold(False)

    def on_upstream_data(self, data: bytes, end: bool) -> None:
        size = len(data)
        self.info.bytes_sent += size
        self._tx_total.value += size
        self._last = self._now()
        self.connection.write(data, end)
        if end:
            self._upstream_ended = True
            if self._client_ended:
                self._close()
        if self.config.check_drain:
            self._close_if_leaving()

    def on_upstream_blocked(self, blocked: bool) -> None:
        if blocked is self._upstream_blocked:
            return
        self._upstream_blocked = blocked
        stats = self.config.stats
        (stats.paused_reading if blocked else stats.resumed_reading).value += 1
        self.connection.read_disable(blocked)

    def on_upstream_closed(self, reason: ResetReason | None, detail: str) -> None:
        upstream, self._upstream = self._upstream, None
        if self._finished:
            return
        if not self._connected:
            self.info.pool_ready = self._now() - self._connect_began
            self._connect_failed(upstream, reason, detail)
            return
        if reason is not None:
            self.info.add_flag("UR")
            self.info.upstream_detected_close_type = "RemoteReset"
            self.connection.info.detected_close_type = "LocalReset"
        self._finish(reset=reason is not None)

    def _connect_failed(self, upstream: TcpUpstream | None, reason: ResetReason | None, detail: str) -> None:
        if reason is ResetReason.OVERFLOW:
            self.info.attempt_count = self._attempts - 1
            self._give_up("UO")
            return
        if upstream is not None:
            self._note_host(upstream)
        self.info.add_flag("UF")
        self.info.upstream_transport_failure_reason = detail
        if self._attempts < self.config.max_connect_attempts:
            self._connect_again()
        else:
            self._cluster.stats.upstream_cx_connect_attempts_exceeded.value += 1
            self._give_up("URX")

    def _connect_again(self) -> None:
        back_off = self.config.back_off
        if back_off is None:
            self._reconnect()
            return
        longest = min(back_off[0] * 2 ** min(self._attempts - 1, 32), back_off[1])
        self._retry_timer = self.connection.schedule(longest * self.context.rng.random(), self._reconnect)

    def _reconnect(self) -> None:
        later = self._connect()
        if later is not None:
            self.connection.run(later)

    def _note_host(self, upstream: TcpUpstream) -> None:
        host = upstream.host
        info = self.info
        info.upstream_host = host.text
        info.upstream_host_name = host.hostname
        info.upstream_host_metadata = host.metadata
        info.hosts_attempted = (*info.hosts_attempted, host.text)
        info.host_names_attempted = (*info.host_names_attempted, host.hostname)
        info.connection_ids_attempted = (*info.connection_ids_attempted, upstream.connection_id)

    # The end.

    def _give_up(self, flag: str) -> None:
        """There is no upstream. What the client has sent meanwhile counts as not read: Envoy wouldn't have."""
        self.info.add_flag(flag)
        self.connection.info.local_close_reason = f"tcp_initializion_failure:{_FAILURES[flag]}"
        self._forget_received()
        self._finish()

    def _forget_received(self) -> None:
        if self._early is not None:
            return
        self._rx_total.value -= self.info.bytes_received
        self.info.bytes_received = 0

    def _time_out(self, reason: str) -> None:
        """Close both ends. reason: in Envoy's words."""
        self.connection.info.local_close_reason = self.info.upstream_local_close_reason = reason
        self._close()

    def _close(self) -> None:
        """Both directions have ended in order."""
        upstream, self._upstream = self._upstream, None
        if upstream is not None:
            upstream.close()
        self._finish()

    def _finish(self, reset: bool = False) -> None:
        """Close the client; it is told with an RST if the upstream was lost that way."""
        self._over()
        self.connection.close(reset=reset)

    def _over(self) -> None:
        if self._finished:
            return
        self._finished = True
        for timer in (self._duration_timer, self._idle_timer, self._log_timer, self._retry_timer):
            if timer is not None:
                timer.cancel()
        self.info.end = self._now()
        self._log("TcpConnectionEnd")

    def _log(self, kind: str) -> None:
        if self.config.access_logs:
            info = self.info
            info.access_log_type = kind
            if self._connected:
                info.downstream_wire_bytes_received = info.upstream_wire_bytes_sent = info.bytes_received
                info.downstream_wire_bytes_sent = info.upstream_wire_bytes_received = info.bytes_sent
            self.connection.log_access(self.config.access_logs, self.info)

    def _log_periodically(self) -> None:
        self._log("TcpPeriodic")
        self._log_timer = self.connection.schedule(self.config.log_interval, self._log_periodically)

    # Timeouts.

    def _watch_idle(self) -> None:
        if self.config.idle_timeout and self._idle_timer is None:
            self._idle_timer = self.connection.schedule(self.config.idle_timeout, self._check_idle)

    def _check_idle(self) -> None:
        left = self._last + self.config.idle_timeout - self._now()
        if left > 0.001:
            self._idle_timer = self.connection.schedule(left, self._check_idle)
            return
        self.config.stats.idle_timeout.value += 1
        self._time_out("tcp_session_idle_timeout")

    def _duration_reached(self) -> None:
        self.config.stats.max_duration.value += 1
        self.info.add_flag("DT")
        self._time_out("max_connection_duration_reached")
