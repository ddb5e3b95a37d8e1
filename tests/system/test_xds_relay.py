"""The proxy's streams of configuration through the agent: grpcio asks on its socket, grpcio answers behind it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from envoy.service.discovery.v3 import discovery_pb2

from meshproxy.agent.application.application_health import HEALTH_TYPE, HealthProbe, watch_health
from meshproxy.agent.control_plane.control_plane import ControlPlane
from meshproxy.agent.control_plane.debug_pages import DebugPages
from meshproxy.agent.control_plane.xds_relay import SERVICE, Use, XdsRelay
from meshproxy.agent.figures import Figures
from meshproxy.agent.http import Request
from meshproxy.agent.identity.identity import Identity
from meshproxy.agent.istio_messages import NAME_TABLE_TYPE
from meshproxy.agent.settings import AgentSettings, read_settings
from meshproxy.runtime.process.configuration import make_logger
from tests.system.istiod import Authority, Istiod

LISTENER = "type.googleapis.com/envoy.config.listener.v3.Listener"
CLUSTER = "type.googleapis.com/envoy.config.cluster.v3.Cluster"
SPIFFE = "spiffe://cluster.local/ns/default/sa/default"
LOG = make_logger("main")
SOCKET = Path("XDS")


@pytest.fixture(autouse=True)
def _in_a_pod_of_its_own(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with tempfile.TemporaryDirectory(prefix="pod-") as name:
        monkeypatch.chdir(name)
        yield
        monkeypatch.undo()


class Rig:
    """A control plane and a relay before it, and what the relay's own types were given."""

    def __init__(self, istiod: Istiod, control_plane: ControlPlane, settings: AgentSettings) -> None:
        self.istiod, self.control_plane, self.settings = istiod, control_plane, settings
        self.taken: list[list[bytes]] = []
        uses: dict[str, Use] = {NAME_TABLE_TYPE: self._take}
        self.relay = XdsRelay(control_plane, uses, Figures(), LOG)

    def _take(self, resources: Any) -> None:
        if b"bad" in resources:
            raise ValueError("a bad one")
        self.taken.append(list(resources))


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    istiod = Istiod(Authority(SPIFFE))
    server = await istiod.start()
    Path("root.pem").write_bytes(istiod.authority.root_pem)
    Path("token").write_text("a.b.c\n")
    settings = read_settings(
        {
            "PROXY_CONFIG": json.dumps({"discoveryAddress": f"localhost:{istiod.port}"}),
            "XDS_ROOT_CA": "root.pem",
            "JWT_PATH": "token",
            "ISTIOD_SAN": "localhost",
            "XDS_HEADER_X-Region": "west",
        }
    )
    rig = Rig(istiod, ControlPlane(settings, Identity(settings, LOG, Figures())), settings)
    await rig.relay.start(SOCKET)
    yield rig
    rig.relay.close()
    await server.stop(0)


async def until(condition: Callable[[], object], seconds: float = 10.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.02)


class Proxy:
    """A client of the relay. request, response: the messages of the protocol that it speaks."""

    def __init__(self, channel: Any, delta: bool) -> None:
        self.request: Any = discovery_pb2.DeltaDiscoveryRequest if delta else discovery_pb2.DiscoveryRequest
        self.response: Any = discovery_pb2.DeltaDiscoveryResponse if delta else discovery_pb2.DiscoveryResponse
        method = f"{SERVICE}{'Delta' if delta else 'Stream'}AggregatedResources"
        make = channel.stream_stream(method, self.request.SerializeToString, self.response.FromString)
        self.stream = make()

    async def ask(self, type_url: str, **fields: Any) -> None:
        await self.stream.write(self.request(type_url=type_url, **fields))

    async def answer(self) -> Any:
        return await asyncio.wait_for(self.stream.read(), 10)


@contextlib.asynccontextmanager
async def connected(delta: bool = True) -> AsyncIterator[Proxy]:
    async with grpc.aio.insecure_channel(f"unix:{os.path.abspath(SOCKET)}") as channel:
        proxy = Proxy(channel, delta)
        yield proxy
        proxy.stream.cancel()


@pytest.mark.parametrize("delta", [True, False])
async def test_messages_go_on_as_they_are_and_the_agents_own_stay(rig: Rig, delta: bool) -> None:
    istiod = rig.istiod
    istiod.resources = {CLUSTER: {"c": b"\x0a\x01c"}, LISTENER: {"l": b"\x0a\x01l"}, NAME_TABLE_TYPE: {"": b"names"}}
    async with connected(delta) as proxy:
        await proxy.ask(CLUSTER, node={"id": "sidecar~1.2.3.4~a.b~c"})
        assert (await proxy.answer()).type_url == CLUSTER
        assert not rig.taken
        await proxy.ask(LISTENER)
        first = await proxy.answer()
        assert first.type_url == LISTENER
        await until(lambda: rig.taken)
        assert rig.taken == [[b"names"]]
        await until(lambda: len(istiod.of_type(NAME_TABLE_TYPE)) == 2)
        istiod.resources[NAME_TABLE_TYPE] = {"": b"bad"}
        istiod.resources[LISTENER] = {"l": b"\x0a\x01l", "m": b"\x0a\x01m"}
        istiod.push()
        assert (await proxy.answer()).type_url == LISTENER
        await until(lambda: len(istiod.of_type(NAME_TABLE_TYPE)) == 3)
    assert istiod.seen[0].node.id == "sidecar~1.2.3.4~a.b~c"
    asked, accepted, refused = istiod.of_type(NAME_TABLE_TYPE)
    assert not asked.response_nonce
    assert accepted.response_nonce
    assert not accepted.HasField("error_detail")
    assert refused.error_detail.message == "a bad one"
    if not delta:
        assert (accepted.version_info, refused.version_info) == ("1", "1")
    metadata = istiod.stream_metadata[0]
    assert metadata["authorization"] == "Bearer a.b.c"
    assert (metadata["clusterid"], metadata["x-region"]) == ("Kubernetes", "west")


async def test_a_stream_ends_with_its_other_half(rig: Rig) -> None:
    rig.istiod.resources = {CLUSTER: {}}
    async with connected() as proxy:
        await proxy.ask(CLUSTER)
        await proxy.answer()
        await until(lambda: rig.relay.active)
        async with connected() as another:
            await another.ask(CLUSTER)
            await another.answer()
            assert await proxy.answer() is grpc.aio.EOF
            assert rig.relay.active
    await until(lambda: not rig.relay.active)
    assert rig.relay.streams == 2


async def test_a_control_plane_that_isnt_there_is_told_as_such(rig: Rig) -> None:
    Path("root.pem").write_bytes(Authority(SPIFFE).root_pem)
    async with connected() as proxy:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await proxy.answer()
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        assert "certificate verify failed" in (caught.value.details() or "")


@pytest.mark.parametrize("delta", [True, False])
async def test_the_applications_health_is_told_on_each_stream(rig: Rig, delta: bool) -> None:
    istiod = rig.istiod
    istiod.resources = {LISTENER: {}}
    rig.relay.report_health(HEALTH_TYPE, "no answer")
    async with connected(delta) as proxy:
        await proxy.ask(LISTENER)
        await until(lambda: istiod.of_type(HEALTH_TYPE))
        rig.relay.report_health(HEALTH_TYPE, "")
        await until(lambda: len(istiod.of_type(HEALTH_TYPE)) == 2)
    unwell, well = istiod.of_type(HEALTH_TYPE)
    assert unwell.error_detail.message == "no answer"
    assert not well.HasField("error_detail")


async def test_health_is_told_when_it_changes(tmp_path: Path) -> None:
    ready = ["not ready"]
    told: list[str] = []

    async def why_not() -> str:
        return ready[0]

    health = HealthProbe(None, ("test", "-e", str(tmp_path / "well")), period=0.01, timeout=5.0, failures=2)
    watching = asyncio.ensure_future(watch_health(health, why_not, "127.0.0.1", told.append))
    try:
        await until(lambda: told == ["not ready"])
        ready[0] = ""
        (tmp_path / "well").touch()
        await until(lambda: told == ["not ready", ""])
        (tmp_path / "well").unlink()
        await until(lambda: told == ["not ready", "", "test ended with 1"])
    finally:
        watching.cancel()
        await asyncio.wait([watching])


async def test_the_control_planes_own_pages(rig: Rig) -> None:
    pages = DebugPages(rig.settings, rig.control_plane)
    rig.istiod.resources = {"istio.io/debug/syncz": {"a": b"unreadable"}}
    found = await pages.handle(Request("GET", "/debug/syncz", {"resourceName": "a"}))
    shown = json.loads(found.body)
    assert (found.status, shown["typeUrl"]) == (200, "istio.io/debug/syncz")
    assert shown["resources"] == [{"@type": "istio.io/debug/syncz", "value": "unreadable"}]
    assert rig.istiod.seen[0].node.id == rig.settings.node_id
    assert (await pages.handle(Request("GET", "/other"))).status == 404
