"""Locations of redirects and rewritten paths, compared with what Envoy 1.40 answered and sent (`rewrites.json`)."""

import json
from pathlib import Path
from typing import Any

import pytest

from meshproxy.config.http.rewrites import split_path
from meshproxy.headers import RequestHeaders
from meshproxy.model.route import DirectResponseAction, ForwardAction, RedirectAction, Route
from meshproxy.plugin.stream_info import StreamInfo
from tests.unit.config_compile.routing_of import compile_table

ROWS = json.loads(Path(__file__).with_name("rewrites.json").read_text())


def route_of(text: str) -> Route:
    return compile_table(f"validate_clusters: false\n{_host(text)}").virtual_hosts[0].routes[0]


def _host(route: str) -> str:
    lines = "\n".join(f"    {line}" for line in route.splitlines())
    return f"virtual_hosts:\n- name: v\n  domains: ['*']\n  routes:\n  -{lines[3:]}"


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row['route'][:60]} {row['path']} {row['authority']}")
def test_like_envoy(row: dict[str, Any]) -> None:
    route = route_of(row["route"])
    action = route.action
    request = RequestHeaders("GET", row["path"], row["authority"], row["scheme"])
    request["x-forwarded-proto"] = row["scheme"]
    if isinstance(action, ForwardAction):
        rewritten = action.rewrite_path(row["path"]) if action.rewrite_path else row["path"]
        authority = row["authority"]
        if action.host_rewrite_path:
            authority = action.host_rewrite_path(row["path"])
        elif action.host_rewrite_header:
            assert action.host_rewrite_header == "x-host"
            authority = "hdr.test"
        assert f"{rewritten}|{action.host_rewrite or authority}" == row["upstream"]
        return
    assert isinstance(action, RedirectAction | DirectResponseAction)
    assert action.status == row["status"]
    location = action.location(request, StreamInfo()) if action.location else None
    assert location == row.get("location")


@pytest.mark.parametrize(
    ("path", "parts"),
    [("/a", ("/a", "")), ("/a?b#c", ("/a", "?b#c")), ("/a#b?c", ("/a", "#b?c")), ("", ("", "")), ("?", ("", "?"))],
)
def test_the_path_ends_at_query_or_fragment(path: str, parts: tuple[str, str]) -> None:
    assert split_path(path) == parts
