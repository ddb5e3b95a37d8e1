"""Spans as collectors read them: Zipkin's JSON (api v2), and OTLP's protobuf (opentelemetry-proto)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from meshproxy.telemetry.tracing.propagation import trace_id_text
from meshproxy.telemetry.tracing.span import Span


def encode_zipkin(spans: Sequence[Span], service: str, ip: str) -> bytes:
    """The body of a POST to /api/v2/spans. service, ip: of this proxy."""
    return json.dumps([_zipkin(span, service, ip) for span in spans], separators=(",", ":")).encode()


def _zipkin(span: Span, service: str, ip: str) -> dict[str, Any]:
    context = span.context
    start, duration = int(span.start * 1e6), max(1, int(span.duration * 1e6))
    encoded: dict[str, Any] = {"traceId": trace_id_text(context), "name": span.name, "id": f"{context.span_id:016x}"}
    if context.parent_id:
        encoded["parentId"] = f"{context.parent_id:016x}"
    encoded |= {
        "kind": span.kind,
        "timestamp": start,
        "duration": duration,
        "localEndpoint": {"serviceName": service, "ipv4": ip, "port": 0},
        "annotations": [
            *({"timestamp": int(when * 1e6), "value": what} for when, what in span.annotations),
            {"timestamp": start + duration, "value": "cr" if span.kind == "CLIENT" else "ss"},
        ],
        "tags": span.tags,
    }
    if span.shared:
        encoded["shared"] = True
    return encoded


def encode_otlp(spans: Sequence[Span], attributes: Sequence[tuple[str, str]], version: str) -> bytes:
    """An ExportTraceServiceRequest. attributes: of this proxy, its `service.name` first; version: of the program."""
    # Only who exports so pays for the import.
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (  # it has no stubs
        ExportTraceServiceRequest,
    )

    request = ExportTraceServiceRequest()
    resource_spans = request.resource_spans.add()
    for key, value in (
        *attributes,
        ("telemetry.sdk.language", "python"),
        ("telemetry.sdk.name", "meshproxy"),
        ("telemetry.sdk.version", version),
    ):
        resource_spans.resource.attributes.add(key=key).value.string_value = value
    scopes = resource_spans.instrumentation_library_spans.add()  # the older name of `scope_spans`, with the same number
    scopes.instrumentation_library.name = "meshproxy"
    scopes.instrumentation_library.version = version
    for span in spans:
        _add_otlp(scopes.spans.add(), span)
    encoded: bytes = request.SerializeToString()
    return encoded


def _add_otlp(target: Any, span: Span) -> None:
    context = span.context
    target.trace_id = context.trace_id.to_bytes(16, "big")
    target.span_id = context.span_id.to_bytes(8, "big")
    if context.parent_id:
        target.parent_span_id = context.parent_id.to_bytes(8, "big")
    target.trace_state = context.state
    target.name = span.name
    target.kind = 2 if span.kind == "SERVER" else 3
    target.start_time_unix_nano = int(span.start * 1e6) * 1000
    target.end_time_unix_nano = int((span.start + span.duration) * 1e6) * 1000
    if span.tags.get("http.status_code", "0")[0] == "5":
        target.status.code = 2
    for key, value in span.tags.items():
        target.attributes.add(key=key).value.string_value = value
