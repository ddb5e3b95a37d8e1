"""`upstream_log`: a line for each attempt that the router makes, as its host would tell it.

(envoy.extensions.filters.http.router.v3.Router.) What a line says of bytes is seen from the host: received is what it
sent. The client's own facts are shared.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from meshproxy.headers import Headers, ResponseHeaders
from meshproxy.model.listener import AccessLog
from meshproxy.plugin.context import FactoryContext, Stream, Timer
from meshproxy.plugin.replies import ResetReason
from meshproxy.plugin.stream_info import StreamInfo
from meshproxy.plugin.upstream import Host, HttpUpstream, HttpUpstreamSink
from meshproxy.records import dataclass
from meshproxy_filters.http.router.carried import Carried

if TYPE_CHECKING:
    from meshproxy.clock import Clock
    from meshproxy.plugin.view import ConfigView


@dataclass(frozen=True, slots=True, eq=False)
class UpstreamLog:
    """when_ready: a line also when the request has its connection. interval: and this often in seconds, 0 for never."""

    logs: tuple[AccessLog, ...]
    when_ready: bool = False
    interval: float = 0.0


def read_upstream_log(view: ConfigView, context: FactoryContext) -> UpstreamLog | None:
    """`upstream_log` and its options; None without. Raises ConfigError."""
    logs = context.compile_access_logs(view.views("upstream_log"))
    options = view.view("upstream_log_options")
    when_ready = options is not None and options.boolean("flush_upstream_log_on_upstream_stream")
    interval = options.seconds("upstream_log_flush_interval", 0.0) if options is not None else 0.0
    return UpstreamLog(logs, when_ready, interval) if logs else None


class LoggedAttempt(Carried):
    """See the module. It is written once, when the attempt is over for either side."""

    def __init__(self, config: UpstreamLog, stream: Stream, host: Host, sink: HttpUpstreamSink, clock: Clock) -> None:
        super().__init__(stream, host, sink)
        self._config = config
        self._clock = clock
        self._written = False
        self._timer: Timer | None = None
        self._info = info = StreamInfo()
        info.connection, info.request, info.original_path = stream.connection, stream.request, stream.original_path
        info.start, info.start_wall = clock.now(), clock.wall()
        info.request_id, info.route_name, info.remote_address = (
            stream.request_id,
            stream.route_name,
            stream.remote_address,
        )
        info.upstream_cluster, info.upstream_host = stream.upstream_cluster, host.text
        info.upstream_cluster_alt = stream.upstream_cluster_alt
        info.upstream_host_metadata, info.upstream_cluster_metadata = host.metadata, stream.upstream_cluster_metadata
        info.dynamic_metadata, info.filter_state = stream.dynamic_metadata, stream.filter_state
        info.health_check, info.sampled = stream.health_check, stream.sampled
        if config.interval:
            self._timer = stream.schedule(config.interval, self._log_again)

    def add_flag(self, flag: str) -> None:
        super().add_flag(flag)
        self._info.add_flag(flag)

    def _take(self, upstream: HttpUpstream) -> None:
        super()._take(upstream)
        if not upstream.local_address:
            return
        info = self._info
        info.upstream_local_address = upstream.local_address
        info.upstream_connection_id = upstream.connection_id
        info.protocol = info.upstream_protocol = upstream.protocol
        info.upstream_tls = upstream.tls
        info.upstream_remote_address = self.host.text
        if self._config.when_ready:
            self._log("UpstreamPoolReady")

    def _log(self, kind: str) -> None:
        self._info.access_log_type = kind
        self._stream.log_access(self._config.logs, self._info)

    def _log_again(self) -> None:
        self._log("UpstreamPeriodic")
        self._timer = self._stream.schedule(self._config.interval, self._log_again)

    def _over(self) -> None:
        if self._written:
            return
        self._written = True
        if self._timer is not None:
            self._timer.cancel()
        self._info.end = self._clock.now()
        self._log("UpstreamEnd")

    # What the upstream request calls.

    def on_upstream_response(self, response: ResponseHeaders, end: bool) -> None:
        info = self._info
        info.response = response
        info.response_code = response.status
        info.first_upstream_rx = self._clock.now()
        if end:
            self._over()
        self._sink.on_upstream_response(response, end)

    def on_upstream_body(self, data: bytes, end: bool) -> None:
        self._info.bytes_received += len(data)
        if end:
            self._over()
        self._sink.on_upstream_body(data, end)

    def on_upstream_trailers(self, trailers: Headers) -> None:
        self._info.response_trailers = trailers
        self._over()
        self._sink.on_upstream_trailers(trailers)

    def on_upstream_reset(self, reason: ResetReason, detail: str) -> None:
        info = self._info
        info.upstream_transport_failure_reason = detail
        if not info.response_code:
            info.add_flag(reason.flag)
        self._over()
        self._sink.on_upstream_reset(reason, detail)

    # What the router calls.

    def send_body(self, data: bytes, end: bool) -> None:
        self._info.bytes_sent += len(data)
        super().send_body(data, end)

    def reset(self) -> None:
        super().reset()
        self._over()
