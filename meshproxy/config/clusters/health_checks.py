"""Active health checks of a cluster (envoy.config.core.v3.HealthCheck)."""

from __future__ import annotations

from meshproxy.config.http.header_mutations import compile_mutations
from meshproxy.config.matching.matchers import compile_string_matcher
from meshproxy.config.values.context import CompileContext
from meshproxy.model.health_check import GrpcCheck, HealthCheck, HttpCheck, TcpCheck
from meshproxy.plugin.view import ConfigView

_FILE_SINK = "envoy.extensions.health_check.event_sinks.file.v3.HealthCheckEventFileSink"
_WITH_PAYLOAD = ("POST", "PUT", "PATCH", "OPTIONS")
_UNSUPPORTED = ("event_service",)


def compile_health_check(
    views: list[ConfigView], context: CompileContext, name: str, *, http2: bool
) -> HealthCheck | None:
    """The one health check of the cluster `name`, None without. Raises ConfigError.

    http2: the cluster speaks HTTP/2 to its hosts.
    """
    if not views:
        return None
    if len(views) > 1:
        views[1].fail("only one health check per cluster is supported")
    view = views[0]
    for field in _UNSUPPORTED:
        if view.has(field):
            view.fail(f"'{field}' isn't supported by meshproxy", field)
    kind = view.which("health_checker")
    if kind == "http_health_check":
        check: HttpCheck | TcpCheck | GrpcCheck = _compile_http(view.required(kind), context)
    elif kind == "tcp_health_check":
        check = _compile_tcp(view.required(kind))
    elif kind == "grpc_health_check":
        if not http2:
            view.fail(f"{name} cluster must support HTTP/2 for gRPC healthchecking", kind)
        check = _compile_grpc(view.required(kind), context)
    else:
        view.fail(f"'{kind}' isn't supported by meshproxy", kind or "")
    interval = view.seconds("interval", 0.0)
    no_traffic = view.seconds("no_traffic_interval", 60.0)
    unhealthy = view.seconds("unhealthy_interval", interval)
    tls = view.view("tls_options")
    criteria = view.struct("transport_socket_match_criteria")
    return HealthCheck(
        check=check,
        timeout=view.seconds("timeout", 0.0),
        interval=interval,
        unhealthy_threshold=view.integer("unhealthy_threshold"),
        healthy_threshold=view.integer("healthy_threshold"),
        initial_jitter=view.seconds("initial_jitter", 0.0),
        interval_jitter=view.seconds("interval_jitter", 0.0),
        interval_jitter_percent=view.integer("interval_jitter_percent"),
        no_traffic_interval=no_traffic,
        no_traffic_healthy_interval=view.seconds("no_traffic_healthy_interval", no_traffic),
        unhealthy_interval=unhealthy,
        unhealthy_edge_interval=view.seconds("unhealthy_edge_interval", unhealthy),
        healthy_edge_interval=view.seconds("healthy_edge_interval", interval),
        reuse_connection=view.boolean("reuse_connection", True),
        alt_port=view.integer("alt_port"),
        name=view.text("name"),
        event_logs=_event_logs(view, context),
        alpn=",".join(tls.texts("alpn_protocols")) if tls is not None else "",
        socket_match=criteria.value if criteria is not None else None,
        log_failures=view.boolean("always_log_health_check_failures"),
        log_successes=view.boolean("always_log_health_check_success"),
    )


def _event_logs(view: ConfigView, context: CompileContext) -> tuple[str, ...]:
    """The files that events are written to, in both ways to say so."""
    paths = []
    if path := view.text("event_log_path"):
        paths.append(path)
        context.log_files.setdefault(path, view.error(f"unable to open file '{path}'", "event_log_path"))
    for sink in view.views("event_logger"):
        typed = sink.any("typed_config")
        if typed is None or typed.view is None or typed.full_name != _FILE_SINK:
            sink.fail(f"the only event logger is {_FILE_SINK}", "typed_config")
        path = typed.view.text("event_log_path")
        paths.append(path)
        context.log_files.setdefault(path, typed.view.error(f"unable to open file '{path}'", "event_log_path"))
    return tuple(paths)


def _compile_http(view: ConfigView, context: CompileContext) -> HttpCheck:
    codec = view.enum("codec_client_type")
    if codec == "HTTP3":
        view.fail("HTTP/3 isn't supported by meshproxy", "codec_client_type")
    service = view.view("service_name_matcher")
    method = view.enum("method")
    send = view.view("send")
    payload = _payload(send) if send is not None else b""
    if method == "CONNECT":
        view.fail("a health check can't use CONNECT", "method")
    if payload and method not in _WITH_PAYLOAD:
        view.fail(
            f"HTTP health check cannot specify a request payload with method '{method}'; "
            f"only {', '.join(_WITH_PAYLOAD)} can have one",
            "send",
        )
    expected = _ranges(view, "expected_statuses")
    return HttpCheck(
        path=view.text("path"),
        host=view.text("host"),
        method="GET" if method == "METHOD_UNSPECIFIED" else method,
        send=payload,
        receive=tuple(_payload(entry) for entry in view.views("receive")),
        expected=expected or ((200, 201),),
        retriable=_ranges(view, "retriable_statuses"),
        mutations=compile_mutations(
            view.views("request_headers_to_add"), view.texts("request_headers_to_remove"), context
        ),
        response_buffer_size=view.integer("response_buffer_size", 1024),
        http2=codec == "HTTP2",
        service_matches=compile_string_matcher(service) if service is not None else None,
    )


def _compile_grpc(view: ConfigView, context: CompileContext) -> GrpcCheck:
    return GrpcCheck(
        service=view.text("service_name"),
        authority=view.text("authority"),
        mutations=compile_mutations(view.views("initial_metadata"), (), context),
    )


def _ranges(view: ConfigView, field: str) -> tuple[tuple[int, int], ...]:
    ranges = []
    for entry in view.views(field):
        start, end = entry.integer("start"), entry.integer("end")
        if not 100 <= start < end <= 600:
            entry.fail(f"Invalid http status range: expecting 100 <= start < end <= 600, but found [{start}, {end})")
        ranges.append((start, end))
    return tuple(ranges)


def _compile_tcp(view: ConfigView) -> TcpCheck:
    if view.has("proxy_protocol_config"):
        view.fail("'proxy_protocol_config' isn't supported by meshproxy", "proxy_protocol_config")
    send = view.view("send")
    return TcpCheck(
        send=_payload(send) if send is not None else b"",
        receive=tuple(_payload(entry) for entry in view.views("receive")),
    )


def _payload(view: ConfigView) -> bytes:
    """A `Payload`: `text` is hexadecimal, `binary` is what it is."""
    if view.which("payload") == "binary":
        return view.data("binary")
    try:
        return bytes.fromhex(view.text("text"))
    except ValueError:
        view.fail(f"invalid hex string '{view.text('text')}'", "text")
