"""Sends statistics to the sinks of the configuration.

Statistics are told by whoever owns the configuration, for all workers together, every flush interval. To servers of
statsd the values of histograms are told by the worker that noted them, when its interval ends.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

from meshproxy.address import PipeAddress, SocketAddress
from meshproxy.model.snapshot import Node
from meshproxy.model.stats_sink import MetricsServiceSink, OpenTelemetrySink, StatsdSink, StatsSink
from meshproxy.plugin.replies import ResetReason
from meshproxy.plugin.stream_info import StreamInfo
from meshproxy.plugin.upstream import TcpUpstream
from meshproxy.runtime.fetch import Fetcher
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

    def __init__(self, sink: StatsdSink) -> None:
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

    def __init__(self, sink: StatsdSink, clusters: FindsClusters) -> None:
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


class Lines:
    """A server of statsd."""

    def __init__(self, sink: StatsdSink, host: Fetcher, tags: TagProducer) -> None:
        self._writer = StatsdWriter(sink.dialect, sink.prefix, tags)
        self._way = Stream(sink, host.clusters) if sink.address is None else Datagrams(sink)

    def flush(self, snapshot: StatsSnapshot) -> None:
        self._way.send(self._writer.flush(snapshot))

    def samples(self, name: str, recorded: Mapping[float, int]) -> None:
        self._way.send(self._writer.samples(name, recorded))

    async def settle(self) -> None:
        """What was sent is on its way."""

    def close(self) -> None:
        self._way.close()


class Sink(Protocol):
    """Where statistics go."""

    def flush(self, snapshot: StatsSnapshot) -> None: ...

    async def settle(self) -> None:
        """Before the end: see that what was flushed is told."""

    def close(self) -> None: ...


def _make(sink: StatsSink, host: Fetcher, node: Node, tags: TagProducer) -> Sink:
    if isinstance(sink, StatsdSink):
        return Lines(sink, host, tags)
    from meshproxy.runtime.reporting.metric_sinks import MetricExports, MetricsStream  # few send metrics over gRPC

    if isinstance(sink, MetricsServiceSink):
        return MetricsStream(sink, host, node, tags)
    assert isinstance(sink, OpenTelemetrySink)
    return MetricExports(sink, host, tags)


class StatsSinks:
    """All sinks, as one process serves them; without any it does nothing."""

    def __init__(
        self, sinks: Sequence[StatsSink], host: Fetcher, node: Node, make_tags: Callable[[], TagProducer]
    ) -> None:
        tags = make_tags() if sinks else TagProducer()
        self._sinks = [_make(sink, host, node, tags) for sink in sinks]
        self._statistics: Statistics | None = None
        self._task: asyncio.Task[None] | None = None

    def listen(self, store: StatsStore) -> None:
        """Tell the values of the histograms of this store, from now on."""
        lines = [sink for sink in self._sinks if isinstance(sink, Lines)]

        def tell_samples(name: str, recorded: Mapping[float, int]) -> None:
            for sink in lines:
                sink.samples(name, recorded)

        if lines:
            store.tell_samples = tell_samples

    def begin(self, loop: asyncio.AbstractEventLoop, statistics: Statistics, interval: float) -> None:
        """Tell statistics, every `interval` seconds."""
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
        for sink in self._sinks:
            sink.flush(snapshot)

    async def end(self) -> None:
        """Tell a last time."""
        if self._task is not None:
            self._task.cancel()
            self._task = None
            await self._tell()
            for sink in self._sinks:
                await sink.settle()

    def close(self) -> None:
        """Let go of sockets and connections."""
        for sink in self._sinks:
            sink.close()
