"""A Lua filter that says nothing: what may stand in it, and in its overrides."""

from __future__ import annotations

from typing import Any

import pytest

from meshproxy.errors import ConfigError
from meshproxy.testing import FilterHarness
from meshproxy_filters.http.lua import Lua

ROUTE = {"@type": "type.googleapis.com/envoy.extensions.filters.http.lua.v3.LuaPerRoute"}
CODE = "function envoy_on_request(handle) end"


def script(text: str) -> dict[str, Any]:
    return {"default_source_code": {"inline_string": text}}


@pytest.mark.parametrize(
    "config",
    [
        {},
        script(""),
        script("-- for routes\n\n--[==[ ]] \n]==] -- more\n--[= and more"),
        {"inline_code": " ", "stat_prefix": "p", "clear_route_cache": True},
        {"source_codes": {"a": {"inline_string": "--"}}},
    ],
)
def test_comments_are_no_script(config: dict[str, Any]) -> None:
    harness = FilterHarness(Lua, config)
    assert harness.plan.request_headers == ()
    assert harness.request().reached_upstream


@pytest.mark.parametrize(
    "config",
    [
        script(CODE),
        script(f"-- on\n{CODE}"),
        script("--[[ a ]] x = 1 --[[ b ]]"),
        script("--[=[ a ]] x = 1"),
        {"inline_code": CODE},
        {"source_codes": {"a": {"inline_string": CODE}}},
        {"inline_code": "--", **script("--")},
    ],
)
def test_a_script_is_refused(config: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"no Lua code|only one of"):
        FilterHarness(Lua, config)


@pytest.mark.parametrize(
    "override",
    [{"disabled": True}, {"name": "a"}, {"source_code": {"inline_string": "--"}, "filter_context": {"a": "b"}}],
)
def test_a_route_may_say_nothing_too(override: dict[str, Any]) -> None:
    assert FilterHarness(Lua, {}, route_config={**ROUTE, **override}).request().reached_upstream


@pytest.mark.parametrize("override", [{"source_code": {"inline_string": CODE}}, {"disabled": False}])
def test_a_route_may_not_say_more(override: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        FilterHarness(Lua, {}, route_config={**ROUTE, **override})
