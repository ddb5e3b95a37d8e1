"""Sinks of statistics (envoy.config.metrics.v3.StatsSink): the dialects of statsd."""

from __future__ import annotations

from meshproxy.config.values.addresses import compile_bound_address
from meshproxy.config.values.context import CompileContext
from meshproxy.model.stats_sink import StatsSink
from meshproxy.plugin.suggest import unsupported_extension
from meshproxy.plugin.view import ConfigView

_STATSD = "envoy.config.metrics.v3.StatsdSink"
_DOG = "envoy.config.metrics.v3.DogStatsdSink"
_GRAPHITE = "envoy.extensions.stat_sinks.graphite_statsd.v3.GraphiteStatsdSink"
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
    dialect = _DIALECTS.get(typed.full_name)
    if typed.view is None or dialect is None:
        typed.fail(unsupported_extension(typed.full_name, tuple(_DIALECTS)))
    view = typed.view
    prefix = view.text("prefix") or "envoy"
    max_bytes = 0 if dialect == "statsd" else view.integer("max_bytes_per_datagram")
    address = view.view("address")
    if address is None:
        cluster = view.text("tcp_cluster_name")
        if cluster not in context.cluster_names:
            view.fail(f"tcp statsd: unknown cluster '{cluster}'", "tcp_cluster_name")
        return StatsSink(dialect, cluster=cluster, prefix=prefix)
    return StatsSink(dialect, address=compile_bound_address(address, udp=True), prefix=prefix, max_bytes=max_bytes)
