"""Tracing: of a connection manager (`tracing`), of a route, and the providers (envoy.config.trace.v3)."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

from meshproxy.config.reporting.open_telemetry import check_cluster, compile_open_telemetry
from meshproxy.config.values.context import CompileContext
from meshproxy.matching import FractionalPercent
from meshproxy.model.tracing import (
    Flushing,
    OpenTelemetryProvider,
    RouteTracing,
    Sampling,
    SpanNames,
    TagValue,
    TracingConfig,
    ZipkinProvider,
)
from meshproxy.plugin.stream_info import StreamInfo
from meshproxy.plugin.view import ConfigView
from meshproxy.runtime_values import as_number

_ZIPKIN = "envoy.config.trace.v3.ZipkinConfig"
_OPEN_TELEMETRY = "envoy.config.trace.v3.OpenTelemetryConfig"
_DENOMINATORS = {"HUNDRED": 100, "TEN_THOUSAND": 1, "MILLION": 0.01}


def compile_tracing(
    view: ConfigView | None, context: CompileContext, *, by_request_id: bool, pack_reason: bool
) -> TracingConfig | None:
    """`HttpConnectionManager.Tracing`; None without it. Raises ConfigError."""
    if view is None:
        return None
    verbose = view.boolean("verbose")
    if verbose:
        context.formats.text("%COMMON_DURATION(US_TX_BEG:US_TX_END)%")  # which has such times noted
    provider_view = view.view("provider") or context.tracing_provider
    provider, flushing = compile_provider(provider_view, context) if provider_view is not None else (None, Flushing())
    shares = [_percent(view.view(f"{name}_sampling")) for name in ("client", "random", "overall")]
    return TracingConfig(
        sampling=_sampling(shares, context),
        tags=compile_tags(view.views("custom_tags"), context),
        max_path_length=view.integer("max_path_tag_length", 256),
        spawn_upstream_span=view.boolean("spawn_upstream_span"),
        provider=provider,
        flushing=flushing,
        by_request_id=by_request_id,
        pack_reason=pack_reason,
        names=_compile_names(view, context),
        verbose=verbose,
    )


def compile_route_tracing(view: ConfigView | None, context: CompileContext) -> RouteTracing | None:
    """`route.v3.Tracing`; None without it. Raises ConfigError."""
    if view is None:
        return None
    shares = [_fraction(view.view(f"{name}_sampling")) for name in ("client", "random", "overall")]
    tags = compile_tags(view.views("custom_tags"), context)
    return RouteTracing(_sampling(shares, context), tags, _compile_names(view, context))


def _compile_names(view: ConfigView, context: CompileContext) -> SpanNames:
    return SpanNames(_compile_name(view, "operation", context), _compile_name(view, "upstream_operation", context))


def _compile_name(view: ConfigView, field: str, context: CompileContext) -> TagValue | None:
    text = view.text(field)
    if not text:
        return None
    try:
        value = context.formats.header(text)
    except ValueError as error:
        view.fail(str(error), field)
    return _constant(value) if isinstance(value, str) else value


def _sampling(shares: Sequence[int], context: CompileContext) -> Sampling:
    """shares: of 10,000 each; those of the connection manager and of routes follow the same keys."""
    keys = ("tracing.client_enabled", "tracing.random_sampling", "tracing.global_enabled")
    follow = context.runtime.share
    return Sampling(*(follow(key, FractionalPercent(share, 10000)) for key, share in zip(keys, shares, strict=True)))


def _percent(view: ConfigView | None) -> int:
    """`type.v3.Percent` of 10,000; all without it."""
    return 10000 if view is None else round(view.number("value") * 100)


def _fraction(view: ConfigView | None) -> int:
    if view is None:
        return 10000
    return round(view.integer("numerator") * _DENOMINATORS[view.enum("denominator")])


# Tags.


def compile_tags(views: Sequence[ConfigView], context: CompileContext) -> tuple[tuple[str, TagValue], ...]:
    """`CustomTag` messages, of spans and of logs: name and value; of two with one name the later counts."""
    tags = {view.text("tag"): _compile_tag(view, context) for view in views}
    return tuple(tags.items())


def _compile_tag(view: ConfigView, context: CompileContext) -> TagValue:
    kind = view.which("type")
    if kind == "literal":
        return _constant(view.required(kind).text("value"))
    if kind == "environment":
        variable = view.required(kind)
        return _constant(os.environ.get(variable.text("name"), variable.text("default_value")))
    if kind == "request_header":
        return _of_header(view.required(kind))
    if kind == "metadata":
        return _of_metadata(view.required(kind))
    if kind == "value":
        try:
            value = context.formats.header(view.text(kind))
        except ValueError as error:
            view.fail(str(error), kind)
        return _constant(value) if isinstance(value, str) else value
    view.fail("a custom tag needs a type")


def _constant(text: str) -> TagValue:
    return lambda stream: text


def _of_header(view: ConfigView) -> TagValue:
    name, default = view.text("name").lower(), view.text("default_value")

    def value(stream: StreamInfo) -> str:
        found = stream.request.get(name) if stream.request is not None else None
        return default if found is None else found

    return value


_SOURCES = {
    "request": "dynamic_metadata",
    "route": "route_metadata",
    "cluster": "upstream_cluster_metadata",
    "host": "upstream_host_metadata",
}


def _of_metadata(view: ConfigView) -> TagValue:
    kind = view.required("kind").which("kind") or ""
    if kind:
        view.required("kind").view(kind)
    attribute = _SOURCES.get(kind)
    if attribute is None:
        view.fail("the metadata must be of request, route, cluster or host", "kind")
    key = view.required("metadata_key")
    path = [key.text("key"), *(segment.text("key") for segment in key.views("path"))]
    default = view.text("default_value")

    def value(stream: StreamInfo) -> str:
        found: Any = getattr(stream, attribute)
        for name in path:
            found = found.get(name) if isinstance(found, Mapping) else None
        return default if found is None else _text(found)

    return value


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return json.dumps(_plain(value), separators=(",", ":"))


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


# Providers.


def compile_provider(
    view: ConfigView, context: CompileContext
) -> tuple[ZipkinProvider | OpenTelemetryProvider, Flushing]:
    view.text("name")
    typed = view.any("typed_config")
    name = typed.full_name if typed is not None else ""
    if typed is not None and typed.view is not None:
        if name == _ZIPKIN:
            return _compile_zipkin(typed.view, context), _flushing("zipkin", context)
        if name == _OPEN_TELEMETRY:
            return compile_open_telemetry(typed.view, context), _flushing("opentelemetry", context)
    view.fail(f"the tracers of meshproxy are {_ZIPKIN} and {_OPEN_TELEMETRY}, not '{name}'", "typed_config")


def _flushing(tracer: str, context: CompileContext) -> Flushing:
    """`tracing.<tracer>.min_flush_spans` and so on, of the runtime; times there are in milliseconds."""

    def number(key: str, default: float) -> float:
        return as_number(context.runtime.get(f"tracing.{tracer}.{key}"), default)

    return Flushing(
        max(1, int(number("min_flush_spans", 5))),
        number("flush_interval_ms", 5000) / 1000.0,
        number("request_timeout", 5000) / 1000.0,
    )


def _compile_zipkin(view: ConfigView, context: CompileContext) -> ZipkinProvider:
    version = view.enum("collector_endpoint_version")
    if version != "HTTP_JSON":
        view.fail(f"the only collector_endpoint_version of meshproxy is HTTP_JSON, not {version}")
    cluster = check_cluster(view, "collector_cluster", context)
    if not view.text("collector_endpoint"):
        view.fail("field 'collector_endpoint' is required")
    return ZipkinProvider(
        cluster=cluster,
        path=view.text("collector_endpoint"),
        host=view.text("collector_hostname") or cluster,
        trace_id_128bit=view.boolean("trace_id_128bit"),
        shared=view.boolean("shared_span_context", True),
        w3c=view.enum("trace_context_option") == "USE_B3_WITH_W3C_PROPAGATION",
    )
