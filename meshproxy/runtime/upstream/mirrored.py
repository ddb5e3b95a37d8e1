"""A copy of a request, whose response is read to its end and thrown away (`Cluster.mirror`).

Nobody waits for it: it outlives the stream that it was copied from, and its timeout is its own. What is counted is what
Envoy's own client counts for such a request.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from meshproxy.headers import Headers, RequestHeaders, ResponseHeaders
from meshproxy.plugin.context import Timer
from meshproxy.plugin.replies import ResetReason
from meshproxy.plugin.stream_info import StreamInfo
from meshproxy.plugin.upstream import CopySpan, HttpUpstream
from meshproxy.runtime.node_address import node_ip

if TYPE_CHECKING:
    from meshproxy.runtime.upstream.cluster import ActiveCluster


class MirroredRequest(HttpUpstream):
    """The handle for who gives the body, and the sink of what comes back."""

    def __init__(self, cluster: ActiveCluster, timeout: float, span: CopySpan | None) -> None:
        self._cluster = cluster
        self._timeout = timeout
        self._span = span
        self._info = StreamInfo()
        self._status = 0
        self._timer: Timer | None = None
        self._upstream: HttpUpstream | None = None
        self._began = cluster.worker.loop.time()
        self._over = False

    def start(self, request: RequestHeaders, end: bool) -> bool:
        """Send the head. Returns whether the copy is under way."""
        cluster = self._cluster
        fields = request.fields
        fields["x-envoy-internal"] = "true"
        forwarded = request.get("x-forwarded-for")
        request["x-forwarded-for"] = f"{forwarded},{node_ip()}" if forwarded else node_ip()
        if self._timeout:
            fields["x-envoy-expected-rq-timeout-ms"] = str(int(self._timeout * 1000))
        info = self._info
        info.request = request
        info.upstream_cluster = cluster.config.name
        info.upstream_cluster_alt = cluster.config.alt_stat_name
        host = cluster.pick(info)
        if host is None:
            cluster.stats.count_response(503, internal=True)
            self._end(503, "UH")
            return False
        self.host = host
        info.upstream_remote_address = host.text
        info.upstream_protocol = "HTTP/1.1"  # whatever the host speaks, as Envoy has it in the span of a copy
        upstream = cluster.request(host, request, end, self)
        if not self._over and self._upstream is None:
            self._upstream = upstream
        if end:
            self._request_ended()
        return not self._over

    def _request_ended(self) -> None:
        if self._timeout and not self._over:
            self._timer = self._cluster.worker.schedule(self._timeout, self._timed_out)

    def _timed_out(self) -> None:
        self._cluster.stats.upstream_rq_timeout.inc()
        self._cluster.stats.count_response(504, internal=True)
        self._give_up(504, "UT")

    # What the owner of the request calls.

    def send_body(self, data: bytes, end: bool) -> None:
        if self._upstream is not None:
            self._upstream.send_body(data, end)
            if end:
                self._request_ended()

    def send_trailers(self, trailers: Headers) -> None:
        if self._upstream is not None:
            self._upstream.send_trailers(trailers)
            self._request_ended()

    def flush(self) -> None:
        if self._upstream is not None:
            self._upstream.flush()

    def read_disable(self, disable: bool) -> None:
        """What comes back is never kept."""

    def reset(self) -> None:
        self._give_up(0)

    def _give_up(self, status: int, flag: str = "") -> None:
        upstream = self._upstream
        self._end(status, flag)
        if upstream is not None:
            upstream.reset()

    def _end(self, status: int, flag: str = "") -> None:
        if self._span is not None and not self._over:
            self._info.flags = flag
            self._span.end(self._info, status)
        self._over = True
        self._upstream = None
        if self._timer is not None:
            self._timer.cancel()

    # What comes back.

    def on_upstream_ready(self, upstream: HttpUpstream) -> None:
        self._upstream = upstream

    def on_upstream_informational(self, response: ResponseHeaders) -> None:
        """Of no interest here."""

    def on_upstream_response(self, response: ResponseHeaders, end: bool) -> None:
        stats = self._cluster.stats
        self._status = response.status
        self._info.response = response
        stats.count_response(response.status, internal=True)
        if response.status >= 500:
            self.host.rq_error += 1
        else:
            self.host.rq_success += 1
        if end:
            self._finish()

    def on_upstream_body(self, data: bytes, end: bool) -> None:
        if end:
            self._finish()

    def on_upstream_trailers(self, trailers: Headers) -> None:
        self._finish()

    def _finish(self) -> None:
        elapsed = self._cluster.worker.loop.time() - self._began
        self._cluster.stats.count_time(int(elapsed * 1000), internal=True)
        self._end(self._status)

    def on_upstream_reset(self, reason: ResetReason, detail: str) -> None:
        self._cluster.stats.count_response(reason.status, internal=True)
        if reason is not ResetReason.QUEUE_OVERFLOW:
            self.host.rq_error += 1
        self._end(reason.status, reason.flag)

    def on_upstream_blocked(self, blocked: bool) -> None:
        if blocked:
            # Nobody may wait for a copy, and it may not be kept without bound.
            self._cluster.stats.retry_or_shadow_abandoned.inc()
            self.reset()

    def on_upstream_read_done(self) -> None:
        """Nothing is joined up here."""
