"""The ways to a management server beside a plain ADS stream: a Unix socket, single types, REST, several workers."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from envoy.service.discovery.v3 import discovery_pb2
from google.protobuf import json_format
from google.protobuf.message import Message

from tests.discovery.ads_server import URLS, AdsServer, pack, told
from tests.discovery.dialogue import PATIENCE_S, Dialogue
from tests.discovery.resources import cluster, endpoints, listener, routes
from tests.discovery.scripts import SCRIPTS
from tests.discovery.subjects import ads_bootstrap, management_cluster, running
from tests.discovery.web import web_server
from tests.system.program import free_ports

KINDS = ["meshproxy", pytest.param("envoy", marks=pytest.mark.envoy)]
SERVING = "start_up_waits_for_each_part_in_turn"


@pytest.mark.parametrize("kind", KINDS)
async def test_server_on_a_unix_socket(kind: str, tmp_path: Path) -> None:
    server = AdsServer()
    await server.start(f"unix:{tmp_path}/xds.sock")
    admin, *ports = free_ports(4)
    async with web_server() as upstream:
        config = ads_bootstrap(admin, server.address, "DELTA_GRPC")
        async with running(kind, config, tmp_path) as program:
            await SCRIPTS[SERVING](Dialogue(kind, True, server, program, ports, upstream))
    await server.stop()


async def test_workers_get_what_their_parent_was_told(tmp_path: Path) -> None:
    server = AdsServer()
    await server.start()
    admin, *ports = free_ports(4)
    async with web_server() as upstream:
        config = ads_bootstrap(admin, server.address, "GRPC")
        async with running("meshproxy", config, tmp_path, "--concurrency", "2") as program:
            talk = Dialogue("meshproxy", False, server, program, ports, upstream)
            await SCRIPTS[SERVING](talk)
            talk.answer("RDS", "r1", "n9", routes("r1", "c1", old="nowhere"))
            await talk.says(["RDS r1 n9 [r1]"], [])
            for _ in range(20):  # spread over both
                await talk.gets(ports[0], 503, "/old")
            assert (await talk.get(ports[0]))[0] == 200
    await server.stop()


def _single(api_type: str) -> dict[str, Any]:
    """A source of one type."""
    return {
        "resource_api_version": "V3",
        "api_config_source": {
            "api_type": api_type,
            "transport_api_version": "V3",
            "grpc_services": [
                {"envoy_grpc": {"cluster_name": "ads"}, "initial_metadata": [{"key": "X-Id", "value": "i"}]}
            ],
        },
    }


def _listener_asking(port: int, source: dict[str, Any]) -> Message:
    """A listener whose routes come from a source of their own."""
    message = listener("a", port, "r1")
    manager = json_format.MessageToDict(message, preserving_proto_field_name=True)
    manager["filter_chains"][0]["filters"][0]["typed_config"]["rds"]["config_source"] = source
    return json_format.ParseDict(manager, type(message)())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("api_type", ["GRPC", "DELTA_GRPC"])
async def test_every_type_on_a_stream_of_its_own(api_type: str, kind: str, tmp_path: Path) -> None:
    server = AdsServer()
    await server.start()
    admin, port = free_ports(2)
    delta = api_type == "DELTA_GRPC"
    source = _single(api_type)
    config = ads_bootstrap(admin, server.address, api_type)
    config["dynamic_resources"] = {"cds_config": source, "lds_config": source}
    methods = {}
    async with web_server() as upstream, running(kind, config, tmp_path) as program:
        answers: dict[str, Message] = {
            "CDS": cluster("c1", eds_cluster_config={"eds_config": source}),
            "EDS": endpoints("c1", upstream),
            "LDS": _listener_asking(port, source),
            "RDS": routes("r1", "c1"),
        }
        wanted = {"CDS": "", "EDS": "c1", "LDS": "", "RDS": "r1"}
        for label, name in wanted.items():
            stream = await server.stream(10)
            request = await stream.request()
            methods[label] = stream.method
            assert stream.metadata["x-id"] == "i"
            first = f"{label} -{f' +{name}' if name else ''}" if delta else f"{label} - - [{name}]"
            assert told(request) == first
            stream.answer(label, "v1", "n1", [answers[label]])
            accepted = f"{label} n1" if delta else f"{label} v1 n1 [{name}]"
            assert told(await stream.request()) == accepted
        talk = Dialogue(kind, delta, server, program, [port], upstream)
        await talk.gets(port, 200)
        await talk.counts("cluster_manager.cds.control_plane.connected_state", 1)
    await server.stop()
    part = "Delta" if delta else "Stream"
    assert methods == {
        "CDS": f"/envoy.service.cluster.v3.ClusterDiscoveryService/{part}Clusters",
        "EDS": f"/envoy.service.endpoint.v3.EndpointDiscoveryService/{part}Endpoints",
        "LDS": f"/envoy.service.listener.v3.ListenerDiscoveryService/{part}Listeners",
        "RDS": f"/envoy.service.route.v3.RouteDiscoveryService/{part}Routes",
    }


class RestServer:
    """A management server over HTTP. state: by label; asked: what the requests said."""

    def __init__(self, state: dict[str, list[Message]]) -> None:
        self.state = state
        self.version = "v1"
        self.spoilt = b""
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self._server: Any = None

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)

    @property
    def port(self) -> int:
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def stop(self) -> None:
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
                question = json.loads(await reader.readexactly(length))
                path = head.split()[1].decode()
                self.asked.append((path, question))
                status, body = self._answer(path, question)
                writer.write(b"HTTP/1.1 %d x\r\ncontent-length: %d\r\n\r\n%s" % (status, len(body), body))
        except (asyncio.IncompleteReadError, OSError):
            writer.close()

    def _answer(self, path: str, question: dict[str, Any]) -> tuple[int, bytes]:
        label = {"/v3/discovery:clusters": "CDS", "/v3/discovery:listeners": "LDS", "/v3/discovery:routes": "RDS"}[path]
        if label == "RDS" and self.spoilt:
            return 200, self.spoilt
        if question.get("version_info") == self.version:
            return 304, b""
        response = discovery_pb2.DiscoveryResponse(type_url=URLS[label], version_info=self.version)
        response.resources.extend(pack(resource) for resource in self.state[label])
        return 200, json_format.MessageToJson(response, preserving_proto_field_name=True).encode()


def running_rest(kind: str, config: dict[str, Any], management: dict[str, Any], upstream: int, folder: Path) -> Any:
    """A program with the management server's cluster, and one of a web server."""
    web = management_cluster("web", f"127.0.0.1:{upstream}")
    del web["typed_extension_protocol_options"]
    config["static_resources"]["clusters"] = [management, web]
    return running(kind, config, folder)


@pytest.mark.parametrize("kind", KINDS)
async def test_rest(kind: str, tmp_path: Path) -> None:
    admin, port = free_ports(2)
    source = {
        "resource_api_version": "V3",
        "api_config_source": {
            "api_type": "REST",
            "transport_api_version": "V3",
            "cluster_names": ["rest"],
            "refresh_delay": "0.1s",
        },
    }
    server = RestServer({"CDS": [], "LDS": [_listener_asking(port, source)], "RDS": [routes("r1", "nowhere")]})
    await server.start()
    config = ads_bootstrap(admin, "127.0.0.1:1", "GRPC")
    config["dynamic_resources"] = {"cds_config": source, "lds_config": source}
    management = management_cluster("rest", f"127.0.0.1:{server.port}")
    del management["typed_extension_protocol_options"]
    async with web_server() as upstream, running_rest(kind, config, management, upstream, tmp_path) as program:
        talk = Dialogue(kind, False, AdsServer(), program, [port], upstream)
        await talk.gets(port, 503)
        server.version, server.state["RDS"] = "v2", [routes("r1", "web")]
        await talk.gets(port, 200)
        server.spoilt = b'{"resources": [{"@type": "type.googleapis.com/example.Nothing"}]}'
        seen = len(server.asked)
        async with asyncio.timeout(PATIENCE_S):
            while len(server.asked) < seen + 20:
                await asyncio.sleep(0.05)
        await talk.gets(port, 200)
        assert await talk.statistic("http.a.rds.r1.update_success") >= 2
        spoilt = [await talk.statistic(f"http.a.rds.r1.update_{how}") for how in ("failure", "rejected")]
        assert sum(spoilt) > 0
    await server.stop()
    path, first = server.asked[0]
    assert path == "/v3/discovery:clusters"
    assert first["node"]["id"].startswith("sidecar~")
    assert first["type_url"] == URLS["CDS"]
    assert "version_info" not in first
    of_routes = [question for path, question in server.asked if path.endswith("routes")]
    assert of_routes[0]["resource_names"] == ["r1"]
    assert "v1" in {question.get("version_info") for question in of_routes}
