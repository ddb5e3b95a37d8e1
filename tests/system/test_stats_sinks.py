"""Statistics that a program sends by itself: over UDP and TCP, from one process and from several."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2 as otlp

from .program import running

_METRICS = "type.googleapis.com/envoy.config.metrics.v3"


def _sinks(udp: int, tcp: int) -> str:
    return f"""
stats_flush_interval: 0.1s
stats_config: {{stats_matcher: {{inclusion_list: {{patterns: [{{prefix: http.test.}}]}}}}}}
stats_sinks:
- name: d
  typed_config:
    "@type": {_METRICS}.DogStatsdSink
    address: {{socket_address: {{address: 127.0.0.1, port_value: {udp}, protocol: UDP}}}}
    max_bytes_per_datagram: 1400
- {{name: t, typed_config: {{"@type": {_METRICS}.StatsdSink, tcp_cluster_name: up, prefix: mine}}}}
"""


class Server:
    """lines: all that came, by either way."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self.udp.bind(("127.0.0.1", 0))
        asyncio.get_running_loop().add_reader(self.udp, self._datagram)

    def _datagram(self) -> None:
        self.lines += self.udp.recv(65536).decode().split("\n")

    async def take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            self.lines.append(line.decode().rstrip("\n"))
        writer.close()

    def total(self, head: str) -> int:
        """The sum of what the lines of a counter say."""
        return sum(int(line[len(head) :].partition("|")[0]) for line in self.lines if line.startswith(head))


@pytest.mark.parametrize("workers", [1, 2])
async def test_counters_and_times_go_to_statsd(tmp_path: Path, workers: int) -> None:
    server = Server()
    listening = await asyncio.start_server(server.take, "127.0.0.1", 0)
    tcp = listening.sockets[0].getsockname()[1]
    more = _sinks(server.udp.getsockname()[1], tcp)
    async with running(tmp_path, tcp, "--config-yaml", more, "--concurrency", str(workers)) as program:
        for _ in range(4):
            reader, writer = await asyncio.open_connection("127.0.0.1", program.port)
            writer.write(b"GET /direct HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
            assert (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)).startswith(b"HTTP/1.1 200")
            writer.close()
        times = "envoy.http.downstream_rq_time:"
        async with asyncio.timeout(10):
            while (
                server.total("envoy.http.downstream_rq_completed:") < 4
                or server.total("mine.http.test.downstream_rq_completed:") < 4
                or sum(line.startswith(times) for line in server.lines) < 4
            ):
                await asyncio.sleep(0.02)
        (kinds,) = {line.partition("|")[2] for line in server.lines if line.startswith(times)}
        assert kinds == "ms|#envoy.http_conn_manager_prefix:test"
    assert server.total("envoy.http.downstream_rq_completed:") == 4
    assert server.total("mine.http.test.downstream_rq_completed:") == 4
    asyncio.get_running_loop().remove_reader(server.udp)
    server.udp.close()
    listening.close()


_SERVICES = """
node: {{id: here, cluster: near, metadata: {{a: b}}}}
stats_flush_interval: 0.1s
stats_config: {{stats_matcher: {{inclusion_list: {{patterns: [{{prefix: http.test.downstream_rq_}}]}}}}}}
stats_sinks:
- name: m
  typed_config:
    "@type": {metrics}.MetricsServiceConfig
    transport_api_version: V3
    emit_tags_as_labels: true
    report_counters_as_deltas: true
    batch_size: 3
    grpc_service: {{envoy_grpc: {{cluster_name: sinks}}}}
- name: o
  typed_config:
    "@type": type.googleapis.com/envoy.extensions.stat_sinks.open_telemetry.v3.SinkConfig
    grpc_service: {{envoy_grpc: {{cluster_name: sinks}}}}
    prefix: mine
static_resources:
  clusters:
  - name: sinks
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {{http2_protocol_options: {{}}}}
    load_assignment:
      cluster_name: sinks
      endpoints:
      - lb_endpoints:
        - endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}}}
"""


class Collectors:
    """A metrics service and a collector of OpenTelemetry."""

    def __init__(self) -> None:
        self.streamed: list[Any] = []
        self.exported: list[Any] = []

    async def stream(self, requests: AsyncIterator[Any], context: object) -> bytes:
        async for request in requests:
            self.streamed.append(request)
        return b""

    async def export(self, request: Any, context: object) -> Any:
        self.exported.append(request)
        return otlp.ExportMetricsServiceResponse()

    async def start(self) -> tuple[grpc.aio.Server, int]:
        from meshproxy.telemetry.metrics_service import _Message

        server = grpc.aio.server()
        stream = grpc.stream_unary_rpc_method_handler(self.stream, _Message.FromString)
        export = grpc.unary_unary_rpc_method_handler(
            self.export,
            otlp.ExportMetricsServiceRequest.FromString,
            otlp.ExportMetricsServiceResponse.SerializeToString,
        )
        services = {
            "envoy.service.metrics.v3.MetricsService": {"StreamMetrics": stream},
            "opentelemetry.proto.collector.metrics.v1.MetricsService": {"Export": export},
        }
        server.add_generic_rpc_handlers(
            [grpc.method_handlers_generic_handler(name, methods) for name, methods in services.items()]
        )
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        return server, port

    def families(self, name: str) -> list[Any]:
        return [family for message in self.streamed for family in message.envoy_metrics if family.name == name]

    def points(self, name: str) -> list[Any]:
        """What the last export says of one metric."""
        scopes = self.exported[-1].resource_metrics[0] if self.exported else None
        metrics = getattr(scopes, scopes.DESCRIPTOR.fields_by_number[2].name)[0].metrics if scopes else ()
        return [getattr(metric, metric.WhichOneof("data")) for metric in metrics if metric.name == name]


@pytest.mark.parametrize("workers", [1, 2])
async def test_metrics_go_to_services_over_grpc(tmp_path: Path, workers: int) -> None:
    collectors = Collectors()
    server, port = await collectors.start()
    more = _SERVICES.format(metrics=_METRICS, port=port)
    async with running(tmp_path, 1, "--config-yaml", more, "--concurrency", str(workers)) as program:
        for _ in range(4):
            reader, writer = await asyncio.open_connection("127.0.0.1", program.port)
            writer.write(b"GET /direct HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
            assert (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)).startswith(b"HTTP/1.1 200")
            writer.close()
        async with asyncio.timeout(20):
            while sum(each.metric[0].counter.value for each in collectors.families("http.downstream_rq_total")) < 4:
                await asyncio.sleep(0.02)
            while not any(
                point.data_points[0].as_int == 4 for point in collectors.points("mine.http.downstream_rq_total")
            ):
                await asyncio.sleep(0.02)
            while (
                sum(each.metric[0].histogram.sample_count for each in collectors.families("http.downstream_rq_time"))
                < 4
            ):
                await asyncio.sleep(0.02)
            while not any(
                point.data_points[0].count == 4 for point in collectors.points("mine.http.downstream_rq_time")
            ):
                await asyncio.sleep(0.02)
    await server.stop(0)
    assert {len(message.envoy_metrics) <= 3 for message in collectors.streamed} == {True}
    assert b"here" in collectors.streamed[0].identifier.node
    assert not collectors.streamed[1].HasField("identifier")
    family = collectors.families("http.downstream_rq_total")[0]
    assert [(label.name, label.value) for label in family.metric[0].label] == [
        ("envoy.http_conn_manager_prefix", "test")
    ]
    timed = collectors.families("http.downstream_rq_time")
    assert {each.type for each in timed} == {2, 4}  # as a summary and as a histogram
    assert sum(each.metric[0].histogram.sample_count for each in timed) == 4
    (histogram,) = collectors.points("mine.http.downstream_rq_time")
    assert sum(histogram.data_points[0].bucket_counts) == histogram.data_points[0].count == 4
    assert len(histogram.data_points[0].bucket_counts) == len(histogram.data_points[0].explicit_bounds) + 1
