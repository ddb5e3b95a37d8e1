"""The tags of a span: what Envoy says of a request (its documentation: "What data each trace contains")."""

from __future__ import annotations

from collections.abc import Iterable

from meshproxy.model.tracing import TagValue
from meshproxy.plugin.stream_info import StreamInfo, split_address

# Unknown, deadline exceeded, unimplemented, internal, unavailable, data loss: an upstream in trouble.
_GRPC_ERRORS = frozenset(("2", "4", "12", "13", "14", "15"))

Tags = Iterable[tuple[str, TagValue]]


def request_tags(stream: StreamInfo, max_path_length: int) -> dict[str, str]:
    """What is known from the request itself, once it is over."""
    request = stream.request
    assert request is not None
    fields = request.fields
    tags: dict[str, str] = {}
    if "x-request-id" in fields:
        tags["guid:x-request-id"] = fields["x-request-id"]
    path = (fields.get("x-envoy-original-path") or request.path)[:max_path_length]
    tags["http.url"] = f"{fields.get('x-forwarded-proto', '')}://{request.authority}{path}"
    tags["http.method"] = request.method
    tags["downstream_cluster"] = request.get("x-envoy-downstream-service-cluster") or "-"
    tags["user_agent"] = request.get("user-agent") or "-"
    tags["http.protocol"] = stream.protocol or "-"
    peer = stream.connection.direct_remote_address
    tags["peer.address"] = split_address(peer)[0] or peer
    if "x-client-trace-id" in fields:
        tags["guid:x-client-trace-id"] = request["x-client-trace-id"]
    content_type = fields.get("content-type", "")
    if content_type.startswith("application/grpc") and content_type[16:17] in ("", "+"):
        tags["grpc.path"] = request.path
        tags["grpc.authority"] = request.authority
        tags["grpc.content_type"] = content_type
        if "grpc-timeout" in fields:
            tags["grpc.timeout"] = fields["grpc-timeout"]
    tags["request_size"] = str(stream.bytes_received)
    tags["response_size"] = str(stream.bytes_sent)
    return tags


def attempt_tags(stream: StreamInfo) -> dict[str, str]:
    """What an attempt's span begins with."""
    address = stream.upstream_remote_address
    protocol = stream.upstream_protocol or "-"
    tags = {"component": "proxy", "http.protocol": protocol}
    if address:
        tags |= {"upstream_address": address, "peer.address": address}
    return tags


def outcome_tags(stream: StreamInfo, status: int, custom: Tags) -> dict[str, str]:
    """How it ended, and what the configuration adds. status: 0 for no response."""
    tags = {"component": "proxy"}
    if stream.upstream_cluster:
        tags["upstream_cluster"] = stream.upstream_cluster
        tags["upstream_cluster.name"] = stream.upstream_cluster_alt or stream.upstream_cluster
    tags["http.status_code"] = str(status)
    tags["response_flags"] = stream.flags or "-"
    if status == 0 or status >= 500:
        tags["error"] = "true"
    for name, value_of in custom:
        value = value_of(stream)
        if value:
            tags[name] = value
    grpc = _grpc_outcome(stream)
    if grpc is not None:
        tags |= grpc
    return tags


def _grpc_outcome(stream: StreamInfo) -> dict[str, str] | None:
    for part in (stream.response_trailers, stream.response):
        status = part.fields.get("grpc-status") if part is not None else None
        if part is not None and status is not None:
            tags = {"grpc.status_code": status}
            if "grpc-message" in part.fields:
                tags["grpc.message"] = part.fields["grpc-message"]
            if status in _GRPC_ERRORS:
                tags["error"] = "true"
            return tags
    return None
