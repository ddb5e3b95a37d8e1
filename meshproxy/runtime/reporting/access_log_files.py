"""The files that access logs go to, shared by all who log to the same path.

Lines are gathered and written at 64 KiB or after the flush interval, whichever comes first, so a line costs one list
append. `reopen` closes and opens the files again by name, for log rotation (SIGUSR1).
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from meshproxy.model.listener import AccessLog, LogService
from meshproxy.plugin.stats import StatsScope
from meshproxy.plugin.stream_info import StreamInfo

if TYPE_CHECKING:
    from meshproxy.model.otlp_log import OtlpLogService
    from meshproxy.runtime.reporting.grpc_access_logs import GrpcAccessLog
    from meshproxy.runtime.reporting.otlp_access_logs import OtlpAccessLog
    from meshproxy.runtime.worker import Worker

STANDARD_STREAMS = {"/dev/stdout": 1, "/dev/stderr": 2}
"""Written through the descriptor that we have: opening the path fails where it is a pipe of another user's, as the
standard output of a container usually is."""


class _File:
    """One path. Nothing here blocks for long: local files, and standard output that a supervisor reads."""

    __slots__ = ("descriptor", "lines", "path", "size")

    def __init__(self, path: str) -> None:
        self.path = path
        self.lines: list[str] = []
        self.size = 0
        self.descriptor = -1

    def open(self) -> None:
        standard = STANDARD_STREAMS.get(self.path)
        if standard is not None:
            self.descriptor = standard
        else:
            self.descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)

    def close(self) -> None:
        if self.descriptor > 2:
            os.close(self.descriptor)
        self.descriptor = -1


class AccessLogFiles:
    """See the module. Time in seconds, size in bytes."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, stats: StatsScope, interval: float = 10.0, size: int = 65536
    ) -> None:
        self._loop = loop
        self._interval = interval
        self._size = size
        self._files: dict[str, _File] = {}
        self._services: dict[LogService | OtlpLogService, GrpcAccessLog | OtlpAccessLog] = {}
        self._worker: Worker | None = None
        self._service_stats = stats.scope("access_logs.")
        self._scheduled = False
        self._write_failed = stats.counter("filesystem.write_failed")
        self._write_completed = stats.counter("filesystem.write_completed")
        self._flushed_by_timer = stats.counter("filesystem.flushed_by_timer")
        self._reopen_failed = stats.counter("filesystem.reopen_failed")
        self._failed = stats.counter("access_logs.failed")

    def log(self, logs: Sequence[AccessLog], info: StreamInfo) -> None:
        """Write `info` to those of `logs` whose filter lets it pass."""
        for log in logs:
            try:
                if log.predicate is None or log.predicate(info):
                    if log.service is not None:
                        self._send(log.service, info)
                        continue
                    line = log.format_line(info)
                    self.write(log.path, line)
            except Exception as error:  # formatters may be foreign code; see `_report`
                self._report(log, error)

    def _report(self, log: AccessLog, error: Exception) -> None:
        """A fact that can't be told, a formatter from outside that raises: the line is lost, never the stream."""
        self._failed.inc()
        if self._worker is not None:
            self._worker.log.error("access log raised", path=log.path, exc_info=error)

    def write(self, path: str, line: str) -> None:
        """Write one line, its end included, to the file at `path`."""
        file = self._files.get(path)
        if file is None:
            file = self._add(path)
        file.lines.append(line)
        file.size += len(line)
        if file.size >= self._size:
            self._flush(file)
        elif not self._scheduled:
            self._scheduled = True
            self._loop.call_later(self._interval, self._flush_by_timer)

    def connect(self, worker: Worker) -> None:
        """The worker through whose clusters services are reached; without one their entries are dropped."""
        self._worker = worker

    def _send(self, service: LogService | OtlpLogService, info: StreamInfo) -> None:
        log = self._services.get(service)
        if log is None:
            if self._worker is None:
                return
            log = self._services[service] = self._open(self._worker, service)
        log.add(info)

    def _open(self, worker: Worker, service: LogService | OtlpLogService) -> GrpcAccessLog | OtlpAccessLog:
        # Few need the messages of either.
        if isinstance(service, LogService):
            from meshproxy.runtime.reporting.grpc_access_logs import GrpcAccessLog

            return GrpcAccessLog(worker, service, self._service_stats.scope("grpc_access_log."))
        from meshproxy.runtime.reporting.otlp_access_logs import OtlpAccessLog

        return OtlpAccessLog(worker, service, self._service_stats.scope("open_telemetry_access_log."))

    def check(self, logs: Sequence[AccessLog]) -> None:
        """Open the files of `logs` now. Raises OSError for one that can't be written."""
        for log in logs:
            if log.service is None and log.path not in self._files:
                self._add(log.path).open()

    def _add(self, path: str) -> _File:
        self._files[path] = file = _File(path)
        return file

    def _flush(self, file: _File) -> None:
        if not file.lines:
            return
        data = "".join(file.lines).encode("latin-1", "backslashreplace")
        file.lines = []
        file.size = 0
        try:
            if file.descriptor < 0:
                file.open()
            view = memoryview(data)
            while view:
                view = view[os.write(file.descriptor, view) :]
            self._write_completed.inc()
        except OSError:
            # A full disk or a reader that left must not take the proxy's connections with it.
            self._write_failed.inc()

    def _flush_by_timer(self) -> None:
        self._scheduled = False
        self._flushed_by_timer.inc()
        self.flush()

    def flush(self) -> None:
        """Write out everything."""
        for file in self._files.values():
            self._flush(file)

    def reopen(self) -> None:
        """Close every file and open it again by its name."""
        self.flush()
        for file in self._files.values():
            file.close()
            try:
                file.open()
            except OSError:
                self._reopen_failed.inc()

    def close(self) -> None:
        self.flush()
        for service in self._services.values():
            service.close()
        for file in self._files.values():
            file.close()
