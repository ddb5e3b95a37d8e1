"""Authorisation by a gRPC service: what it is told of a request, and what its answers do."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from envoy.service.auth.v3.external_auth_pb2 import CheckRequest, CheckResponse
from google.protobuf.json_format import ParseDict

from .. import known
from ..case import OK, Case, Upstream, get
from ..grpc_peer import H2Op, closing, message, service, status
from ..h2_peer import Data, Head, Reset
from .ext_authz import ANSWERS

_TYPE = "envoy.extensions.filters.http.ext_authz.v3.ExtAuthz"
_PER_ROUTE = "envoy.extensions.filters.http.ext_authz.v3.ExtAuthzPerRoute"
_LOG = (
    "%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %REQ(:PATH)% %ROUTE_NAME%"
    " %DYNAMIC_METADATA(envoy.filters.http.ext_authz)%\n"
)
Says = dict[str, Any] | Sequence[H2Op]


def _hide(told: CheckRequest) -> None:
    request = told.attributes.request
    request.time.seconds, request.time.nanos = 1, 0
    request.http.id = "<id>"
    for peer in (told.attributes.source, told.attributes.destination):
        peer.address.socket_address.port_value = 1
    if "x-request-id" in request.http.headers:
        request.http.headers["x-request-id"] = "<id>"
    for field in request.http.header_map.headers:
        if field.key == "x-request-id":
            field.raw_value = b"<id>"


def asked(
    name: str,
    *requests: Any,
    says: Says | None = None,
    per_route: dict[str, Any] | None = None,
    routes: list[dict[str, Any]] | None = None,
    upstream: str = OK,
    other: Upstream | None = None,
    **settings: Any,
) -> Case:
    more = {
        key: settings.pop(key)
        for key in (
            "shows",
            "differs",
            "refused",
            "log",
            "stats",
            "hcm",
            "listener",
            "flat_upstream",
            "bootstrap",
            "masks",
        )
        if key in settings
    }
    answer: Sequence[H2Op]
    answer = (
        (message(ParseDict(says or {}, CheckResponse())), status(0)) if says is None or isinstance(says, dict) else says
    )
    config = {
        "@type": _TYPE,
        "transport_api_version": "V3",
        "grpc_service": {"envoy_grpc": {"cluster_name": "$up2"}, "timeout": "1s"},
        **settings,
    }
    entry: dict[str, Any] = {"match": {"prefix": "/"}, "route": {"cluster": "$up"}}
    if per_route is not None:
        entry["typed_per_filter_config"] = {"authz": {"@type": _PER_ROUTE, **per_route}}
    return Case(
        f"ext-authz-grpc-{name}",
        closing(requests or (get("/a?b=c", "authorization: secret", "x-a: 1"),)),
        quiet=10.0,
        filters=json.dumps([{"name": "authz", "typed_config": config}]),
        routes=json.dumps(routes or [entry]),
        upstreams={
            "up": Upstream(((upstream,),)),
            "up2": other or service(lambda: lambda data: answer, CheckRequest, _hide),
        },
        timing=False,
        masks=((r'"ext_authz_duration":\d+', '"ext_authz_duration":<ms>'), *more.pop("masks", ())),
        stats=more.pop(
            "stats", r"^(http\.$case\.ext_authz|cluster\.$case\.up2?\.ext_authz|cluster\.$case\.up\.upstream_rq_\d)"
        ),
        log=more.pop("log", _LOG),
        **more,
    )


def fields(*options: tuple[str, str] | tuple[str, str, str]) -> list[dict[str, Any]]:
    """Header fields, each with its action if it has one."""
    return [
        {"header": {"key": name, "value": value}, **({"append_action": action[0]} if action else {})}
        for name, value, *action in options
    ]


def ok(**said: Any) -> dict[str, Any]:
    return {"status": {"code": 0}, "ok_response": said}


def denied(code: int = 7, **said: Any) -> dict[str, Any]:
    return {"status": {"code": code}, "denied_response": said}


ACTIONS = ("APPEND_IF_EXISTS_OR_ADD", "ADD_IF_ABSENT", "OVERWRITE_IF_EXISTS_OR_ADD", "OVERWRITE_IF_EXISTS")
POST = get("/a", "x-a: 1", "content-type: text/x", method="POST", body="the body")
ANSWER = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nx-r: own\r\n\r\nok"

_SHADOW: dict[str, Any] = {
    "shadow_mode": True,
    "clear_route_cache": True,
    "decoder_header_mutation_rules": {"disallow_all": True, "disallow_is_error": True},
    "stats": r"^(http\.$case\.ext_authz|cluster\.$case\.up\.(ext_authz|upstream_rq_\d|internal))",
    "log": "%FILTER_STATE(envoy.filters.http.ext_authz)% %FILTER_STATE(authz)% " + _LOG,
}

CASES = [
    # Shadow mode.
    asked("shadow-allow", says=ok(response_headers_to_add=fields(("x-c", "2"))), **_SHADOW),
    asked("shadow-invalid", says=ok(headers=fields(("x-b", "2"))), **_SHADOW),
    asked("shadow-metadata", says={**denied(body="no"), "dynamic_metadata": {"k": "v"}}, **_SHADOW),
    asked("shadow-denied-uncharged", says=denied(), charge_cluster_response_stats=False, **_SHADOW),
    asked(
        "shadow-denied-invalid",
        says={**denied(headers=fields(("x-b", "a\nb"))), "dynamic_metadata": {"k": "v"}},
        **{**_SHADOW, "validate_mutations": True},
    ),
    asked("shadow-error", says=(status(13, "x"),), **_SHADOW),
    asked(
        "shadow-ok",
        says=ok(
            headers=fields(("x-b", "2")),
            headers_to_remove=["x-a"],
            query_parameters_to_set=[{"key": "q", "value": "1"}],
            response_headers_to_add=fields(("x-c", "2")),
        ),
        shadow_mode=True,
    ),
    # What it is told.
    asked("told"),
    asked("told-post", POST),
    asked(
        "told-fields",
        get(
            "/",
            "x-a: 1",
            "x-a: 2",
            "cookie: a",
            "cookie: b",
            "X-Caps: \xe9\xff",
            "x-envoy-downstream-service-cluster: them",
        ),
    ),
    asked(
        "told-raw", get("/", "x-a: 1", "x-a: 2", "cookie: a", "cookie: b", "X-Caps: \xe9\xff"), encode_raw_headers=True
    ),
    asked(
        "told-raw-allowed",
        get("/", "x-a: 1", "x-b: 2"),
        encode_raw_headers=True,
        allowed_headers={"patterns": [{"prefix": "x-a"}]},
    ),
    asked("told-allowed", get("/", "x-a: 1", "x-b: 2"), allowed_headers={"patterns": [{"prefix": "x-a"}]}),
    asked(
        "told-disallowed",
        get("/", "x-a: 1", "x-b: 2"),
        disallowed_headers={"patterns": [{"prefix": "x-a"}, {"exact": ":path"}]},
    ),
    asked("told-session", include_tls_session=True, include_peer_certificate=True),
    asked("extensions", per_route={"check_settings": {"context_extensions": {"a": "1", "b": "2"}}}),
    asked(
        "extensions-by-levels",
        routes=[
            {
                "match": {"prefix": "/"},
                "route": {
                    "weighted_clusters": {
                        "clusters": [
                            {
                                "name": "$up",
                                "weight": 1,
                                "typed_per_filter_config": {
                                    "authz": {
                                        "@type": _PER_ROUTE,
                                        "check_settings": {"context_extensions": {"a": "cluster", "c": "3"}},
                                    }
                                },
                            }
                        ]
                    }
                },
                "typed_per_filter_config": {
                    "authz": {"@type": _PER_ROUTE, "check_settings": {"context_extensions": {"a": "route", "b": "2"}}}
                },
            }
        ],
    ),
    asked(
        "initial-metadata",
        grpc_service={
            "envoy_grpc": {"cluster_name": "$up2", "authority": "the.authority"},
            "timeout": "1s",
            "initial_metadata": [{"key": "x-own", "value": "1"}],
        },
    ),
    asked(
        "by-address",
        grpc_service={"google_grpc": {"target_uri": "127.0.0.1:$up2_port", "stat_prefix": "s"}, "timeout": "1s"},
        differs=known.SERVICE_BY_ADDRESS,
    ),
    asked("no-timeout", grpc_service={"envoy_grpc": {"cluster_name": "$up2"}}),
    asked(
        "route-metadata",
        route_metadata_context_namespaces=["m"],
        routes=[
            {
                "match": {"prefix": "/"},
                "route": {"cluster": "$up"},
                "metadata": {"filter_metadata": {"m": {"k": "v"}, "n": {"k": 1}}},
            }
        ],
    ),
    # Bodies.
    asked("body", POST, with_request_body={"max_request_bytes": 100}),
    asked("body-bytes", POST, with_request_body={"max_request_bytes": 100, "pack_as_bytes": True}),
    asked("body-get", with_request_body={"max_request_bytes": 100}),
    asked(
        "tells-time",
        emit_filter_state_stats=True,
        filter_metadata={"a": "b"},
        log="%FILTER_STATE(authz)% %FILTER_STATE(authz:PLAIN)% %FILTER_STATE(authz:FIELD:x)%\n",
    ),
    asked(
        "tells-time-in-field",
        emit_filter_state_stats=True,
        log="yaml: {log_format: {json_format: {took: '%FILTER_STATE(authz:FIELD:latency_us)%'}}}",
        masks=((r'"took":"[1-9]\d*"', '"took":<us>'),),
        shows='"took":<us>',
    ),
    asked("tells-no-time", log="%FILTER_STATE(authz:FIELD:latency_us)%\n"),
    asked(
        "labels",
        bootstrap_metadata_labels_key="authz_labels",
        bootstrap=json.dumps({"node": {"metadata": {"authz_labels": {"app": "a", "v": "1", "n": 2}}}}),
    ),
    asked("labels-none", bootstrap_metadata_labels_key="none"),
    asked("told-forwarded", get("/", "x-forwarded-for: 1.2.3.4")),
    asked("body-latin", get("/", method="POST", body="a\xff\xe9b"), with_request_body={"max_request_bytes": 100}),
    asked("body-utf-8", get("/", method="POST", body="a\xc3\xa9b"), with_request_body={"max_request_bytes": 100}),
    asked(
        "body-empty-chunked",
        get("/a", "transfer-encoding: chunked", method="POST") + "0\r\n\r\n",
        with_request_body={"max_request_bytes": 100},
    ),
    asked(
        "body-chunked",
        get("/a", "transfer-encoding: chunked", method="POST") + "4\r\nthe \r\n4\r\nbody\r\n0\r\n\r\n",
        with_request_body={"max_request_bytes": 100},
    ),
    asked("body-too-long", POST, with_request_body={"max_request_bytes": 4}),
    asked("body-partial", POST, with_request_body={"max_request_bytes": 4, "allow_partial_message": True}),
    asked("body-partial-exact", POST, with_request_body={"max_request_bytes": 8, "allow_partial_message": True}),
    asked(
        "body-partial-bytes",
        POST,
        with_request_body={"max_request_bytes": 4, "allow_partial_message": True, "pack_as_bytes": True},
    ),
    asked(
        "body-of-route",
        POST,
        per_route={"check_settings": {"with_request_body": {"max_request_bytes": 100, "pack_as_bytes": True}}},
    ),
    asked(
        "body-of-route-over",
        POST,
        with_request_body={"max_request_bytes": 3},
        per_route={"check_settings": {"with_request_body": {"max_request_bytes": 100, "pack_as_bytes": True}}},
    ),
    asked(
        "body-off-by-route",
        POST,
        with_request_body={"max_request_bytes": 100},
        per_route={"check_settings": {"disable_request_body_buffering": True}},
    ),
    asked("body-denied", POST, with_request_body={"max_request_bytes": 100}, says=denied()),
    asked(
        "body-websocket",
        get("/a", "connection: upgrade", "upgrade: websocket"),
        with_request_body={"max_request_bytes": 100},
        hcm="upgrade_configs: [{upgrade_type: websocket}]",
    ),
    # What its leave does.
    asked("ok-empty", says=ok()),
    asked("ok-without-response", says={"status": {"code": 0}}),
    asked("ok-headers", get("/", "x-a: 1"), says=ok(headers=fields(("x-a", "2"), ("x-n", "1"), ("X-Caps", "v")))),
    *(
        asked(
            f"ok-headers-{action.lower().replace('_', '-')}",
            get("/", "x-a: 1"),
            upstream=ANSWER,
            says=ok(
                headers=fields(("x-a", "2", action), ("x-n", "1", action), ("x-n", "2", action)),
                response_headers_to_add=fields(("x-r", "2", action), ("x-s", "1", action), ("x-s", "2", action)),
            ),
        )
        for action in ACTIONS
    ),
    asked(
        "ok-headers-append",
        get("/", "x-a: 1"),
        says=ok(
            headers=[
                {"header": {"key": "x-a", "value": "2"}, "append": True},
                {"header": {"key": "x-n", "value": "2"}, "append": True},
            ]
        ),
    ),
    asked(
        "ok-headers-no-append",
        get("/", "x-a: 1"),
        says=ok(headers=[{"header": {"key": "x-a", "value": "2"}, "append": False}]),
    ),
    asked(
        "ok-headers-raw",
        get("/", "x-a: 1"),
        says=ok(
            headers=[{"header": {"key": "x-a", "raw_value": "6Q=="}}, {"header": {"key": "x-n", "raw_value": "YWI="}}]
        ),
    ),
    asked(
        "ok-headers-raw-encoded",
        get("/", "x-a: 1"),
        encode_raw_headers=True,
        says=ok(headers=[{"header": {"key": "x-a", "raw_value": "6Q=="}}, {"header": {"key": "x-n", "value": "text"}}]),
    ),
    asked("ok-headers-empty", get("/", "x-a: 1"), says=ok(headers=fields(("x-a", ""), ("x-n", "")))),
    asked("ok-headers-pseudo", says=ok(headers=fields((":path", "/p"), (":method", "PUT"), (":authority", "evil")))),
    asked("ok-headers-host", says=ok(headers=fields(("host", "evil")))),
    asked(
        "ok-headers-bad",
        flat_upstream=True,
        says=ok(headers=[{"header": {"key": "x-n", "value": "a\r\nb"}}, {"header": {"key": "x-m", "value": "1"}}]),
    ),
    asked(
        "ok-headers-bad-validated",
        validate_mutations=True,
        says=ok(headers=[{"header": {"key": "x-n", "value": "a\r\nb"}}, {"header": {"key": "x-m", "value": "1"}}]),
    ),
    asked(
        "ok-remove", get("/", "x-a: 1", "x-b: 2"), says=ok(headers_to_remove=["x-a", "X-B", "host", ":path", "x-none"])
    ),
    asked("ok-remove-and-set", get("/", "x-a: 1"), says=ok(headers=fields(("x-a", "2")), headers_to_remove=["x-a"])),
    asked(
        "ok-response",
        upstream=ANSWER,
        says=ok(response_headers_to_add=fields(("x-r", "2"), ("x-s", "1"), ("set-cookie", "a=b"))),
    ),
    asked(
        "ok-query",
        get("/a?b=c&d=e&d=f"),
        says=ok(
            query_parameters_to_set=[{"key": "b", "value": "x/y"}, {"key": "n", "value": "1"}],
            query_parameters_to_remove=["d"],
        ),
    ),
    asked("ok-query-none", get("/a"), says=ok(query_parameters_to_set=[{"key": "b", "value": "x&y"}])),
    asked("ok-query-all-gone", get("/a?b=c"), says=ok(query_parameters_to_remove=["b"])),
    asked("ok-metadata", says={"status": {"code": 0}, "ok_response": {}, "dynamic_metadata": {"k": "v", "n": 1}}),
    asked("ok-metadata-old", says=ok(dynamic_metadata={"k": "old"})),
    asked(
        "ok-metadata-both",
        says={
            "status": {"code": 0},
            "ok_response": {"dynamic_metadata": {"k": "old"}},
            "dynamic_metadata": {"k": "v", "n": 1},
        },
    ),
    asked(
        "ok-metadata-off",
        enable_dynamic_metadata_ingestion=False,
        says={"status": {"code": 0}, "ok_response": {}, "dynamic_metadata": {"k": "v"}},
    ),
    asked(
        "ok-clear-route",
        clear_route_cache=True,
        says=ok(headers=fields(("x-n", "1"))),
        routes=[
            {
                "match": {"prefix": "/", "headers": [{"name": "x-n", "string_match": {"exact": "1"}}]},
                "route": {"cluster": "$up"},
                "name": "new",
            },
            {"match": {"prefix": "/"}, "route": {"cluster": "$up"}, "name": "old"},
        ],
    ),
    # Rules of what it may change.
    asked(
        "rules-nothing",
        decoder_header_mutation_rules={"disallow_all": True},
        says=ok(headers=fields(("x-n", "1"), (":path", "/p")), headers_to_remove=["x-a"]),
    ),
    asked(
        "rules-nothing-but",
        decoder_header_mutation_rules={"disallow_all": True, "allow_expression": {"regex": "x-n"}},
        says=ok(headers=fields(("x-n", "1"), ("x-m", "1"))),
    ),
    asked(
        "rules-error",
        decoder_header_mutation_rules={"disallow_expression": {"regex": "x-n"}, "disallow_is_error": True},
        says=ok(headers=fields(("x-n", "1"), ("x-m", "1"))),
    ),
    asked(
        "rules-error-remove",
        decoder_header_mutation_rules={"disallow_expression": {"regex": "x-a"}, "disallow_is_error": True},
        says=ok(headers_to_remove=["x-a"]),
    ),
    asked(
        "rules-empty",
        decoder_header_mutation_rules={},
        says=ok(
            headers=fields(("x-n", "1"), (":path", "/p"), (":method", "PUT"), ("x-envoy-m", "1"), ("host", "evil")),
            headers_to_remove=["x-a", ":path"],
        ),
    ),
    asked(
        "rules-routing",
        decoder_header_mutation_rules={"allow_all_routing": True},
        says=ok(
            headers=fields((":path", "/p"), (":method", "PUT"), (":authority", "other")), headers_to_remove=["x-a"]
        ),
    ),
    asked(
        "rules-system",
        decoder_header_mutation_rules={"disallow_system": True},
        says=ok(headers=fields((":path", "/p"), ("x-n", "1"))),
    ),
    asked(
        "rules-query",
        decoder_header_mutation_rules={"disallow_all": True},
        says=ok(query_parameters_to_set=[{"key": "n", "value": "1"}]),
    ),
    # Refusals.
    asked(
        "denied",
        says=denied(
            status={"code": "Unauthorized"}, headers=fields(("x-why", "1"), ("content-type", "text/html")), body="no"
        ),
    ),
    asked("denied-plain", says={"status": {"code": 7}}),
    asked("denied-other-code", says={"status": {"code": 16}, "denied_response": {}}),
    asked("denied-ok-response", says={"status": {"code": 7}, "ok_response": {"headers": fields(("x-n", "1"))}}),
    asked("denied-with-code-0", says={"status": {"code": 0}, "denied_response": {"status": {"code": "Conflict"}}}),
    asked(
        "denied-headers",
        says=denied(
            headers=fields(
                ("x-w", "1"), ("x-w", "2"), (":status", "201"), ("host", "x"), ("set-cookie", "a"), ("set-cookie", "b")
            )
        ),
    ),
    *(
        asked(
            f"denied-{action.lower().replace('_', '-')}",
            says=denied(
                headers=fields(("x-w", "1", action), ("x-w", "2", action), ("content-type", "x/y", action)), body="b"
            ),
        )
        for action in ACTIONS
    ),
    asked("denied-status-0", says=denied(status={"code": "Empty"})),
    asked("denied-status-200", says=denied(status={"code": "OK"}, body="fine")),
    asked("denied-status-302", says=denied(status={"code": "Found"}, headers=fields(("location", "/login")))),
    asked("denied-metadata", says={**denied(), "dynamic_metadata": {"k": "v"}}),
    asked("denied-cut", max_denied_response_body_bytes=3, says=denied(body="too long")),
    asked("denied-head", get("/", method="HEAD"), says=denied(body="no")),
    asked(
        "denied-grpc",
        get("/", "content-type: application/grpc", method="POST", body="x"),
        says=denied(body="no", headers=fields(("x-w", "1"))),
    ),
    asked("denied-uncharged", charge_cluster_response_stats=False, says=denied()),
    asked("denied-charged", charge_cluster_response_stats=True, says=denied(status={"code": "Unauthorized"})),
    asked(
        "denied-bad-header-validated",
        validate_mutations=True,
        says=denied(headers=[{"header": {"key": "x-n", "value": "a\r\nb"}}]),
    ),
    # Failures.
    asked(
        "error-response",
        says={
            "status": {"code": 13},
            "error_response": {"status": {"code": "BadGateway"}, "body": "broken", "headers": fields(("x-w", "1"))},
        },
    ),
    asked(
        "error-response-allowed",
        failure_mode_allow=True,
        says={"status": {"code": 13}, "error_response": {"status": {"code": "BadGateway"}, "body": "broken"}},
    ),
    asked("status-13", says=(status(13, "broken"),)),
    asked("status-7", says=(status(7, "denied by status"),)),
    asked("status-allowed", failure_mode_allow=True, failure_mode_allow_header_add=True, says=(status(13, "broken"),)),
    asked("status-on-error", status_on_error={"code": "ServiceUnavailable"}, says=(status(13, "broken"),)),
    asked("reset", says=(Reset(8),), stats=ANSWERS),
    asked("nothing", says=(status(0),)),
    asked(
        "timeout",
        grpc_service={"envoy_grpc": {"cluster_name": "$up2"}, "timeout": "0.3s"},
        says=(2.0, status(13)),
        stats=ANSWERS,
    ),
    asked("refused", other=Upstream(mode="refuse"), stats=ANSWERS),
    asked("no-grpc", says=(Head(200, (("content-type", "text/plain"),)), Data(b"ok", True)), stats=ANSWERS),
    asked("no-such-cluster", grpc_service={"envoy_grpc": {"cluster_name": "none"}}),
    asked("no-such-cluster-allowed", grpc_service={"envoy_grpc": {"cluster_name": "none"}}, failure_mode_allow=True),
    # Whether it is asked.
    asked("disabled-by-route", per_route={"disabled": True}),
    asked("not-disabled-by-route", per_route={"disabled": False}),
    asked("enabled-none", filter_enabled={"default_value": {"numerator": 0}}),
    asked("enabled-all", filter_enabled={"default_value": {"numerator": 100}}),
    asked(
        "deny-at-disable",
        filter_enabled={"default_value": {"numerator": 0}},
        deny_at_disable={"default_value": True, "runtime_key": "k"},
    ),
    asked(
        "deny-at-disable-status",
        filter_enabled={"default_value": {"numerator": 0}},
        deny_at_disable={"default_value": True, "runtime_key": "k"},
        status_on_error={"code": "BadGateway"},
        failure_mode_allow=True,
    ),
    asked(
        "metadata-invert",
        filter_enabled_metadata={
            "filter": "m",
            "path": [{"key": "k"}],
            "value": {"string_match": {"exact": "v"}},
            "invert": True,
        },
    ),
    asked("stat-prefix", stat_prefix="mine"),
    asked(
        "response-limits",
        enforce_response_header_limits=True,
        says=ok(response_headers_to_add=fields(*((f"x-{i}", "v") for i in range(120)))),
    ),
]
