"""Sends spans to a collector: some at a time, and never more than a bounded number waiting or on their way.

(Envoy: zipkin ReporterImpl, the OpenTelemetry trace exporter.) Spans go when there are enough of them, or when the
interval is over. A collector that hangs costs `_ON_THE_WAY` requests of memory; what comes beyond is dropped and
counted.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from meshproxy.headers import RequestHeaders
from meshproxy.model.tracing import Flushing, OpenTelemetryProvider, ZipkinProvider
from meshproxy.plugin.context import FetchError, GrpcError, Timer
from meshproxy.runtime.fetch import fetch
from meshproxy.runtime.node_address import node_ip
from meshproxy.runtime.version import version
from meshproxy.telemetry.tracing.encode import encode_otlp, encode_zipkin
from meshproxy.telemetry.tracing.span import Span

if TYPE_CHECKING:
    import asyncio

    from meshproxy.runtime.worker import Worker

_ON_THE_WAY = 16
_EXPORT = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
_MAX_REPLY = 1 << 16


class TraceExporter:
    """The exporter of one provider in one worker."""

    def __init__(self, worker: Worker, provider: ZipkinProvider | OpenTelemetryProvider, flushing: Flushing) -> None:
        self._worker = worker
        self._provider = provider
        self._flushing = flushing
        self._max_waiting = sys.maxsize if isinstance(provider, ZipkinProvider) else provider.max_waiting
        self._spans: list[Span] = []
        self._timer: Timer | None = None
        self._sending: set[asyncio.Task[None]] = set()
        zipkin = isinstance(provider, ZipkinProvider)
        counter = worker.stats.scope("tracing.zipkin." if zipkin else "tracing.opentelemetry.").counter
        self._spans_sent = counter("spans_sent")
        self._timer_flushed = counter("timer_flushed")
        if zipkin:
            self._no_cluster = counter("reports_skipped_no_cluster")
            self._sent = counter("reports_sent")
            self._dropped = counter("reports_dropped")
            counter("reports_failed")  # shown, and never moved, as in Envoy
        else:
            self._spans_dropped = counter("spans_dropped")

    def report(self, span: Span) -> None:
        """Take a finished span."""
        if len(self._spans) >= self._max_waiting:
            self._count_dropped(1)
            return
        self._spans.append(span)
        if len(self._spans) >= self._flushing.at_least:
            self._flush()
        elif self._timer is None:
            self._timer = self._worker.schedule(self._flushing.interval, self._interval_over)

    def _interval_over(self) -> None:
        self._timer = None
        if self._spans:
            self._timer_flushed.inc()
            self._flush()

    def _flush(self) -> None:
        spans, self._spans = self._spans, []
        if len(self._sending) >= _ON_THE_WAY:
            self._count_dropped(len(spans))
            return
        task = self._worker.loop.create_task(self._send(spans))
        self._sending.add(task)
        task.add_done_callback(self._sending.discard)

    def _count_dropped(self, spans: int) -> None:
        if isinstance(self._provider, ZipkinProvider):
            self._dropped.inc()
        else:
            self._spans_dropped.add(spans)

    async def _send(self, spans: list[Span]) -> None:
        provider = self._provider
        if isinstance(provider, ZipkinProvider):
            await self._send_zipkin(provider, spans)
        else:
            await self._send_otlp(provider, spans)

    async def _send_zipkin(self, provider: ZipkinProvider, spans: list[Span]) -> None:
        if self._worker.clusters.get(provider.cluster) is None:
            self._no_cluster.inc()
            return
        body = encode_zipkin(spans, self._worker.node.cluster, node_ip())
        self._spans_sent.add(len(spans))
        request = RequestHeaders("POST", provider.path, provider.host, fields=(("content-type", "application/json"),))
        try:
            reply = await fetch(
                self._worker,
                provider.cluster,
                request,
                body,
                self._flushing.timeout,
                _MAX_REPLY,
                tell_address=True,
                chunked=True,
            )
        except FetchError:
            self._dropped.inc()  # as Envoy, whose client turns every failure into a response of 5xx
            return
        (self._sent if reply.status == 202 else self._dropped).inc()

    async def _send_otlp(self, provider: OpenTelemetryProvider, spans: list[Span]) -> None:
        body = encode_otlp(spans, provider.attributes, version())
        if provider.grpc is not None:
            from meshproxy.runtime.grpc_client import call  # only who exports so pays for the import

            try:
                await call(self._worker, provider.grpc, _EXPORT, body)
            except GrpcError:
                self._spans_dropped.add(len(spans))
            else:
                self._spans_sent.add(len(spans))
            return
        if not provider.cluster:
            return
        fields = (
            ("content-type", "application/x-protobuf"),
            ("user-agent", f"OTel-OTLP-Exporter-meshproxy/{version()}"),
            *provider.headers,
        )
        request = RequestHeaders("POST", provider.path, provider.host, fields=fields)
        try:
            reply = await fetch(
                self._worker,
                provider.cluster,
                request,
                body,
                provider.timeout,
                _MAX_REPLY,
                tell_address=True,
                chunked=True,
            )
        except FetchError:
            self._spans_dropped.add(len(spans))
            return
        if reply.status == 200:
            self._spans_sent.add(len(spans))
        else:
            self._spans_dropped.add(len(spans))
