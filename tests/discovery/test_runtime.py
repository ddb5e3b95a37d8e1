"""Layers of the runtime that change by themselves: RTDS in each of its ways, and a directory whose link is moved."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from envoy.service.runtime.v3 import rtds_pb2
from google.protobuf import json_format

from tests.discovery.ads_server import AdsServer, told
from tests.discovery.dialogue import Dialogue
from tests.discovery.subjects import ads_bootstrap, running, socket_address
from tests.system.program import free_ports

KINDS = ["meshproxy", pytest.param("envoy", marks=pytest.mark.envoy)]
WAYS = {"ads": "GRPC", "ads-delta": "DELTA_GRPC", "single": "GRPC", "single-delta": "DELTA_GRPC"}
HTTP = "type.googleapis.com/envoy.extensions.filters"


def layer(**values: Any) -> rtds_pb2.Runtime:
    """A layer called `live`."""
    return json_format.ParseDict({"name": "live", "layer": values}, rtds_pb2.Runtime())


def _listener(port: int) -> dict[str, Any]:
    """201 for the share of requests that `share` says, 200 for the others."""
    share = {"runtime_fraction": {"default_value": {"numerator": 0}, "runtime_key": "share"}}
    routes = [
        {"match": {"prefix": "/", **share}, "direct_response": {"status": 201}},
        {"match": {"prefix": "/"}, "direct_response": {"status": 200}},
    ]
    manager = {
        "@type": f"{HTTP}.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "in",
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": routes}]},
        "http_filters": [{"name": "router", "typed_config": {"@type": f"{HTTP}.http.router.v3.Router"}}],
    }
    chain = {"filters": [{"name": "http", "typed_config": manager}]}
    return {"name": "in", "address": socket_address("127.0.0.1", port), "filter_chains": [chain]}


def _with_runtime(config: dict[str, Any], port: int, *layers: dict[str, Any]) -> dict[str, Any]:
    """config: with a listener, and layers beside a static one."""
    config["static_resources"]["listeners"] = [_listener(port)]
    config["layered_runtime"] = {"layers": [{"name": "base", "static_layer": {"base": 1}}, *layers]}
    return config


def _source(way: str) -> dict[str, Any]:
    if way.startswith("ads"):
        return {"ads": {}, "resource_api_version": "V3"}
    services = [{"envoy_grpc": {"cluster_name": "ads"}}]
    api = {"api_type": WAYS[way], "transport_api_version": "V3", "grpc_services": services}
    return {"resource_api_version": "V3", "api_config_source": api}


def _rtds(source: dict[str, Any]) -> dict[str, Any]:
    return {"name": "discovered", "rtds_layer": {"name": "live", "rtds_config": source}}


async def _shown(talk: Dialogue) -> dict[str, str]:
    page = json.loads((await talk.program.ask("/runtime"))[1])
    return {key: entry["final_value"] for key, entry in page["entries"].items()}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("way", WAYS)
async def test_a_management_server_says_what_counts(way: str, kind: str, tmp_path: Path) -> None:
    server = AdsServer()
    await server.start()
    admin, port = free_ports(2)
    config = _with_runtime(ads_bootstrap(admin, server.address, WAYS[way]), port, _rtds(_source(way)))
    if way.startswith("single"):
        del config["dynamic_resources"]
    else:
        del config["dynamic_resources"]["cds_config"], config["dynamic_resources"]["lds_config"]
    async with running(kind, config, tmp_path) as program:
        talk = Dialogue(kind, WAYS[way] == "DELTA_GRPC", server, program, [port], 0)
        await talk.connected()
        if way.startswith("single"):
            kind_of = "Delta" if talk.delta else "Stream"
            assert talk.stream.method == f"/envoy.service.runtime.v3.RuntimeDiscoveryService/{kind_of}Runtime"
        await talk.says(["RTDS - - [live]"], ["RTDS - +live"])
        await talk.refuses(port)  # nothing is served before the runtime is known
        talk.answer("RTDS", "v1", "n1", layer(share=100, base=2))
        await talk.says(["RTDS v1 n1 [live]"], ["RTDS n1"])
        await talk.becomes_ready()
        await talk.gets(port, 201)
        assert await _shown(talk) == {"base": "2", "share": "100"}
        talk.answer("RTDS", "v2", "n2", layer(share={"numerator": 0}))
        await talk.says(["RTDS v2 n2 [live]"], ["RTDS n2"])
        await talk.gets(port, 200)
        assert (await _shown(talk))["base"] == "1"
        await talk.counts("runtime.update_success", 2)
        await talk.counts("runtime.num_layers", 2)
        talk.answer("RTDS", "v3", "n3", layer(share=100))
        await talk.says(["RTDS v3 n3 [live]"], ["RTDS n3"])
        await talk.gets(port, 201)
        if talk.delta:
            talk.answer("RTDS", "v4", "n4", removed=["live"])
            await talk.says([], ["RTDS n4"])
            await talk.gets(port, 200)
    await server.stop()


@pytest.mark.parametrize("kind", KINDS)
async def test_what_is_no_layer_is_refused(kind: str, tmp_path: Path) -> None:
    server = AdsServer()
    await server.start()
    admin, port = free_ports(2)
    config = _with_runtime(ads_bootstrap(admin, server.address, "GRPC"), port, _rtds(_source("ads")))
    del config["dynamic_resources"]["cds_config"], config["dynamic_resources"]["lds_config"]
    async with running(kind, config, tmp_path) as program:
        talk = Dialogue(kind, False, server, program, [port], 0)
        await talk.connected()
        await talk.says(["RTDS - - [live]"], [])
        talk.answer("RTDS", "v1", "n1", layer(share=100, bad=[1]))
        await talk.says(["RTDS - n1 [live] ! 13 *"], [])
        await talk.becomes_ready()  # a refusal ends the wait, too
        await talk.gets(port, 200)
        await talk.counts("runtime.update_rejected", 1)
    await server.stop()


@pytest.mark.parametrize("kind", KINDS)
async def test_a_server_that_says_nothing_is_waited_for_so_long(kind: str, tmp_path: Path) -> None:
    server = AdsServer()
    await server.start()
    admin, port = free_ports(2)
    source = {**_source("ads"), "initial_fetch_timeout": "0.5s"}
    config = _with_runtime(ads_bootstrap(admin, server.address, "GRPC"), port, _rtds(source))
    async with running(kind, config, tmp_path) as program:
        talk = Dialogue(kind, False, server, program, [port], 0)
        await talk.connected()
        await talk.says(["RTDS - - [live]", "CDS - - []"], [])
        await talk.counts("runtime.init_fetch_timeout", 1)
        talk.answer("CDS", "w0", "n0")
        assert {told(await talk.stream.request()) for _ in range(2)} == {"LDS - - []", "CDS w0 n0 []"}
        talk.answer("LDS", "l0", "n1")
        await talk.says(["LDS l0 n1 []"], [])
        await talk.gets(port, 200)
        talk.answer("RTDS", "v1", "n2", layer(share=100))  # late, and welcome all the same
        await talk.says(["RTDS v1 n2 [live]"], [])
        await talk.gets(port, 201)
    await server.stop()


def _put(path: Path, text: str) -> None:
    """Move a file to its place."""
    fresh = path.with_suffix(".fresh")
    fresh.write_text(text)
    fresh.replace(path)


def _point(link: Path, target: str) -> None:
    """Move a link to its place."""
    fresh = link.with_name("fresh-link")
    fresh.symlink_to(target)
    fresh.replace(link)


@pytest.mark.parametrize(
    ("kind", "arguments"),
    [("meshproxy", ()), ("meshproxy", ("--concurrency", "2")), pytest.param("envoy", (), marks=pytest.mark.envoy)],
)
async def test_files_that_are_moved(kind: str, arguments: tuple[str, ...], tmp_path: Path) -> None:
    admin, port = free_ports(2)
    resource, link = tmp_path / "rtds.yaml", tmp_path / "current"
    file = "resources: [{'@type': type.googleapis.com/envoy.service.runtime.v3.Runtime, name: live, layer: %s}]"
    _put(resource, file % "{share: 100, of: file}")
    for version, share in (("v1", "0"), ("v2", "# all\n{numerator: 100}\n"), ("v3", "{")):
        (tmp_path / version / "sub" / "web.default").mkdir(parents=True)
        (tmp_path / version / "sub" / "web.default" / "share").write_text(share)
    _point(link, "v1")
    config = ads_bootstrap(admin, "127.0.0.1:1", "GRPC")
    del config["dynamic_resources"]
    disk = {"symlink_root": str(link), "subdirectory": "sub", "append_service_cluster": True}
    rtds = _rtds({"resource_api_version": "V3", "path_config_source": {"path": str(resource)}})
    _with_runtime(config, port, rtds, {"name": "disk", "disk_layer": disk}, {"name": "admin", "admin_layer": {}})
    async with running(kind, config, tmp_path, *arguments) as program:
        talk = Dialogue(kind, False, AdsServer(), program, [port], 0)

        async def always(status: int) -> None:
            await talk.gets(port, status)
            for _ in range(8 if arguments else 1):  # of every worker
                await talk.gets(port, status)

        await always(200)
        assert await _shown(talk) == {"base": "1", "of": "file", "share": "0"}
        _point(link, "v2")
        await always(201)
        await talk.program.ask("/runtime_modify?share=0", "POST")
        await always(200)
        await talk.program.ask("/runtime_modify?share=", "POST")
        await always(201)
        errors = await talk.statistic("runtime.load_error")
        _point(link, "v3")  # it can't be read: what lies below counts
        await talk.counts("runtime.load_error", errors + 1)
        _put(resource, file % "{share: 0}")
        await always(200)
        await talk.counts("runtime.num_layers", 3)
        _point(link, "nowhere")
        _put(resource, file % "{share: 100}")
        await always(201)
