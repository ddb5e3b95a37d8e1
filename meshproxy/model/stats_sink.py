"""Where statistics are sent by themselves (envoy.config.bootstrap.v3.Bootstrap.stats_sinks)."""

from __future__ import annotations

from meshproxy.address import Address
from meshproxy.model.grpc_service import GrpcService
from meshproxy.records import dataclass


@dataclass(frozen=True, slots=True)
class StatsdSink:
    """A server that speaks a dialect of statsd: "statsd", "dogstatsd" or "graphite".

    Exactly one of address (datagrams) and cluster (a TCP connection) is set. prefix: before each name. max_bytes: lines
    are joined up to so many bytes in a datagram; 0 sends each by itself.
    """

    dialect: str
    address: Address | None = None
    cluster: str = ""
    prefix: str = "envoy"
    max_bytes: int = 0


@dataclass(frozen=True, slots=True)
class MetricForm:
    """How a statistic becomes a metric.

    counter_deltas, histogram_deltas: what came since the last time, not all. extracted: under the name without its
    tags; tagged: the tags are told. prefix: before each name, with its dot.
    """

    counter_deltas: bool = False
    histogram_deltas: bool = False
    extracted: bool = True
    tagged: bool = True
    prefix: str = ""


@dataclass(frozen=True, slots=True)
class MetricsServiceSink:
    """A stream to an `envoy.service.metrics.v3.MetricsService`.

    summaries, histograms: in which forms a histogram is told. batch: metrics in one message, 0 for all.
    """

    service: GrpcService
    form: MetricForm
    summaries: bool = True
    histograms: bool = True
    batch: int = 0


@dataclass(frozen=True, slots=True)
class OpenTelemetrySink:
    """Calls of a collector of OpenTelemetry. resource: attributes of this proxy."""

    service: GrpcService
    form: MetricForm
    resource: tuple[tuple[str, str], ...] = ()


StatsSink = StatsdSink | MetricsServiceSink | OpenTelemetrySink
