"""Filters whose configuration comes by discovery (ECDS), from files: warming, changes, refusals, defaults."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from .discovery_rig import Files, discovering
from .program import Client, Program, Upstream

_EXTENSION = "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig"
_FAULT = "type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault"
_RBAC = "type.googleapis.com/envoy.extensions.filters.network.rbac.v3.RBAC"
_PROXY = "type.googleapis.com/envoy.extensions.filters.listener.proxy_protocol.v3.ProxyProtocol"
_HCM = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
_ROUTER = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"


class Extensions(Files):
    """A listener whose `http_filters`, `filters` or `listener_filters` have one more that is discovered."""

    def filter(self, version: str, config: str, name: str = "extra") -> None:
        """What discovery says of the filter."""
        self.put(
            "ecds",
            f"version_info: '{version}'\nresources:\n"
            f"- {{'@type': {_EXTENSION}, name: {name}, typed_config: {config}}}\n",
        )

    def place(self, type_url: str, more: str = "") -> str:
        return (
            "{name: extra, config_discovery: {config_source: "
            f"{{path_config_source: {{path: {self.directory}/ecds.yaml}}, initial_fetch_timeout: 0.3s}},"
            f" type_urls: [{type_url}], {more}}}}}"
        )

    def with_filters(self, *, http: str = "", network: str = "", listening: str = "", routes: str = "") -> None:
        """A listener with inline routes."""
        self.put(
            "lds",
            f"version_info: '1'\nresources:\n- '@type': type.googleapis.com/envoy.config.listener.v3.Listener\n"
            f"  name: in\n  address: {{socket_address: {{address: 127.0.0.1, port_value: {self.port}}}}}\n"
            f"  listener_filters: [{listening}]\n"
            f"  filter_chains: [{{filters: [{network} "
            f"{{name: http, typed_config: {{'@type': {_HCM}, stat_prefix: test, "
            f"route_config: {{virtual_hosts: [{{name: all, domains: ['*'], routes: [{routes} "
            f"{{match: {{prefix: /}}, route: {{cluster: up}}}}]}}]}}, "
            f"http_filters: [{http} {{name: router, typed_config: {{'@type': {_ROUTER}}}}}]}}}}]}}]\n",
        )


def _abort(status: int) -> str:
    return f"{{'@type': {_FAULT}, abort: {{http_status: {status}, percentage: {{numerator: 100}}}}}}"


async def _status(program: Program, path: str = "/") -> int:
    """The status of a request on a new connection; 0 when it is cut."""
    try:
        client = await Client.connect(program.port)
        return (await client.get(path))[0]
    except (OSError, asyncio.IncompleteReadError):
        return 0


async def _becomes(program: Program, status: int) -> None:
    async with asyncio.timeout(20):
        while await _status(program) != status:
            await asyncio.sleep(0.02)


async def _counted(program: Program, name: str, value: int) -> None:
    async with asyncio.timeout(20):
        while await program.statistic(name) < value:
            await asyncio.sleep(0.02)


_STATS = "extension_config_discovery.http_filter.extra"


@pytest.mark.parametrize("workers", ["1", "2"])
async def test_an_http_filter_changes_and_what_is_refused_leaves_the_one_before(tmp_path: Path, workers: str) -> None:
    files = Extensions(tmp_path)
    async with Upstream() as upstream:
        files.all(upstream.port)
        files.filter("1", _abort(418))
        override = (
            f"{{match: {{prefix: /own}}, route: {{cluster: up}}, typed_per_filter_config: {{extra: {_abort(409)}}}}},"
        )
        files.with_filters(http=files.place(_FAULT) + ",", routes=override)
        async with discovering(files, "--concurrency", workers) as program:
            assert await _status(program) == 418
            assert await _status(program, "/own") == 409
            files.filter("2", _abort(451))
            await _becomes(program, 451)
            files.filter("3", f"{{'@type': {_ROUTER}}}")
            await _counted(program, f"{_STATS}.update_rejected", 1)
            files.filter("4", "{'@type': type.googleapis.com/nothing.that.Exists}")
            await _counted(program, f"{_STATS}.update_failure", 1)
            assert await _status(program) == 451
            assert "but expect envoy.extensions.filters.http.fault.v3.HTTPFault" in program.output()
            assert await program.statistic(f"{_STATS}.config_reload") == 2
            dump = json.loads((await program.ask("/config_dump?resource=ecds_filters"))[1])["configs"]
            [entry] = dump
            assert entry["version_info"] == "2"
            assert entry["ecds_filter"]["name"] == "extra"
            assert entry["ecds_filter"]["typed_config"]["abort"]["http_status"] == 451


async def test_without_a_configuration_requests_are_refused_until_it_comes(tmp_path: Path) -> None:
    files = Extensions(tmp_path)
    async with Upstream() as upstream:
        files.all(upstream.port)
        files.put("ecds", "version_info: '1'\nresources: []\n")
        files.with_filters(http=files.place(_FAULT) + ",")
        async with discovering(files) as program:
            assert await _status(program) == 500
            files.filter("2", f"{{'@type': {_FAULT}}}")
            await _becomes(program, 200)


async def test_a_default_stands_in(tmp_path: Path) -> None:
    files = Extensions(tmp_path)
    async with Upstream() as upstream:
        files.all(upstream.port)
        files.put("ecds", "version_info: '1'\nresources: []\n")
        more = f"default_config: {_abort(429)}, apply_default_config_without_warming: true"
        files.with_filters(http=files.place(_FAULT, more) + ",")
        async with discovering(files) as program:
            assert await _status(program) == 429
            files.filter("2", _abort(418))
            await _becomes(program, 418)


async def test_a_network_filter_and_a_listener_filter_come_too(tmp_path: Path) -> None:
    files = Extensions(tmp_path)
    async with Upstream() as upstream:
        files.all(upstream.port)
        files.put("ecds", "version_info: '1'\nresources: []\n")
        files.with_filters(network=files.place(_RBAC) + ",")
        async with discovering(files) as program:
            assert await _status(program) == 0
            await _counted(program, f"listener.127.0.0.1_{program.port}.network_extension_config_missing", 1)
            files.filter("2", f"{{'@type': {_RBAC}, stat_prefix: r}}")
            await _becomes(program, 200)
            assert await program.statistic("extension_config_discovery.network_filter.extra.config_reload") == 1
            files.put("ecds", "version_info: '3'\nresources: []\n")
            files.with_filters(listening=files.place(_PROXY))
            await _becomes(program, 0)
            files.filter("4", f"{{'@type': {_PROXY}, allow_requests_without_proxy_protocol: true}}")
            await _becomes(program, 200)
            assert await program.statistic("extension_config_discovery.tcp_listener_filter.extra.config_reload") == 1
