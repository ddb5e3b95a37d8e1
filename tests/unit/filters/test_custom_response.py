"""custom_response: which responses are replaced, and by what."""

from __future__ import annotations

from typing import Any

import pytest

from meshproxy.errors import ConfigError
from meshproxy.testing import FilterHarness
from meshproxy_filters.http.custom_response import CustomResponse

TYPE = "envoy.extensions.filters.http.custom_response.v3.CustomResponse"
POLICIES = "type.googleapis.com/envoy.extensions.http.custom_response"
LOCAL = f"{POLICIES}.local_response_policy.v3.LocalResponsePolicy"
INPUT = "type.googleapis.com/envoy.type.matcher.v3.HttpResponseStatusCodeClassMatchInput"


def config(status_class: str, kind: str = LOCAL, **policy: Any) -> dict[str, Any]:
    action = {"action": {"name": "a", "typed_config": {"@type": kind, **policy}}}
    tree = {
        "input": {"name": "i", "typed_config": {"@type": INPUT}},
        "exact_match_map": {"map": {status_class: action}},
    }
    return {"custom_response_matcher": {"matcher_tree": tree}}


@pytest.mark.parametrize(("status", "shown", "body"), [(503, 299, b"<sorry>"), (404, 404, b"own")])
def test_what_matches_is_replaced(status: int, shown: int, body: bytes) -> None:
    form = {"text_format_source": {"inline_string": "<%LOCAL_REPLY_BODY%>"}}
    harness = FilterHarness(
        CustomResponse, config("5xx", status_code=299, body={"inline_string": "sorry"}, body_format=form)
    )
    harness.upstream.returns(status, {"x-own": "1"}, body=b"own")
    exchange = harness.request()
    assert (exchange.status, exchange.response_body) == (shown, body)
    assert ("x-own" in exchange.response) is (status == 404)


@pytest.mark.parametrize(("status_class", "body"), [("5xx", b"of the route"), ("4xx", b"of the filter")])
def test_the_route_s_matcher_comes_first(status_class: str, body: bytes) -> None:
    route = config(status_class, body={"inline_string": "of the route"})
    own = config("5xx", body={"inline_string": "of the filter"})
    harness = FilterHarness(CustomResponse, own, route_config={"@type": TYPE, **route})
    harness.upstream.returns(503, body=b"own")
    exchange = harness.request()
    assert (exchange.status, exchange.response_body) == (503, body)


def test_fields_of_its_own() -> None:
    added = [{"header": {"key": "x-n", "value": "%REQ(x-a)%"}}, {"header": {"key": "content-type", "value": "text/y"}}]
    harness = FilterHarness(
        CustomResponse, config("5xx", body={"inline_string": "sorry"}, response_headers_to_add=added)
    )
    harness.upstream.returns(503)
    response = harness.request(headers={"x-a": "1"}).response
    assert (response.status, response["x-n"], response["content-type"]) == (503, "1", "text/y")


def test_no_request_is_modified_by_what_there_is_not() -> None:
    action = {"name": "m", "typed_config": {"@type": "type.googleapis.com/envoy.config.core.v3.DataSource"}}
    policy = f"{POLICIES}.redirect_policy.v3.RedirectPolicy"
    with pytest.raises(ConfigError, match="modify_request_headers_action"):
        FilterHarness(CustomResponse, config("5xx", policy, uri="http://a/", modify_request_headers_action=action))
