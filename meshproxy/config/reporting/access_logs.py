"""Access loggers: to a file, stdout, stderr, a gRPC service or a collector (envoy.config.accesslog.v3.AccessLog)."""

from __future__ import annotations

from collections.abc import Sequence

from meshproxy.config.reporting.log_filters import compile_log_filter
from meshproxy.config.reporting.otlp_logs import OPEN_TELEMETRY, compile_otlp_log
from meshproxy.config.reporting.tracing import compile_tags
from meshproxy.config.values.context import CompileContext
from meshproxy.config.values.formats import compile_json, compile_substitution_format, compile_text
from meshproxy.config.values.grpc_services import compile_grpc_service
from meshproxy.errors import ConfigError, Problem
from meshproxy.model.listener import AccessLog, LineFormatter, LogPredicate, LogService
from meshproxy.plugin.view import ConfigView
from meshproxy.suggest import unsupported_extension

_FILE = "envoy.extensions.access_loggers.file.v3.FileAccessLog"
_GRPC = "envoy.extensions.access_loggers.grpc.v3.HttpGrpcAccessLogConfig"
_GRPC_TCP = "envoy.extensions.access_loggers.grpc.v3.TcpGrpcAccessLogConfig"
_STREAMS = {
    "envoy.extensions.access_loggers.stream.v3.StdoutAccessLog": "/dev/stdout",
    "envoy.extensions.access_loggers.stream.v3.StderrAccessLog": "/dev/stderr",
}
_KINDS = (_FILE, _GRPC, _GRPC_TCP, OPEN_TELEMETRY, *_STREAMS)

DEFAULT_FORMAT = (
    '[%START_TIME%] "%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%" %RESPONSE_CODE% %RESPONSE_FLAGS% '
    "%BYTES_RECEIVED% %BYTES_SENT% %DURATION% %RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% "
    '"%REQ(X-FORWARDED-FOR)%" "%REQ(USER-AGENT)%" "%REQ(X-REQUEST-ID)%" "%REQ(:AUTHORITY)%" "%UPSTREAM_HOST%"\n'
)
"""Envoy's format where none is configured ("Default format string" of its access log documentation)."""


def compile_access_logs(views: Sequence[ConfigView], context: CompileContext) -> tuple[AccessLog, ...]:
    """A repeated `AccessLog`. Raises ConfigError with the problems of all."""
    logs: list[AccessLog] = []
    problems: list[Problem] = []
    for view in views:
        with view.collect(problems):
            logs.append(_compile_access_log(view, context))
    if problems:
        raise ConfigError(problems)
    return tuple(logs)


def _compile_access_log(view: ConfigView, context: CompileContext) -> AccessLog:
    filter_view = view.view("filter")
    predicate = compile_log_filter(filter_view, context) if filter_view is not None else None
    typed = view.any("typed_config")
    if typed is None:
        view.fail("'typed_config' is required: an access logger is found by the type of its configuration")
    if typed.view is None or typed.full_name not in _KINDS:
        typed.fail(unsupported_extension(typed.full_name, _KINDS))
    if typed.full_name == OPEN_TELEMETRY:
        return AccessLog("", _measuring(context), predicate, compile_otlp_log(typed.view, context))
    if typed.full_name in (_GRPC, _GRPC_TCP):
        return _compile_grpc(typed.view, typed.full_name == _GRPC_TCP, predicate, context)
    path = _STREAMS.get(typed.full_name) or typed.view.text("path")
    if typed.full_name == _FILE:
        context.log_files.setdefault(path, typed.view.error(f"unable to open file '{path}'", "path"))
    return AccessLog(path, _compile_format(typed.view, context), predicate)


def _compile_grpc(view: ConfigView, of_tcp: bool, predicate: LogPredicate | None, context: CompileContext) -> AccessLog:
    common = view.required("common_config")
    if common.enum("transport_api_version") == "V2":
        common.fail("the second version of the API is no more", "transport_api_version")
    service = LogService(
        common.text("log_name"),
        compile_grpc_service(common.required("grpc_service"), context),
        common.seconds("buffer_flush_interval", 1.0),
        common.integer("buffer_size_bytes", 16384),
        **({} if of_tcp else {part: _names(view, f"additional_{part}_to_log") for part in _PARTS}),
        of_tcp=of_tcp,
        tags=compile_tags(common.views("custom_tags"), context),
        state=tuple(common.texts("filter_state_objects_to_log")),
    )
    return AccessLog("", _measuring(context), predicate, service)


def _measuring(context: CompileContext) -> LineFormatter:
    """Entries tell of bytes on the wire, which are counted only if some format asks for them: this one does."""
    return context.formats.text("%DOWNSTREAM_WIRE_BYTES_SENT%")


_PARTS = ("request_headers", "response_headers", "response_trailers")


def _names(view: ConfigView, field: str) -> tuple[str, ...]:
    return tuple(name.lower() for name in view.texts(field))


def _compile_format(view: ConfigView, context: CompileContext) -> LineFormatter:
    kind = view.which("access_log_format")
    if kind == "log_format":
        return compile_substitution_format(view.required("log_format"), context).make
    if kind == "format" and (text := view.text("format")):
        return compile_text(view, "format", text, context)
    if kind in ("json_format", "typed_json_format"):
        value = view.struct(kind)
        assert value is not None
        return compile_json(value, context)
    return compile_text(view, "log_format", DEFAULT_FORMAT, context)
