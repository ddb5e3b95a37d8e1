"""A sidecar of Istio's as a whole: agent and proxy, everything from a control plane that speaks as istiod does.

The pod calls itself: outbound listener, mutual TLS with Istio's protocols, inbound listener, application.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
import sys
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import dns.asyncquery
import dns.message
import pytest

from meshproxy.agent.http import HttpError, Reply, Request, fetch, serve, text_reply
from tests.launcher import Launched, start_program
from tests.system.istio_world import ROUTES, make_world, read_world
from tests.system.istiod import Authority, Istiod
from tests.system.program import free_ports

SPIFFE = "spiffe://cluster.local/ns/default/sa/web"
PROGRAM = [sys.executable, "-m", "meshproxy.cli"]
LABELS = {"app": "web", "version": "v1", "service.istio.io/canonical-name": "web-svc"}

LINE_END = (
    r' "-" "test" "a-1" "web\.shop" "127\.0\.0\.1:\d+"'
    r" (outbound\|80\|\|web\.shop\.svc\.cluster\.local|inbound\|\d+\|\|)"
    r" 127\.0\.0\.1:\d+ 127\.0\.0\.1:\d+ 127\.0\.0\.1:\d+"
    r" (-|outbound_\.80_\._\.web\.shop\.svc\.cluster\.local) default$"
)
"""Of a line of Istio's default access log, behind what varies."""


class Pod:
    """One sidecar, its application and its control plane."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        names = ("outbound", "inbound", "http", "tcp", "admin", "status", "ready", "prometheus", "dns", "debug")
        self.ports = dict(zip(names, free_ports(len(names)), strict=True))
        self.istiod = Istiod(Authority(SPIFFE))
        self.seen: list[Request] = []
        self.access_log = directory / "access.log"

    async def answer(self, request: Request) -> Reply:
        self.seen.append(request)
        return text_reply(f"{request.method} {request.path}\n")

    def world(self, application: int) -> dict[str, dict[str, bytes]]:
        return make_world(read_world(application=application, log=self.access_log, **self.ports))

    async def start(self, delta: bool) -> Launched:
        config = {
            "configPath": "etc",
            "discoveryAddress": f"localhost:{self.istiod.port}",
            "statusPort": self.ports["status"],
            "proxyAdminPort": self.ports["admin"],
            "terminationDrainDuration": "0s",
        }
        (self.directory / "root.pem").write_bytes(self.istiod.authority.root_pem)
        variables = {
            "PROXY_CONFIG": json.dumps(config),
            "ENVOY_STATUS_PORT": str(self.ports["ready"]),
            "ENVOY_PROMETHEUS_PORT": str(self.ports["prometheus"]),
            "DNS_PROXY_ADDR": f"127.0.0.1:{self.ports['dns']}",
            "PROXY_XDS_DEBUG_VIA_AGENT_PORT": str(self.ports["debug"]),
            "ISTIO_META_DNS_CAPTURE": "true",
            "ISTIO_META_WORKLOAD_NAME": "web",
            "ISTIO_META_OWNER": "kubernetes://apis/apps/v1/namespaces/default/deployments/web",
            "ISTIO_METAJSON_LABELS": json.dumps({"LABELS": LABELS}),
            "ISTIO_METAJSON_METADATA": json.dumps({"LABELS": LABELS}),
            "POD_NAME": "web-1",
            "SERVICE_ACCOUNT": "web",
            "CA_ROOT_CA": "root.pem",
            "XDS_ROOT_CA": "root.pem",
            "ISTIOD_SAN": "localhost",
            "ISTIO_DELTA_XDS": str(delta).lower(),
            "ECC_SIGNATURE_ALGORITHM": "ECDSA",
        }
        command = [*PROGRAM, "agent", "proxy", "sidecar", "--proxyLogLevel=info"]
        with open(self.directory / "log", "ab") as log:
            return await start_program(command, log, env={**os.environ, **variables}, cwd=self.directory)

    @property
    def log(self) -> str:
        return (self.directory / "log").read_text()

    async def until_ready(self) -> None:
        try:
            async with asyncio.timeout(60):
                while True:
                    with contextlib.suppress(HttpError):
                        if (await fetch("127.0.0.1", self.ports["ready"], "/healthz/ready")).status == 200:
                            return
                    await asyncio.sleep(0.1)
        except TimeoutError:
            raise AssertionError(f"not ready: {self.log}") from None

    async def get(self, port: str, path: str, host: str = "web.shop") -> Reply:
        headers = [("host", host), ("x-request-id", "a-1"), ("user-agent", "test")]
        return await fetch("127.0.0.1", self.ports[port], path, headers=headers)

    async def metrics(self) -> list[tuple[str, dict[str, str], float]]:
        page = (await fetch("127.0.0.1", self.ports["prometheus"], "/stats/prometheus", max_body=1 << 22)).body.decode()
        found = []
        for line in page.splitlines():
            name, _, rest = line.partition("{")
            if name.startswith("istio_"):
                labels, _, value = rest.rpartition("} ")
                found.append((name, dict(re.findall(r'(\w+)="([^"]*)"', labels)), float(value)))
        return found

    async def metric(self, name: str, **labels: str) -> dict[str, str]:
        """The labels of the one metric of this name with these labels."""
        async with asyncio.timeout(20):
            while True:
                found = [
                    given for kind, given, _ in await self.metrics() if kind == name and labels.items() <= given.items()
                ]
                if found:
                    assert len(found) == 1, found
                    return found[0]
                await asyncio.sleep(0.1)


@contextlib.asynccontextmanager
async def running(delta: bool) -> AsyncIterator[Pod]:
    with tempfile.TemporaryDirectory(prefix="pod-") as name:
        pod = Pod(Path(name))
        application = await serve("127.0.0.1", 0, pod.answer)
        pod.istiod.resources = pod.world(application.sockets[0].getsockname()[1])
        server = await pod.istiod.start()
        process = await pod.start(delta)
        try:
            await pod.until_ready()
            yield pod
            process.send_signal(signal.SIGTERM)
            assert await asyncio.wait_for(process.wait(), 30) == 0
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
            await server.stop(0)
            application.close()
            others = asyncio.all_tasks() - {asyncio.current_task()}
            if others:
                await asyncio.wait(others, timeout=5)  # the application's connections have ended


@pytest.mark.parametrize("delta", [True, False], ids=["delta", "whole"])
async def test_a_sidecar_does_what_istiod_says(delta: bool) -> None:
    async with running(delta) as pod:
        refused = [request.error_detail.message for request in pod.istiod.seen if request.HasField("error_detail")]
        assert refused == []

        # HTTP through both listeners, over mutual TLS.
        answer = await pod.get("http", "/x")
        assert (answer.status, answer.body) == (200, b"GET /x\n")
        headers = pod.seen[-1].headers
        assert f"By={SPIFFE};Hash=" in headers["x-forwarded-client-cert"]
        assert not [name for name in headers if name.startswith("x-envoy-peer-metadata")]
        assert dict(answer.headers)["server"] == "envoy"
        assert (await pod.get("http", "/admin/x")).status == 403

        source = await pod.metric("istio_requests_total", reporter="source", response_code="200")
        for name, value in {
            "source_workload": "web",
            "destination_workload": "web",
            "destination_canonical_service": "web-svc",
            "destination_app": "web",
            "destination_service": "web.shop.svc.cluster.local",
            "destination_service_namespace": "shop",
            "destination_principal": SPIFFE,
            "connection_security_policy": "unknown",
        }.items():
            assert source[name] == value, name
        called = await pod.metric("istio_requests_total", reporter="destination", response_code="200")
        assert (called["source_workload"], called["source_canonical_service"]) == ("web", "web-svc")
        assert (called["source_version"], called["peer"]) == ("v1", "web")
        assert called["connection_security_policy"] == "mutual_tls"
        assert called["destination_service"] == "web.shop.svc.cluster.local"

        # Without a sidecar at the other end.
        assert (await pod.get("inbound", "/plain")).status == 200
        await pod.metric("istio_requests_total", source_workload="unknown", connection_security_policy="none")

        # TCP, told of while it goes on.
        reader, writer = await asyncio.open_connection("127.0.0.1", pod.ports["tcp"])
        writer.write(b"GET /tcp HTTP/1.1\r\nhost: a\r\n\r\n")
        await reader.readuntil(b"/tcp\n")
        opened = await pod.metric("istio_tcp_connections_opened_total", reporter="source")
        assert (opened["destination_workload"], opened["destination_service"]) == ("web", "db.shop.svc.cluster.local")
        served = await pod.metric("istio_tcp_connections_opened_total", reporter="destination")
        assert (served["source_workload"], served["connection_security_policy"]) == ("web", "mutual_tls")
        writer.close()

        query = dns.message.make_query("web.shop.svc.cluster.local", "A")
        names = await dns.asyncquery.udp(query, "127.0.0.1", port=pod.ports["dns"], timeout=5)
        assert [str(item) for item in names.answer[0]] == ["10.0.0.7"]

        page = (await fetch("127.0.0.1", pod.ports["status"], "/metrics", max_body=1 << 22)).body.decode()
        figures = dict(line.rsplit(" ", 1) for line in page.splitlines() if line.startswith("istio_agent_"))
        assert float(figures['istio_agent_cert_expiry_seconds{resource_name="default"}']) > 3000
        assert int(figures["istio_agent_xds_proxy_responses"]) >= 4
        assert (figures["istio_agent_dns_requests_total"], figures["istio_agent_istiod_connection_failures"]) == (
            "1",
            "0",
        )
        assert float(figures["istio_agent_startup_duration_seconds"]) > 0

        # A change of routes.
        routes = pod.istiod.resources[ROUTES]["80"]
        pod.istiod.resources[ROUTES]["80"] = routes.replace(b"10.0.0.7", b"10.0.0.8")
        pod.istiod.push()
        async with asyncio.timeout(20):
            while (await pod.get("http", "/x", "10.0.0.8")).status != 200:
                await asyncio.sleep(0.05)

        async with asyncio.timeout(20):
            while " outbound|9000||" not in pod.access_log.read_text():
                await asyncio.sleep(0.05)
        lines = pod.access_log.read_text().splitlines()
        line = next(line for line in lines if '"GET /x HTTP/1.1" 200 - via_upstream - "-" 0 7 ' in line)
        assert re.search(LINE_END, line), line
