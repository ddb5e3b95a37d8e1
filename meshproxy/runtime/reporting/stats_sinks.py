"""Sends statistics to the sinks of the configuration.

Counters and gauges are told by whoever owns the configuration, for all workers together, every flush interval. The
values of histograms are told by the worker that noted them, when its interval ends.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

from meshproxy.address import PipeAddress, SocketAddress
from meshproxy.model.stats_sink import StatsSink
from meshproxy.plugin.replies import ResetReason
from meshproxy.plugin.stream_info import StreamInfo
from meshproxy.plugin.upstream import TcpUpstream
from meshproxy.telemetry.stats import StatsSnapshot, StatsStore
from meshproxy.telemetry.statsd import StatsdWriter, datagrams
from meshproxy.telemetry.tags import TagProducer

Statistics = Callable[[], Awaitable[StatsSnapshot]]
"""Those of all processes, as they are now."""

_MAX_WAITING = 16 * 1024 * 1024
"""Bytes that wait for a slow server of TCP; beyond them a flush is dropped whole (Envoy: the same)."""


class FindsClusters(Protocol):
    """The live clusters, by name."""

    def get(self, name: str) -> Any: ...


class Datagrams:
    """Sends each line, or as many as fit, as a datagram. What can't be sent is lost, as datagrams are."""

    def __init__(self, sink: StatsSink) -> None:
        self._max_bytes = sink.max_bytes
        address = sink.address
        if isinstance(address, PipeAddress):
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
            self._to: Any = address.bind_name
        else:
            assert isinstance(address, SocketAddress)
            family = socket.AF_INET6 if address.is_v6 else socket.AF_INET
            self._socket = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
            self._to = (address.ip, address.port)

    def send(self, lines: Iterable[str]) -> None:
        for data in datagrams(lines, self._max_bytes):
            try:
                self._socket.sendto(data, self._to)
            except OSError:
                return  # nobody is there, or there is no room: the rest would fare alike

    def close(self) -> None:
        self._socket.close()


class Stream:
    """Lines over a TCP connection to a host of a cluster; made when first needed, and anew when it was lost."""

    def __init__(self, sink: StatsSink, clusters: FindsClusters) -> None:
        self._cluster = sink.cluster
        self._clusters = clusters
        self._upstream: TcpUpstream | None = None
        self._blocked = False

    def send(self, lines: Iterable[str]) -> None:
        data = "".join([f"{line}\n" for line in lines]).encode("utf-8", "replace")
        if not data or self._blocked or len(data) > _MAX_WAITING:
            return
        if self._upstream is None:
            cluster = self._clusters.get(self._cluster)
            host = cluster.pick(StreamInfo()) if cluster is not None else None
            if host is None:
                return
            self._upstream = cluster.connect(host, self)
        self._upstream.write(data, False)

    def on_upstream_connected(self, upstream: TcpUpstream) -> None:
        """The connection is there; what was written goes out by itself."""

    def on_upstream_data(self, data: bytes, end: bool) -> None:
        """A server of statsd has nothing to say, but it may close."""
        if end:
            self.close()

    def on_upstream_blocked(self, blocked: bool) -> None:
        self._blocked = blocked

    def on_upstream_closed(self, reason: ResetReason | None, detail: str) -> None:
        self._upstream = None
        self._blocked = False

    def close(self) -> None:
        upstream, self._upstream = self._upstream, None
        if upstream is not None:
            upstream.close()


class StatsSinks:
    """All sinks, as one process serves them; without any it does nothing."""

    def __init__(
        self, sinks: Sequence[StatsSink], clusters: FindsClusters, make_tags: Callable[[], TagProducer]
    ) -> None:
        tags = make_tags() if sinks else TagProducer()
        self._sinks = [
            (
                StatsdWriter(sink.dialect, sink.prefix, tags),
                Stream(sink, clusters) if sink.address is None else Datagrams(sink),
            )
            for sink in sinks
        ]
        self._statistics: Statistics | None = None
        self._task: asyncio.Task[None] | None = None

    def listen(self, store: StatsStore) -> None:
        """Tell the values of the histograms of this store, from now on."""
        if self._sinks:
            store.tell_samples = self._tell_samples

    def _tell_samples(self, name: str, recorded: Mapping[float, int]) -> None:
        for writer, way in self._sinks:
            way.send(writer.samples(name, recorded))

    def begin(self, loop: asyncio.AbstractEventLoop, statistics: Statistics, interval: float) -> None:
        """Tell counters and gauges, every `interval` seconds."""
        if self._sinks:
            self._statistics = statistics
            self._task = loop.create_task(self._keep_telling(interval))

    async def _keep_telling(self, interval: float) -> None:
        while True:
            await asyncio.sleep(interval)
            await self._tell()

    async def _tell(self) -> None:
        assert self._statistics is not None
        snapshot = await self._statistics()
        for writer, way in self._sinks:
            way.send(writer.flush(snapshot))

    async def end(self) -> None:
        """Tell a last time."""
        if self._task is not None:
            self._task.cancel()
            self._task = None
            await self._tell()

    def close(self) -> None:
        """Let go of sockets and connections."""
        for _, way in self._sinks:
            way.close()
