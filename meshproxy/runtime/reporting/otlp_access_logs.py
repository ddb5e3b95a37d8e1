"""Access logs that go to a collector of OpenTelemetry, a call for each batch.

Records are gathered and sent at the configured size or interval. No more than a bounded number of calls is under way;
what comes beyond that, or fails, is dropped and counted: a log must not hold up what it tells of.
"""

from __future__ import annotations

import asyncio

from meshproxy.headers import RequestHeaders
from meshproxy.model.otlp_log import OtlpHttp, OtlpLogService
from meshproxy.plugin.context import FetchError, GrpcError
from meshproxy.plugin.stats import StatsScope
from meshproxy.plugin.stream_info import StreamInfo
from meshproxy.runtime.fetch import fetch
from meshproxy.runtime.grpc_client import call
from meshproxy.runtime.version import version
from meshproxy.runtime.worker import Worker
from meshproxy.telemetry.otlp_access_log import encode_logs, encode_resource, record_encoder

_METHOD = "/opentelemetry.proto.collector.logs.v1.LogsService/Export"
_ON_THE_WAY = 16
_MAX_REPLY = 1 << 16


class OtlpAccessLog:
    """One log."""

    def __init__(self, worker: Worker, service: OtlpLogService, stats: StatsScope) -> None:
        if service.stat_prefix:
            stats = stats.scope(f"{service.stat_prefix}.")
        self._records: list[bytes] = []
        self._size = 0
        self._encode = record_encoder(service)
        self._resource = encode_resource(service.resource)
        self._worker = worker
        self._service = service
        self._written = stats.counter("logs_written")
        self._dropped = stats.counter("logs_dropped")
        self._planned = False
        self._sending: set[asyncio.Task[None]] = set()

    def add(self, info: StreamInfo) -> None:
        """Log a stream."""
        record = self._encode(info)
        self._records.append(record)
        self._size += len(record)
        if self._size >= self._service.buffer_size:
            self.flush()
        elif not self._planned:
            self._planned = True
            self._worker.loop.call_later(self._service.flush_interval, self._interval_over)

    def _interval_over(self) -> None:
        self._planned = False
        self.flush()

    def flush(self) -> None:
        """Send what waits."""
        records, self._records = self._records, []
        self._size = 0
        if not records:
            return
        if len(self._sending) >= _ON_THE_WAY:
            self._dropped.add(len(records))
            return
        task = self._worker.loop.create_task(self._send(encode_logs(records, self._resource), len(records)))
        self._sending.add(task)
        task.add_done_callback(self._sending.discard)

    async def _send(self, message: bytes, count: int) -> None:
        collector = self._service.collector
        try:
            if isinstance(collector, OtlpHttp):
                await self._post(collector, message)
            else:
                await call(self._worker, collector, _METHOD, message)
        except (FetchError, GrpcError):
            self._dropped.add(count)
        else:
            self._written.add(count)

    async def _post(self, collector: OtlpHttp, message: bytes) -> None:
        fields = (
            ("content-type", "application/x-protobuf"),
            ("user-agent", f"OTel-OTLP-Exporter-meshproxy/{version()}"),
            *collector.headers,
        )
        request = RequestHeaders("POST", collector.path, collector.host, fields=fields)
        reply = await fetch(
            self._worker,
            collector.cluster,
            request,
            message,
            collector.timeout,
            _MAX_REPLY,
            tell_address=True,
            chunked=True,
        )
        if not 200 <= reply.status < 300:
            raise FetchError(f"the collector answered {reply.status}")

    def close(self) -> None:
        """The process ends."""
        self.flush()
