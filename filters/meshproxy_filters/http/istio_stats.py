"""`istio.stats` for HTTP: Istio's standard metrics of requests, counted when a request is over.

`istio_requests_total`, `istio_request_duration_milliseconds`, `istio_request_bytes` and `istio_response_bytes` (on the
wire, heads included), and for gRPC `istio_request_messages_total` and `istio_response_messages_total`, if a grpc_stats
filter with `emit_filter_state` counts them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from meshproxy.plugin.context import FactoryContext, Stream
from meshproxy.plugin.http import HttpFilter
from meshproxy_filters.http.grpc_stats import FILTER_STATE, GrpcCounts
from meshproxy_filters.istio_metrics import IstioStatsConfig, compile_stats

if TYPE_CHECKING:
    from meshproxy.plugin.view import ConfigView

_GRPC = "application/grpc"


class IstioStats(HttpFilter[IstioStatsConfig]):
    """See the module."""

    stateless: ClassVar[bool] = True

    @classmethod
    def compile(cls, view: ConfigView, context: FactoryContext) -> IstioStatsConfig:
        context.compile_format("%DOWNSTREAM_WIRE_BYTES_RECEIVED%%DOWNSTREAM_WIRE_BYTES_SENT%")  # have them measured
        return compile_stats(view, context)

    def on_stream_complete(self, stream: Stream) -> None:
        kind = stream.request.get("content-type") or ""
        grpc = kind == _GRPC or kind.startswith(_GRPC + "+")
        labels = self.config.find(
            stream, "grpc" if grpc else "http", stream.response_code, _grpc_status(stream) if grpc else ""
        )
        labels.add("requests_total")
        labels.add("request_duration_milliseconds", int((stream.end - stream.start) * 1000))
        labels.add("request_bytes", stream.downstream_wire_bytes_received)
        labels.add("response_bytes", stream.downstream_wire_bytes_sent)
        counts = stream.filter_state.get(FILTER_STATE) if grpc and stream.filter_state else None
        if isinstance(counts, GrpcCounts):
            labels.add("request_messages_total", counts.request_message_count)
            labels.add("response_messages_total", counts.response_message_count)


def _grpc_status(stream: Stream) -> str:
    for message in (stream.response_trailers, stream.response):
        status = message.get("grpc-status") if message is not None else None
        if status is not None:
            return status if status.isascii() and status.isdigit() and len(status) < 10 else ""
    return ""
