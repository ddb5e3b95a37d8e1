"""Access log entries for OpenTelemetry (opentelemetry-proto, logs/v1), and the framing of a batch of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

from meshproxy.model.otlp_log import OtlpLogService, OtlpValue
from meshproxy.plugin.stream_info import StreamInfo
from meshproxy.telemetry.grpc_access_log import length_delimited, utf8_text

_TRACE_DIGITS = 32


def record_encoder(service: OtlpLogService) -> Callable[[StreamInfo], bytes]:
    """What makes the `LogRecord` of a stream, encoded."""
    body, attributes = service.body, service.attributes

    def encode(info: StreamInfo) -> bytes:
        record = LogRecord(time_unix_nano=int(info.start_wall * 1e6) * 1000)
        if body is not None:
            _fill(record.body, body, info)
        for key, value in attributes:
            _fill(record.attributes.add(key=key).value, value, info)
        if info.trace_id:
            record.trace_id = bytes.fromhex(info.trace_id.rjust(_TRACE_DIGITS, "0"))
        if info.span_id:
            record.span_id = bytes.fromhex(info.span_id)
        for key, tag in service.tags:
            text = tag(info)
            if text:
                record.attributes.add(key=key).value.string_value = utf8_text(text)
        return bytes(record.SerializeToString())

    return encode


def _fill(target: AnyValue, value: OtlpValue, info: StreamInfo) -> None:
    if callable(value):
        target.string_value = utf8_text(value(info))
    elif isinstance(value, dict):
        target.kvlist_value.SetInParent()
        for key, inner in value.items():
            _fill(target.kvlist_value.values.add(key=key).value, inner, info)
    else:
        target.array_value.SetInParent()
        for inner in value:
            _fill(target.array_value.values.add(), inner, info)


def encode_resource(attributes: Sequence[tuple[str, bytes]]) -> bytes:
    """A `Resource`. attributes: with their `AnyValue` encoded."""
    resource = Resource()
    for key, value in attributes:
        added: Any = resource.attributes.add(key=key)
        added.value.ParseFromString(value)
    return bytes(resource.SerializeToString())


def encode_logs(records: Iterable[bytes], resource: bytes) -> bytes:
    """An `ExportLogsServiceRequest` with these records."""
    scope = b"".join([length_delimited(2, record) for record in records])
    return length_delimited(1, length_delimited(1, resource) + length_delimited(2, scope))
