"""`http2_protocol_options`: every field is enforced, refused, or safe to ignore."""

from __future__ import annotations

import pytest

from meshproxy.config.http.http_options import CommonOptions, compile_http2_options
from meshproxy.errors import ConfigError
from meshproxy.model.codec import Http2Options, Keepalive
from tests.unit.config_compile.compiling import view_of

COMMON = CommonOptions()
MESSAGE = "envoy.config.core.v3.Http2ProtocolOptions"


def options(text: str, *, stream_errors: bool = False, common: CommonOptions = COMMON) -> Http2Options:
    view = view_of(MESSAGE, text)
    compiled = compile_http2_options(view, common, 60, stream_errors=stream_errors)
    problems = view.unread_problems()
    if problems:
        raise ConfigError(problems)
    return compiled


def test_defaults_are_those_of_envoy() -> None:
    assert options("{}") == Http2Options() == compile_http2_options(None, CommonOptions(), 60)


def test_every_field() -> None:
    compiled = options(
        "{hpack_table_size: 1, max_concurrent_streams: 2, initial_stream_window_size: 65536, "
        "initial_connection_window_size: 65537, allow_connect: true, max_outbound_frames: 5, "
        "max_outbound_control_frames: 6, max_consecutive_inbound_frames_with_empty_payload: 7, "
        "max_inbound_priority_frames_per_stream: 8, max_inbound_window_update_frames_per_data_frame_sent: 9, "
        "override_stream_error_on_invalid_http_message: true, use_oghttp2_codec: true, "
        "connection_keepalive: {interval: 1s, timeout: 2s, interval_jitter: {value: 3}, connection_idle_interval: 4s}}",
        common=CommonOptions(max_headers_count=12, underscores="DROP_HEADER"),
    )
    assert compiled == Http2Options(
        hpack_table_size=1,
        max_concurrent_streams=2,
        initial_stream_window_size=65536,
        initial_connection_window_size=65537,
        allow_connect=True,
        max_outbound_frames=5,
        max_outbound_control_frames=6,
        max_consecutive_inbound_frames_with_empty_payload=7,
        max_inbound_priority_frames_per_stream=8,
        max_inbound_window_update_frames_per_data_frame_sent=9,
        override_stream_error_on_invalid_http_message=True,
        max_headers_count=12,
        underscores="DROP_HEADER",
        keepalive=Keepalive(1.0, 2.0, 3.0, 4.0),
    )


@pytest.mark.parametrize(
    ("text", "manager", "expected"),
    [
        ("{}", False, False),
        ("{}", True, True),
        ("{stream_error_on_invalid_http_messaging: true}", False, True),
        ("{stream_error_on_invalid_http_messaging: true, override_stream_error_on_invalid_http_message: false}", 0, 0),
        ("{override_stream_error_on_invalid_http_message: false}", True, False),
    ],
)
def test_whether_a_malformed_message_ends_more_than_its_stream(text: str, manager: bool, expected: bool) -> None:
    assert options(text, stream_errors=manager).override_stream_error_on_invalid_http_message is bool(expected)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{allow_metadata: true}", "METADATA"),
    ],
)
def test_what_is_refused(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        options(text)


def test_custom_settings() -> None:
    def custom(*pairs: tuple[int, int]) -> str:
        return "custom_settings_parameters: [{}]".format(
            ", ".join(f"{{identifier: {n}, value: {v}}}" for n, v in pairs)
        )

    compiled = options(f"{{{custom((3, 5), (77, 9), (77, 9), (2, 0), (5, 16384))}}}")
    assert compiled == Http2Options(max_concurrent_streams=5, custom_settings=((77, 9), (2, 0), (5, 16384)))
    for text, problem in (
        (custom((2, 1)), "server push"),
        (custom((8, 1)), "'allow_connect'"),
        (custom((5, 20000)), "frames of another size"),
        (custom((77, 9), (77, 8)), "twice"),
        ("max_concurrent_streams: 5, " + custom((3, 5)), "by 'max_concurrent_streams' already"),
    ):
        with pytest.raises(ConfigError, match=problem):
            options(f"{{{text}}}")
