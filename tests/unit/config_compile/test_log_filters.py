"""Which streams are logged."""

import random
from typing import Any

import pytest

from meshproxy.config.reporting.log_filters import compile_log_filter
from meshproxy.headers import Headers, RequestHeaders, ResponseHeaders
from meshproxy.plugin.stream_info import StreamInfo
from tests.unit.config_compile.compiling import make_context, view_of


def logged(text: str, stream: StreamInfo, **settings: Any) -> bool:
    view = view_of("envoy.config.accesslog.v3.AccessLogFilter", text)
    predicate = compile_log_filter(view, make_context(**settings))
    assert view.unread_problems() == []
    return predicate(stream)


def stream_with(**facts: Any) -> StreamInfo:
    stream = StreamInfo()
    for name, value in facts.items():
        setattr(stream, name, value)
    return stream


def comparison(kind: str, op: str, value: int) -> str:
    return f"{kind}: {{comparison: {{op: {op}, value: {{default_value: {value}, runtime_key: key}}}}}}"


@pytest.mark.parametrize(
    ("op", "code", "expected"),
    [
        ("EQ", 404, True),
        ("EQ", 403, False),
        ("GE", 404, True),
        ("GE", 405, True),
        ("LE", 405, False),
        ("NE", 404, False),
    ],
)
def test_status_codes(op: str, code: int, expected: bool) -> None:
    assert logged(comparison("status_code_filter", op, 404), stream_with(response_code=code)) is expected


def test_the_runtime_replaces_a_threshold() -> None:
    text = comparison("status_code_filter", "GE", 400)
    assert not logged(text, stream_with(response_code=404), runtime={"key": 500})


@pytest.mark.parametrize(("end", "expected"), [(10.0049, False), (10.005, True), (10.0059, True)])
def test_durations_are_whole_milliseconds(end: float, expected: bool) -> None:
    assert logged(comparison("duration_filter", "GE", 5), stream_with(start=10.0, end=end + 1e-9)) is expected


@pytest.mark.parametrize(
    ("text", "facts", "expected"),
    [
        ("not_health_check_filter: {}", {"health_check": True}, False),
        ("not_health_check_filter: {}", {}, True),
        ("traceable_filter: {}", {"sampled": True}, True),
        ("traceable_filter: {}", {}, False),
        ("response_flag_filter: {}", {"flags": "UF"}, True),
        ("response_flag_filter: {}", {}, False),
        ("response_flag_filter: {flags: [NR, UF]}", {"flags": "URX,UF"}, True),
        ("response_flag_filter: {flags: [NR]}", {"flags": "URX,UF"}, False),
        ("log_type_filter: {types: [TcpConnectionEnd]}", {"access_log_type": "TcpConnectionEnd"}, True),
        ("log_type_filter: {types: [TcpConnectionEnd], exclude: true}", {"access_log_type": "DownstreamEnd"}, True),
        ("log_type_filter: {types: [NotSet]}", {}, True),
        ("header_filter: {header: {name: a, string_match: {exact: b}}}", {}, False),
        ("header_filter: {header: {name: a, present_match: false}}", {}, True),
    ],
)
def test_facts_of_the_stream(text: str, facts: dict[str, Any], expected: bool) -> None:
    assert logged(text, stream_with(**facts)) is expected


def test_headers_of_the_request() -> None:
    stream = stream_with(request=RequestHeaders(fields=[("a", "b")]))
    assert logged("header_filter: {header: {name: a, string_match: {exact: b}}}", stream)


def test_all_and_any() -> None:
    stream = stream_with(sampled=True, health_check=True)
    assert not logged("and_filter: {filters: [{traceable_filter: {}}, {not_health_check_filter: {}}]}", stream)
    assert logged("or_filter: {filters: [{traceable_filter: {}}, {not_health_check_filter: {}}]}", stream)


@pytest.mark.parametrize(
    ("facts", "status"),
    [
        ({"response_trailers": Headers([("grpc-status", "0")]), "response_code": 200}, "OK"),
        ({"response": ResponseHeaders(200, [("grpc-status", "14")])}, "UNAVAILABLE"),
        ({"response_code": 503}, "UNAVAILABLE"),
        ({"response_code": 404}, "UNIMPLEMENTED"),
        ({"response_code": 200}, "UNKNOWN"),
        ({"response": ResponseHeaders(200, [("grpc-status", "x")]), "response_code": 403}, "PERMISSION_DENIED"),
    ],
)
def test_grpc_status(facts: dict[str, Any], status: str) -> None:
    assert logged(f"grpc_status_filter: {{statuses: [{status}]}}", stream_with(**facts))
    assert not logged(f"grpc_status_filter: {{statuses: [{status}], exclude: true}}", stream_with(**facts))
    other = "ABORTED"
    assert not logged(f"grpc_status_filter: {{statuses: [{other}]}}", stream_with(**facts))


def test_metadata() -> None:
    stream = StreamInfo()
    stream.set_metadata("ns", "key", "yes")
    matcher = "matcher: {filter: ns, path: [{key: %s}], value: {string_match: {exact: 'yes'}}}"
    assert logged(f"metadata_filter: {{{matcher % 'key'}}}", stream)
    stream.set_metadata("ns", "key", "other")
    assert not logged(f"metadata_filter: {{{matcher % 'key'}}}", stream)
    assert logged(f"metadata_filter: {{{matcher % 'absent'}}}", stream)
    assert not logged(f"metadata_filter: {{{matcher % 'absent'}, match_if_key_not_found: false}}", stream)


def test_samples_follow_the_request_id() -> None:
    text = "runtime_filter: {runtime_key: key, percent_sampled: {numerator: 50}}"
    low, high = "00000031-0000-4000-8000-000000000000", "00000032-0000-4000-8000-000000000000"
    assert logged(text, stream_with(request_id=low))
    assert not logged(text, stream_with(request_id=high))
    assert logged(text, stream_with(request_id=high), runtime={"key": 100})


def test_samples_can_be_independent_of_it() -> None:
    text = "runtime_filter: {runtime_key: key, percent_sampled: {numerator: 50}, use_independent_randomness: true}"
    view = view_of("envoy.config.accesslog.v3.AccessLogFilter", text)
    predicate = compile_log_filter(view, make_context(rng=random.Random(3)))
    stream = stream_with(request_id="00000032-0000-4000-8000-000000000000")
    assert 400 < sum(predicate(stream) for _ in range(1000)) < 600
