"""`istio.stats` for HTTP: Istio's standard metrics of requests, counted when a request is over.

`istio_requests_total`, `istio_request_duration_milliseconds`, `istio_request_bytes` and `istio_response_bytes` (on the
wire, heads included), and for gRPC `istio_request_messages_total` and `istio_response_messages_total`, if a grpc_stats
filter with `emit_filter_state` counts them: these also while a stream goes on, once it is known who the peer is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from meshproxy.headers import RequestHeaders
from meshproxy.plugin.context import FactoryContext, Stream
from meshproxy.plugin.http import HttpFilter
from meshproxy_filters.http.grpc_stats import FILTER_STATE, GrpcCounts
from meshproxy_filters.istio_metrics import IstioStatsConfig, compile_stats

if TYPE_CHECKING:
    from meshproxy.plugin.view import ConfigView

_GRPC = "application/grpc"
_REPORTED = "istio.stats"
"""In the filter state: the `_Messages` of a stream of gRPC."""


class _Messages:
    """How many messages of one stream have been counted, and when more are."""

    def __init__(self, config: IstioStatsConfig, stream: Stream) -> None:
        self._config = config
        self._stream = stream
        self._requests = self._responses = 0
        self._wait()

    def _wait(self) -> None:
        if self._config.interval:
            self._stream.schedule(self._config.interval, self._tick)

    def _tick(self) -> None:
        if self._config.peer_is_known(self._stream):
            self.count()
        self._wait()

    def count(self) -> None:
        counts = (self._stream.filter_state or {}).get(FILTER_STATE)
        if not isinstance(counts, GrpcCounts):
            return
        labels = self._config.of_messages(self._stream)
        labels.add("request_messages_total", counts.request_message_count - self._requests)
        labels.add("response_messages_total", counts.response_message_count - self._responses)
        self._requests, self._responses = counts.request_message_count, counts.response_message_count


class IstioStats(HttpFilter[IstioStatsConfig]):
    """See the module."""

    stateless: ClassVar[bool] = True

    @classmethod
    def compile(cls, view: ConfigView, context: FactoryContext) -> IstioStatsConfig:
        context.compile_format("%DOWNSTREAM_WIRE_BYTES_RECEIVED%%DOWNSTREAM_WIRE_BYTES_SENT%")  # have them measured
        return compile_stats(view, context)

    def on_request_headers(self, request: RequestHeaders, stream: Stream) -> None:
        kind = request.get("content-type") or ""
        if kind == _GRPC or kind.startswith(_GRPC + "+"):
            stream.set_filter_state(_REPORTED, _Messages(self.config, stream))

    def on_stream_complete(self, stream: Stream) -> None:
        messages = stream.filter_state.get(_REPORTED) if stream.filter_state else None
        if isinstance(messages, _Messages):
            messages.count()
            labels = self.config.of_request(stream, "grpc", _grpc_status(stream))
        else:
            labels = self.config.of_request(stream, "http", "")
        labels.add("requests_total")
        labels.add("request_duration_milliseconds", int((stream.end - stream.start) * 1000))
        labels.add("request_bytes", stream.downstream_wire_bytes_received)
        labels.add("response_bytes", stream.downstream_wire_bytes_sent)
        labels.add_custom()


def _grpc_status(stream: Stream) -> str:
    for message in (stream.response_trailers, stream.response):
        status = message.get("grpc-status") if message is not None else None
        if status is not None:
            return status if status.isascii() and status.isdigit() and len(status) < 10 else ""
    return ""
