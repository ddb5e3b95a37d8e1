"""Access logs to a collector of OpenTelemetry, over gRPC and over HTTP."""

from __future__ import annotations

import json
from typing import Any

from google.protobuf import text_format
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest, ExportLogsServiceResponse

from ..case import OK, Case, Upstream, get
from ..grpc_peer import closing, message, service, status

_TYPE = "envoy.extensions.access_loggers.open_telemetry.v3.OpenTelemetryAccessLogConfig"
_GRPC = {"envoy_grpc": {"cluster_name": "$up2"}, "timeout": "1s"}


def text(value: str) -> dict[str, Any]:
    return {"string_value": value}


def values(**entries: Any) -> dict[str, Any]:
    return {"values": [{"key": key, "value": value} for key, value in entries.items()]}


def _hide(told: ExportLogsServiceRequest) -> None:
    for resource in told.resource_logs:
        for scope in resource.instrumentation_library_logs:
            for record in scope.logs:
                record.time_unix_nano = 1
                record.trace_id = b"t" * len(record.trace_id)
                record.span_id = b"s" * len(record.span_id)
                record.attributes.sort(key=lambda attribute: attribute.key)  # Envoy's tags come in any order


def _show(body: bytes) -> str:
    told = ExportLogsServiceRequest.FromString(body)
    _hide(told)
    return "\n        " + text_format.MessageToString(told, as_one_line=True)


def logged(
    name: str, config: dict[str, Any], *requests: Any, collector: Upstream | None = None, wait: float = 1.3, **more: Any
) -> Case:
    base = {"grpc_service": _GRPC} if "common_config" not in config else {}
    typed = {"@type": _TYPE, **base, **config}
    typed = {key: value for key, value in typed.items() if value is not None}
    answer = (message(ExportLogsServiceResponse()), status(0))
    return Case(
        f"otlp-log-{name}",
        (*closing(requests or (get("/a?b=c", "x-a: 1", "x-b: \xc3\xa9"),)), wait),
        quiet=10.0,
        timing=False,
        compare_log=False,
        router="{suppress_envoy_headers: true}",
        hcm=json.dumps({"access_log": [{"name": "collector", "typed_config": typed}], **more.pop("hcm", {})}),
        upstreams={
            "up": Upstream(((OK,),)),
            "up2": collector or service(lambda: lambda data: answer, ExportLogsServiceRequest, _hide),
        },
        masks=((r"OTel-OTLP-Exporter-(?:Envoy|meshproxy)/\S*", "<exporter>"),),
        **more,
    )


_COMMON = {
    "log_name": "mine",
    "transport_api_version": "V3",
    "buffer_size_bytes": 1,
    "grpc_service": _GRPC,
}
_HTTP_REPLY = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"
_TAGS = [
    {"tag": "literal", "literal": {"value": "v"}},
    {"tag": "header", "request_header": {"name": "x-a"}},
    {"tag": "absent", "request_header": {"name": "x-none"}},
]
_NESTED = {
    "kvlist_value": values(
        status=text("%RESPONSE_CODE%"), list={"array_value": {"values": [text("a"), text("%REQ(x-none)%")]}}
    )
}
_POSTED = {
    "grpc_service": None,
    "http_service": {
        "http_uri": {"uri": "http://collector.test/v1/logs", "cluster": "$up2", "timeout": "1s"},
        "request_headers_to_add": [
            {"header": {"key": "X-Api", "value": "first"}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"},
            {"header": {"key": "X-Api", "value": "k"}, "append_action": "APPEND_IF_EXISTS_OR_ADD"},
        ],
    },
}

CASES = [
    logged("empty", {}),
    logged("body", {"body": text("%REQ(:METHOD)% %REQ(:PATH)% %RESPONSE_CODE% %REQ(x-none)%")}),
    logged("attributes", {"attributes": values(a=text("%REQ(x-a)%"), b=text("%REQ(x-b)%"), nested=_NESTED)}),
    logged("nested-body", {"body": _NESTED}),
    logged("name", {"log_name": "mine", "body": text("x")}),
    logged("common", {"common_config": _COMMON, "body": text("x")}, wait=0.2),
    logged(
        "state",
        {
            "common_config": {**_COMMON, "filter_state_objects_to_log": ["envoy.string", "upstream_peer"]},
            "body": text("x"),
        },
        wait=0.2,
        filters="""[{name: state, typed_config: {"@type": envoy.extensions.filters.http.set_filter_state.v3.Config, on_request_headers: [{object_key: envoy.string, format_string: {text_format_source: {inline_string: "%REQ(x-a)%"}}}]}}]""",
    ),
    logged("without-labels", {"disable_builtin_labels": True, "body": text("x")}),
    logged(
        "resource",
        {"resource_attributes": values(log_name=text("own"), number={"int_value": "5"}, region=text("%PROTOCOL%"))},
    ),
    logged("tags", {"custom_tags": _TAGS}),
    logged(
        "formatters",
        {
            "body": text("%REQ_WITHOUT_QUERY(:PATH)%"),
            "formatters": [
                {
                    "name": "f",
                    "typed_config": {"@type": "envoy.extensions.formatter.req_without_query.v3.ReqWithoutQuery"},
                }
            ],
        },
    ),
    logged(
        "together",
        {
            "common_config": {**_COMMON, "buffer_size_bytes": 20, "buffer_flush_interval": "60s"},
            "body": text("%REQ(:PATH)%"),
        },
        get("/1"),
        get("/2"),
        wait=0.3,
    ),
    logged("http", {**_POSTED, "body": text("x")}, collector=Upstream(((_HTTP_REPLY,),), view=_show)),
    logged("bad-value", {"attributes": values(a={"int_value": "5"})}, refused=True),
    logged("bad-format", {"body": text("%NONE%")}, refused=True),
    logged("nowhere", {"grpc_service": None}, refused=True),
    logged("twice", {"http_service": _POSTED["http_service"]}, refused=True),
    logged("old-version", {"common_config": {**_COMMON, "transport_api_version": "V2"}}, refused=True),
]
