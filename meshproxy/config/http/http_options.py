"""Protocol options of both sides: `core.v3.HttpProtocolOptions`, `Http1ProtocolOptions` and `Http2ProtocolOptions`."""

from __future__ import annotations

from typing import cast

from meshproxy.config.matching.matchers import compile_string_matcher
from meshproxy.model.codec import HeaderKeyFormat, Http1Options, Http2Options, Keepalive, Underscores
from meshproxy.plugin.view import ConfigView
from meshproxy.records import dataclass

_PRESERVE_CASE = "envoy.extensions.http.header_formatters.preserve_case.v3.PreserveCaseFormatterConfig"
_DEFAULT_IDLE_TIMEOUT = 3600.0
# Parameters of SETTINGS (RFC 9113 section 6.5.2, RFC 8441), and those that have a field of their own.
_ENABLE_PUSH, _MAX_FRAME_SIZE, _ENABLE_CONNECT = 2, 5, 8
_NAMED_SETTINGS = {1: "hpack_table_size", 3: "max_concurrent_streams", 4: "initial_stream_window_size"}
_FRAME_SIZE = 16384


@dataclass(frozen=True, slots=True)
class CommonOptions:
    """`HttpProtocolOptions`. Times in seconds, 0 for no limit; `max_response_headers_kb` 0 when unset.

    max_connection_duration_jitter: the most by which that duration grows, as a part of it.
    """

    idle_timeout: float = _DEFAULT_IDLE_TIMEOUT
    max_connection_duration: float = 0.0
    max_connection_duration_jitter: float = 0.0
    max_headers_count: int = 100
    max_response_headers_kb: int = 0
    max_stream_duration: float = 0.0
    underscores: Underscores = "ALLOW"
    max_requests_per_connection: int = 0


def compile_common_options(view: ConfigView | None, *, upstream: bool) -> CommonOptions:
    """`common_http_protocol_options`. upstream: of a cluster, where some fields have another meaning or none."""
    if view is None:
        return CommonOptions()
    underscores = cast(Underscores, view.enum("headers_with_underscores_action"))  # of clients' requests alone
    return CommonOptions(
        idle_timeout=view.seconds("idle_timeout", _DEFAULT_IDLE_TIMEOUT),
        max_connection_duration=view.seconds("max_connection_duration", 0.0),
        max_connection_duration_jitter=view.number("max_connection_duration_jitter") / 100,
        max_headers_count=view.integer("max_headers_count", 100),
        max_response_headers_kb=view.integer("max_response_headers_kb") if upstream else 0,
        max_stream_duration=view.seconds("max_stream_duration", 0.0),
        underscores="ALLOW" if upstream else underscores,
        max_requests_per_connection=view.integer("max_requests_per_connection"),
    )


def compile_http1_options(view: ConfigView | None, common: CommonOptions, max_headers_kb: int) -> Http1Options:
    """`http_protocol_options` with the limits that stand elsewhere. Raises ConfigError."""
    if view is None:
        return Http1Options(
            max_headers_kb=max_headers_kb,
            max_headers_count=common.max_headers_count,
            underscores=common.underscores,
        )
    return Http1Options(
        max_headers_kb=max_headers_kb,
        max_headers_count=common.max_headers_count,
        accept_http_10=view.boolean("accept_http_10"),
        default_host_for_http_10=view.text("default_host_for_http_10"),
        allow_absolute_url=view.boolean("allow_absolute_url", True),
        enable_trailers=view.boolean("enable_trailers"),
        allow_chunked_length=view.boolean("allow_chunked_length"),
        underscores=common.underscores,
        header_key_format=_compile_key_format(view.view("header_key_format")),
        send_fully_qualified_url=view.boolean("send_fully_qualified_url"),
        allow_custom_methods=view.boolean("allow_custom_methods"),
        ignored_upgrades=tuple(compile_string_matcher(each) for each in view.views("ignore_http_11_upgrade")),
    )


def compile_http2_options(
    view: ConfigView | None, common: CommonOptions, max_headers_kb: int, *, stream_errors: bool = False
) -> Http2Options:
    """`http2_protocol_options` with the limits that stand elsewhere. Raises ConfigError.

    stream_errors: what the connection manager says of malformed messages, where these options don't.
    """
    default = Http2Options()
    if view is None:
        return Http2Options(
            max_headers_kb=max_headers_kb,
            max_headers_count=common.max_headers_count,
            underscores=common.underscores,
            override_stream_error_on_invalid_http_message=stream_errors,
        )
    if view.boolean("allow_metadata"):
        view.fail("METADATA frames aren't supported by meshproxy", "allow_metadata")
    view.ignore("use_oghttp2_codec", "max_metadata_size")
    custom = _compile_custom_settings(view)
    older = view.boolean("stream_error_on_invalid_http_messaging", stream_errors)
    whole = view.integer
    return Http2Options(
        hpack_table_size=whole("hpack_table_size", custom.pop("hpack_table_size", default.hpack_table_size)),
        max_concurrent_streams=whole(
            "max_concurrent_streams", custom.pop("max_concurrent_streams", default.max_concurrent_streams)
        ),
        initial_stream_window_size=whole(
            "initial_stream_window_size", custom.pop("initial_stream_window_size", default.initial_stream_window_size)
        ),
        initial_connection_window_size=whole("initial_connection_window_size", default.initial_connection_window_size),
        allow_connect=view.boolean("allow_connect"),
        max_outbound_frames=whole("max_outbound_frames", default.max_outbound_frames),
        max_outbound_control_frames=whole("max_outbound_control_frames", default.max_outbound_control_frames),
        max_consecutive_inbound_frames_with_empty_payload=whole(
            "max_consecutive_inbound_frames_with_empty_payload",
            default.max_consecutive_inbound_frames_with_empty_payload,
        ),
        max_inbound_priority_frames_per_stream=whole(
            "max_inbound_priority_frames_per_stream", default.max_inbound_priority_frames_per_stream
        ),
        max_inbound_window_update_frames_per_data_frame_sent=whole(
            "max_inbound_window_update_frames_per_data_frame_sent",
            default.max_inbound_window_update_frames_per_data_frame_sent,
        ),
        override_stream_error_on_invalid_http_message=view.boolean(
            "override_stream_error_on_invalid_http_message", older
        ),
        max_headers_kb=max_headers_kb,
        max_headers_count=common.max_headers_count,
        underscores=common.underscores,
        keepalive=_compile_keepalive(view.view("connection_keepalive")),
        custom_settings=tuple((int(number), value) for number, value in custom.items()),
    )


def _compile_custom_settings(view: ConfigView) -> dict[str, int]:
    """Parameters of SETTINGS that have no field of their own, by number; those that have one, by its name."""
    found: dict[str, int] = {}
    for each in view.views("custom_settings_parameters"):
        number, value = each.integer("identifier"), each.integer("value")
        field = _NAMED_SETTINGS.get(number)
        if number == _ENABLE_PUSH and value:
            each.fail("server push isn't supported", "value")
        if number == _ENABLE_CONNECT:
            each.fail("this parameter is 'allow_connect'", "identifier")
        if number == _MAX_FRAME_SIZE and value != _FRAME_SIZE:
            each.fail(f"frames of another size than {_FRAME_SIZE} aren't supported by meshproxy", "value")
        if field is not None and view.has(field):
            each.fail(f"this parameter is given by '{field}' already", "identifier")
        key = field or str(number)
        if found.setdefault(key, value) != value:
            each.fail("this parameter is given twice, with different values", "identifier")
    return found


def _compile_keepalive(view: ConfigView | None) -> Keepalive | None:
    if view is None:
        return None
    return Keepalive(
        interval=view.duration("interval"),
        timeout=view.seconds("timeout", 0.0),
        jitter=view.number("interval_jitter", 15.0),
        idle_interval=view.duration("connection_idle_interval"),
    )


def _compile_key_format(view: ConfigView | None) -> HeaderKeyFormat | None:
    if view is None:
        return None
    if view.which("header_format") == "proper_case_words":
        return HeaderKeyFormat(proper=True)
    formatter = view.required("stateful_formatter")
    typed = formatter.any("typed_config")
    if typed is None:
        formatter.fail("'typed_config' is required")
    case = typed.message(_PRESERVE_CASE)
    return HeaderKeyFormat(
        preserve=True,
        proper=case.enum("formatter_type_on_envoy_headers") == "PROPER_CASE",
        reason=case.boolean("forward_reason_phrase"),
    )
