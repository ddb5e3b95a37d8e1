"""`meshproxy agent` as a pod runs it: ready, asked, drained and ended, with a real proxy as its child."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import dns.asyncquery
import dns.message
import dns.rcode
import pytest

from meshproxy.agent.http import HttpError, Reply, Request, fetch, serve, text_reply
from tests.launcher import Launched, start_program
from tests.system.program import bootstrap, free_ports

PROGRAM = [sys.executable, "-m", "meshproxy.cli"]


class Pod:
    """One agent and where everything of it listens."""

    def __init__(self, directory: Path, **proxy_config: object) -> None:
        self.port, self.admin, self.status, self.ready, self.prometheus, self.dns = free_ports(6)
        self.application = 0
        self.directory = directory
        self.names = directory / "names.json"
        self.custom = ""
        self._proxy_config = proxy_config
        self.variables: dict[str, str] = {}

    async def start(self) -> Launched:
        custom = self.directory / "custom.yaml"
        custom.write_text(self.custom or bootstrap(self.port, self.admin, self.application or 1))
        config = {
            "configPath": str(self.directory / "etc"),
            "customConfigFile": str(custom),
            "statusPort": self.status,
            "proxyAdminPort": self.admin,
            "terminationDrainDuration": "1s",
            **self._proxy_config,
        }
        variables = {
            "PROXY_CONFIG": json.dumps(config),
            "ENVOY_STATUS_PORT": str(self.ready),
            "ENVOY_PROMETHEUS_PORT": str(self.prometheus),
            "DNS_PROXY_ADDR": f"127.0.0.1:{self.dns}",
            "DNS_NAME_TABLE": str(self.names),
            **self.variables,
        }
        with open(self.directory / "log", "ab") as log:
            flags = ["--proxyLogLevel=info", "--proxyComponentLogLevel=misc:error"]
            command = [*PROGRAM, "agent", "proxy", "sidecar", *flags]
            return await start_program(command, log, env={**os.environ, **variables})

    @property
    def log(self) -> str:
        return (self.directory / "log").read_text()

    async def until_ready(self) -> None:
        end = time.monotonic() + 60
        while time.monotonic() < end:
            with contextlib.suppress(HttpError):
                if (await fetch("127.0.0.1", self.ready, "/healthz/ready")).status == 200:
                    return
            await asyncio.sleep(0.1)
        raise AssertionError(f"not ready: {self.log}")


@contextlib.asynccontextmanager
async def running(pod: Pod) -> AsyncIterator[Launched]:
    process = await pod.start()
    try:
        await pod.until_ready()
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def test_it_serves_answers_names_and_ends_in_order(tmp_path: Path) -> None:
    pod = Pod(tmp_path, terminationDrainDuration="2s")

    async def application(request: Request) -> Reply:
        if request.path == "/metrics":
            return text_reply("app_requests 7\n")
        return text_reply(f"{request.method} {request.path}\n", 200 if request.path != "/sick" else 503)

    app = await serve("127.0.0.1", 0, application)
    pod.application = app.sockets[0].getsockname()[1]
    pod.names.write_text('{"table": {"web.test": {"ips": ["192.0.2.7"]}}}')
    pod.variables = {
        "ISTIO_META_DNS_CAPTURE": "true",
        "ISTIO_PROMETHEUS_ANNOTATIONS": json.dumps({"scrape": "true", "port": str(pod.application)}),
        "ISTIO_KUBE_APP_PROBERS": json.dumps(
            {
                "/app-health/web/livez": {"httpGet": {"path": "/live", "port": pod.application}},
                "/app-health/web/readyz": {"httpGet": {"path": "/sick", "port": pod.application}},
                "/app-health/web/startupz": {"tcpSocket": {"port": pod.application}},
                "/app-health/db/readyz": {"tcpSocket": {"port": free_ports(1)[0]}},
            }
        ),
    }
    async with running(pod) as process:
        assert (await fetch("127.0.0.1", pod.port, "/x")).body == b"GET /x\n"

        metrics = (await fetch("127.0.0.1", pod.status, "/metrics")).body.decode()
        for part in ("istio_agent_scrapes_total 1", "envoy_server_live", "app_requests 7"):
            assert part in metrics
        assert metrics.rstrip().endswith("app_requests 7")
        assert (await fetch("127.0.0.1", pod.prometheus, "/stats/prometheus")).status == 200

        wanted = {
            "/app-health/web/livez": 200,
            "/app-health/web/readyz": 503,
            "/app-health/web/startupz": 200,
            "/app-health/db/readyz": 500,
            "/app-health/other/livez": 400,
            "/nothing": 404,
            "/quitquitquit": 405,
        }
        got = {path: (await fetch("127.0.0.1", pod.status, path)).status for path in wanted}
        assert got == wanted

        query = dns.message.make_query("web.test", "A")
        answer = await dns.asyncquery.udp(query, "127.0.0.1", port=pod.dns, timeout=5)
        assert [str(item) for item in answer.answer[0]] == ["192.0.2.7"]
        pod.names.write_text('{"table": {"web.test": {"ips": ["192.0.2.8", "192.0.2.9"]}}}')
        for _ in range(50):
            answer = await dns.asyncquery.tcp(query, "127.0.0.1", port=pod.dns, timeout=5)
            if len(answer.answer[0]) == 2:
                break
            await asyncio.sleep(0.1)
        assert len(answer.answer[0]) == 2

        done = subprocess.run(
            [*PROGRAM, "wait", "--url", f"http://127.0.0.1:{pod.ready}/healthz/ready", "--once"], check=False
        )
        assert done.returncode == 0

        process.send_signal(signal.SIGTERM)
        while (draining := await fetch("127.0.0.1", pod.status, "/healthz/ready")).status == 200:
            await asyncio.sleep(0.02)
        assert (draining.status, draining.body) == (503, b"not ready: draining\n")
        assert await asyncio.wait_for(process.wait(), 30) == 0
    app.close()


async def test_a_request_in_flight_is_finished(tmp_path: Path) -> None:
    pod = Pod(tmp_path)
    arrived = asyncio.Event()

    async def slow(request: Request) -> Reply:
        arrived.set()
        await asyncio.sleep(2.5)
        return text_reply("late")

    app = await serve("127.0.0.1", 0, slow)
    pod.application = app.sockets[0].getsockname()[1]
    async with running(pod) as process:
        asking = asyncio.ensure_future(fetch("127.0.0.1", pod.port, "/slow", timeout=10))
        await arrived.wait()
        process.send_signal(signal.SIGTERM)
        assert (await asking).body == b"late"
        assert await asyncio.wait_for(process.wait(), 30) == 0
    app.close()


async def test_draining_for_good_and_then_told_to_end_it_ends_at_once(tmp_path: Path) -> None:
    pod = Pod(tmp_path, terminationDrainDuration="60s")
    async with running(pod) as process:
        assert (await fetch("127.0.0.1", pod.status, "/drain", method="POST")).status == 200
        assert (await fetch("127.0.0.1", pod.status, "/healthz/ready")).status == 503
        process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.wait(), 20) == 0


async def test_quitquitquit_ends_it_without_a_drain(tmp_path: Path) -> None:
    pod = Pod(tmp_path, terminationDrainDuration="60s")
    async with running(pod) as process:
        assert (await fetch("127.0.0.1", pod.status, "/quitquitquit", method="POST")).status == 200
        assert await asyncio.wait_for(process.wait(), 20) == 0


async def test_until_no_connection_is_left(tmp_path: Path) -> None:
    pod = Pod(tmp_path)
    pod.variables = {"EXIT_ON_ZERO_ACTIVE_CONNECTIONS": "true", "MINIMUM_DRAIN_DURATION": "500ms"}
    async with running(pod) as process:
        _, writer = await asyncio.open_connection("127.0.0.1", pod.port)
        await asyncio.sleep(0.2)
        process.send_signal(signal.SIGTERM)
        await asyncio.sleep(2.5)
        assert process.returncode is None
        writer.close()
        assert await asyncio.wait_for(process.wait(), 10) == 0


async def test_a_bootstrap_that_is_refused_ends_it_with_the_proxys_code(tmp_path: Path) -> None:
    pod = Pod(tmp_path)
    pod.custom = "static_resources: {clusters: [{nam: up}]}"
    process = await pod.start()
    assert await asyncio.wait_for(process.wait(), 30) == 1
    assert "did you mean 'name'" in pod.log


async def test_the_proxys_end_is_the_agents(tmp_path: Path) -> None:
    pod = Pod(tmp_path)
    async with running(pod) as process:
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        os.kill(int(children[0]), signal.SIGKILL)
        assert await asyncio.wait_for(process.wait(), 20) == 128 + signal.SIGKILL


async def test_the_proxy_doesnt_outlive_a_killed_agent(tmp_path: Path) -> None:
    pod = Pod(tmp_path)
    async with running(pod) as process:
        child = int(Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()[0])
        process.kill()
        await process.wait()
        for _ in range(50):
            if not Path(f"/proc/{child}/exe").exists():
                break
            await asyncio.sleep(0.1)
        assert not Path(f"/proc/{child}/exe").exists()


async def test_a_setting_that_cant_be_used_is_named() -> None:
    process = await asyncio.create_subprocess_exec(
        *PROGRAM, "agent",
        env={**os.environ, "PROXY_CONFIG": '{"drainDuration": "soon"}'}, stderr=subprocess.PIPE,
    )  # fmt: skip
    _, errors = await process.communicate()
    assert process.returncode == 1
    assert errors.decode() == (
        "meshproxy agent: environment: PROXY_CONFIG.drainDuration: 'soon' is not a duration such as 45s or 1m30s\n"
    )


@pytest.mark.parametrize("parallel", [True, False])
@pytest.mark.parametrize("silent", [True, False])
async def test_other_names_are_asked_for_elsewhere(silent: bool, parallel: bool) -> None:
    """Two name servers: the first is silent or refuses, the second answers; the client's question goes through."""
    from meshproxy.agent.names.dns_server import DnsServer
    from meshproxy.agent.names.name_table import NameTable
    from meshproxy.runtime.process.configuration import make_logger

    log = make_logger("main")
    far = DnsServer([], log)
    await far.start("127.0.0.1", 0)
    far.table = NameTable({"far.test": {"ips": ["192.0.2.50"]}})
    loop = asyncio.get_running_loop()
    mute, _ = await loop.create_datagram_endpoint(asyncio.DatagramProtocol, local_addr=("127.0.0.1", 0))
    dead = mute.get_extra_info("sockname")[:2] if silent else ("127.0.0.1", free_ports(1)[0])
    near = DnsServer([dead, far.address], log, within=30.0 if parallel else 1.0, parallel=parallel)
    await near.start("127.0.0.1", 0)
    try:
        for ask in (dns.asyncquery.udp, dns.asyncquery.tcp):
            reply = await ask(dns.message.make_query("far.test", "A"), "127.0.0.1", port=near.address[1], timeout=5)
            assert [str(item) for item in reply.answer[0]] == ["192.0.2.50"]
            reply = await ask(dns.message.make_query("no.test", "A"), "127.0.0.1", port=near.address[1], timeout=5)
            assert reply.rcode() == dns.rcode.SERVFAIL
    finally:
        mute.close()
        near.close()
        far.close()


async def test_without_a_proxy_it_serves_an_application_that_speaks_grpc_itself(tmp_path: Path) -> None:
    pod = Pod(tmp_path)
    told = tmp_path / "grpc" / "bootstrap.json"
    pod.variables = {"DISABLE_ENVOY": "true", "GRPC_XDS_BOOTSTRAP": str(told), "SERVICE_ACCOUNT": "web"}
    pod.ready = pod.status  # nobody else answers
    async with running(pod) as process:
        bootstrap = json.loads(told.read_text())
        assert bootstrap["xds_servers"][0]["server_uri"] == f"unix://{tmp_path}/etc/XDS"
        assert bootstrap["node"]["metadata"]["GENERATOR"] == "grpc"
        certificates = bootstrap["certificate_providers"]["default"]["config"]
        assert certificates["private_key_file"] == f"{tmp_path}/etc/certs/key.pem"
        metrics = (await fetch("127.0.0.1", pod.status, "/metrics")).body.decode()
        assert "istio_agent_ready 1" in metrics
        assert 'failures_total{type="envoy"} 0' in metrics
        with pytest.raises(HttpError):
            await fetch("127.0.0.1", pod.admin, "/ready")
        process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.wait(), 20) == 0
