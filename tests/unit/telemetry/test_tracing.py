"""Trace context in header fields, and what collectors are sent; the parity cases say what Envoy does with it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
)

from meshproxy.headers import RequestHeaders
from meshproxy.telemetry.tracing.encode import encode_otlp, encode_zipkin
from meshproxy.telemetry.tracing.propagation import (
    Malformed,
    b3_sampled,
    extract_b3,
    extract_w3c,
    inject_b3,
    inject_w3c,
)
from meshproxy.telemetry.tracing.span import Span, TraceContext

TRACE, SPAN, PARENT = "463ac35c9f6413ad48485a3953bb6124", "a2fb4a1d1a96d312", "0020000000000001"


def request(**fields: str) -> RequestHeaders:
    return RequestHeaders(fields=[(name.replace("_", "-"), value) for name, value in fields.items()])


@pytest.mark.parametrize(
    ("fields", "decision"),
    [
        ({}, None),
        ({"x_b3_sampled": "1"}, True),
        ({"x_b3_sampled": "true"}, True),
        ({"x_b3_sampled": "0"}, False),
        ({"x_b3_flags": "1"}, True),
        ({"b3": "0"}, False),
        ({"b3": "d"}, True),
        ({"b3": f"{TRACE}-{SPAN}"}, None),
        ({"b3": f"{TRACE}-{SPAN}-0"}, False),
    ],
)
def test_who_decides_about_sampling(fields: dict[str, str], decision: bool | None) -> None:
    assert b3_sampled(request(**fields)) is decision


@pytest.mark.parametrize(
    "fields",
    [
        {"x_b3_traceid": TRACE, "x_b3_spanid": SPAN, "x_b3_parentspanid": PARENT, "x_b3_sampled": "1"},
        {"b3": f"{TRACE}-{SPAN}-1-{PARENT}"},
        {"x_b3_traceid": TRACE[16:], "x_b3_spanid": SPAN, "x_b3_sampled": "1"},
    ],
)
def test_b3_goes_on_as_it_came(fields: dict[str, str]) -> None:
    given = request(**fields)
    context = extract_b3(given, sampled=True)
    assert context is not None
    passed = RequestHeaders()
    inject_b3(context, passed)
    assert dict(passed.items()) == dict(given.items())


@pytest.mark.parametrize(
    "fields",
    [
        {"x_b3_traceid": "0" * 15, "x_b3_spanid": SPAN},
        {"x_b3_traceid": TRACE, "x_b3_spanid": "z" * 16},
        {"x_b3_traceid": TRACE, "x_b3_spanid": SPAN, "x_b3_parentspanid": "1"},
        {"b3": f"{TRACE}-{SPAN[1:]}-1"},
        {"b3": "a-b-c-d-e"},
    ],
)
def test_malformed_b3(fields: dict[str, str]) -> None:
    with pytest.raises(Malformed):
        extract_b3(request(**fields), sampled=True)


def test_w3c_goes_on_with_its_state() -> None:
    given = request(traceparent=f"00-{TRACE}-{SPAN}-01", tracestate="a=b")
    context = extract_w3c(given)
    assert context is not None
    assert (context.trace_id, context.span_id, context.sampled) == (int(TRACE, 16), int(SPAN, 16), True)
    passed = RequestHeaders()
    inject_w3c(context, passed)
    assert dict(passed.items()) == dict(given.items())


@pytest.mark.parametrize(
    "value",
    [
        "",
        f"00-{TRACE}-{SPAN}",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE}-{SPAN}-01-more",
        f"00-{TRACE}-{SPAN}-0g",
    ],
)
def test_malformed_w3c(value: str) -> None:
    with pytest.raises(Malformed):
        extract_w3c(request(traceparent=value))


def span(**fields: Any) -> Span:
    context = TraceContext(int(TRACE, 16), int(SPAN, 16), int(PARENT, 16), state="a=b")
    made = Span(context, "op", "SERVER", 1000.5, duration=0.25, **fields)
    made.tags["http.status_code"] = "503"
    return made


def test_zipkins_json() -> None:
    (encoded,) = json.loads(encode_zipkin([span(shared=True)], "svc", "10.0.0.1"))
    assert (encoded["traceId"], encoded["id"], encoded["parentId"]) == (TRACE, SPAN, PARENT)
    assert (encoded["timestamp"], encoded["duration"], encoded["shared"]) == (1000500000, 250000, True)
    assert encoded["annotations"] == [{"timestamp": 1000750000, "value": "ss"}]


def test_otlp() -> None:
    decoded = ExportTraceServiceRequest()
    decoded.ParseFromString(encode_otlp([span()], [("service.name", "svc"), ("k", "v")], "1.0"))
    (resource_spans,) = decoded.resource_spans
    assert {each.key: each.value.string_value for each in resource_spans.resource.attributes}["service.name"] == "svc"
    (sent,) = resource_spans.instrumentation_library_spans[0].spans
    assert (sent.trace_id.hex(), sent.span_id.hex(), sent.parent_span_id.hex()) == (TRACE, SPAN, PARENT)
    assert (sent.name, sent.kind, sent.trace_state) == ("op", 2, "a=b")
    assert sent.end_time_unix_nano - sent.start_time_unix_nano == 250_000_000
    assert sent.status.code == 2
