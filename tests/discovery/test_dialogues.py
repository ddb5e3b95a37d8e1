"""Every script in both protocols, said by both programs over the wire."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.discovery import change_scripts  # noqa: F401  # puts its own on the list
from tests.discovery.ads_server import AdsServer
from tests.discovery.dialogue import Dialogue
from tests.discovery.scripts import SCRIPTS
from tests.discovery.subjects import ads_bootstrap, running
from tests.discovery.web import web_server
from tests.system.program import free_ports

PROTOCOLS = {"sotw": "GRPC", "delta": "DELTA_GRPC"}


@pytest.mark.parametrize("kind", ["meshproxy", pytest.param("envoy", marks=pytest.mark.envoy)])
@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("script", SCRIPTS)
async def test_dialogue(script: str, protocol: str, kind: str, tmp_path: Path) -> None:
    server = AdsServer()
    await server.start()
    admin, *ports = free_ports(5)
    try:
        async with web_server() as upstream:
            config = ads_bootstrap(admin, server.address, PROTOCOLS[protocol])
            async with running(kind, config, tmp_path) as program:
                await SCRIPTS[script](Dialogue(kind, protocol == "delta", server, program, ports, upstream))
    finally:
        await server.stop()
