"""Filters that put something into metadata and filter state. What Envoy does, tests/parity shows."""

from __future__ import annotations

import math
from typing import Any

import pytest

from meshproxy.errors import ConfigError
from meshproxy.plugin.http import HttpFilter
from meshproxy.testing import FilterHarness
from meshproxy_filters.http.header_to_metadata import HeaderToMetadata
from meshproxy_filters.http.on_demand import OnDemand
from meshproxy_filters.http.set_filter_state import SetFilterState
from meshproxy_filters.http.set_metadata import SetMetadata

NAMESPACE = "envoy.filters.http.header_to_metadata"
TEXT = {"format_string": {"text_format_source": {"inline_string": "a %REQ(x-a)%"}}}
STATE = {"object_key": "k", "factory_key": "envoy.string", **TEXT}


def entry(value: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"metadata_namespace": "ns", "value": value, **more}


def test_metadata_is_set_merged_or_left_alone() -> None:
    entries = [
        entry({"a": {"b": 1}, "l": [1]}),
        entry({"a": 9}),
        entry({"a": {"c": 2}, "l": [2], "n": None}, allow_overwrite=True),
    ]
    harness = FilterHarness(SetMetadata, {"metadata": entries})
    stream = harness.request().stream
    assert stream.metadata("ns") == {"a": {"b": 1, "c": 2}, "l": [1, 2], "n": None}
    assert harness.stats["http.test.set_metadata.overwrite_denied"] == 1


def test_metadata_of_one_stream_is_not_that_of_another() -> None:
    harness = FilterHarness(SetMetadata, {"metadata": [entry({"a": {"b": 1}, "l": [1]})]})
    first = harness.request().stream
    first.metadata("ns")["a"]["b"] = "changed"
    first.metadata("ns")["l"].append("changed")
    assert harness.request().stream.metadata("ns") == {"a": {"b": 1}, "l": [1]}


def copying(*rules: dict[str, Any], side: str = "request_rules") -> FilterHarness:
    return FilterHarness(HeaderToMetadata, {side: list(rules)})


def rule(**target: Any) -> dict[str, Any]:
    return {"header": "x-a", "on_header_present": {"key": "k", **target}}


@pytest.mark.parametrize(
    ("target", "value", "noted"),
    [
        ({}, "1", "1"),
        ({}, "caf\xc3\xa9", "café"),
        ({}, "a" * 8192, None),
        ({"value": "c"}, "1", "c"),
        ({"type": "NUMBER"}, "-1.5", -1.5),
        ({"type": "NUMBER"}, "nan()x", None),
        ({"type": "NUMBER"}, "1_0", None),
        ({"type": "NUMBER"}, "1e999", math.inf),
        ({"encode": "BASE64"}, "aGFsbG8=", "hallo"),
        ({"encode": "BASE64"}, "=", None),
    ],
)
def test_a_header_is_copied(target: dict[str, Any], value: str, noted: Any) -> None:
    stream = copying(rule(**target)).request(headers={"x-a": value}).stream
    assert (stream.dynamic_metadata or {}).get(NAMESPACE, {}).get("k") == noted


def test_a_header_is_taken_away() -> None:
    exchange = copying({**rule(), "remove": True}).request(headers=[("x-a", "1"), ("x-a", "2")])
    assert "x-a" not in exchange.upstream_headers
    assert exchange.stream.metadata(NAMESPACE) == {"k": "1,2"}


def test_what_stands_in_for_a_missing_header() -> None:
    harness = copying({"header": "x-a", "on_header_missing": {"key": "k", "value": "none"}})
    assert harness.request().stream.metadata(NAMESPACE) == {"k": "none"}
    assert harness.request(headers={"x-a": ""}).stream.dynamic_metadata is None


def test_cookies() -> None:
    harness = copying({"cookie": "c", "on_header_present": {"key": "k"}})
    stream = harness.request(headers=[("cookie", "a=1; c=2"), ("cookie", "c=3")]).stream
    assert stream.metadata(NAMESPACE) == {"k": "2"}


def test_responses() -> None:
    harness = copying({**rule(), "remove": True}, side="response_rules")
    harness.upstream.returns(200, {"x-a": "up"})
    exchange = harness.request(headers={"x-a": "client"})
    assert exchange.stream.metadata(NAMESPACE) == {"k": "up"}
    assert "x-a" not in exchange.response
    assert exchange.upstream_headers["x-a"] == "client"


def test_filter_state() -> None:
    harness = FilterHarness(SetFilterState, {"on_request_headers": [STATE]})
    assert harness.request(headers={"x-a": "1"}).stream.filter_state == {"k": "a 1"}


def test_filter_state_that_upstreams_are_given() -> None:
    once, further = ({**STATE, "object_key": share, "shared_with_upstream": share} for share in ("ONCE", "TRANSITIVE"))
    stream = FilterHarness(SetFilterState, {"on_request_headers": [STATE, once, further]}).request().stream
    assert stream.shared_state == {"ONCE": False, "TRANSITIVE": True}


@pytest.mark.parametrize(("text", "kept"), [("[::1]:7", "[::1]:7"), ("::1", None), ("10.0.0.1", None), ("a:80", None)])
def test_an_address_in_the_filter_state(text: str, kept: str | None) -> None:
    key = "envoy.filters.listener.original_dst.local_ip"
    state = {"object_key": key, "format_string": {"text_format_source": {"inline_string": text}}}
    stream = FilterHarness(SetFilterState, {"on_request_headers": [state]}).request().stream
    assert (stream.filter_state or {}).get(key) == kept


def test_on_demand_does_nothing() -> None:
    assert FilterHarness(OnDemand, {}).plan.request_headers == ()


@pytest.mark.parametrize(
    ("filter_class", "config", "message"),
    [
        (SetMetadata, {"metadata": [{"metadata_namespace": "a", "typed_value": {}}]}, "typed_value"),
        (HeaderToMetadata, {"request_rules": [{"header": "a"}]}, "on_header_present"),
        (HeaderToMetadata, {"request_rules": [{**rule(), "cookie": "c"}]}, "both header and cookie"),
        (SetFilterState, {"on_request_headers": [{**STATE, "factory_key": "x"}]}, "factory_key"),
        (SetFilterState, {"on_request_headers": [{**STATE, "read_only": True}]}, "read_only"),
        (OnDemand, {"odcds": {"source": {"ads": {}}}}, "odcds"),
    ],
)
def test_what_is_refused(filter_class: type[HttpFilter[Any]], config: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        FilterHarness(filter_class, config)
