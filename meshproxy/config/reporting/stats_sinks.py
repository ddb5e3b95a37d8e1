"""Sinks of statistics (envoy.config.metrics.v3.StatsSink): the dialects of statsd, metrics services, OpenTelemetry."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from meshproxy.config.values.addresses import compile_bound_address
from meshproxy.config.values.context import CompileContext
from meshproxy.config.values.grpc_services import compile_grpc_service
from meshproxy.model.stats_sink import MetricForm, MetricsServiceSink, OpenTelemetrySink, StatsdSink, StatsSink
from meshproxy.plugin.view import ConfigView
from meshproxy.suggest import unsupported_extension

if TYPE_CHECKING:
    from meshproxy.model.grpc_service import GrpcService

_STATSD = "envoy.config.metrics.v3.StatsdSink"
_DOG = "envoy.config.metrics.v3.DogStatsdSink"
_GRAPHITE = "envoy.extensions.stat_sinks.graphite_statsd.v3.GraphiteStatsdSink"
_SERVICE = "envoy.config.metrics.v3.MetricsServiceConfig"
_OPEN_TELEMETRY = "envoy.extensions.stat_sinks.open_telemetry.v3.SinkConfig"
_DIALECTS = {_STATSD: "statsd", _DOG: "dogstatsd", _GRAPHITE: "graphite"}


def compile_stats_sinks(view: ConfigView, context: CompileContext) -> tuple[StatsSink, ...]:
    """`stats_sinks`. Problems are noted in the context."""
    sinks = []
    for entry in view.views("stats_sinks"):
        with entry.collect(context.problems):
            sinks.append(_compile_sink(entry, context))
    return tuple(sinks)


def _compile_sink(entry: ConfigView, context: CompileContext) -> StatsSink:
    entry.text("name")  # a label; the sink is found by the type of its configuration, as in Envoy
    typed = entry.any("typed_config")
    if typed is None:
        entry.fail("'typed_config' is required: a sink is found by the type of its configuration")
    if typed.view is not None and typed.full_name == _SERVICE:
        return _compile_service(typed.view, context)
    if typed.view is not None and typed.full_name == _OPEN_TELEMETRY:
        return _compile_open_telemetry(typed.view, context)
    dialect = _DIALECTS.get(typed.full_name)
    if typed.view is None or dialect is None:
        typed.fail(unsupported_extension(typed.full_name, (*_DIALECTS, _SERVICE, _OPEN_TELEMETRY)))
    return _compile_statsd(typed.view, dialect, context)


def _compile_statsd(view: ConfigView, dialect: str, context: CompileContext) -> StatsdSink:
    prefix = view.text("prefix") or "envoy"
    max_bytes = 0 if dialect == "statsd" else view.integer("max_bytes_per_datagram")
    address = view.view("address")
    if address is None:
        cluster = view.text("tcp_cluster_name")
        if cluster not in context.cluster_names:
            view.fail(f"tcp statsd: unknown cluster '{cluster}'", "tcp_cluster_name")
        return StatsdSink(dialect, cluster=cluster, prefix=prefix)
    return StatsdSink(dialect, address=compile_bound_address(address, udp=True), prefix=prefix, max_bytes=max_bytes)


def _compile_service(view: ConfigView, context: CompileContext) -> MetricsServiceSink:
    if view.enum("transport_api_version") != "V3":
        view.fail("only version V3 of the API is supported", "transport_api_version")
    labels = view.boolean("emit_tags_as_labels")
    deltas = view.boolean("report_counters_as_deltas", False)
    mode = view.enum("histogram_emit_mode")
    return MetricsServiceSink(
        _unlimited(view.required("grpc_service"), context),
        MetricForm(deltas, histogram_deltas=True, extracted=labels, tagged=labels),
        summaries=mode != "HISTOGRAM",
        histograms=mode != "SUMMARY",
        batch=view.integer("batch_size"),
    )


def _compile_open_telemetry(view: ConfigView, context: CompileContext) -> OpenTelemetrySink:
    from meshproxy.config.reporting.open_telemetry import compile_resource  # few configurations need it

    if view.has("custom_metric_conversions"):
        view.fail("metrics can't be renamed by a matcher in meshproxy", "custom_metric_conversions")
    prefix = view.text("prefix")
    form = MetricForm(
        counter_deltas=view.boolean("report_counters_as_deltas"),
        histogram_deltas=view.boolean("report_histograms_as_deltas"),
        extracted=view.boolean("use_tag_extracted_name", True),
        tagged=view.boolean("emit_tags_as_attributes", True),
        prefix=f"{prefix}." if prefix else "",
    )
    resource = compile_resource(view, context)
    return OpenTelemetrySink(_unlimited(view.required("grpc_service"), context), form, tuple(resource.items()))


def _unlimited(view: ConfigView, context: CompileContext) -> GrpcService:
    """A service without its timeout, which doesn't hold for metrics, in Envoy either."""
    return replace(compile_grpc_service(view, context), timeout=None)
