"""The connection manager's compiled options."""

from dataclasses import dataclass
from typing import Any

import pytest

from meshproxy.config.http.connection_manager import HTTP_CONNECTION_MANAGER, compile_http_connection_manager
from meshproxy.errors import ConfigError
from meshproxy.model.codec import HeaderKeyFormat, Http1Options
from meshproxy.model.http import HttpConnectionManagerConfig
from meshproxy.plugin.context import FactoryContext
from meshproxy.plugin.http import HttpFilter
from meshproxy.plugin.stream_info import StreamInfo
from meshproxy.plugin.view import ConfigView
from tests.unit.config_compile.compiling import ROUTER, STAND_INS, Formats, make_context, view_of

ROUTER_FILTER = f"{{name: r, typed_config: {{'@type': type.googleapis.com/{ROUTER}}}}}"


def manager(text: str = "", filters: str = "", **settings: Any) -> HttpConnectionManagerConfig:
    context = settings.pop("context", None) or make_context(**settings)
    whole = f"stat_prefix: s\nroute_config: {{}}\nhttp_filters: [{filters}{ROUTER_FILTER}]\n{text}"
    view = view_of(HTTP_CONNECTION_MANAGER, whole)
    config = compile_http_connection_manager(view, context)
    problems = [*context.problems, *view.unread_problems()]
    if problems:
        raise ConfigError(problems)
    return config


def test_defaults_are_those_of_envoy() -> None:
    config = manager()
    assert (config.stat_prefix, config.server_name, config.codec_type) == ("s", "envoy", "AUTO")
    assert config.http1 == Http1Options()
    assert (config.idle_timeout, config.stream_idle_timeout, config.drain_timeout) == (3600.0, 300.0, 5.0)
    assert (config.request_timeout, config.max_stream_duration, config.delayed_close_timeout) == (0.0, 0.0, 1.0)
    assert (config.generate_request_id, config.tracing, config.normalize_path) == (True, None, False)
    assert config.reject_path_with_fragment
    assert config.internal_addresses is None
    assert config.path_with_escaped_slashes_action == "KEEP_UNCHANGED"
    assert [spec.name for spec in config.http_filters] == ["r"]


def test_limits_of_the_codec_come_from_three_messages() -> None:
    config = manager(
        "max_request_headers_kb: 96\n"
        "common_http_protocol_options: {max_headers_count: 7, headers_with_underscores_action: REJECT_REQUEST, "
        "idle_timeout: 0s, max_requests_per_connection: 3}\n"
        "http_protocol_options: {accept_http_10: true, default_host_for_http_10: d, allow_absolute_url: false, "
        "header_key_format: {proper_case_words: {}}, override_stream_error_on_invalid_http_message: true}"
    )
    assert config.http1 == Http1Options(
        max_headers_kb=96,
        max_headers_count=7,
        accept_http_10=True,
        default_host_for_http_10="d",
        allow_absolute_url=False,
        underscores="REJECT_REQUEST",
        header_key_format=HeaderKeyFormat(proper=True),
    )
    assert (config.idle_timeout, config.max_requests_per_connection) == (0.0, 3)
    assert config.stream_error_on_invalid_http_message


def test_identity_and_addresses() -> None:
    config = manager(
        "use_remote_address: true\nxff_num_trusted_hops: 2\nforward_client_cert_details: SANITIZE_SET\n"
        "set_current_client_cert_details: {subject: true, dns: true, cert: false}\n"
        "internal_address_config: {cidr_ranges: [{address_prefix: 10.0.0.0, prefix_len: 8}]}"
    )
    assert (config.use_remote_address, config.xff_num_trusted_hops) == (True, 2)
    assert config.forward_client_cert_details == "SANITIZE_SET"
    assert config.set_current_client_cert_details == {"subject", "dns"}
    assert config.internal_addresses is not None
    assert "10.9.9.9" in config.internal_addresses
    assert "11.0.0.1" not in config.internal_addresses


def test_the_runtime_decides_on_fragments() -> None:
    key = "envoy.reloadable_features.http_reject_path_with_fragment"
    assert not manager(runtime={key: False}).reject_path_with_fragment


def test_a_filter_may_be_off_or_missing() -> None:
    context = make_context()
    fault = "type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault"
    missing = "type.googleapis.com/envoy.extensions.filters.http.csrf.v3.CsrfPolicy"
    enabled = "filter_enabled: {default_value: {numerator: 1}}"
    config = manager(
        filters=f"{{name: f, disabled: true, typed_config: {{'@type': {fault}}}}}, "
        f"{{name: m, is_optional: true, typed_config: {{'@type': {missing}, {enabled}}}}}, ",
        context=context,
    )
    assert [(spec.name, spec.disabled) for spec in config.http_filters] == [("f", True), ("r", False)]
    assert "optional filter left out" in str(context.warnings[0])


def test_filters_count_under_the_manager() -> None:
    spec = manager().http_filters[0]
    assert spec.context.stats.prefix == "http.s."
    assert spec.context.name == "r"


def test_a_filter_that_raises_is_one_problem_among_others() -> None:
    class Refuses(HttpFilter[Any]):
        @classmethod
        def compile(cls, view: ConfigView, context: FactoryContext) -> Any:
            view.fail("never good enough")

    registry = STAND_INS.with_classes({"envoy.extensions.filters.http.csrf.v3.CsrfPolicy": Refuses})
    missing = "type.googleapis.com/envoy.extensions.filters.http.csrf.v3.CsrfPolicy"
    enabled = "filter_enabled: {default_value: {numerator: 1}}"
    with pytest.raises(ConfigError) as caught:
        manager(
            "codec_type: HTTP3",
            filters=f"{{name: m, typed_config: {{'@type': {missing}, {enabled}}}}}, ",
            registry=registry,
        )
    assert [problem.message for problem in caught.value.problems] == [
        "never good enough",
        "HTTP3 isn't supported by meshproxy yet",
    ]


@dataclass(frozen=True, slots=True)
class GateConfig:
    """What a Python filter takes."""

    cluster: str
    limit: int = 3


class Gate(HttpFilter[GateConfig]):
    config_type = GateConfig


STRUCT = "type.googleapis.com/xds.type.v3.TypedStruct"
GATE = f"{{name: g, typed_config: {{'@type': {STRUCT}, type_url: t/acme.Gate, value: %s}}}}, "


def test_a_python_filter_takes_a_typed_struct() -> None:
    registry = STAND_INS.with_classes({"acme.Gate": Gate})
    config = manager(filters=GATE % "{cluster: c}", registry=registry)
    assert config.http_filters[0].config == GateConfig("c", 3)
    with pytest.raises(ConfigError, match="did you mean 'limit'"):
        manager(filters=GATE % "{cluster: c, limits: 4}", registry=registry)


def test_a_typed_struct_may_stand_for_a_message_of_envoy() -> None:
    name = "envoy.extensions.filters.http.buffer.v3.Buffer"

    class Buffers(HttpFilter[int]):
        @classmethod
        def compile(cls, view: ConfigView, context: FactoryContext) -> int:
            return view.integer("max_request_bytes")

    registry = STAND_INS.with_classes({name: Buffers})
    text = GATE.replace("t/acme.Gate", f"type.googleapis.com/{name}")
    config = manager(filters=text % "{max_request_bytes: 7}", registry=registry)
    assert config.http_filters[0].config == 7
    with pytest.raises(ConfigError, match="max_request_bytes"):
        manager(filters=text % "{}", registry=registry)


def test_upgrades_have_their_own_filters() -> None:
    config = manager(
        "upgrade_configs: [{upgrade_type: WebSocket, enabled: false}, "
        f"{{upgrade_type: x, filters: [{ROUTER_FILTER}]}}]"
    )
    assert not config.upgrades["websocket"].enabled
    assert config.upgrades["websocket"].filters is None
    assert [spec.name for spec in config.upgrades["x"].filters or ()] == ["r"]


def test_local_replies_are_mapped_by_the_first_that_holds() -> None:
    config = manager(
        "local_reply_config:\n  body_format: {json_format: {a: b}}\n  mappers:\n"
        "  - filter: {status_code_filter: {comparison: {op: GE, value: {default_value: 500, runtime_key: k}}}}\n"
        "    status_code: 599\n    body: {inline_string: sorry}\n"
        "    body_format_override: {text_format: 'x', content_type: text/html}\n"
        "    headers_to_add: [{header: {key: x-a, value: b}}]"
    )
    assert config.local_reply is not None
    (mapper,) = config.local_reply.mappers
    stream = StreamInfo()
    stream.response_code = 503
    assert mapper.predicate(stream)
    stream.response_code = 404
    assert not mapper.predicate(stream)
    assert (mapper.status, mapper.body, mapper.content_type, mapper.mutations.add[0].name) == (
        599,
        "sorry",
        "text/html",
        "x-a",
    )
    assert config.local_reply.content_type == "application/json"


def test_a_bad_format_is_told_with_its_place() -> None:
    class Picky(Formats):
        def text(self, text: str, **settings: Any) -> Any:
            raise ValueError(f"bad: {text}")

    log = "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog"
    with pytest.raises(ConfigError, match=r"test\.yaml:4:\d+: access_log\[0\].*bad: %NONE%"):
        manager(
            f"access_log: [{{typed_config: {{'@type': {log}, path: p, log_format: "
            "{text_format_source: {inline_string: '%NONE%'}}}}]",
            formats=Picky(),
        )


def test_what_a_filters_configuration_raises_is_told_with_its_place() -> None:
    @dataclass(frozen=True)
    class Settings:
        fault: str = ""

    class Faulty(HttpFilter[Any]):
        config_type = Settings

        @classmethod
        def compile_struct(cls, config: Settings, context: FactoryContext) -> Any:
            raise {"value": ValueError, "key": KeyError}[config.fault](config.fault)

    registry = STAND_INS.with_classes({"tests.Faulty": Faulty})
    struct = "'@type': type.googleapis.com/xds.type.v3.TypedStruct, type_url: a/tests.Faulty"
    for fault, says in {
        "value": "value$",
        "key": r"compile_struct raised KeyError: 'key' \(.*test_http\.py:\d+\)$",
    }.items():
        with pytest.raises(ConfigError, match=rf"test\.yaml:3:\d+: http_filters\[0\].*{says}"):
            manager(filters=f"{{name: f, typed_config: {{{struct}, value: {{fault: {fault}}}}}}}, ", registry=registry)
