"""Header mutation; what each action does is Envoy's (the same cases run against it in tests/parity)."""

from __future__ import annotations

from typing import Any

import pytest

from meshproxy.errors import ConfigError
from meshproxy.testing import FilterHarness
from meshproxy_filters.http.header_mutation import HeaderMutation

ROUTE = "envoy.extensions.filters.http.header_mutation.v3.HeaderMutationPerRoute"


def append(key: str, value: str, action: str = "APPEND_IF_EXISTS_OR_ADD", **more: Any) -> dict[str, Any]:
    return {"append": {"header": {"key": key, "value": value}, "append_action": action, **more}}


def mutate(*steps: dict[str, Any], side: str = "request_mutations", **more: Any) -> FilterHarness:
    return FilterHarness(HeaderMutation, {"mutations": {side: list(steps)}, **more})


HEADERS = [("x-a", "1"), ("x-b", "2"), ("x-b", "3")]


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        (append("x-a", "n"), [("x-a", "1"), ("x-b", "2"), ("x-b", "3"), ("x-a", "n")]),
        (append("x-c", "n"), [("x-a", "1"), ("x-b", "2"), ("x-b", "3"), ("x-c", "n")]),
        (append("x-a", "n", "ADD_IF_ABSENT"), HEADERS),
        (append("x-c", "n", "ADD_IF_ABSENT"), [*HEADERS, ("x-c", "n")]),
        (append("x-b", "n", "OVERWRITE_IF_EXISTS_OR_ADD"), [("x-a", "1"), ("x-b", "n")]),
        (append("x-a", "n", "OVERWRITE_IF_EXISTS"), [("x-b", "2"), ("x-b", "3"), ("x-a", "n")]),
        (append("x-c", "n", "OVERWRITE_IF_EXISTS"), HEADERS),
        (append("x-c", ""), HEADERS),
        (append("x-c", "", keep_empty_value=True), [*HEADERS, ("x-c", "")]),
        ({"remove": "x-b"}, [("x-a", "1")]),
        ({"remove": "X-B"}, [("x-a", "1")]),
        ({"remove": "x-none"}, HEADERS),
        ({"remove_on_match": {"key_matcher": {"prefix": "x-"}}}, []),
        (append("x-c", "%REQ(x-a)%-%PROTOCOL%"), [*HEADERS, ("x-c", "1-HTTP/1.1")]),
    ],
)
def test_a_step_on_a_request(step: dict[str, Any], expected: list[tuple[str, str]]) -> None:
    exchange = mutate(step).request(headers=HEADERS)
    assert list(exchange.upstream_headers.items()) == expected


def test_steps_apply_in_order() -> None:
    exchange = mutate(append("x-n", "a"), {"remove": "x-n"}, append("x-n", "b")).request()
    assert exchange.upstream_headers.get_all("x-n") == ["b"]


def test_responses_and_local_replies() -> None:
    harness = mutate(append("x-n", "%RESPONSE_CODE%"), side="response_mutations")
    harness.upstream.returns(204)
    assert harness.request().response["x-n"] == "204"


def test_trailers_both_ways() -> None:
    config = {
        "mutations": {
            "request_trailers_mutations": [append("x-n", "q")],
            "response_trailers_mutations": [append("x-n", "s")],
        }
    }
    harness = FilterHarness(HeaderMutation, config)
    harness.upstream.returns(trailers={"t": "1"})
    exchange = harness.request("POST", chunks=[b"x"], trailers={"t": "1"})
    assert exchange.upstream_trailers is not None
    assert exchange.upstream_trailers["x-n"] == "q"
    assert exchange.response_trailers is not None
    assert exchange.response_trailers["x-n"] == "s"


def test_a_value_made_of_what_a_client_sent_can_not_break_the_head() -> None:
    harness = mutate(append("x-n", "%REQ(x-a)%"), {"remove": "x-a"})
    exchange = harness.request(prepare=lambda stream: stream.request.fields.update({"x-a": "a\r\nx-evil: 1"}))
    assert list(exchange.upstream_headers) == []


def level(value: str) -> dict[str, Any]:
    return {"@type": ROUTE, "mutations": {"request_mutations": [append("x-n", value)]}}


def test_a_routes_mutations_follow_the_filters_own() -> None:
    config = {"mutations": {"request_mutations": [append("x-n", "base")]}}
    exchange = FilterHarness(HeaderMutation, config, route_config=level("route")).request()
    assert exchange.upstream_headers.get_all("x-n") == ["base", "route"]


@pytest.mark.parametrize(("wins", "order"), [(False, ["base", "route", "table"]), (True, ["base", "table", "route"])])
def test_levels_apply_most_specific_first_unless_that_one_is_to_win(wins: bool, order: list[str]) -> None:
    config = {
        "mutations": {"request_mutations": [append("x-n", "base")]},
        "most_specific_header_mutations_wins": wins,
    }
    harness = FilterHarness(HeaderMutation, config)
    spec = harness._specs[0]
    merged = HeaderMutation.merge_levels(
        [harness.compile_route(spec, level("route")), harness.compile_route(spec, level("table"))]
    )
    exchange = FilterHarness(HeaderMutation, config, route_config=merged).request()
    assert exchange.upstream_headers.get_all("x-n") == order


def test_without_a_step_it_is_not_in_the_plan() -> None:
    assert FilterHarness(HeaderMutation, {}).plan.request_headers == ()


@pytest.mark.parametrize(
    "step",
    [append(":path", "/x"), append("host", "x"), {"remove": ":method"}, {"remove": "Host"}, {"remove": "a b"}, {}],
)
def test_what_is_refused(step: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        mutate(step)


def appended(key: str, value: str, action: str = "APPEND_IF_EXISTS_OR_ADD") -> dict[str, Any]:
    return {"append": {"record": {"key": key, "value": value}, "action": action}}


@pytest.mark.parametrize(
    ("step", "path"),
    [
        (appended("b", "n"), "/p?a=%41&b=1&b=n&c="),
        (appended("d", "%REQ(x-a)% &"), "/p?a=%41&b=1&c=&d=1%20%26"),
        (appended("b", "n", "ADD_IF_ABSENT"), "/p?a=%41&b=1&c="),
        (appended("b", "n", "OVERWRITE_IF_EXISTS_OR_ADD"), "/p?a=%41&b=n&c="),
        (appended("d", "n", "OVERWRITE_IF_EXISTS"), "/p?a=%41&b=1&c="),
        ({"remove": "b"}, "/p?a=%41&c="),
    ],
)
def test_a_step_on_the_query(step: dict[str, Any], path: str) -> None:
    exchange = mutate(step, side="query_parameter_mutations").request(path="/p?c&b=1&a=%41", headers=HEADERS)
    assert exchange.upstream_headers.path == path


@pytest.mark.parametrize(
    "step",
    [{}, {**appended("a", "b"), "remove": "c"}, {"append": {"record": {"key": "a", "value": 1}}}, {"append": {}}],
)
def test_a_step_on_the_query_that_is_none(step: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        mutate(step, side="query_parameter_mutations")
