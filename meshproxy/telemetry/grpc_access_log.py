"""Access log entries as messages (envoy.data.accesslog.v3), and the framing of a batch of them.

Entries are encoded when their stream ends and joined by hand when a batch is sent: a repeated field is its members one
behind the other.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from envoy.config.core.v3 import base_pb2
from envoy.data.accesslog.v3 import accesslog_pb2
from envoy.service.accesslog.v3 import als_pb2
from google.protobuf.struct_pb2 import Struct
from google.protobuf.wrappers_pb2 import StringValue

from meshproxy.headers import Headers
from meshproxy.matching import header_getter
from meshproxy.model.listener import LogService
from meshproxy.plugin.stream_info import StreamInfo, TlsInfo
from meshproxy.plugin.workload import Peer
from meshproxy.telemetry.address_messages import set_address

_FLAGS = {
    "LH": "failed_local_healthcheck",
    "UH": "no_healthy_upstream",
    "UT": "upstream_request_timeout",
    "LR": "local_reset",
    "UR": "upstream_remote_reset",
    "UF": "upstream_connection_failure",
    "UC": "upstream_connection_termination",
    "UO": "upstream_overflow",
    "NR": "no_route_found",
    "DI": "delay_injected",
    "FI": "fault_injected",
    "RL": "rate_limited",
    "RLSE": "rate_limit_service_error",
    "DC": "downstream_connection_termination",
    "URX": "upstream_retry_limit_exceeded",
    "SI": "stream_idle_timeout",
    "IH": "invalid_envoy_request_headers",
    "DPE": "downstream_protocol_error",
    "UMSDR": "upstream_max_stream_duration_reached",
    "RFCF": "response_from_cache_filter",
    "NFCF": "no_filter_config_found",
    "DT": "duration_timeout",
    "UPE": "upstream_protocol_error",
    "NC": "no_cluster_found",
    "OM": "overload_manager",
    "DF": "dns_resolution_failure",
}
_VERSIONS = {"HTTP/1.0": 1, "HTTP/1.1": 2, "HTTP/2": 3}
_TLS_VERSIONS = {"TLSv1": 1, "TLSv1.1": 2, "TLSv1.2": 3, "TLSv1.3": 4}


def http_entry_encoder(extra: LogService) -> Callable[[StreamInfo], bytes]:
    """What makes the `HTTPAccessLogEntry` of a stream, encoded. extra: names the further fields that it carries."""

    def encode(info: StreamInfo) -> bytes:
        entry = accesslog_pb2.HTTPAccessLogEntry()
        _fill_common(entry.common_properties, info)
        _fill_extra(entry.common_properties, info, extra)
        entry.protocol_version = _VERSIONS.get(info.protocol, 0)
        _fill_request(entry.request, info, extra)
        _fill_response(entry.response, info, extra)
        return bytes(entry.SerializeToString())

    return encode


def tcp_entry_encoder(extra: LogService) -> Callable[[StreamInfo], bytes]:
    """The same for the `TCPAccessLogEntry` of a connection."""

    def encode(info: StreamInfo) -> bytes:
        entry = accesslog_pb2.TCPAccessLogEntry()
        _fill_common(entry.common_properties, info)
        _fill_extra(entry.common_properties, info, extra)
        common = entry.common_properties
        common.stream_id = common.stream_id or str(uuid.uuid4())
        common.downstream_wire_bytes_received, common.downstream_wire_bytes_sent = info.bytes_received, info.bytes_sent
        # What comes in at one side goes out at the other.
        common.upstream_wire_bytes_sent = info.upstream_wire_bytes_sent or info.bytes_received
        common.upstream_wire_bytes_received = info.upstream_wire_bytes_received or info.bytes_sent
        properties = entry.connection_properties
        properties.SetInParent()
        properties.received_bytes, properties.sent_bytes = info.bytes_received, info.bytes_sent
        return bytes(entry.SerializeToString())

    return encode


def encode_batch(entries: Iterable[bytes], identifier: bytes, of_tcp: bool) -> bytes:
    """A `StreamAccessLogsMessage` with these entries. identifier: for the first one of a stream; else b""."""
    logs = b"".join([length_delimited(1, entry) for entry in entries])
    head = length_delimited(1, identifier) if identifier else b""
    return head + length_delimited(3 if of_tcp else 2, logs)


def encode_identifier(node: Mapping[str, str], log_name: str) -> bytes:
    """The `Identifier`. node: its id and cluster."""
    message = als_pb2.StreamAccessLogsMessage.Identifier(
        node=base_pb2.Node(id=node["id"], cluster=node["cluster"]), log_name=log_name
    )
    return bytes(message.SerializeToString())


def length_delimited(number: int, data: bytes) -> bytes:
    """Field `number` of a message (below 16), as protobuf writes messages, texts and bytes."""
    return bytes((number << 3 | 2,)) + _varint(len(data)) + data


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    out.append(number)
    return bytes(out)


def utf8_text(value: str) -> str:
    """A protobuf string is UTF-8; what comes from the wire as Latin-1 may be that, or may not."""
    if value.isascii():
        return value
    return value.encode("latin-1", "replace").decode("utf-8", "replace").replace("\ufffd", "!")


def _set_duration(target: Any, seconds: float) -> None:
    target.FromMicroseconds(max(0, int(seconds * 1_000_000)))


def _fill_common(common: Any, info: StreamInfo) -> None:
    connection = info.connection
    set_address(common.downstream_remote_address, info.remote_address or connection.remote_address)
    set_address(common.downstream_direct_remote_address, connection.direct_remote_address)
    set_address(common.downstream_local_address, connection.local_address)
    set_address(common.upstream_remote_address, info.upstream_host)
    set_address(common.upstream_local_address, info.upstream_local_address)
    common.start_time.FromMicroseconds(int(info.start_wall * 1_000_000))
    _fill_times(common, info)
    common.upstream_cluster = info.upstream_cluster_alt or info.upstream_cluster
    common.route_name = info.route_name
    common.upstream_transport_failure_reason = utf8_text(info.upstream_transport_failure_reason)
    common.connection_termination_details = connection.termination_details
    common.upstream_request_attempt_count = info.attempt_count
    common.stream_id = info.request_id or info.stream_id
    common.access_log_type = accesslog_pb2.AccessLogType.Value(info.access_log_type or "DownstreamEnd")
    for name in ("downstream_wire_bytes", "upstream_wire_bytes"):
        for way in ("sent", "received"):
            setattr(common, f"{name}_{way}", getattr(info, f"{name}_{way}"))
    for flag in info.flags.split(",") if info.flags else ():
        if flag == "UAEX":
            common.response_flags.unauthorized_details.reason = 1
        elif flag in _FLAGS:
            setattr(common.response_flags, _FLAGS[flag], True)
    for namespace, values in (info.dynamic_metadata or {}).items():
        common.metadata.filter_metadata[namespace].update(values)
    if connection.tls is not None:
        _fill_tls(common.tls_properties, connection.tls, connection.requested_server_name)


def _fill_extra(common: Any, info: StreamInfo, extra: LogService) -> None:
    for name, read in extra.tags:
        value = read(info)
        if value:
            common.custom_tags[name] = utf8_text(value)
    known = info.known_state or {} if extra.state else {}
    for name in extra.state:
        kept = known.get(name)
        if isinstance(kept, str):
            common.filter_state_objects[name].Pack(StringValue(value=utf8_text(kept)))
        elif isinstance(kept, Peer):
            fields = Struct()
            fields.update(kept)
            common.filter_state_objects[name].Pack(fields)


def _fill_times(common: Any, info: StreamInfo) -> None:
    for name, moment in (
        ("time_to_last_rx_byte", info.request_complete),
        ("time_to_first_upstream_tx_byte", info.first_upstream_tx),
        ("time_to_last_upstream_tx_byte", info.last_upstream_tx),
        ("time_to_first_upstream_rx_byte", info.first_upstream_rx),
        ("time_to_last_upstream_rx_byte", info.last_upstream_rx),
        ("time_to_first_downstream_tx_byte", info.first_downstream_tx),
        ("time_to_last_downstream_tx_byte", info.last_downstream_tx),
        ("duration", info.end),
    ):
        if moment:
            _set_duration(getattr(common, name), moment - info.start)


def _fill_tls(target: Any, tls: TlsInfo, server_name: str) -> None:
    target.tls_version = _TLS_VERSIONS.get(tls.version, 0)
    target.tls_sni_hostname = server_name
    target.tls_session_id = tls.session_id


def _fill_request(target: Any, info: StreamInfo, extra: LogService) -> None:
    request = info.request
    if request is None or not request.method:
        target.SetInParent()
        return  # what was refused was never one
    fields = request.fields
    method = base_pb2.RequestMethod.DESCRIPTOR.values_by_name.get(request.method)
    target.request_method = method.number if method is not None else 0
    target.scheme = request.scheme
    target.authority = utf8_text(request.authority)
    target.path = utf8_text(request.path)
    target.user_agent = utf8_text(fields.get("user-agent", ""))
    target.referer = utf8_text(fields.get("referer", ""))
    target.forwarded_for = utf8_text(fields.get("x-forwarded-for", ""))
    target.request_id = utf8_text(fields.get("x-request-id", ""))
    target.original_path = utf8_text(fields.get("x-envoy-original-path", ""))
    target.request_headers_bytes = _size(request) + sum(
        len(name) + len(value)
        for name, value in (
            (":method", request.method),
            (":path", request.path),
            (":authority", request.authority),
            (":scheme", request.scheme),
        )
    )
    target.request_body_bytes = info.bytes_received
    target.upstream_header_bytes_sent = info.upstream_header_bytes_sent
    target.downstream_header_bytes_received = info.downstream_header_bytes_received
    _copy(target.request_headers, request, extra.request_headers)


def _fill_response(target: Any, info: StreamInfo, extra: LogService) -> None:
    if info.response_code:
        target.response_code.value = info.response_code
    target.response_body_bytes = info.bytes_sent
    target.upstream_header_bytes_received = info.upstream_header_bytes_received
    target.downstream_header_bytes_sent = info.downstream_header_bytes_sent
    target.response_code_details = info.details
    if info.response is not None:
        target.response_headers_bytes = _size(info.response) + len(":status") + 3
        _copy(target.response_headers, info.response, extra.response_headers)
    if info.response_trailers is not None:
        _copy(target.response_trailers, info.response_trailers, extra.response_trailers)


def _size(headers: Headers) -> int:
    return sum(len(name) + len(value) for name, value in headers.items())


def _copy(target: Any, headers: Headers, names: Sequence[str]) -> None:
    for name in names:
        value = header_getter(name)(headers) if name.startswith(":") else headers.get(name)
        if value is not None:
            target[name] = utf8_text(value)
