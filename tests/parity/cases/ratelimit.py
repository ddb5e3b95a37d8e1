"""Rate limits by a service: what it is told by each kind of action, and what its answers do."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from envoy.service.ratelimit.v3.rls_pb2 import RateLimitRequest, RateLimitResponse
from google.protobuf.json_format import ParseDict

from ..case import OK, Case, Upstream, get
from ..grpc_peer import H2Op, closing, message, service, status
from ..h2_peer import Reset

_TYPE = "envoy.extensions.filters.http.ratelimit.v3.RateLimit"
_PER_ROUTE = "envoy.extensions.filters.http.ratelimit.v3.RateLimitPerRoute"
_LOG = "%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %REQ(:PATH)% %DYNAMIC_METADATA(envoy.filters.http.ratelimit)%\n"
ANSWER = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nx-r: own\r\nx-ratelimit-limit: 9\r\n\r\nok"
PLAIN = [{"actions": [{"generic_key": {"descriptor_value": "v"}}]}]
LOOPBACK = {"ranges": [{"address_prefix": "127.0.0.0", "prefix_len": 8}]}
ELSEWHERE = {"ranges": [{"address_prefix": "10.0.0.0", "prefix_len": 8}]}
OVER = {"overall_code": "OVER_LIMIT"}

NO_SERVICE = {"grpc_service": {"envoy_grpc": {"cluster_name": "none"}}, "transport_api_version": "V3"}


def limited(
    name: str,
    *requests: Any,
    limits: Sequence[dict[str, Any]] = PLAIN,
    says: dict[str, Any] | Sequence[H2Op] | None = None,
    per_route: dict[str, Any] | None = None,
    route: dict[str, Any] | None = None,
    vhost: dict[str, Any] | None = None,
    action: dict[str, Any] | None = None,
    upstream: str = OK,
    other: Upstream | None = None,
    before: Sequence[dict[str, Any]] = (),
    **settings: Any,
) -> Case:
    more = {
        key: settings.pop(key)
        for key in ("shows", "differs", "refused", "log", "stats", "hcm", "listener", "args", "masks")
        if key in settings
    }
    answer: Sequence[H2Op]
    if says is None or isinstance(says, dict):
        answer = (message(ParseDict({"overall_code": "OK", **(says or {})}, RateLimitResponse())), status(0))
    else:
        answer = says
    grpc = {"envoy_grpc": {"cluster_name": "$up2"}, "timeout": "1s"}
    config = {
        "@type": _TYPE,
        "domain": "d",
        "timeout": "1s",
        "rate_limit_service": {"grpc_service": grpc, "transport_api_version": "V3"},
        **settings,
    }
    entry: dict[str, Any] = {
        "match": {"prefix": "/"},
        "route": {"cluster": "$up", "rate_limits": list(limits), **(action or {})},
        **(route or {}),
    }
    if per_route is not None:
        entry["typed_per_filter_config"] = {"limit": {"@type": _PER_ROUTE, **per_route}}
    return Case(
        f"ratelimit-{name}",
        closing(requests or (get("/a?b=c", "x-a: 1"),)),
        quiet=10.0,
        filters=json.dumps([*before, {"name": "limit", "typed_config": config}]),
        vhosts=json.dumps([{"name": "v", "domains": ["*"], "routes": [entry], **(vhost or {})}]),
        upstreams={
            "up": Upstream(((upstream,),)),
            "up2": other or service(lambda: lambda data: answer, RateLimitRequest),
        },
        timing=False,
        stats=more.pop("stats", r"^(cluster\.$case\.up2?\.(ratelimit|upstream_rq_\d)|http\.$case\.ratelimit)"),
        log=more.pop("log", _LOG),
        **more,
    )


def acting(name: str, *actions: dict[str, Any], request: str = "", **more: Any) -> Case:
    """One descriptor by these actions."""
    return limited(f"action-{name}", *([request] if request else []), limits=[{"actions": list(actions)}], **more)


def metadata_filter(values: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": "meta",
        "typed_config": {
            "@type": "envoy.extensions.filters.http.set_metadata.v3.Config",
            "metadata": [{"metadata_namespace": "m", "value": values}],
        },
    }


def meta(*path: str, **more: Any) -> dict[str, Any]:
    return {
        "metadata": {"descriptor_key": "k", "metadata_key": {"key": "m", "path": [{"key": p} for p in path]}, **more}
    }


LIMIT = {
    "current_limit": {"requests_per_unit": 10, "unit": "MINUTE"},
    "limit_remaining": 3,
    "duration_until_reset": "7s",
    "code": "OK",
}
LIMIT2 = {
    "current_limit": {"requests_per_unit": 100, "unit": "HOUR", "name": "hourly"},
    "limit_remaining": 2,
    "duration_until_reset": "70s",
    "code": "OK",
}


def reached(until_reset: str) -> dict[str, Any]:
    return {**LIMIT, "code": "OVER_LIMIT", "duration_until_reset": until_reset}


CASES = [
    # Each kind of action.
    acting("address", {"remote_address_match": {"descriptor_value": "v", "address_matcher": LOOPBACK}}),
    acting(
        "address-format",
        {
            "remote_address_match": {
                "descriptor_value": "%REQ(x-a)%%REQ(x-none)%",
                "descriptor_key": "k",
                "address_matcher": {**ELSEWHERE, "invert_match": True},
            }
        },
    ),
    acting("address-no", {"remote_address_match": {"descriptor_value": "v", "address_matcher": ELSEWHERE}}),
    acting(
        "address-default",
        {
            "remote_address_match": {
                "descriptor_value": "%REQ(x-none)%",
                "default_value": "d",
                "address_matcher": LOOPBACK,
            }
        },
    ),
    acting(
        "address-nothing",
        {"remote_address_match": {"descriptor_value": "%REQ(x-none)%", "address_matcher": LOOPBACK}},
        {"generic_key": {"descriptor_value": "w"}},
    ),
    acting("source-cluster", {"source_cluster": {}}),
    acting("source-and-destination", {"source_cluster": {}}, {"destination_cluster": {}}),
    acting("request-headers", {"request_headers": {"header_name": "x-a", "descriptor_key": "k"}}),
    acting("request-headers-absent", {"request_headers": {"header_name": "x-none", "descriptor_key": "k"}}),
    acting(
        "request-headers-skip",
        {"request_headers": {"header_name": "x-none", "descriptor_key": "k", "skip_if_absent": True}},
        {"generic_key": {"descriptor_value": "v"}},
    ),
    acting(
        "request-headers-only-skipped",
        {"request_headers": {"header_name": "x-none", "descriptor_key": "k", "skip_if_absent": True}},
    ),
    acting("request-headers-pseudo", {"request_headers": {"header_name": ":path", "descriptor_key": "k"}}),
    acting(
        "request-headers-twice",
        {"request_headers": {"header_name": "x-a", "descriptor_key": "k"}},
        request=get("/", "x-a: 1", "x-a: 2"),
    ),
    acting(
        "request-headers-empty",
        {"request_headers": {"header_name": "x-a", "descriptor_key": "k"}},
        request=get("/", "x-a: "),
    ),
    acting("query-parameters", {"query_parameters": {"query_parameter_name": "b", "descriptor_key": "k"}}),
    acting("query-parameters-absent", {"query_parameters": {"query_parameter_name": "z", "descriptor_key": "k"}}),
    acting(
        "query-parameters-skip",
        {"query_parameters": {"query_parameter_name": "z", "descriptor_key": "k", "skip_if_absent": True}},
        {"generic_key": {"descriptor_value": "v"}},
    ),
    acting(
        "query-parameters-encoded",
        {"query_parameters": {"query_parameter_name": "b", "descriptor_key": "k"}},
        request=get("/?b=x%20y&b=z"),
    ),
    acting("remote-address", {"remote_address": {}}),
    acting(
        "remote-address-forwarded",
        {"remote_address": {}},
        request=get("/", "x-forwarded-for: 203.0.113.7"),
        hcm="{use_remote_address: false, xff_num_trusted_hops: 0}",
    ),
    acting("masked-remote-address", {"masked_remote_address": {"v4_prefix_mask_len": 8}}),
    acting("masked-remote-address-default", {"masked_remote_address": {}}),
    acting(
        "masked-remote-address-6",
        {"masked_remote_address": {"v6_prefix_mask_len": 32}},
        request=get("/", "x-forwarded-for: 2001:db8::1"),
        hcm="{use_remote_address: false}",
    ),
    acting("masked-remote-address-0", {"masked_remote_address": {"v4_prefix_mask_len": 0}}),
    acting("generic-key", {"generic_key": {"descriptor_value": "v", "descriptor_key": "k"}}),
    acting(
        "generic-key-formatted",
        {"generic_key": {"descriptor_value": "%REQ(x-a)%-%REQ(x-none)%", "descriptor_key": "k"}},
    ),
    acting("generic-key-twice", {"generic_key": {"descriptor_value": "v"}}, {"generic_key": {"descriptor_value": "w"}}),
    acting(
        "header-value-match",
        {"header_value_match": {"descriptor_value": "v", "headers": [{"name": "x-a", "string_match": {"exact": "1"}}]}},
    ),
    acting(
        "header-value-match-key",
        {
            "header_value_match": {
                "descriptor_key": "k",
                "descriptor_value": "v",
                "headers": [{"name": "x-a", "present_match": True}],
            }
        },
    ),
    acting(
        "header-value-match-not",
        {
            "header_value_match": {
                "descriptor_value": "v",
                "expect_match": False,
                "headers": [{"name": "x-a", "string_match": {"exact": "2"}}],
            }
        },
    ),
    acting(
        "header-value-match-fails",
        {"header_value_match": {"descriptor_value": "v", "headers": [{"name": "x-a", "string_match": {"exact": "2"}}]}},
    ),
    acting(
        "header-value-match-formatted",
        {"header_value_match": {"descriptor_value": "%REQ(x-a)%", "headers": [{"name": "x-a", "present_match": True}]}},
    ),
    acting(
        "query-value-match",
        {
            "query_parameter_value_match": {
                "descriptor_value": "v",
                "query_parameters": [{"name": "b", "string_match": {"exact": "c"}}],
            }
        },
    ),
    acting(
        "query-value-match-present",
        {
            "query_parameter_value_match": {
                "descriptor_key": "k",
                "descriptor_value": "v",
                "query_parameters": [{"name": "b", "present_match": True}],
            }
        },
    ),
    acting(
        "query-value-match-not",
        {
            "query_parameter_value_match": {
                "descriptor_value": "v",
                "expect_match": False,
                "query_parameters": [{"name": "z", "present_match": True}],
            }
        },
    ),
    acting("metadata", meta("a", "b"), before=[metadata_filter({"a": {"b": "deep"}})]),
    acting("metadata-number", meta("n"), before=[metadata_filter({"n": 3})]),
    acting("metadata-bool", meta("n"), before=[metadata_filter({"n": True})]),
    acting("metadata-default", meta("z", default_value="dflt")),
    acting("metadata-absent", meta("z")),
    acting("metadata-skip", meta("z", skip_if_absent=True), {"generic_key": {"descriptor_value": "v"}}),
    acting("metadata-empty", meta("s", default_value="dflt"), before=[metadata_filter({"s": ""})]),
    acting(
        "metadata-route",
        meta("a", source="ROUTE_ENTRY"),
        route={"metadata": {"filter_metadata": {"m": {"a": "route"}}}},
    ),
    acting(
        "cel",
        {
            "extension": {
                "name": "cel",
                "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.rate_limit_descriptors.expr.v3.Descriptor",
                    "descriptor_key": "k",
                    "text": "request.method + request.headers['x-a']",
                },
            }
        },
    ),
    acting(
        "cel-skip",
        {
            "extension": {
                "name": "cel",
                "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.rate_limit_descriptors.expr.v3.Descriptor",
                    "descriptor_key": "k",
                    "text": "request.headers['x-none']",
                    "skip_if_error": True,
                },
            }
        },
        {"generic_key": {"descriptor_value": "v"}},
    ),
    acting(
        "cel-error",
        {
            "extension": {
                "name": "cel",
                "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.rate_limit_descriptors.expr.v3.Descriptor",
                    "descriptor_key": "k",
                    "text": "request.headers['x-none']",
                },
            }
        },
        {"generic_key": {"descriptor_value": "v"}},
    ),
    # What else descriptors have.
    limited(
        "several",
        limits=[
            *PLAIN,
            {"actions": [{"request_headers": {"header_name": "x-none", "descriptor_key": "k"}}]},
            {"actions": [{"remote_address": {}}, {"generic_key": {"descriptor_value": "w"}}]},
        ],
    ),
    limited(
        "none-apply", limits=[{"actions": [{"request_headers": {"header_name": "x-none", "descriptor_key": "k"}}]}]
    ),
    limited("no-limits", limits=[]),
    limited("stage", limits=[*PLAIN, {"stage": 1, "actions": [{"generic_key": {"descriptor_value": "one"}}]}], stage=1),
    limited("disable-key", limits=[{"disable_key": "k", **PLAIN[0]}]),
    limited(
        "override",
        limits=[{**PLAIN[0], "limit": {"dynamic_metadata": {"metadata_key": {"key": "m", "path": [{"key": "o"}]}}}}],
        before=[metadata_filter({"o": {"requests_per_unit": 42, "unit": "HOUR"}})],
    ),
    limited(
        "override-absent",
        limits=[{**PLAIN[0], "limit": {"dynamic_metadata": {"metadata_key": {"key": "m", "path": [{"key": "o"}]}}}}],
    ),
    limited(
        "override-bad",
        limits=[{**PLAIN[0], "limit": {"dynamic_metadata": {"metadata_key": {"key": "m", "path": [{"key": "o"}]}}}}],
        before=[metadata_filter({"o": {"requests_per_unit": "many", "unit": "EON"}})],
    ),
    limited("hits-number", limits=[{**PLAIN[0], "hits_addend": {"number": 5}}]),
    limited("hits-zero", limits=[{**PLAIN[0], "hits_addend": {"number": 0}}]),
    limited("hits-format", get("/", "x-a: 7"), limits=[{**PLAIN[0], "hits_addend": {"format": "%REQ(x-a)%"}}]),
    limited("hits-format-bad", get("/", "x-a: many"), limits=[{**PLAIN[0], "hits_addend": {"format": "%REQ(x-a)%"}}]),
    limited(
        "hits-bytes",
        get("/", method="POST", body="12345"),
        limits=[{**PLAIN[0], "hits_addend": {"format": "%BYTES_RECEIVED%"}}],
    ),
    limited(
        "hits-metadata",
        limits=PLAIN,
        before=[
            {
                "name": "meta",
                "typed_config": {
                    "@type": "envoy.extensions.filters.http.set_metadata.v3.Config",
                    "metadata": [{"metadata_namespace": "envoy.ratelimit.hits_addend", "value": {"hits_addend": 4}}],
                },
            }
        ],
    ),
    limited(
        "done", limits=[*PLAIN, {**PLAIN[0], "apply_on_stream_done": True, "hits_addend": {"format": "%BYTES_SENT%"}}]
    ),
    limited(
        "done-only", limits=[{"actions": [{"generic_key": {"descriptor_value": "late"}}], "apply_on_stream_done": True}]
    ),
    # Levels.
    limited("vhost", limits=[], vhost={"rate_limits": [{"actions": [{"generic_key": {"descriptor_value": "vh"}}]}]}),
    limited("vhost-and-route", vhost={"rate_limits": [{"actions": [{"generic_key": {"descriptor_value": "vh"}}]}]}),
    limited(
        "vhost-included",
        vhost={"rate_limits": [{"actions": [{"generic_key": {"descriptor_value": "vh"}}]}]},
        action={"include_vh_rate_limits": True},
    ),
    *(
        limited(
            f"vhost-{option.lower()}{'' if limits else '-without-own'}",
            limits=limits,
            vhost={"rate_limits": [{"actions": [{"generic_key": {"descriptor_value": "vh"}}]}]},
            per_route={"vh_rate_limits": option},
        )
        for option in ("OVERRIDE", "INCLUDE", "IGNORE")
        for limits in (PLAIN, [])
    ),
    *(
        limited(
            f"option-{option.lower().replace('_', '-')}",
            vhost={"rate_limits": [{"actions": [{"generic_key": {"descriptor_value": "vh"}}]}]},
            per_route={"override_option": option},
        )
        for option in ("OVERRIDE_POLICY", "INCLUDE_POLICY", "IGNORE_POLICY")
    ),
    limited("route-domain", per_route={"domain": "other"}),
    limited("route-limits", per_route={"rate_limits": [{"actions": [{"generic_key": {"descriptor_value": "typed"}}]}]}),
    limited("filter-limits", rate_limits=[{"actions": [{"generic_key": {"descriptor_value": "filter"}}]}]),
    limited(
        "filter-limits-and-route",
        limits=PLAIN,
        per_route={"rate_limits": [{"actions": [{"generic_key": {"descriptor_value": "typed"}}]}]},
        rate_limits=[{"actions": [{"generic_key": {"descriptor_value": "filter"}}]}],
    ),
    # Answers.
    limited("over", says=OVER, shows="429"),
    limited("over-grpc", get("/", "content-type: application/grpc", method="POST", body="x"), says=OVER),
    limited(
        "over-grpc-exhausted",
        get("/", "content-type: application/grpc", method="POST", body="x"),
        says=OVER,
        rate_limited_as_resource_exhausted=True,
    ),
    limited("over-without-header", says=OVER, disable_x_envoy_ratelimited_header=True),
    limited("over-status", says=OVER, rate_limited_status={"code": "ServiceUnavailable"}),
    limited("over-status-low", says=OVER, rate_limited_status={"code": "OK"}),
    limited(
        "over-body",
        says={
            **OVER,
            "raw_body": "bm8=",
            "response_headers_to_add": [{"key": "x-h", "value": "1"}, {"key": "content-type", "value": "text/x"}],
            "request_headers_to_add": [{"key": "x-q", "value": "1"}],
        },
    ),
    limited(
        "over-added",
        says=OVER,
        response_headers_to_add=[
            {"header": {"key": "x-added", "value": "%REQ(x-a)%"}},
            {"header": {"key": "x-envoy-ratelimited", "value": "again"}},
        ],
    ),
    limited(
        "over-added-once",
        says={**OVER, "response_headers_to_add": [{"key": "x-h", "value": "1"}]},
        response_headers_to_add=[
            {"header": {"key": "x-h", "value": "2"}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}
        ],
    ),
    limited("over-not-enforced", says=OVER, filter_enforced={"default_value": {"numerator": 0}}),
    limited("not-enabled", says=OVER, filter_enabled={"default_value": {"numerator": 0}}),
    limited(
        "ok-fields",
        upstream=ANSWER,
        says={
            "response_headers_to_add": [{"key": "x-r", "value": "2"}, {"key": "X-S", "value": "1"}],
            "request_headers_to_add": [{"key": "x-a", "value": "2"}, {"key": "x-q", "raw_value": "cmF3"}],
        },
    ),
    limited("ok-metadata", says={"dynamic_metadata": {"k": "v"}}),
    limited("unknown-code", says={"overall_code": "UNKNOWN"}),
    limited("headers-off", says={"statuses": [LIMIT]}),
    limited("headers", upstream=ANSWER, says={"statuses": [LIMIT]}, enable_x_ratelimit_headers="DRAFT_VERSION_03"),
    limited("headers-two", says={"statuses": [LIMIT, LIMIT2]}, enable_x_ratelimit_headers="DRAFT_VERSION_03"),
    limited(
        "headers-over",
        says={**OVER, "statuses": [{**LIMIT, "limit_remaining": 0, "code": "OVER_LIMIT"}]},
        enable_x_ratelimit_headers="DRAFT_VERSION_03",
    ),
    limited(
        "headers-without-limit",
        says={"statuses": [{"code": "OK", "limit_remaining": 3}]},
        enable_x_ratelimit_headers="DRAFT_VERSION_03",
    ),
    limited("headers-none", says={"statuses": []}, enable_x_ratelimit_headers="DRAFT_VERSION_03"),
    *(
        limited(
            f"headers-{unit.lower()}",
            says={"statuses": [{**LIMIT, "current_limit": {"requests_per_unit": 1, "unit": unit}}]},
            enable_x_ratelimit_headers="DRAFT_VERSION_03",
        )
        for unit in ("UNKNOWN", "SECOND", "DAY", "WEEK", "MONTH", "YEAR")
    ),
    *(
        limited(
            f"retry-after-{name}",
            get("/", *asks),
            says={"overall_code": "OVER_LIMIT", "statuses": statuses, **says},
            enable_retry_after_header=True,
            **settings,
        )
        for name, statuses, says, settings, asks in (
            ("longest", [reached("3s"), reached("7s"), {**LIMIT, "duration_until_reset": "60s"}], {}, {}, ()),
            ("part", [reached("7.2s")], {}, {}, ()),
            ("soon", [reached("0.2s")], {}, {}, ()),
            ("now", [reached("0s")], {}, {}, ()),
            ("untold", [{"code": "OVER_LIMIT"}], {}, {}, ()),
            ("no-status", [], {}, {}, ()),
            ("none-reached", [LIMIT], {}, {}, ()),
            (
                "of-service",
                [reached("7s")],
                {"response_headers_to_add": [{"key": "Retry-After", "value": "2"}]},
                {},
                (),
            ),
            (
                "of-filter",
                [reached("7s")],
                {},
                {"response_headers_to_add": [{"header": {"key": "retry-after", "value": "2"}}]},
                (),
            ),
            ("other-status", [reached("7s")], {}, {"rate_limited_status": {"code": "ServiceUnavailable"}}, ()),
            ("not-enforced", [reached("7s")], {}, {"filter_enforced": {"default_value": {"numerator": 0}}}, ()),
            ("within", [reached("7s")], {"overall_code": "OK"}, {}, ()),
            ("grpc", [reached("7s")], {}, {}, ("content-type: application/grpc",)),
        )
    ),
    limited(
        "metadata-namespace",
        says={"dynamic_metadata": {"k": "v"}},
        metadata_namespace="mine",
        log="%DYNAMIC_METADATA(mine)% %DYNAMIC_METADATA(envoy.filters.http.ratelimit)%\n",
    ),
    # Failures.
    limited("error", says=(status(13, "x"),)),
    limited("error-denied", says=(status(13, "x"),), failure_mode_deny=True),
    limited(
        "error-denied-status", says=(status(13, "x"),), failure_mode_deny=True, status_on_error={"code": "BadGateway"}
    ),
    limited(
        "error-denied-percent", says=(status(13, "x"),), failure_mode_deny_percent={"default_value": {"numerator": 100}}
    ),
    limited(
        "error-denied-no-percent",
        says=(status(13, "x"),),
        failure_mode_deny=True,
        failure_mode_deny_percent={"default_value": {"numerator": 0}},
    ),
    limited("reset", says=(Reset(2),), failure_mode_deny=True),
    limited("timeout", says=(2.0, status(0)), timeout="0.2s", failure_mode_deny=True),
    limited("refused", other=Upstream(mode="refuse"), failure_mode_deny=True, stats=""),
    *(
        limited(f"no-such-cluster-{denied}", rate_limit_service=NO_SERVICE, failure_mode_deny=denied)
        for denied in (False, True)
    ),
    limited("nothing", says=(status(0),), failure_mode_deny=True),
    # Whom it is about.
    limited("internal-only", request_type="internal"),
    limited("external-only", request_type="external"),
    limited("external-only-external", get("/", "x-forwarded-for: 203.0.113.7"), request_type="external"),
    limited("stat-prefix", stat_prefix="mine", says=OVER),
    limited("request-type-bad", request_type="all", refused=True),
    *(
        limited(
            f"typed-{name}",
            get("/?b=x%20y", "x-a: 7", method="POST", body="12345"),
            refused=name in ("stage", "disable-key"),
            limits=[],
            per_route={"rate_limits": limits},
            before=[metadata_filter({"o": {"requests_per_unit": 42, "unit": "HOUR"}})],
        )
        for name, limits in (
            (
                "formatted",
                [
                    {
                        "actions": [
                            {"generic_key": {"descriptor_value": "%REQ(x-a)%-%REQ(x-none)%", "descriptor_key": "k"}}
                        ]
                    }
                ],
            ),
            (
                "match-formatted",
                [
                    {
                        "actions": [
                            {
                                "header_value_match": {
                                    "descriptor_value": "%REQ(x-a)%",
                                    "headers": [{"name": "x-a", "present_match": True}],
                                }
                            }
                        ]
                    }
                ],
            ),
            (
                "query-match-formatted",
                [
                    {
                        "actions": [
                            {
                                "query_parameter_value_match": {
                                    "descriptor_value": "%REQ(x-a)%",
                                    "query_parameters": [{"name": "b", "present_match": True}],
                                }
                            }
                        ]
                    }
                ],
            ),
            ("hits-number", [{**PLAIN[0], "hits_addend": {"number": 5}}]),
            ("hits-zero", [{**PLAIN[0], "hits_addend": {"number": 0}}]),
            ("hits-format", [{**PLAIN[0], "hits_addend": {"format": "%REQ(x-a)%"}}]),
            ("hits-format-bad", [{**PLAIN[0], "hits_addend": {"format": "%REQ(:path)%"}}]),
            ("hits-bytes", [{**PLAIN[0], "hits_addend": {"format": "%BYTES_RECEIVED%"}}]),
            (
                "override",
                [{**PLAIN[0], "limit": {"dynamic_metadata": {"metadata_key": {"key": "m", "path": [{"key": "o"}]}}}}],
            ),
            ("disable-key", [{**PLAIN[0], "disable_key": "k"}]),
            ("stage", [{**PLAIN[0], "stage": 1}]),
            (
                "done",
                [
                    *PLAIN,
                    {
                        "actions": [{"generic_key": {"descriptor_value": "late"}}],
                        "apply_on_stream_done": True,
                        "hits_addend": {"format": "%BYTES_SENT%"},
                    },
                ],
            ),
            ("done-only", [{"actions": [{"generic_key": {"descriptor_value": "late"}}], "apply_on_stream_done": True}]),
        )
    ),
]
