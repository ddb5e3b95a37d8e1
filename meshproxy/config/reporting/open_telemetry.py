"""The OpenTelemetry tracer: where spans go, what they say of us, and which are sampled
(envoy.config.trace.v3.OpenTelemetryConfig, envoy.extensions.tracers.opentelemetry)."""

from __future__ import annotations

from dataclasses import replace

from meshproxy.config.values.context import CompileContext
from meshproxy.config.values.grpc_services import compile_grpc_service
from meshproxy.model.otlp_log import OtlpHttp
from meshproxy.model.tracing import OpenTelemetryProvider, Sampler
from meshproxy.plugin.view import ConfigView, TypedView
from meshproxy.suggest import unsupported_extension

_EXTENSIONS = "envoy.extensions.tracers.opentelemetry"
_ENVIRONMENT = f"{_EXTENSIONS}.resource_detectors.v3.EnvironmentResourceDetectorConfig"
_STATIC = f"{_EXTENSIONS}.resource_detectors.v3.StaticConfigResourceDetectorConfig"
_ALWAYS = f"{_EXTENSIONS}.samplers.v3.AlwaysOnSamplerConfig"
_PARENT = f"{_EXTENSIONS}.samplers.v3.ParentBasedSamplerConfig"
_RATIO = f"{_EXTENSIONS}.samplers.v3.TraceIdRatioBasedSamplerConfig"
_ATTRIBUTES = "OTEL_RESOURCE_ATTRIBUTES"
_DENOMINATORS = {"HUNDRED": 100, "TEN_THOUSAND": 10_000, "MILLION": 1_000_000}


def compile_open_telemetry(view: ConfigView, context: CompileContext) -> OpenTelemetryProvider:
    """`OpenTelemetryConfig`. Raises ConfigError."""
    grpc_view, http_view = view.view("grpc_service"), view.view("http_service")
    if grpc_view is not None and http_view is not None:
        view.fail("OpenTelemetry Tracer cannot have both gRPC and HTTP exporters configured.", "http_service")
    attributes = {"service.name": view.text("service_name") or "unknown_service:envoy"}
    attributes |= compile_resource(view, context)
    sampler = view.view("sampler")
    common = OpenTelemetryProvider(
        max_waiting=view.integer("max_cache_size", 1024),
        attributes=tuple(attributes.items()),
        sampler=_sampler(sampler) if sampler is not None else None,
    )
    if http_view is None:
        grpc = compile_grpc_service(grpc_view, context) if grpc_view is not None else None
        return replace(common, grpc=grpc)
    http = compile_http_service(http_view, context)
    return replace(
        common, cluster=http.cluster, path=http.path, host=http.host, timeout=http.timeout, headers=http.headers
    )


def compile_resource(view: ConfigView, context: CompileContext) -> dict[str, str]:
    """What `resource_detectors` know of us. Raises ConfigError."""
    attributes: dict[str, str] = {}
    for entry in view.views("resource_detectors"):
        attributes |= _resource(entry, context)
    return attributes


def compile_http_service(view: ConfigView, context: CompileContext) -> OtlpHttp:
    """`HttpService`. Raises ConfigError. Its cluster need not be there yet."""
    uri = view.required("http_uri")
    host, slash, path = uri.text("uri").partition("://")[2].partition("/")
    headers: dict[str, str] = {}
    for entry in view.views("request_headers_to_add"):
        header = entry.required("header")
        entry.enum("append_action")  # as in Envoy the last one of a name stands, whatever this says
        headers[header.text("key").lower()] = header.text("value")
    return OtlpHttp(
        cluster=uri.text("cluster"),
        path=f"{slash}{path}" if slash else "/",
        host=host,
        timeout=uri.seconds("timeout", 5.0),
        headers=tuple(headers.items()),
    )


def check_cluster(view: ConfigView, field: str, context: CompileContext) -> str:
    """The name of a cluster that must be there. Raises ConfigError."""
    cluster = view.text(field)
    if cluster not in context.cluster_names:
        view.fail(f"unknown cluster '{cluster}'", field)
    return cluster


def _typed(extension: ConfigView, *known: str) -> tuple[TypedView, ConfigView]:
    typed = extension.any("typed_config")
    if typed is None:
        extension.fail("'typed_config' is required: an extension is found by the type of its configuration")
    if typed.view is None or typed.full_name not in known:
        typed.fail(unsupported_extension(typed.full_name, known))
    return typed, typed.view


def _resource(extension: ConfigView, context: CompileContext) -> dict[str, str]:
    """What a detector knows of us. As in Envoy one that finds nothing, or nonsense, adds nothing."""
    typed, view = _typed(extension, _ENVIRONMENT, _STATIC)
    if typed.full_name == _STATIC:
        return view.text_map("attributes")
    found = {}
    for pair in filter(None, context.environ.get(_ATTRIBUTES, "").split(",")):
        key, equals, value = pair.partition("=")
        if not equals:
            return {}
        found[key] = value
    return found


def _sampler(extension: ConfigView) -> Sampler:
    typed, view = _typed(extension, _ALWAYS, _PARENT, _RATIO)
    if typed.full_name == _ALWAYS:
        return lambda parent, trace_id: True
    if typed.full_name == _PARENT:
        without_parent = _sampler(view.required("wrapped_sampler"))
        return lambda parent, trace_id: without_parent(None, trace_id) if parent is None else parent.sampled
    share = view.view("sampling_percentage")
    numerator = share.integer("numerator") if share is not None else 0
    denominator = _DENOMINATORS[share.enum("denominator")] if share is not None else 1
    return lambda parent, trace_id: _number(trace_id) % denominator < numerator


def _number(trace_id: int) -> int:
    """Of a trace id the first eight bytes, the last of them first: so every Envoy on the way decides alike."""
    return int.from_bytes(trace_id.to_bytes(16, "big")[:8], "little")
