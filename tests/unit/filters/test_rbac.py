"""Role-based access control over HTTP."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from meshproxy.errors import ConfigError
from meshproxy.plugin.stream_info import TlsInfo
from meshproxy.testing import DEFAULT_ROUTE, FilterHarness
from meshproxy.testing.stream import HarnessStream
from meshproxy_filters.http.rbac import Rbac

ANY = {"any": True}
ROUTE = "envoy.extensions.filters.http.rbac.v3.RBACPerRoute"


def policy(permission: dict[str, Any] = ANY, principal: dict[str, Any] = ANY) -> dict[str, Any]:
    return {"permissions": [permission], "principals": [principal]}


def rules(action: str = "ALLOW", **policies: dict[str, Any]) -> dict[str, Any]:
    return {"action": action, "policies": policies}


def passes(permission: dict[str, Any] = ANY, principal: dict[str, Any] = ANY, **request: Any) -> bool:
    """Whether an ALLOW policy of these lets a request through; the same policy as DENY has to do the opposite."""
    harness = FilterHarness(Rbac, {"rules": rules(p=policy(permission, principal))})
    denying = FilterHarness(Rbac, {"rules": rules("DENY", p=policy(permission, principal))})
    allowed = bool(harness.request(**request).reached_upstream)
    assert denying.request(**request).reached_upstream is not allowed
    return allowed


def test_a_denial_is_told_to_client_log_metadata_and_statistics() -> None:
    config = {"rules": rules("DENY", **{"my pol": policy({"url_path": {"path": {"exact": "/d"}}})})}
    harness = FilterHarness(Rbac, config)
    exchange = harness.request(path="/d?x=1")
    assert exchange.status == 403
    assert exchange.response_body == b"RBAC: access denied"
    assert exchange.stream.details == "rbac_access_denied_matched_policy[my_pol]"
    assert exchange.stream.dynamic_metadata == {
        "envoy.filters.http.rbac": {"enforced_effective_policy_id": "my pol", "enforced_engine_result": "denied"}
    }
    assert harness.request().reached_upstream
    assert harness.stats == {"http.test.rbac.denied": 1, "http.test.rbac.allowed": 1}


def test_what_no_policy_allows_is_denied() -> None:
    configs: list[dict[str, Any]] = [{"rules": rules(p=policy({"not_rule": ANY}))}, {"rules": {}}]
    for config in configs:
        exchange = FilterHarness(Rbac, config).request()
        assert exchange.stream.details == "rbac_access_denied_matched_policy[none]"


def test_without_rules_nothing_is_enforced() -> None:
    harness = FilterHarness(Rbac, {})
    assert harness.request().reached_upstream
    assert harness.plan.request_headers == ()


def test_shadow_rules_are_told_and_not_enforced() -> None:
    config = {"shadow_rules": rules(), "shadow_rules_stat_prefix": "istio_dry_run_", "rules": rules(p=policy())}
    harness = FilterHarness(Rbac, config)
    exchange = harness.request()
    assert exchange.reached_upstream
    assert harness.stats == {"http.test.rbac.allowed": 1, "http.test.rbac.istio_dry_run_.shadow_denied": 1}
    assert exchange.stream.metadata("envoy.filters.http.rbac")["istio_dry_run_shadow_engine_result"] == "denied"


def test_the_first_policy_by_name_is_the_one_that_is_named() -> None:
    exchange = FilterHarness(Rbac, {"rules": rules(b=policy(), a=policy())}).request()
    assert exchange.stream.metadata("envoy.filters.http.rbac")["enforced_effective_policy_id"] == "a"


def test_log_lets_everything_pass() -> None:
    exchange = FilterHarness(Rbac, {"rules": rules("LOG", p=policy())}).request()
    assert exchange.reached_upstream
    assert exchange.stream.metadata("envoy.common") == {"access_log_hint": True}


@pytest.mark.parametrize(
    ("permission", "request_", "expected"),
    [
        ({"any": True}, {}, True),
        ({"header": {"name": ":method", "string_match": {"exact": "GET"}}}, {}, True),
        ({"header": {"name": "x-a", "string_match": {"exact": "1"}}}, {"headers": {"x-a": "1"}}, True),
        ({"header": {"name": "x-a", "string_match": {"exact": "1"}}}, {"headers": [("x-a", "0"), ("x-a", "1")]}, True),
        ({"header": {"name": "x-a", "string_match": {"exact": "1"}}}, {}, False),
        ({"url_path": {"path": {"prefix": "/api"}}}, {"path": "/api/x?y"}, True),
        ({"url_path": {"path": {"exact": "/api"}}}, {"path": "/api?y"}, True),
        ({"url_path": {"path": {"exact": "/api"}}}, {"path": "/api/"}, False),
        ({"url_path": {"path": {"safe_regex": {"regex": "/a.*"}}}}, {"path": "/a\xff"}, True),
        ({"destination_ip": {"address_prefix": "192.0.2.0", "prefix_len": 24}}, {}, True),
        ({"destination_ip": {"address_prefix": "192.0.3.0", "prefix_len": 24}}, {}, False),
        ({"destination_port": 8080}, {}, True),
        ({"destination_port": 80}, {}, False),
        ({"destination_port_range": {"start": 8080, "end": 8081}}, {}, True),
        ({"destination_port_range": {"start": 8000, "end": 8080}}, {}, False),
        ({"requested_server_name": {"exact": ""}}, {}, True),
        ({"and_rules": {"rules": [ANY, {"destination_port": 80}]}}, {}, False),
        ({"and_rules": {"rules": [ANY, ANY, ANY]}}, {}, True),
        ({"or_rules": {"rules": [{"destination_port": 80}, ANY]}}, {}, True),
        ({"not_rule": {"destination_port": 80}}, {}, True),
    ],
)
def test_permissions(permission: dict[str, Any], request_: dict[str, Any], expected: bool) -> None:
    assert passes(permission, **request_) is expected


@pytest.mark.parametrize(
    ("principal", "expected"),
    [
        ({"source_ip": {"address_prefix": "192.0.2.20", "prefix_len": 32}}, True),
        ({"direct_remote_ip": {"address_prefix": "192.0.2.0", "prefix_len": 24}}, True),
        ({"remote_ip": {"address_prefix": "10.0.0.0", "prefix_len": 8}}, False),
        ({"header": {"name": ":authority", "string_match": {"exact": "test.example"}}}, True),
        ({"authenticated": {}}, False),
        ({"not_id": {"authenticated": {}}}, True),
        ({"and_ids": {"ids": [ANY, {"authenticated": {}}]}}, False),
        ({"or_ids": {"ids": [{"authenticated": {}}, ANY]}}, True),
    ],
)
def test_principals(principal: dict[str, Any], expected: bool) -> None:
    assert passes(ANY, principal) is expected


def test_the_remote_address_is_the_one_that_forwarded_for_made_known() -> None:
    def forwarded(stream: HarnessStream) -> None:
        stream.remote_address = "10.1.2.3"

    assert passes(ANY, {"remote_ip": {"address_prefix": "10.0.0.0", "prefix_len": 8}}, prepare=forwarded)
    assert not passes(ANY, {"source_ip": {"address_prefix": "10.0.0.0", "prefix_len": 8}}, prepare=forwarded)


@pytest.mark.parametrize(
    ("facts", "name", "expected"),
    [
        ({"peer_uri_sans": ("spiffe://a/b",)}, "spiffe://a/b", True),
        ({"peer_uri_sans": ("spiffe://a/c",)}, "spiffe://a/b", False),
        ({"peer_dns_sans": ("a.b",)}, "a.b", True),
        ({"peer_subject": "CN=x"}, "CN=x", True),
        ({}, "x", False),
    ],
)
def test_authenticated(facts: dict[str, Any], name: str, expected: bool) -> None:
    def with_tls(stream: HarnessStream) -> None:
        stream.connection.tls = TlsInfo()
        for key, value in facts.items():
            setattr(stream.connection.tls, key, value)

    principal = {"authenticated": {"principal_name": {"exact": name}}}
    assert passes(ANY, principal, prepare=with_tls) is expected
    assert not passes(ANY, principal)
    assert passes(ANY, {"authenticated": {}}, prepare=with_tls)


@pytest.mark.parametrize(
    ("value", "matcher", "expected"),
    [
        ("b", {"string_match": {"exact": "b"}}, True),
        (1, {"string_match": {"exact": "1"}}, False),
        (["a", "b"], {"list_match": {"one_of": {"string_match": {"exact": "b"}}}}, True),
        ("b", {"list_match": {"one_of": {"string_match": {"exact": "b"}}}}, False),
        (True, {"bool_match": True}, True),
        (1.5, {"double_match": {"exact": 1.5}}, True),
        (2, {"double_match": {"range": {"start": 1, "end": 2}}}, False),
        ("x", {"present_match": True}, True),
        (None, {"present_match": True}, True),
        (None, {"null_match": {}}, True),
        ("x", {"present_match": False}, False),
        ("x", {"or_match": {"value_matchers": [{"bool_match": True}, {"string_match": {"prefix": "x"}}]}}, True),
    ],
)
@pytest.mark.parametrize("invert", [False, True])
def test_metadata(value: Any, matcher: dict[str, Any], expected: bool, invert: bool) -> None:
    principal = {"metadata": {"filter": "ns", "path": [{"key": "a"}, {"key": "b"}], "value": matcher, "invert": invert}}

    def with_metadata(stream: HarnessStream) -> None:
        stream.dynamic_metadata = {"ns": {"a": {"b": value}}}

    assert passes(ANY, principal, prepare=with_metadata) is (expected is not invert)


def test_metadata_by_source() -> None:
    matcher = {"filter": "ns", "path": [{"key": "a"}], "value": {"bool_match": True}}
    of_route = {"sourced_metadata": {"metadata_matcher": matcher, "metadata_source": "ROUTE"}}
    of_stream = {"sourced_metadata": {"metadata_matcher": matcher}}
    route = replace(DEFAULT_ROUTE, metadata={"ns": {"a": True}})
    assert passes(of_route, route=route)
    assert not passes(of_stream, route=route)
    assert not passes(of_route, route=None)
    assert passes(of_stream, prepare=lambda stream: stream.set_metadata("ns", "a", True))


def test_filter_state() -> None:
    principal = {"filter_state": {"key": "who", "string_match": {"exact": "ann"}}}
    assert passes(ANY, principal, prepare=lambda stream: stream.set_filter_state("who", "ann"))
    assert not passes(ANY, principal, prepare=lambda stream: stream.set_filter_state("who", "bob"))
    assert not passes(ANY, principal)


@pytest.mark.parametrize("kind", ["header", "url_path"])
def test_cve_2026_73552_bytes_beyond_ascii_hide_nothing_from_a_regex(kind: str) -> None:
    """A rule that denies `.*admin.*` must see it behind a byte that is no UTF-8."""
    regex = {"safe_regex": {"regex": ".*admin.*"}}
    if kind == "header":
        assert passes({"header": {"name": "x-a", "string_match": regex}}, headers={"x-a": "\xffadmin"})
    else:
        assert passes({"url_path": {"path": regex}}, path="/\xffadmin")


@pytest.mark.parametrize("values", [["evil", "good"], ["good", "evil"]])
def test_cve_2026_26308_each_value_of_a_repeated_field_is_looked_at(values: list[str]) -> None:
    headers = [("x-a", value) for value in values]
    assert passes({"header": {"name": "x-a", "string_match": {"exact": "evil"}}}, headers=headers)
    assert not passes(
        {"header": {"name": "x-a", "string_match": {"exact": "evil"}, "invert_match": True}}, headers=headers
    )


def test_a_route_may_have_its_own_rules_or_none() -> None:
    deny = {"rules": rules()}
    assert FilterHarness(Rbac, deny, route_config={"@type": ROUTE}).request().reached_upstream
    own = {"@type": ROUTE, "rbac": {"rules": rules(p=policy())}}
    assert FilterHarness(Rbac, deny, route_config=own).request().reached_upstream


@pytest.mark.parametrize(
    "config",
    [
        {"rules": rules(p={**policy(), "condition": {"call_expr": {"function": "nosuch"}}})},
        {
            "rules": rules(
                p=policy(
                    {
                        "uri_template": {
                            "name": "x",
                            "typed_config": {"@type": "type.googleapis.com/google.protobuf.Empty"},
                        }
                    }
                )
            )
        },
        {"rules": rules(p=policy({"destination_ip": {"address_prefix": "x", "prefix_len": 3}}))},
    ],
)
def test_what_can_not_be_decided_is_refused(config: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        FilterHarness(Rbac, config)
