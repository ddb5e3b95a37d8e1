"""Entries of access logs for a gRPC service, HTTP and TCP, encoded and in a batch."""

from __future__ import annotations

from envoy.data.accesslog.v3 import accesslog_pb2
from envoy.service.accesslog.v3 import als_pb2
from google.protobuf.struct_pb2 import Struct
from google.protobuf.wrappers_pb2 import StringValue

from meshproxy.headers import RequestHeaders, ResponseHeaders
from meshproxy.model.grpc_service import GrpcService
from meshproxy.model.listener import LogService
from meshproxy.plugin.stream_info import ConnectionInfo, StreamInfo
from meshproxy.plugin.workload import Peer, Workload
from meshproxy.telemetry.grpc_access_log import (
    encode_batch,
    encode_identifier,
    http_entry_encoder,
    tcp_entry_encoder,
)

SERVICE = GrpcService("c", "c")


def stream() -> StreamInfo:
    info = StreamInfo()
    info.connection = ConnectionInfo()
    info.connection.remote_address = "192.0.2.1:1000"
    info.request = RequestHeaders("GET", "/p", "h", "http", [("x-a", "caf\xe9")])
    info.response = ResponseHeaders(200)
    info.bytes_received, info.bytes_sent = 5, 2
    return info


def test_pseudo_fields_and_bytes_that_are_no_text() -> None:
    service = LogService("l", SERVICE, request_headers=(":path", "x-a", "x-none"), response_headers=(":status",))
    entry = accesslog_pb2.HTTPAccessLogEntry.FromString(http_entry_encoder(service)(stream()))
    assert dict(entry.request.request_headers) == {":path": "/p", "x-a": "caf!"}
    assert dict(entry.response.response_headers) == {":status": "200"}


def test_what_was_refused_has_no_request() -> None:
    info = stream()
    info.request = RequestHeaders("", "", "", "http")
    entry = accesslog_pb2.HTTPAccessLogEntry.FromString(http_entry_encoder(LogService("l", SERVICE))(info))
    assert entry.HasField("request")
    assert not entry.request.ListFields()


def test_tags_and_state() -> None:
    tags = (("said", lambda info: "v"), ("unsaid", lambda info: ""))
    info = stream()
    info.set_filter_state("known", "text")
    info.set_filter_state("peer", Peer(Workload(workload="web")))
    service = LogService("l", SERVICE, tags=tags, state=("known", "unknown", "peer"))
    common = accesslog_pb2.HTTPAccessLogEntry.FromString(http_entry_encoder(service)(info)).common_properties
    assert dict(common.custom_tags) == {"said": "v"}
    value = StringValue()
    assert sorted(common.filter_state_objects) == ["known", "peer"]
    fields = Struct()
    assert common.filter_state_objects["peer"].Unpack(fields)
    assert dict(fields) == {"workload": "web"}
    assert common.filter_state_objects["known"].Unpack(value)
    assert value.value == "text"


def test_connections_have_batches_of_their_own() -> None:
    service = LogService("l", SERVICE, of_tcp=True)
    encode = tcp_entry_encoder(service)
    identifier = encode_identifier({"id": "n", "cluster": "c"}, "l")
    message = als_pb2.StreamAccessLogsMessage.FromString(
        encode_batch([encode(stream()), encode(stream())], identifier, service.of_tcp)
    )
    assert message.identifier.log_name == "l"
    assert not message.HasField("http_logs")
    first, second = message.tcp_logs.log_entry
    assert (first.connection_properties.received_bytes, first.connection_properties.sent_bytes) == (5, 2)
    assert first.common_properties.stream_id != second.common_properties.stream_id
