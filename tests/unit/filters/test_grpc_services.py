"""ext_authz and ratelimit over gRPC: what the service is told, and what becomes of its answers and failures."""

from __future__ import annotations

from typing import Any

import pytest
from envoy.service.auth.v3.external_auth_pb2 import CheckRequest, CheckResponse
from envoy.service.ratelimit.v3.rls_pb2 import RateLimitRequest, RateLimitResponse
from google.protobuf.json_format import MessageToDict, ParseDict

from meshproxy.errors import ConfigError
from meshproxy.model.rate_limit import RateLimit
from meshproxy.plugin.stream_info import TlsInfo
from meshproxy.testing import DEFAULT_ROUTE, FilterHarness
from meshproxy.testing.stream import HarnessStream
from meshproxy_filters.http.ext_authz.ext_authz import ExtAuthz
from meshproxy_filters.http.ratelimit import RateLimitFilter

SERVICE = {"envoy_grpc": {"cluster_name": "authz"}}
STRICT = {"disallow_expression": {"regex": "x-no"}, "disallow_is_error": True}
PER_ROUTE = "envoy.extensions.filters.http.ext_authz.v3.ExtAuthzPerRoute"


def option(key: str, value: str, **more: Any) -> dict[str, Any]:
    return {"header": {"key": key, "value": value}, **more}


def authz(answer: dict[str, Any] | None = None, route_config: Any = None, **config: Any) -> FilterHarness:
    more: dict[str, Any] = {"route_config": {"@type": PER_ROUTE, **route_config}} if route_config else {}
    harness = FilterHarness(
        ExtAuthz, {"grpc_service": SERVICE, "transport_api_version": "V3", **config}, clusters=["authz"], **more
    )
    message = ParseDict(answer or {}, CheckResponse())
    harness.cluster("authz").returns_grpc(message.SerializeToString())
    return harness


def question(harness: FilterHarness, at: int = -1) -> dict[str, Any]:
    received = harness.cluster("authz").requests[at]
    assert received.path == "/envoy.service.auth.v3.Authorization/Check"
    return MessageToDict(CheckRequest.FromString(received.grpc_message))["attributes"]


def test_the_service_is_told_of_the_request() -> None:
    harness = authz()
    fields = [
        ("x-a", "1"),
        ("x-a", "2"),
        ("cookie", "a=b"),
        ("cookie", "c=d"),
        ("x-bad", "\xff\xfe"),
        ("x-u", "\xc3\xa4"),
    ]
    exchange = harness.request("POST", "/p?q=1", headers=fields, authority="h.test", body=b"x")
    assert exchange.upstream_body == b"x"
    told = question(harness)["request"]["http"]
    assert (told["method"], told["path"], told["host"], told["scheme"]) == ("POST", "/p?q=1", "h.test", "http")
    assert told["headers"] == {
        ":authority": "h.test",
        ":method": "POST",
        ":path": "/p?q=1",
        ":scheme": "http",
        "x-a": "1,2",  # CVE-2021-32777
        "cookie": "a=b,c=d",
        "x-bad": "!!",  # CVE-2023-27488
        "x-u": "\xe4",
    }
    assert harness.stats["http.test.ext_authz.ok"] == 1


def test_the_service_is_told_of_the_connection() -> None:
    def over_tls(stream: HarnessStream) -> None:
        tls = TlsInfo()
        tls.peer_uri_sans, tls.local_uri_sans = ("spiffe://a",), ("spiffe://b",)
        tls.peer_certificate = "PEM"
        stream.connection.tls = tls
        stream.connection.remote_address = "192.0.2.9:1234"
        stream.connection.requested_server_name = "sni.test"
        stream.dynamic_metadata = {"n": {"k": [1, "x"]}, "other": {"k": 1}}

    harness = authz(include_peer_certificate=True, include_tls_session=True, metadata_context_namespaces=["n"])
    harness.request(prepare=over_tls)
    told = question(harness)
    assert told["source"]["address"]["socketAddress"] == {"address": "192.0.2.9", "portValue": 1234}
    assert (told["source"]["principal"], told["destination"]["principal"]) == ("spiffe://a", "spiffe://b")
    assert (told["source"]["certificate"], told["tlsSession"]["sni"]) == ("PEM", "sni.test")
    assert told["metadataContext"]["filterMetadata"] == {"n": {"k": [1.0, "x"]}}


@pytest.mark.parametrize("pack", [False, True])
def test_the_service_is_told_of_the_body(pack: bool) -> None:
    harness = authz(with_request_body={"max_request_bytes": 100, "pack_as_bytes": pack})
    exchange = harness.request("POST", chunks=(b"one", b"two"))
    assert exchange.upstream_body == b"onetwo"
    told = question(harness)["request"]["http"]
    assert told["rawBody" if pack else "body"] == ("b25ldHdv" if pack else "onetwo")


def test_an_allowance_changes_the_request_and_the_response() -> None:
    harness = authz(
        {
            "ok_response": {
                "headers": [
                    option("x-set", "new", append=False),
                    option("x-add", "more", append=True),
                    option("X-Over", "o", append_action="APPEND_IF_EXISTS_OR_ADD"),
                    option(":path", "/elsewhere?q=1&gone=1&kept=%20"),
                    option("host", "elsewhere"),
                ],
                "headers_to_remove": ["x-gone", "host", ":method"],
                "response_headers_to_add": [
                    option("x-client", "c"),
                    option("x-there", "new", append_action="OVERWRITE_IF_EXISTS"),
                    option("x-absent", "new", append_action="OVERWRITE_IF_EXISTS"),
                    option("x-kept", "new", append_action="ADD_IF_ABSENT"),
                ],
                "query_parameters_to_set": [{"key": "q", "value": "2"}, {"key": "n", "value": "a b"}],
                "query_parameters_to_remove": ["gone"],
            },
            "dynamic_metadata": {"user": "ann"},
        }
    )
    fields = {"x-set": "old", "x-add": "first", "x-over": "p", "x-gone": "1"}
    harness.upstream.returns(200, {"x-there": "old", "x-kept": "old", "x-client": "b"})
    exchange = harness.request(path="/p?q=1&gone=1&kept=%20", headers=fields)
    sent = exchange.upstream_headers
    assert (sent["x-set"], sent["x-add"], sent["x-over"]) == ("new", "first,more", "o")
    assert "x-gone" not in sent
    assert (sent.path, sent.authority) == ("/elsewhere?kept=%20&q=2&n=a%20b", "elsewhere")
    answered = exchange.response
    assert (answered["x-client"], answered["x-there"], answered["x-kept"]) == ("b,c", "new", "old")
    assert "x-absent" not in answered
    metadata = exchange.stream.metadata("envoy.filters.http.ext_authz")
    assert metadata["user"] == "ann"


@pytest.mark.parametrize(
    ("settings", "status", "invalid"),
    [({}, 503, 0), ({"validate_mutations": True}, 500, 1), ({"decoder_header_mutation_rules": STRICT}, 500, 1)],
)
def test_what_no_head_can_hold_fails_the_request(settings: dict[str, Any], status: int, invalid: int) -> None:
    value = "fine" if "decoder_header_mutation_rules" in settings else "a\r\nb"
    harness = authz({"ok_response": {"headers": [option("x-no", value)]}}, **settings)
    assert harness.request().status == status
    assert harness.stats.get("http.test.ext_authz.invalid", 0) == invalid


def test_rules_say_what_a_service_may_change() -> None:
    changes = [option("x-yes", "1"), option("x-no", "1"), option(":method", "PUT"), option(":path", "/p")]
    rules = {"disallow_expression": {"regex": "x-no"}}
    answer = {"ok_response": {"headers": changes, "headers_to_remove": ["x-no", "x-gone"]}}
    harness = authz(answer, decoder_header_mutation_rules=rules)
    sent = harness.request(path="/", headers={"x-no": "0", "x-gone": "0"}).upstream_headers
    assert (sent["x-yes"], sent["x-no"], sent.method, sent.path) == ("1", "0", "GET", "/p")
    assert "x-gone" not in sent


def test_fields_as_bytes_each_by_itself() -> None:
    harness = authz(encode_raw_headers=True, disallowed_headers={"patterns": [{"prefix": ":"}]})
    harness.request(headers=[("x-a", "1"), ("x-a", "\xe9")])
    http = CheckRequest.FromString(harness.cluster("authz").requests[-1].grpc_message).attributes.request.http
    assert [(field.key, field.raw_value) for field in http.header_map.headers] == [("x-a", b"1"), ("x-a", b"\xe9")]
    assert not http.headers


def test_a_refusal_is_the_services_own() -> None:
    harness = authz(
        {
            "status": {"code": 7},
            "denied_response": {
                "status": {"code": 401},
                "headers": [{"header": {"key": "www-authenticate", "value": "x"}}],
                "body": "no",
            },
        }
    )
    exchange = harness.request()
    assert (exchange.status, exchange.response_body, exchange.response["www-authenticate"]) == (401, b"no", "x")
    assert (exchange.stream.details, exchange.stream.flags) == ("ext_authz_denied", "UAEX")
    assert authz({"status": {"code": 7}}).request().status == 403


@pytest.mark.parametrize("failure", ["status", "reset", "garbage", "slow", "error_response"])
def test_a_service_that_cant_be_asked_lets_nobody_in(failure: str) -> None:
    """CVE-2023-27488: what goes wrong on the way to the service is a refusal."""
    for allowed in (False, True):
        harness = authz(failure_mode_allow=allowed, failure_mode_allow_header_add=True, status_on_error={"code": 503})
        service = harness.cluster("authz")
        if failure == "status":
            service.returns_grpc(status=14)
        elif failure == "reset":
            service.fails()
        elif failure == "garbage":
            service.returns_grpc(b"\xff\xff\xff")
        elif failure == "error_response":
            answer = CheckResponse()
            answer.status.code = 13
            answer.error_response.body = "sorry"
            answer.error_response.status.code = 503
            service.returns_grpc(answer.SerializeToString())
        else:
            service.hangs()
        exchange = harness.request()
        harness.clock.advance(0.25)
        assert harness.stats["http.test.ext_authz.error"] == 1
        if allowed:
            assert exchange.upstream_headers["x-envoy-auth-failure-mode-allowed"] == "true"
            assert harness.stats["http.test.ext_authz.failure_mode_allowed"] == 1
        else:
            assert (exchange.status, exchange.stream.details) == (503, "ext_authz_error")
            assert not exchange.reached_upstream


def test_fields_that_the_service_isnt_told() -> None:
    harness = authz(
        allowed_headers={"patterns": [{"prefix": "x-"}]}, disallowed_headers={"patterns": [{"exact": "x-secret"}]}
    )
    harness.request(headers={"x-a": "1", "x-secret": "s", "other": "o"})
    assert question(harness)["request"]["http"]["headers"] == {"x-a": "1"}


def test_what_a_route_adds() -> None:
    harness = authz(route_config={"check_settings": {"context_extensions": {"team": "shop"}}})
    harness.request()
    assert question(harness)["contextExtensions"] == {"team": "shop"}


# The rate limit service.


def limit(entries: Any, stage: int = 0, hits: int = 1, on: bool = True) -> RateLimit:
    return RateLimit(stage, lambda: on, lambda stream: entries, lambda stream: hits)


def route(*limits: RateLimit, virtual_host: tuple[RateLimit, ...] = ()) -> Any:
    from dataclasses import replace

    return replace(DEFAULT_ROUTE, rate_limits=limits, virtual_host_rate_limits=virtual_host)


def limiting(answer: dict[str, Any] | None = None, route_config: Any = None, **config: Any) -> FilterHarness:
    service = {"grpc_service": {"envoy_grpc": {"cluster_name": "limits"}}, "transport_api_version": "V3"}
    per_route = "envoy.extensions.filters.http.ratelimit.v3.RateLimitPerRoute"
    more: dict[str, Any] = {"route_config": {"@type": per_route, **route_config}} if route_config else {}
    harness = FilterHarness(
        RateLimitFilter, {"domain": "d", "rate_limit_service": service, **config}, clusters=["limits"], **more
    )
    message = ParseDict({"overall_code": "OK", **(answer or {})}, RateLimitResponse())
    harness.cluster("limits").returns_grpc(message.SerializeToString())
    return harness


ONE = limit((("k", "v"), ("l", "\xc3\xa4")))
OVER = {"overall_code": "OVER_LIMIT"}


def asked(harness: FilterHarness) -> list[dict[str, Any]]:
    found = []
    for received in harness.cluster("limits").requests:
        assert received.path == "/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit"
        found.append(MessageToDict(RateLimitRequest.FromString(received.grpc_message)))
    return found


def test_the_limiter_is_told_descriptors() -> None:
    harness = limiting()
    harness.request(route=route(ONE, limit((("m", "n"),), hits=3), limit(None), limit((("x", "y"),), on=False)))
    entries = [{"key": "k", "value": "v"}, {"key": "l", "value": "\xe4"}]
    assert asked(harness) == [
        {
            "domain": "d",
            "descriptors": [{"entries": entries}, {"entries": [{"key": "m", "value": "n"}], "hitsAddend": "3"}],
        }
    ]
    assert harness.stats["cluster.upstream.ratelimit.ok"] == 1


@pytest.mark.parametrize("requests_route", [route(), route(limit(None)), route(limit((("a", "b"),), stage=1))])
def test_nobody_is_asked_about_nothing(requests_route: Any) -> None:
    harness = limiting()
    assert harness.request(route=requests_route).reached_upstream
    assert asked(harness) == []


@pytest.mark.parametrize(
    ("override", "own", "keys"),
    [
        ({}, True, ["k"]),
        ({}, False, ["vh"]),
        ({"vh_rate_limits": "INCLUDE"}, True, ["k", "vh"]),
        ({"vh_rate_limits": "IGNORE"}, False, []),
        ({"override_option": "INCLUDE_POLICY", "vh_rate_limits": "IGNORE"}, True, ["k"]),
        ({"domain": "other"}, True, ["k"]),
    ],
)
def test_limits_of_the_virtual_host(override: dict[str, Any], own: bool, keys: list[str]) -> None:
    harness = limiting(route_config=override)
    harness.request(route=route(*([limit((("k", "v"),))] if own else []), virtual_host=(limit((("vh", "1"),)),)))
    told = asked(harness)
    assert [each["entries"][0]["key"] for each in (told[0]["descriptors"] if told else [])] == keys
    if told:
        assert told[0]["domain"] == override.get("domain", "d")


def test_over_the_limit() -> None:
    harness = limiting({**OVER, "response_headers_to_add": [{"key": "x-why", "value": "much"}], "raw_body": "bm8="})
    exchange = harness.request(route=route(ONE))
    assert (exchange.status, exchange.response_body) == (429, b"no")
    assert (exchange.response["x-envoy-ratelimited"], exchange.response["x-why"]) == ("true", "much")
    assert (exchange.stream.details, exchange.stream.flags) == ("request_rate_limited", "RL")
    assert harness.stats["cluster.upstream.ratelimit.over_limit"] == 1


def test_over_the_limit_otherwise() -> None:
    harness = limiting(
        OVER,
        rate_limited_status={"code": 503},
        disable_x_envoy_ratelimited_header=True,
        stat_prefix="mine",
        response_headers_to_add=[{"header": {"key": "x-mine", "value": "%REQ(:METHOD)%"}}],
    )
    exchange = harness.request(route=route(ONE))
    assert (exchange.status, exchange.response["x-mine"]) == (503, "GET")
    assert "x-envoy-ratelimited" not in exchange.response
    assert harness.stats["cluster.upstream.ratelimit.mine.over_limit"] == 1


def test_a_limit_that_isnt_enforced_is_counted() -> None:
    harness = limiting(OVER, filter_enforced={"default_value": {"numerator": 0}, "runtime_key": "k"})
    exchange = harness.request(route=route(ONE))
    assert exchange.reached_upstream
    assert exchange.response["x-envoy-ratelimited"] == "true"
    assert harness.stats["cluster.upstream.ratelimit.over_limit"] == 1


def test_the_nearest_limit_is_told_to_the_client() -> None:
    def status(per_unit: int, unit: str, remaining: int, **more: Any) -> dict[str, Any]:
        current = {"requests_per_unit": per_unit, "unit": unit, **more}
        return {"current_limit": current, "limit_remaining": remaining, "duration_until_reset": "7s"}

    statuses = [status(10, "MINUTE", 5), status(100, "HOUR", 3, name="big"), {"code": "OK"}]
    harness = limiting({"statuses": statuses}, enable_x_ratelimit_headers="DRAFT_VERSION_03")
    response = harness.request(route=route(ONE)).response
    assert response["x-ratelimit-limit"] == '100, 10;w=60, 100;w=3600;name="big"'
    assert (response["x-ratelimit-remaining"], response["x-ratelimit-reset"]) == ("3", "7")


def test_an_allowance_may_add_fields_and_metadata() -> None:
    harness = limiting({"request_headers_to_add": [{"key": "x-up", "value": "1"}], "dynamic_metadata": {"left": 3}})
    exchange = harness.request(route=route(ONE))
    assert exchange.upstream_headers["x-up"] == "1"
    assert exchange.stream.metadata("envoy.filters.http.ratelimit") == {"left": 3}


@pytest.mark.parametrize("failure", ["status", "reset", "garbage", "slow"])
@pytest.mark.parametrize("deny", [False, True])
def test_a_limiter_that_gives_no_answer(failure: str, deny: bool) -> None:
    harness = limiting(failure_mode_deny=deny, timeout="0.5s")
    service = harness.cluster("limits")
    {
        "status": lambda: service.returns_grpc(status=13),
        "reset": service.fails,
        "garbage": lambda: service.returns_grpc(b"\xff\xff"),
        "slow": service.hangs,
    }[failure]()
    exchange = harness.request(route=route(ONE))
    harness.clock.advance(0.6)
    assert harness.stats["cluster.upstream.ratelimit.error"] == 1
    if deny:
        assert (exchange.status, exchange.stream.flags) == (500, "RLSE")
        assert exchange.stream.details == "rate_limiter_error"
    else:
        assert exchange.reached_upstream
        assert harness.stats["cluster.upstream.ratelimit.failure_mode_allowed"] == 1


@pytest.mark.parametrize(
    ("kind", "header", "wanted"), [("internal", "", 0), ("internal", "true", 1), ("external", "true", 0)]
)
def test_only_some_requests_are_asked_about(kind: str, header: str, wanted: int) -> None:
    harness = limiting(request_type=kind)
    harness.request(route=route(ONE), headers={"x-envoy-internal": header} if header else {})
    assert len(asked(harness)) == wanted


def told(harness: FilterHarness) -> list[RateLimitRequest]:
    return [RateLimitRequest.FromString(each.grpc_message) for each in harness.cluster("limits").requests]


def test_a_limit_in_place_of_the_services_own() -> None:
    key = {"metadata_key": {"key": "m", "path": [{"key": "o"}]}}
    limits = [{"actions": [{"generic_key": {"descriptor_value": "v"}}], "limit": {"dynamic_metadata": key}}]
    harness = limiting(rate_limits=limits)

    def prepare(value: Any) -> Any:
        return lambda stream: stream.set_metadata("m", "o", value)

    for value in ({"requests_per_unit": 42, "unit": "HOUR"}, {"requests_per_unit": 42, "unit": "EON"}, "text"):
        harness.request(prepare=prepare(value))
    given = [request.descriptors[0].limit for request in told(harness)]
    assert [(each.requests_per_unit, each.unit) for each in given] == [(42, 3), (0, 0), (0, 0)]


def test_a_limit_that_is_told_at_the_end() -> None:
    late = {
        "actions": [{"generic_key": {"descriptor_value": "late"}}],
        "apply_on_stream_done": True,
        "hits_addend": {"format": "%BYTES_SENT%"},
    }
    harness = limiting(OVER, rate_limits=[late])
    harness.upstream.returns(200, body=b"12345")
    exchange = harness.request()
    assert exchange.status == 200
    (request,) = told(harness)
    assert (request.descriptors[0].entries[0].value, request.descriptors[0].hits_addend.value) == ("late", 5)


@pytest.mark.parametrize(("skip", "values"), [(True, ["v"]), (False, None)])
def test_an_expression_says_a_value(skip: bool, values: list[str] | None) -> None:
    kind = "envoy.extensions.rate_limit_descriptors.expr.v3.Descriptor"
    expression = {
        "@type": f"type.googleapis.com/{kind}",
        "descriptor_key": "k",
        "text": "request.headers['x-a']",
        "skip_if_error": skip,
    }
    actions = [
        {"extension": {"name": "e", "typed_config": expression}},
        {"generic_key": {"descriptor_value": "v"}},
    ]
    harness = limiting(rate_limits=[{"actions": actions}])
    harness.request()
    harness.request(headers={"x-a": "1"})
    found = [[entry.value for entry in request.descriptors[0].entries] for request in told(harness)]
    assert found == ([values] if values is not None else []) + [["1", "v"]]


def test_stages_are_the_filters_own() -> None:
    with pytest.raises(ConfigError, match="not supported"):
        limiting(rate_limits=[{"stage": 1, "actions": [{"generic_key": {"descriptor_value": "v"}}]}])
