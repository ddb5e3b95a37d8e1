"""A filter with a matcher: when it runs, and that a body it doesn't want isn't held."""

from __future__ import annotations

from typing import Any

import pytest

from meshproxy.errors import ConfigError
from meshproxy.testing import FilterHarness
from meshproxy_filters.http.match_delegate import MatchDelegate


def typed(kind: str, /, **fields: Any) -> dict[str, Any]:
    return {"name": "x", "typed_config": {"@type": f"type.googleapis.com/{kind}", **fields}}


HEADER = typed("envoy.type.matcher.v3.HttpRequestHeaderMatchInput", header_name="x-a")
SKIP = {"action": typed("envoy.extensions.filters.common.matcher.action.v3.SkipFilter")}
RBAC = typed("envoy.extensions.filters.http.rbac.v3.RBAC", rules={})
BUFFER = typed("envoy.extensions.filters.http.buffer.v3.Buffer", max_request_bytes=3)


def config(inner: dict[str, Any], on_match: dict[str, Any] = SKIP, read: dict[str, Any] = HEADER) -> dict[str, Any]:
    predicate = {"single_predicate": {"input": read, "value_match": {"exact": "1"}}}
    matchers = [{"predicate": predicate, "on_match": on_match}]
    return {"extension_config": inner, "xds_matcher": {"matcher_list": {"matchers": matchers}}}


def test_it_is_skipped_where_the_tree_says_so() -> None:
    harness = FilterHarness(MatchDelegate, config(RBAC))
    assert harness.request(headers={"x-a": "1"}).reached_upstream
    assert harness.request(headers={"x-a": "2"}).status == 403


def test_a_skipped_filter_holds_no_body() -> None:
    harness = FilterHarness(MatchDelegate, config(BUFFER))
    assert harness.request("POST", headers={"x-a": "1"}, body=b"12345").reached_upstream
    assert harness.request("POST", body=b"12345").status == 413


def test_a_composite_runs_what_the_tree_leads_to() -> None:
    execute = {"action": typed("envoy.extensions.filters.http.composite.v3.ExecuteFilterAction", typed_config=RBAC)}
    inner = typed("envoy.extensions.filters.http.composite.v3.Composite")
    harness = FilterHarness(MatchDelegate, config(inner, execute))
    assert harness.request(headers={"x-a": "1"}).status == 403
    assert harness.request().reached_upstream


@pytest.mark.parametrize(
    "bad",
    [
        config(typed("envoy.extensions.filters.http.router.v3.Router")),
        config(RBAC, read=typed("envoy.type.matcher.v3.HttpResponseHeaderMatchInput", header_name="x-a")),
        config(
            RBAC, {"action": typed("envoy.extensions.filters.http.composite.v3.ExecuteFilterAction", typed_config=RBAC)}
        ),
    ],
)
def test_what_is_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        FilterHarness(MatchDelegate, bad)
