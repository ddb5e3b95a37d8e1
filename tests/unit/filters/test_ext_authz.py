"""Authorisation by an HTTP service. What Envoy does in each of these situations, tests/parity shows."""

from __future__ import annotations

from typing import Any

import pytest

from meshproxy.errors import ConfigError
from meshproxy.plugin.replies import ResetReason
from meshproxy.testing import Answer, FilterHarness
from meshproxy_filters.http.ext_authz.ext_authz import ExtAuthz

PER_ROUTE = "envoy.extensions.filters.http.ext_authz.v3.ExtAuthzPerRoute"
URI = {"uri": "http://authz.test", "cluster": "authz", "timeout": "1s"}


def matching(*names: str) -> dict[str, Any]:
    return {"patterns": [{"exact": name} for name in names]}


def asking(service: dict[str, Any] | None = None, route_config: Any = None, **settings: Any) -> FilterHarness:
    config = {"http_service": {"server_uri": URI, **(service or {})}, **settings}
    of_route: dict[str, Any] = {} if route_config is None else {"route_config": {"@type": PER_ROUTE, **route_config}}
    harness = FilterHarness(ExtAuthz, config, **of_route)
    harness.cluster("authz")
    return harness


def test_what_the_service_allows_passes() -> None:
    harness = asking()
    exchange = harness.request("GET", "/a?b", headers={"authorization": "s", "x-a": "1"})
    assert exchange.reached_upstream
    (asked,) = harness.cluster("authz").requests
    assert (asked.method, asked.path, asked.headers.authority) == ("GET", "/a?b", "test.example")
    assert dict(asked.headers.items()).keys() >= {"content-length", "authorization"}
    assert "x-a" not in asked.headers
    assert harness.stats["http.test.ext_authz.ok"] == 1
    assert harness.stats["cluster.upstream.ext_authz.ok"] == 1


def test_what_it_refuses_gets_its_answer() -> None:
    harness = asking()
    harness.cluster("authz").returns(302, [("location", "/login"), ("set-cookie", "a"), ("set-cookie", "b")], b"go")
    exchange = harness.request()
    assert not exchange.reached_upstream
    assert exchange.status == 302
    assert exchange.response["location"] == "/login"
    assert exchange.response.get_all("set-cookie") == ["a", "b"]
    assert exchange.response_body == b"go"
    assert exchange.stream.flags == "UAEX"
    assert exchange.stream.details == "ext_authz_denied"


@pytest.mark.parametrize(
    "answer", [Answer(500), Answer(503, body=b"x"), Answer(reset=ResetReason.CONNECT_FAILURE), Answer()]
)
@pytest.mark.parametrize("allow", [False, True])
def test_a_service_that_fails(answer: Answer, allow: bool) -> None:
    harness = asking(
        failure_mode_allow=allow, failure_mode_allow_header_add=True, status_on_error={"code": "BadGateway"}
    )
    harness.cluster("authz").answers(lambda request: answer)
    exchange = harness.request(headers={"x-envoy-auth-failure-mode-allowed": "forged"})
    harness.clock.advance(1.1)
    assert harness.stats["http.test.ext_authz.error"] == 1
    if allow:
        assert exchange.upstream_headers.get_all("x-envoy-auth-failure-mode-allowed") == ["true"]
    else:
        assert not exchange.reached_upstream
        assert exchange.status == 502
        assert exchange.stream.details == "ext_authz_error"


def test_an_unknown_cluster_refuses() -> None:
    harness = asking({"server_uri": {**URI, "cluster": "nowhere"}})
    assert harness.request().status == 403


def test_an_answer_without_end_is_bounded() -> None:
    """CVE-2024-34364: a body is read up to a limit, however long it is."""
    harness = asking()
    harness.cluster("authz").returns(403, body=b"x" * ((1 << 20) + 1))
    exchange = harness.request()
    assert exchange.status == 403
    assert exchange.response_body == b""
    assert exchange.stream.details == "ext_authz_error"


def test_cve_2021_32777_all_values_of_a_repeated_field_are_told() -> None:
    harness = asking(allowed_headers=matching("x-a", "cookie"))
    harness.request(headers=[("x-a", "1"), ("cookie", "a=b"), ("x-a", "2"), ("cookie", "c=d")])
    (asked,) = harness.cluster("authz").requests
    assert asked.headers["x-a"] == "1,2"
    assert asked.headers["cookie"] == "a=b; c=d"


def test_cve_2023_27487_the_path_is_the_one_that_was_asked_for() -> None:
    harness = asking(allowed_headers=matching("x-envoy-original-path"))
    harness.request("GET", "/admin", headers={"x-envoy-original-path": "/open"})
    assert harness.cluster("authz").requests[0].path == "/admin"


def test_cve_2023_27488_bytes_that_are_no_utf8_arrive() -> None:
    harness = asking(allowed_headers=matching("x-a"))
    harness.request(headers={"x-a": "caf\xe9\xff"})
    assert harness.cluster("authz").requests[0].headers["x-a"] == "caf\xe9\xff"
    assert harness.errors == []


def test_a_refusal_ends_the_request_there() -> None:
    """CVE-2021-32781, CVE-2022-29228: nothing behind the filter hears of a refused request, also of its body."""
    harness = asking()
    harness.cluster("authz").returns(403, after=0.5)
    exchange = harness.request("POST", "/", chunks=[b"a", b"b"])
    harness.clock.advance(1)
    assert exchange.status == 403
    assert not exchange.reached_upstream
    assert exchange.upstream_chunks == []


def test_the_request_waits_for_the_verdict() -> None:
    harness = asking()
    harness.cluster("authz").returns(200, after=0.5)
    exchange = harness.request("POST", "/", body=b"the body")
    assert exchange.waiting
    assert not exchange.reached_upstream
    harness.clock.advance(0.6)
    assert exchange.upstream_body == b"the body"
    assert harness.cluster("authz").requests[0].body == b""


def test_fields_of_the_answer_for_the_upstream() -> None:
    response = {
        "allowed_upstream_headers": matching("x-user"),
        "allowed_upstream_headers_to_append": matching("x-more"),
    }
    harness = asking({"authorization_response": response})
    answer = [("x-user", "ann"), ("x-more", "2"), ("x-secret", "1"), ("x-envoy-auth-headers-to-remove", "x-gone, Host")]
    harness.cluster("authz").returns(200, answer)
    headers = harness.request(headers=[("x-user", "forged"), ("x-more", "1"), ("x-gone", "1")]).upstream_headers
    assert headers.get_all("x-user") == ["ann"]
    assert headers.get_all("x-more") == ["1", "2"]
    assert "x-secret" not in headers
    assert "x-gone" not in headers
    assert headers.authority == "test.example"


def test_framing_of_the_answer_is_not_framing_of_the_request() -> None:
    every = {"patterns": [{"safe_regex": {"regex": ".*"}}]}
    harness = asking({"authorization_response": {"allowed_upstream_headers": every}})
    harness.cluster("authz").returns(200, {"content-length": "0", "host": "evil", "connection": "x"})
    headers = harness.request("POST", "/", headers={"content-length": "4"}, body=b"body").upstream_headers
    assert headers["content-length"] == "4"
    assert "host" not in headers
    assert "connection" not in headers


def test_fields_of_the_answer_for_the_client() -> None:
    response = {"allowed_client_headers": matching("x-why"), "allowed_client_headers_on_success": matching("x-told")}
    harness = asking({"authorization_response": response})
    harness.cluster("authz").returns(200, {"x-told": "1", "x-why": "2"})
    headers = harness.request().response
    assert (headers.get("x-told"), headers.get("x-why")) == ("1", None)
    harness.cluster("authz").returns(401, {"x-told": "1", "x-why": "2", "www-authenticate": "Basic"})
    headers = harness.request().response
    assert (headers.get("x-told"), headers.get("x-why"), headers.get("www-authenticate")) == (None, "2", "Basic")


def test_metadata() -> None:
    harness = asking({"authorization_response": {"dynamic_metadata_from_headers": matching("x-m")}})
    harness.cluster("authz").returns(200, {"x-m": "1"}, after=0.25)
    exchange = harness.request()
    harness.clock.advance(0.3)
    assert exchange.stream.metadata("envoy.filters.http.ext_authz") == {"x-m": "1", "ext_authz_duration": 250}


@pytest.mark.parametrize("size", [0, 4, 8])
def test_with_the_body(size: int) -> None:
    harness = asking(with_request_body={"max_request_bytes": 8})
    exchange = harness.request("POST", "/", headers={"content-length": str(size)}, body=b"x" * size)
    (asked,) = harness.cluster("authz").requests
    assert asked.body == b"x" * size
    assert asked.headers["content-length"] == str(size)
    assert asked.headers.get("x-envoy-auth-partial-body") == ("false" if size else None)
    assert exchange.upstream_body == b"x" * size


def test_a_body_that_is_too_long() -> None:
    harness = asking(with_request_body={"max_request_bytes": 8})
    assert harness.request("POST", "/", chunks=[b"x" * 5, b"x" * 5]).status == 413
    assert harness.cluster("authz").requests == []


@pytest.mark.parametrize("chunks", [[b"12345678901"], [b"1234", b"5678", b"9", b"01"], [b"12345", b"678901"]])
def test_a_part_of_a_body_may_be_enough(chunks: list[bytes]) -> None:
    harness = asking(with_request_body={"max_request_bytes": 8, "allow_partial_message": True})
    exchange = harness.request("POST", "/", headers={"content-length": "11"}, chunks=chunks)
    (asked,) = harness.cluster("authz").requests
    assert (asked.body, asked.headers["x-envoy-auth-partial-body"]) == (b"12345678", "true")
    assert (exchange.upstream_body, exchange.upstream_headers["content-length"]) == (b"12345678901", "11")


def test_retries_stay_within_the_time() -> None:
    policy = {"num_retries": 5, "retry_on": "5xx", "retry_back_off": {"base_interval": "10s", "max_interval": "10s"}}
    harness = asking({"retry_policy": policy})
    harness.cluster("authz").returns(503)
    exchange = harness.request()
    harness.clock.advance(1.01)
    assert exchange.status == 403
    assert len(harness.cluster("authz").requests) < 4


@pytest.mark.parametrize(
    ("reasons", "status", "headers", "asked"),
    [
        ("5xx,deadline-exceeded,internal,unavailable", 503, {}, 2),
        ("5xx,deadline-exceeded,internal,unavailable", 403, {"grpc-status": "4"}, 2),
        ("5xx,deadline-exceeded,internal,unavailable", 403, {}, 1),
        ("gateway-error", 500, {}, 1),
        ("gateway-error", 502, {}, 2),
        ("retriable-4xx", 409, {}, 2),
        ("envoy-ratelimited", 429, {"x-envoy-ratelimited": "true"}, 2),
        ("5xx", 503, {"x-envoy-ratelimited": "true"}, 1),
        ("", 503, {}, 1),
    ],
)
def test_what_is_a_reason_to_ask_again(reasons: str, status: int, headers: dict[str, str], asked: int) -> None:
    harness = asking({"retry_policy": {"retry_on": reasons, "retry_back_off": {"base_interval": "0.02s"}}})
    harness.cluster("authz").returns(status, headers)
    harness.request()
    harness.clock.advance(0.5)
    assert len(harness.cluster("authz").requests) == asked


@pytest.mark.parametrize(("percent", "deny", "status"), [(0, False, 200), (0, True, 403), (100, True, 401)])
def test_a_share_of_the_requests(percent: int, deny: bool, status: int) -> None:
    harness = asking(
        filter_enabled={"default_value": {"numerator": percent}},
        deny_at_disable={"default_value": deny, "runtime_key": "key"},
    )
    harness.cluster("authz").returns(401)
    assert harness.request().status == status


def test_by_metadata() -> None:
    matcher = {"filter": "ns", "path": [{"key": "a"}], "value": {"string_match": {"exact": "b"}}}
    harness = asking(filter_enabled_metadata=matcher)
    harness.cluster("authz").returns(401)
    assert harness.request().status == 200
    assert harness.request(prepare=lambda stream: stream.set_metadata("ns", "a", "b")).status == 401


def test_what_a_route_says() -> None:
    assert asking(route_config={"disabled": True}).plan.request_headers == ()
    other = {"http_service": {"server_uri": {**URI, "cluster": "other"}}}
    harness = asking(route_config={"check_settings": other})
    harness.cluster("other").returns(401)
    assert harness.request().status == 401
    assert harness.cluster("authz").requests == []


def test_without_a_route_nobody_is_asked() -> None:
    harness = asking()
    harness.request(route=None)
    assert harness.cluster("authz").requests == []


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"http_service": None}, "one of 'http_service' and 'grpc_service'"),
        ({"metadata_context_namespaces": ["a"]}, "metadata_context_namespaces"),
        ({"include_peer_certificate": True}, "include_peer_certificate"),
        ({"http_service": {"server_uri": URI, "path_prefix": "a"}}, "path_prefix"),
    ],
)
def test_what_is_refused(settings: dict[str, Any], message: str) -> None:
    config = {"http_service": {"server_uri": URI}, **settings}
    with pytest.raises(ConfigError, match=message):
        FilterHarness(ExtAuthz, {key: value for key, value in config.items() if value is not None})
