"""Access logs that go to a gRPC service (envoy.service.accesslog.v3.AccessLogService), one stream for each log.

Entries are gathered and sent at the configured size or interval. A batch for which there is no stream and none can be
opened is dropped and counted, as in Envoy: a log must not hold up what it tells of.
"""

from __future__ import annotations

from meshproxy.model.listener import LogService
from meshproxy.plugin.stats import StatsScope
from meshproxy.plugin.stream_info import StreamInfo
from meshproxy.runtime.grpc_client import GrpcStream, open_stream
from meshproxy.runtime.worker import Worker
from meshproxy.telemetry.grpc_access_log import (
    encode_batch,
    encode_identifier,
    http_entry_encoder,
    tcp_entry_encoder,
)

_METHOD = "/envoy.service.accesslog.v3.AccessLogService/StreamAccessLogs"


class GrpcAccessLog:
    """One log."""

    def __init__(self, worker: Worker, service: LogService, stats: StatsScope) -> None:
        self._entries: list[bytes] = []
        self._size = 0
        self._encode = tcp_entry_encoder(service) if service.of_tcp else http_entry_encoder(service)
        self._worker = worker
        self._service = service
        self._stream: GrpcStream | None = None
        self._identifier = encode_identifier({"id": worker.node.id, "cluster": worker.node.cluster}, service.name)
        self._written = stats.counter("logs_written")
        self._dropped = stats.counter("logs_dropped")
        self._planned = False

    def add(self, info: StreamInfo) -> None:
        """Log a stream."""
        entry = self._encode(info)
        self._entries.append(entry)
        self._size += len(entry)
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
        entries, self._entries = self._entries, []
        self._size = 0
        if not entries:
            return
        identifier = b""
        if self._stream is None:
            self._stream = open_stream(self._worker, self._service.grpc, _METHOD, self)
            identifier = self._identifier
        if self._stream is None:
            self._dropped.add(len(entries))
            return
        self._stream.send(encode_batch(entries, identifier, self._service.of_tcp))
        self._written.add(len(entries))

    def close(self) -> None:
        """The process ends: nothing is sent any more, what has been stays."""
        self.flush()
        if self._stream is not None:
            self._stream.end()

    def on_message(self, data: bytes) -> None:
        """The service answers once, with nothing, when the stream ends."""

    def on_closed(self, status: int, message: str) -> None:
        self._stream = None
