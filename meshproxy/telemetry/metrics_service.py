"""Metrics for an `envoy.service.metrics.v3.MetricsService`, whose messages are Prometheus' `MetricFamily`.

The messages are declared from their field numbers: envoy/service/metrics/v3/metrics_service.proto and
io/prometheus/client/metrics.proto. A family here has one metric.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

from google.protobuf import descriptor_pool, message_factory
from google.protobuf.descriptor_pb2 import DescriptorProto, FileDescriptorProto

from meshproxy.messages.declared import OF, enum, field
from meshproxy.telemetry.histogram import QUANTILES, approximate_sum, counts_up_to, quantile_values
from meshproxy.telemetry.metrics import Metric

METHOD = "/envoy.service.metrics.v3.MetricsService/StreamMetrics"

_PACKAGE = "io.prometheus.client"
_COUNTER, _GAUGE, _SUMMARY, _HISTOGRAM = 0, 1, 2, 4


def _type(name: str) -> str:
    return f".{_PACKAGE}.{name}"


def _messages() -> FileDescriptorProto:
    messages = {
        "LabelPair": [field("name", 1, OF.TYPE_STRING), field("value", 2, OF.TYPE_STRING)],
        "Gauge": [field("value", 1, OF.TYPE_DOUBLE)],
        "Counter": [field("value", 1, OF.TYPE_DOUBLE)],
        "Quantile": [field("quantile", 1, OF.TYPE_DOUBLE), field("value", 2, OF.TYPE_DOUBLE)],
        "Summary": [
            field("sample_count", 1, OF.TYPE_UINT64),
            field("sample_sum", 2, OF.TYPE_DOUBLE),
            field("quantile", 3, OF.TYPE_MESSAGE, _type("Quantile"), repeated=True),
        ],
        "Bucket": [field("cumulative_count", 1, OF.TYPE_UINT64), field("upper_bound", 2, OF.TYPE_DOUBLE)],
        "Histogram": [
            field("sample_count", 1, OF.TYPE_UINT64),
            field("sample_sum", 2, OF.TYPE_DOUBLE),
            field("bucket", 3, OF.TYPE_MESSAGE, _type("Bucket"), repeated=True),
        ],
        "Metric": [
            field("label", 1, OF.TYPE_MESSAGE, _type("LabelPair"), repeated=True),
            field("gauge", 2, OF.TYPE_MESSAGE, _type("Gauge")),
            field("counter", 3, OF.TYPE_MESSAGE, _type("Counter")),
            field("summary", 4, OF.TYPE_MESSAGE, _type("Summary")),
            field("timestamp_ms", 6, OF.TYPE_INT64),
            field("histogram", 7, OF.TYPE_MESSAGE, _type("Histogram")),
        ],
        "MetricFamily": [
            field("name", 1, OF.TYPE_STRING),
            field("type", 3, OF.TYPE_ENUM, _type("MetricType")),
            field("metric", 4, OF.TYPE_MESSAGE, _type("Metric"), repeated=True),
        ],
        "Identifier": [field("node", 1, OF.TYPE_BYTES)],
        "StreamMetricsMessage": [
            field("identifier", 1, OF.TYPE_MESSAGE, _type("Identifier")),
            field("envoy_metrics", 2, OF.TYPE_MESSAGE, _type("MetricFamily"), repeated=True),
        ],
    }
    return FileDescriptorProto(
        name="meshproxy/metrics_service.proto",
        package=_PACKAGE,
        syntax="proto2",
        message_type=[DescriptorProto(name=name, field=fields) for name, fields in messages.items()],
        enum_type=[enum("MetricType", ("COUNTER", "GAUGE", "SUMMARY", "UNTYPED", "HISTOGRAM"))],
    )


_POOL = descriptor_pool.DescriptorPool()
_POOL.Add(_messages())
_Message: Any = message_factory.GetMessageClass(_POOL.FindMessageTypeByName(f"{_PACKAGE}.StreamMetricsMessage"))


def encode_metrics(
    metrics: Iterable[Metric], now: float, node: bytes | None, *, summaries: bool, histograms: bool, batch: int
) -> Iterator[bytes]:
    """The messages that tell these. now: seconds since 1970. node: serialized, for the first message of a stream, else
    None. batch: families in one message, 0 for all."""
    families = _families(metrics, int(now * 1000), summaries, histograms)
    while chunk := list(islice(families, batch or None)):
        message = _Message(envoy_metrics=chunk)
        if node is not None:
            message.identifier.node = node
            node = None
        yield message.SerializeToString()


def _families(metrics: Iterable[Metric], now: int, summaries: bool, histograms: bool) -> Iterator[dict[str, Any]]:
    for metric in metrics:
        if metric.kind == "counter":
            yield _family(metric, now, _COUNTER, {"counter": {"value": metric.value}})
        elif metric.kind == "gauge":
            yield _family(metric, now, _GAUGE, {"gauge": {"value": metric.value}})
        else:
            bins = metric.bins or {}
            total = {"sample_count": sum(bins.values()), "sample_sum": approximate_sum(bins)}
            if summaries:
                pairs = zip(QUANTILES, quantile_values(bins), strict=True)
                quantiles = [{"quantile": quantile, "value": value} for quantile, value in pairs]
                yield _family(metric, now, _SUMMARY, {"summary": total | {"quantile": quantiles}})
            if histograms:
                counts = zip(metric.bounds, counts_up_to(bins, metric.bounds), strict=True)
                buckets = [{"upper_bound": bound, "cumulative_count": count} for bound, count in counts]
                yield _family(metric, now, _HISTOGRAM, {"histogram": total | {"bucket": buckets}})


def _family(metric: Metric, now: int, kind: int, value: dict[str, Any]) -> dict[str, Any]:
    labels = [{"name": name, "value": text} for name, text in metric.tags]
    return {"name": metric.name, "type": kind, "metric": [{"label": labels, "timestamp_ms": now, **value}]}
