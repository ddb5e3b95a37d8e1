"""The programs a management server may have as a client: meshproxy, and the real Envoy beside it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from tests.launcher import start_meshproxy, start_program
from tests.system.program import Program

ENVOY = Path(sys.executable).with_name("envoy")
HTTP2 = {
    "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
        "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
        "explicit_http_config": {"http2_protocol_options": {}},
    }
}


def ads_bootstrap(admin: int, server: str, api_type: str, **more: Any) -> dict[str, Any]:
    """A program that knows nothing but its management server. more: of `ads_config`."""
    return {
        "node": {"id": "sidecar~127.0.0.1~web.default~default.svc", "cluster": "web.default"},
        "admin": {"address": socket_address("127.0.0.1", admin)},
        "dynamic_resources": {
            "ads_config": {
                "api_type": api_type,
                "transport_api_version": "V3",
                "set_node_on_first_message_only": True,
                "grpc_services": [{"envoy_grpc": {"cluster_name": "ads"}}],
                **more,
            },
            "cds_config": {"ads": {}, "resource_api_version": "V3", "initial_fetch_timeout": "0s"},
            "lds_config": {"ads": {}, "resource_api_version": "V3", "initial_fetch_timeout": "0s"},
        },
        "static_resources": {"clusters": [management_cluster("ads", server)]},
    }


def management_cluster(name: str, server: str) -> dict[str, Any]:
    """The cluster of a management server at `host:port` or `unix:path`."""
    if server.startswith("unix:"):
        address: dict[str, Any] = {"pipe": {"path": server.removeprefix("unix:")}}
    else:
        host, _, port = server.rpartition(":")
        address = socket_address(host, int(port))
    return {
        "name": name,
        "connect_timeout": "1s",
        "typed_extension_protocol_options": HTTP2,
        "load_assignment": {
            "cluster_name": name,
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}],
        },
    }


def socket_address(host: str, port: int) -> dict[str, Any]:
    return {"socket_address": {"address": host, "port_value": port}}


@contextlib.asynccontextmanager
async def running(kind: str, config: dict[str, Any], folder: Path, *arguments: str) -> AsyncIterator[Program]:
    """The program `kind` ("envoy" or "meshproxy") while the block runs. It isn't waited for."""
    path = folder / f"{kind}.json"
    path.write_text(json.dumps(config))
    output = folder / f"{kind}.log"
    with output.open("wb") as sink:
        if kind == "envoy":
            command = [str(ENVOY), "-c", str(path), "--concurrency", "1", "--disable-hot-restart"]
            process = await start_program([*command, *arguments], sink)
        else:
            process = await start_meshproxy(["-c", str(path), *arguments], sink)
    admin = config["admin"]["address"]["socket_address"]["port_value"]
    program = Program(process, 0, admin, output)
    try:
        yield program
    finally:
        if process.returncode is None:
            process.terminate()
            try:
                await asyncio.wait_for(process.wait(), 10)
            except TimeoutError:
                process.kill()
                await process.wait()
