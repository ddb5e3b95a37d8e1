"""Sends metrics over gRPC: a stream to a metrics service, calls of a collector of OpenTelemetry.

Nobody waits for them. A stream that has ended is begun anew with the next flush; while a collector hasn't answered,
what would be sent meanwhile is left out, so that a slow one holds no memory.
"""

from __future__ import annotations

import asyncio
import time

from envoy.config.core.v3 import base_pb2

from meshproxy.model.snapshot import Node
from meshproxy.model.stats_sink import MetricsServiceSink, OpenTelemetrySink
from meshproxy.plugin.context import GrpcError
from meshproxy.runtime.fetch import Fetcher
from meshproxy.runtime.grpc_client import GrpcStream, call, open_stream
from meshproxy.runtime.version import version
from meshproxy.telemetry import metrics_service, otlp_metrics
from meshproxy.telemetry.metrics import MetricReader
from meshproxy.telemetry.stats import StatsSnapshot
from meshproxy.telemetry.tags import TagProducer

_LAST_PATIENCE = 1.0


class MetricsStream:
    """One stream to a metrics service."""

    def __init__(self, sink: MetricsServiceSink, host: Fetcher, node: Node, tags: TagProducer) -> None:
        self._sink = sink
        self._host = host
        self._reader = MetricReader(sink.form, tags)
        described = base_pb2.Node(id=node.id, cluster=node.cluster)
        described.metadata.update(dict(node.metadata))
        self._node = described.SerializeToString()
        self._stream: GrpcStream | None = None
        self._introduced = False

    def flush(self, snapshot: StatsSnapshot) -> None:
        if self._stream is None:
            self._stream = open_stream(self._host, self._sink.service, metrics_service.METHOD, self)
            self._introduced = False
        if self._stream is None:
            return
        sink = self._sink
        for message in metrics_service.encode_metrics(
            self._reader.read(snapshot),
            time.time(),
            None if self._introduced else self._node,
            summaries=sink.summaries,
            histograms=sink.histograms,
            batch=sink.batch,
        ):
            self._stream.send(message)
            self._introduced = True

    async def settle(self) -> None:
        """Let what was sent get there."""
        await asyncio.sleep(0)

    def close(self) -> None:
        if self._stream is not None:
            self._stream.end()

    def on_message(self, data: bytes) -> None:
        """The service answers once, with nothing, when the stream ends."""

    def on_closed(self, status: int, message: str) -> None:
        self._stream = None


class MetricExports:
    """Calls of one collector."""

    def __init__(self, sink: OpenTelemetrySink, host: Fetcher, tags: TagProducer) -> None:
        self._sink = sink
        self._host = host
        self._reader = MetricReader(sink.form, tags)
        self._since = time.time()
        self._resource = (
            ("telemetry.sdk.language", "python"),
            ("telemetry.sdk.name", "meshproxy"),
            ("telemetry.sdk.version", version()),
            *sink.resource,
        )
        self._sending: asyncio.Task[None] | None = None

    def flush(self, snapshot: StatsSnapshot) -> None:
        if self._sending is not None and not self._sending.done():
            return
        now, form = time.time(), self._sink.form
        message = otlp_metrics.encode_request(self._reader.read(snapshot), form, self._resource, self._since, now)
        if form.counter_deltas or form.histogram_deltas:
            self._since = now
        self._sending = asyncio.ensure_future(self._send(message))

    async def _send(self, message: bytes) -> None:
        try:
            await call(self._host, self._sink.service, otlp_metrics.METHOD, message)
        except GrpcError:
            return  # the next one tells it all, or what came since

    async def settle(self) -> None:
        """Wait a little for the answer to the last call."""
        if self._sending is not None:
            await asyncio.wait([self._sending], timeout=_LAST_PATIENCE)

    def close(self) -> None:
        if self._sending is not None:
            self._sending.cancel()
