"""Metrics for OpenTelemetry (opentelemetry-proto, metrics/v1): a request that exports them.

Counters are monotonic sums, gauges are gauges, histograms have the explicit bounds that they are shown with.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.metrics.v1 import metrics_pb2 as otlp
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

from meshproxy.model.stats_sink import MetricForm
from meshproxy.telemetry.histogram import approximate_sum, counts_up_to
from meshproxy.telemetry.metrics import Metric

METHOD = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export"
_DELTA, _CUMULATIVE = 1, 2  # AggregationTemporality
_SCOPES = otlp.ResourceMetrics.DESCRIPTOR.fields_by_number[2].name
"""`scope_metrics`, as older versions of the API don't call it."""


def encode_request(
    metrics: Iterable[Metric], form: MetricForm, resource: Sequence[tuple[str, str]], start: float, now: float
) -> bytes:
    """start, now: seconds since 1970: what is told came after `start`."""
    counters = _DELTA if form.counter_deltas else _CUMULATIVE
    histograms = _DELTA if form.histogram_deltas else _CUMULATIVE
    began, ended = int(start * 1e9), int(now * 1e9)
    told = otlp.ResourceMetrics(resource=Resource(attributes=_attributes(resource)))
    scope = getattr(told, _SCOPES).add()
    for metric in metrics:
        entry = scope.metrics.add(name=metric.name)
        tags = _attributes(metric.tags)
        if metric.kind == "gauge":
            entry.gauge.data_points.add(attributes=tags, time_unix_nano=ended, as_int=metric.value)
        elif metric.kind == "counter":
            entry.sum.aggregation_temporality = counters
            entry.sum.is_monotonic = True
            entry.sum.data_points.add(
                attributes=tags, start_time_unix_nano=began, time_unix_nano=ended, as_int=metric.value
            )
        else:
            entry.histogram.aggregation_temporality = histograms
            _add_histogram(entry.histogram, metric, tags, began, ended)
    request: bytes = ExportMetricsServiceRequest(resource_metrics=[told]).SerializeToString()
    return request


def _add_histogram(histogram: otlp.Histogram, metric: Metric, tags: list[KeyValue], began: int, ended: int) -> None:
    bins = metric.bins or {}
    up_to = [*counts_up_to(bins, metric.bounds), sum(bins.values())]
    histogram.data_points.add(
        attributes=tags,
        start_time_unix_nano=began,
        time_unix_nano=ended,
        count=up_to[-1],
        sum=approximate_sum(bins),
        bucket_counts=[count - before for before, count in zip([0, *up_to], up_to, strict=False)],
        explicit_bounds=metric.bounds,
    )


def _attributes(pairs: Iterable[tuple[str, str]]) -> list[KeyValue]:
    return [KeyValue(key=key, value=AnyValue(string_value=value)) for key, value in pairs]
