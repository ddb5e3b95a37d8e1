"""Access logs to a gRPC service: every field of an entry, for HTTP and for TCP."""

from __future__ import annotations

import json
from typing import Any

from envoy.service.accesslog.v3.als_pb2 import StreamAccessLogsMessage

from ..case import OK, REFUSE, Act, Case, Upstream, get
from ..grpc_peer import closing, service

_HTTP = "envoy.extensions.access_loggers.grpc.v3.HttpGrpcAccessLogConfig"
_TCP = "envoy.extensions.access_loggers.grpc.v3.TcpGrpcAccessLogConfig"
_MOMENTS = (
    *("time_to_last_rx_byte", "time_to_first_upstream_tx_byte", "time_to_last_upstream_tx_byte"),
    *("time_to_first_upstream_rx_byte", "time_to_last_upstream_rx_byte", "time_to_first_downstream_tx_byte"),
    *("time_to_last_downstream_tx_byte", "duration"),
)


def _hide(told: StreamAccessLogsMessage) -> None:
    node = told.identifier.node
    for name in ("user_agent_name", "user_agent_build_version", "extensions"):
        node.ClearField(name)
    entries: list[Any] = [*told.http_logs.log_entry, *told.tcp_logs.log_entry]
    for entry in entries:
        common = entry.common_properties
        common.start_time.seconds, common.start_time.nanos = 1, 0
        for name in _MOMENTS:
            if common.HasField(name):
                moment = getattr(common, name)
                moment.seconds, moment.nanos = 1, 0
        for name in ("downstream_remote_address", "downstream_direct_remote_address", "upstream_local_address"):
            if common.HasField(name) and getattr(common, name).HasField("socket_address"):
                getattr(common, name).socket_address.port_value = 1
        if common.stream_id:
            common.stream_id = "<id>"
    for entry in told.http_logs.log_entry:
        if entry.request.request_id:
            entry.request.request_id = "<id>"
        if entry.response.response_headers_bytes:
            entry.response.response_headers_bytes = 1  # Envoy counts `connection: close`
        headers = entry.response.response_headers
        if "x-envoy-upstream-service-time" in headers:
            headers["x-envoy-upstream-service-time"] = "<ms>"


def _logger(kind: str, common: dict[str, Any], **more: Any) -> dict[str, Any]:
    shared = {
        "log_name": "mine",
        "transport_api_version": "V3",
        "buffer_size_bytes": 1,
        "grpc_service": {"envoy_grpc": {"cluster_name": "$up2"}, "timeout": "1s"},
        **common,
    }
    return {"name": "service", "typed_config": {"@type": kind, "common_config": shared, **more}}


def logged(
    name: str,
    *requests: Any,
    common: dict[str, Any] | None = None,
    fields: dict[str, Any] | None = None,
    upstream: Upstream | str = OK,
    hcm: dict[str, Any] | None = None,
    **more: Any,
) -> Case:
    log = _logger(_HTTP, common or {}, **(fields or {}))
    return Case(
        f"grpc-log-{name}",
        closing(requests or (get("/a?b=c", "x-a: 1", "user-agent: me", "referer: there"),)),
        quiet=10.0,
        timing=False,
        compare_log=False,
        router="{suppress_envoy_headers: true}",
        hcm=json.dumps({"access_log": [log], **(hcm or {})}),
        upstreams={
            "up": upstream if isinstance(upstream, Upstream) else Upstream(((upstream,),)),
            "up2": service(lambda: lambda data: (), StreamAccessLogsMessage, _hide),
        },
        **more,
    )


def tunneled(name: str, sent: str, *, upstream: Upstream, common: dict[str, Any] | None = None, **more: Any) -> Case:
    log = _logger(_TCP, common or {})
    proxy = {"tcp_proxy": {"stat_prefix": "$case", "cluster": "$up", "access_log": [log]}}
    return Case(
        f"grpc-log-tcp-{name}",
        (sent,) if sent else (0.1,),
        quiet=10.0,
        timing=False,
        network=json.dumps([proxy]),
        upstreams={"up": upstream, "up2": service(lambda: lambda data: (), StreamAccessLogsMessage, _hide)},
        **more,
    )


ANSWER = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nx-r: one\r\nx-r: two\r\n\r\nok"
TAGS = [
    {"tag": "literal", "literal": {"value": "v"}},
    {"tag": "header", "request_header": {"name": "x-a", "default_value": "d"}},
    {"tag": "absent", "request_header": {"name": "x-none", "default_value": "d"}},
    {"tag": "missing", "request_header": {"name": "x-none"}},
    {"tag": "environment", "environment": {"name": "NO_SUCH_NAME", "default_value": "d"}},
    {"tag": "metadata", "metadata": {"kind": {"route": {}}, "metadata_key": {"key": "m", "path": [{"key": "k"}]}}},
]

CASES = [
    logged("plain"),
    logged("post", get("/a", method="POST", body="12345"), upstream=ANSWER),
    logged("head", get("/", method="HEAD")),
    logged("odd-method", get("/", method="PROPFIND")),
    logged("forwarded", get("/", "x-forwarded-for: 203.0.113.7"), hcm={"use_remote_address": False}),
    logged(
        "more-fields",
        get("/", "x-a: 1", "x-a: 2", "x-b: \xe9\xff"),
        upstream=ANSWER,
        fields={
            "additional_request_headers_to_log": ["X-A", "x-b", "x-none", ":path"],
            "additional_response_headers_to_log": ["x-r", "x-none", ":status", "x-envoy-upstream-service-time"],
            "additional_response_trailers_to_log": ["x-t"],
        },
    ),
    logged("not-found", routes="[]"),
    logged("direct", routes="[{match: {prefix: /}, direct_response: {status: 204}}]"),
    logged("redirect", routes="[{match: {prefix: /}, redirect: {path_redirect: /b}}]"),
    logged("refused", upstream=REFUSE["up"]),
    logged("rewritten", routes="[{match: {prefix: /a}, route: {cluster: $up, prefix_rewrite: /b}, name: mine}]"),
    logged("bad-request", "BAD\r\n\r\n"),
    logged(
        "retried",
        upstream="HTTP/1.1 503 X\r\ncontent-length: 0\r\n\r\n",
        vhost="{retry_policy: {retry_on: 5xx, num_retries: 1}}",
    ),
    logged(
        "tags",
        common={"custom_tags": TAGS},
        routes="[{match: {prefix: /}, route: {cluster: $up}, metadata: {filter_metadata: {m: {k: v}}}}]",
    ),
    logged("two", get("/1"), 0.2, get("/2")),
    logged(
        "metadata",
        filters="""[{name: meta, typed_config: {"@type": envoy.extensions.filters.http.set_metadata.v3.Config, metadata: [{metadata_namespace: m, value: {a: 1}}]}}]""",
    ),
    logged("flags", get("/", "x-envoy-upstream-rq-timeout-ms: 100"), upstream=Upstream(((1.0, OK),))),
    logged(
        "state",
        common={"filter_state_objects_to_log": ["envoy.string", "none"]},
        filters="""[{name: state, typed_config: {"@type": envoy.extensions.filters.http.set_filter_state.v3.Config, on_request_headers: [{object_key: envoy.string, format_string: {text_format_source: {inline_string: "%REQ(x-a)%"}}}]}}]""",
    ),
    tunneled("plain", "hello", upstream=Upstream((("hi", 0.1, Act.CLOSE),), mode="raw")),
    tunneled("refused", "hello", upstream=Upstream(mode="refuse")),
    tunneled(
        "tags", "hello", upstream=Upstream((("hi", 0.1, Act.CLOSE),), mode="raw"), common={"custom_tags": TAGS[:1]}
    ),
]
