"""Management servers as they are in the field: with TLS on both sides, several of one kind, and curious who asks."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import grpc
import pytest

from tests.certificates import Authority, dns
from tests.discovery.ads_server import AdsServer, told
from tests.discovery.dialogue import PATIENCE_S, Dialogue
from tests.discovery.scripts import serving
from tests.discovery.subjects import ads_bootstrap, running, socket_address
from tests.discovery.web import web_server
from tests.system.program import free_ports

KINDS = ["meshproxy", pytest.param("envoy", marks=pytest.mark.envoy)]
_TLS = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext"


def _with_tls(config: dict[str, Any], folder: Path) -> None:
    """The server's cluster with a certificate from a file that an SDS file names."""
    (folder / "sds.yaml").write_text(
        f"""resources:
- "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret
  name: own
  tls_certificate:
    certificate_chain: {{filename: {folder}/client.pem}}
    private_key: {{filename: {folder}/client.key}}
"""
    )
    context = {
        "@type": _TLS,
        "sni": "control.test",
        "common_tls_context": {
            "alpn_protocols": ["h2"],
            "tls_certificate_sds_secret_configs": [
                {"name": "own", "sds_config": {"path_config_source": {"path": str(folder / "sds.yaml")}}}
            ],
            "validation_context": {
                "trusted_ca": {"filename": str(folder / "ca.pem")},
                "match_typed_subject_alt_names": [{"san_type": "DNS", "matcher": {"exact": "control.test"}}],
            },
        },
    }
    config["static_resources"]["clusters"][0]["transport_socket"] = {"name": "tls", "typed_config": context}


@pytest.mark.parametrize("kind", KINDS)
async def test_both_sides_show_certificates(kind: str, tmp_path: Path) -> None:
    authority = Authority("mesh")
    (tmp_path / "ca.pem").write_bytes(authority.pem)
    own, client = authority.issue("control", dns("control.test")), authority.issue("client")
    (tmp_path / "client.pem").write_bytes(client.pem)
    (tmp_path / "client.key").write_bytes(client.key_pem)
    credentials = grpc.ssl_server_credentials(
        [(own.key_pem, own.pem)], root_certificates=authority.pem, require_client_auth=True
    )
    server = AdsServer()
    await server.start(credentials=credentials)
    admin, *ports = free_ports(4)
    async with web_server() as upstream:
        config = ads_bootstrap(admin, server.address, "DELTA_GRPC")
        _with_tls(config, tmp_path)
        async with running(kind, config, tmp_path) as program:
            talk = Dialogue(kind, True, server, program, ports, upstream)
            await serving(talk)
            assert await talk.statistic("cluster.ads.ssl.handshake") == 1
            assert await talk.statistic("cluster.ads.ssl.fail_verify_san") == 0
    await server.stop()


@pytest.mark.parametrize("kind", KINDS)
async def test_next_server_takes_over_from_one_that_is_gone(kind: str, tmp_path: Path) -> None:
    servers = {"first": AdsServer(), "second": AdsServer()}
    for server in servers.values():
        await server.start()
    admin, *ports = free_ports(4)
    config = ads_bootstrap(admin, servers["first"].address, "GRPC")
    config["static_resources"]["clusters"][0]["load_assignment"]["endpoints"] = [
        {
            "priority": number,
            "lb_endpoints": [{"endpoint": {"address": socket_address("127.0.0.1", server.port)}}],
        }
        for number, server in enumerate(servers.values())
    ]
    # A host that refuses connections is put aside, as a cluster that may fail over needs it.
    config["static_resources"]["clusters"][0]["outlier_detection"] = {
        "consecutive_5xx": 1,
        "consecutive_gateway_failure": 1,
        "enforcing_consecutive_gateway_failure": 100,
        "interval": "0.2s",
        "base_ejection_time": "60s",
        "max_ejection_percent": 100,
    }
    async with web_server() as upstream, running(kind, config, tmp_path) as program:
        talk = Dialogue(kind, False, servers["first"], program, ports, upstream)
        await serving(talk)
        await servers["first"].stop()
        talk.stream = await servers["second"].stream(PATIENCE_S)
        # What is held is told to the new one, with the nonces of no stream.
        first = [told(await talk.stream.request()) for _ in range(4)]
        assert sorted(first) == ["CDS w0 - []", "EDS e0 - [c1]", "LDS l0 - []", "RDS r0 - [r1]"]
        await talk.gets(ports[0], 200)
    await servers["second"].stop()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("once", [True, False], ids=["once", "always"])
async def test_says_who_asks(once: bool, kind: str, tmp_path: Path) -> None:
    server = AdsServer()
    await server.start()
    admin, *ports = free_ports(4)
    config = ads_bootstrap(admin, server.address, "GRPC", set_node_on_first_message_only=once)
    config["node"].update(
        metadata={"ROLE": "test", "LABELS": {"app": "web"}},
        locality={"region": "r", "zone": "z", "sub_zone": "s"},
        client_features=["a.feature"],
    )
    async with web_server() as upstream, running(kind, config, tmp_path) as program:
        await serving(Dialogue(kind, False, server, program, ports, upstream))
    requests = [request for _, request in server.streams[0].requests]
    node = requests[0].node
    assert [request.HasField("node") for request in requests[1:]] == [not once] * (len(requests) - 1)
    assert (node.id, node.cluster) == ("sidecar~127.0.0.1~web.default~default.svc", "web.default")
    assert (node.locality.region, node.locality.zone, node.locality.sub_zone) == ("r", "z", "s")
    assert node.metadata["LABELS"]["app"] == "web"
    assert node.user_agent_name == kind
    assert node.user_agent_version or node.user_agent_build_version.version.major_number
    assert "a.feature" in node.client_features
    if kind == "meshproxy":
        assert set(node.client_features) >= {"xds.config.resource-in-sotw", "xds.config.supports-resource-ttl"}
    await server.stop()


async def test_wait_between_two_tries_is_bounded_by_the_retry_policy(tmp_path: Path) -> None:
    """A server that ends each stream is tried again within what the policy allows, and not all at once."""
    server = AdsServer()
    await server.start()
    admin, *_ = free_ports(2)
    services = [
        {
            "envoy_grpc": {
                "cluster_name": "ads",
                "retry_policy": {"retry_back_off": {"base_interval": "0.05s", "max_interval": "0.1s"}},
            }
        }
    ]
    config = ads_bootstrap(admin, server.address, "GRPC", grpc_services=services)
    async with running("meshproxy", config, tmp_path):
        async with asyncio.timeout(PATIENCE_S):
            for _ in range(12):  # with the usual policy these alone would take half a minute
                stream = await server.stream()
                await stream.request()
                stream.end(grpc.StatusCode.UNAVAILABLE, "not now")
    await server.stop()
