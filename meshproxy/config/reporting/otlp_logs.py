"""Access logs for OpenTelemetry (envoy.extensions.access_loggers.open_telemetry.v3.OpenTelemetryAccessLogConfig)."""

from __future__ import annotations

from dataclasses import replace

from meshproxy.config.reporting.open_telemetry import compile_http_service
from meshproxy.config.reporting.tracing import compile_tags
from meshproxy.config.values.context import CompileContext
from meshproxy.config.values.formats import compile_extensions, compile_text
from meshproxy.config.values.grpc_services import compile_grpc_service
from meshproxy.model.grpc_service import GrpcService
from meshproxy.model.listener import FormatExtensions
from meshproxy.model.otlp_log import OtlpHttp, OtlpLogService, OtlpValue
from meshproxy.plugin.view import ConfigView

OPEN_TELEMETRY = "envoy.extensions.access_loggers.open_telemetry.v3.OpenTelemetryAccessLogConfig"
_FLUSH_INTERVAL = 1.0
_BUFFER_SIZE = 16384


def compile_otlp_log(view: ConfigView, context: CompileContext) -> OtlpLogService:
    """`OpenTelemetryAccessLogConfig`. Raises ConfigError."""
    common = view.view("common_config")
    collector = _collector(view, common, context)
    older = common if common is not None else view
    if common is not None:
        common.ignore("filter_state_objects_to_log")
    extensions = compile_extensions(view.views("formatters"), context)
    body, attributes = view.view("body"), view.view("attributes")
    tags = (*(common.views("custom_tags") if common is not None else ()), *view.views("custom_tags"))
    return OtlpLogService(
        collector,
        _resource(view, view.text("log_name") or older.text("log_name"), context),
        _value(body, context, extensions) if body is not None and body.which("value") is not None else None,
        tuple(_entries(attributes, context, extensions).items()) if attributes is not None else (),
        compile_tags(tags, context),
        view.seconds("buffer_flush_interval", older.seconds("buffer_flush_interval", _FLUSH_INTERVAL)),
        view.integer("buffer_size_bytes", older.integer("buffer_size_bytes", _BUFFER_SIZE)),
        view.text("stat_prefix"),
    )


def _collector(view: ConfigView, common: ConfigView | None, context: CompileContext) -> GrpcService | OtlpHttp:
    services = [common] if common is not None else []
    services += [each for each in (view.view("grpc_service"), view.view("http_service")) if each is not None]
    if len(services) != 1:
        view.fail("one of common_config, grpc_service and http_service is required, and no more than one")
    if common is not None:
        if common.enum("transport_api_version") == "V2":
            common.fail("the second version of the API is no more", "transport_api_version")
        return _unlimited(common.required("grpc_service"), context)
    http = view.view("http_service")
    return _unlimited(services[0], context) if http is None else compile_http_service(http, context)


def _unlimited(view: ConfigView, context: CompileContext) -> GrpcService:
    """A service without its timeout, which doesn't hold for logs, in Envoy either."""
    return replace(compile_grpc_service(view, context), timeout=None)


def _resource(view: ConfigView, log_name: str, context: CompileContext) -> tuple[tuple[str, bytes], ...]:
    """Attributes of this proxy; of two with one name the later counts."""
    from opentelemetry.proto.common.v1.common_pb2 import AnyValue  # few logs need it

    found: dict[str, bytes] = {}
    if not view.boolean("disable_builtin_labels"):
        node = context.node
        labels = {
            "log_name": log_name,
            "zone_name": node.zone,
            "cluster_name": node.cluster,
            "node_name": node.id,
        }
        found = {key: AnyValue(string_value=value).SerializeToString() for key, value in labels.items()}
    attributes = view.view("resource_attributes")
    for entry in attributes.views("values") if attributes is not None else ():
        value = entry.view("value")
        found[entry.text("key")] = value.raw().SerializeToString() if value is not None else b""
    return tuple(found.items())


def _entries(view: ConfigView, context: CompileContext, extensions: FormatExtensions) -> dict[str, OtlpValue]:
    """`KeyValueList`"""
    return {
        entry.text("key"): _value(entry.view("value") or entry, context, extensions) for entry in view.views("values")
    }


def _value(view: ConfigView, context: CompileContext, extensions: FormatExtensions) -> OtlpValue:
    """`AnyValue`"""
    kind = view.which("value") if view.message_name == "AnyValue" else None
    if kind == "string_value":
        return compile_text(view, kind, view.text(kind), context, extensions=extensions)
    if kind == "kvlist_value":
        return _entries(view.required(kind), context, extensions)
    if kind == "array_value":
        return [_value(entry, context, extensions) for entry in view.required(kind).views("values")]
    view.fail(
        "Only string values, nested key value lists and array values are supported in OpenTelemetry access log format."
    )
