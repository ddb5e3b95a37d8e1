"""`track_cluster_stats`: how large requests and responses are, and how much of their time they take.

(envoy.config.cluster.v3.TrackClusterStats.) Each attempt is measured when it is over for either side; the share of the
whole request's timeout is noted by the router when the request ends. Sizes are those of names and values, as Envoy
counts them: pseudo-headers count, separators don't.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from meshproxy.headers import Headers, RequestHeaders, ResponseHeaders
from meshproxy.plugin.context import Stream
from meshproxy.plugin.measures import ClusterMeasures
from meshproxy.plugin.replies import ResetReason
from meshproxy.plugin.upstream import Host, HttpUpstreamSink
from meshproxy_filters.http.router.carried import Carried

if TYPE_CHECKING:
    from meshproxy.clock import Clock

_PSEUDO = len(":method:path:authority:scheme")


def percent_used(seconds: float, timeout: float) -> float:
    """The share of a timeout in per cent; 0 without one."""
    return 100.0 * int(seconds * 1000) / int(timeout * 1000) if timeout >= 0.001 else 0.0


def _size(headers: Headers) -> int:
    return sum(len(name) + len(value) for name, value in headers.items())


def _request_size(request: RequestHeaders) -> tuple[int, int]:
    """How many fields, and how many bytes they are."""
    values = (request.method, request.path, request.authority, request.scheme)
    return len(list(request.items())) + len(values), _size(request) + sum(map(len, values)) + _PSEUDO


class MeasuredAttempt(Carried):
    """See the module. timeout: of one attempt, in seconds, 0 for none."""

    def __init__(
        self,
        measures: ClusterMeasures,
        stream: Stream,
        host: Host,
        sink: HttpUpstreamSink,
        clock: Clock,
        timeout: float,
    ) -> None:
        super().__init__(stream, host, sink)
        self._measures = measures
        self._clock = clock
        self._timeout = timeout
        self._began = clock.now()
        self._request = _request_size(stream.request)
        self._response: tuple[int, int] | None = None
        self._sent = self._received = 0
        self._over = False

    def _end(self) -> None:
        if self._over:
            return
        self._over = True
        measures = self._measures
        if measures.try_budget is not None:
            measures.try_budget.record(percent_used(self._clock.now() - self._began, self._timeout))
        if measures.sizes is None:
            return
        sizes = measures.sizes
        sizes.request_count.record(self._request[0])
        sizes.request_head.record(self._request[1])
        sizes.request_body.record(self._sent)
        if self._response is not None:
            sizes.response_count.record(self._response[0])
            sizes.response_head.record(self._response[1])
            sizes.response_body.record(self._received)

    def on_upstream_response(self, response: ResponseHeaders, end: bool) -> None:
        self._response = len(list(response.items())) + 1, _size(response) + len(":status200")
        if end:
            self._end()
        self._sink.on_upstream_response(response, end)

    def on_upstream_body(self, data: bytes, end: bool) -> None:
        self._received += len(data)
        if end:
            self._end()
        self._sink.on_upstream_body(data, end)

    def on_upstream_trailers(self, trailers: Headers) -> None:
        self._end()
        self._sink.on_upstream_trailers(trailers)

    def on_upstream_reset(self, reason: ResetReason, detail: str) -> None:
        self._end()
        self._sink.on_upstream_reset(reason, detail)

    def send_body(self, data: bytes, end: bool) -> None:
        self._sent += len(data)
        super().send_body(data, end)

    def reset(self) -> None:
        super().reset()
        self._end()
