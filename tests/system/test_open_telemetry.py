"""Spans over gRPC: from a whole proxy, by grpcio's server; what a sampler decides, and what a resource says."""

from __future__ import annotations

from typing import Any

import grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2

from tests.system.test_grpc import HTTP2
from tests.system.upstream_rig import Peer, Upstream, bootstrap, endpoints, running, until

_TRACER = "type.googleapis.com/envoy.extensions.tracers.opentelemetry"
TRACING = f"""tracing:
            random_sampling: {{value: 0}}
            provider:
              name: otel
              typed_config:
                "@type": type.googleapis.com/envoy.config.trace.v3.OpenTelemetryConfig
                grpc_service: {{envoy_grpc: {{cluster_name: collector}}, timeout: 2s}}
                service_name: mine
                resource_detectors:
                - name: s
                  typed_config:
                    "@type": {_TRACER}.resource_detectors.v3.StaticConfigResourceDetectorConfig
                    attributes: {{k: v}}
                sampler:
                  name: p
                  typed_config:
                    "@type": {_TRACER}.samplers.v3.ParentBasedSamplerConfig
                    wrapped_sampler: {{name: a, typed_config: {{'@type': {_TRACER}.samplers.v3.AlwaysOnSamplerConfig}}}}
          stat_prefix: h
"""
RUNTIME = "layered_runtime: {layers: [{name: s, static_layer: {tracing.opentelemetry.min_flush_spans: 1}}]}\n"


class Collector(grpc.GenericRpcHandler):
    """requests: all that came."""

    def __init__(self) -> None:
        self.requests: list[Any] = []

    def service(self, details: Any) -> Any:
        if details.method != "/opentelemetry.proto.collector.trace.v1.TraceService/Export":
            return None
        return grpc.unary_unary_rpc_method_handler(self.take)

    async def take(self, request: bytes, context: Any) -> bytes:
        self.requests.append(trace_service_pb2.ExportTraceServiceRequest.FromString(request))
        return b""


async def serve(peer: Peer) -> None:
    while await peer.head():
        peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")


async def test_spans_go_to_a_grpc_service() -> None:
    collector = Collector()
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((collector,))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    trace = "0af7651916cd43dd8448eb211c80319c"
    try:
        async with Upstream(serve) as upstream:
            text = bootstrap("connect_timeout: 1s, " + endpoints(upstream.address)).replace("stat_prefix: h\n", TRACING)
            to = f"{{name: collector, {HTTP2}, connect_timeout: 1s, {endpoints(('127.0.0.1', port))}}}"
            text = text.replace(
                "clusters: [", f"clusters: [{to.replace('cluster_name: c', 'cluster_name: collector')}, "
            )
            async with running(RUNTIME + text) as proxy:
                await proxy.get("/dropped", headers=(f"traceparent: 00-{trace}-b7ad6b7169203331-00",))
                await proxy.get("/kept", headers=(f"traceparent: 00-{trace}-b7ad6b7169203331-01",))
                await proxy.get("/first")
                await until(lambda: len(collector.requests) == 2)
    finally:
        await server.stop(0)
    (sent,) = [spans.resource for request in collector.requests[:1] for spans in request.resource_spans]
    said = {each.key: each.value.string_value for each in sent.attributes}
    assert (said["service.name"], said["k"]) == ("mine", "v")
    spans = [
        span
        for request in collector.requests
        for resource in request.resource_spans
        for scope in resource.instrumentation_library_spans
        for span in scope.spans
    ]
    assert [span.trace_id.hex() == trace for span in spans] == [True, False]
