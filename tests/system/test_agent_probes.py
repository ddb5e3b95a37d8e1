"""What the agent asks an application: probes as the kubelet makes them, metrics as pilot-agent does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from meshproxy.agent.application.probes import Prober, probe
from meshproxy.agent.figures import Figures
from meshproxy.agent.http import Reply, Request, serve
from meshproxy.agent.readiness import ReadinessProbe
from meshproxy.agent.status import StatusPages
from tests.ports import free_ports

KUBELET = Request("GET", "/app-health/web/livez", headers={"user-agent": "kube-probe/1.30", "x-a": "b"})


@asynccontextmanager
async def application(asked: list[Request], host: str = "127.0.0.1") -> AsyncIterator[int]:
    """Answers by path; what it was asked stands in the list."""
    (port,) = free_ports(1)
    gone = asyncio.Event()
    elsewhere = f"http://127.0.0.2:{port}/far"
    answers = {
        "/": Reply(200, b"fine"),
        "/large": Reply(200, b"x" * 200_000),
        "/ill": Reply(503, b"ill"),
        "/moved": Reply(302, b"", [("location", "/ill?why=1")]),
        "/far": Reply(302, b"", [("location", elsewhere)]),
        "/round": Reply(302, b"", [("location", "/round")]),
        "/astray": Reply(302, b"", [("location", "http://[")]),
        "/metrics": Reply(200, b"up 1\n", [("content-type", "text/plain")]),
    }

    async def answer(request: Request) -> Reply:
        asked.append(request)
        if request.path == "/slow":
            await gone.wait()
        return answers.get(request.path, Reply(404))

    server = await serve(host, port, answer)
    yield port
    gone.set()
    server.close()


@pytest.mark.parametrize(
    ("path", "status", "requests"),
    [
        ("/", 200, 1),
        ("/large", 200, 1),
        ("/ill", 503, 1),
        ("/nowhere", 404, 1),
        ("/moved", 503, 2),
        ("/far", 302, 1),
        ("/round", 500, 11),
        ("/astray", 500, 1),
        ("/slow", 500, 1),
    ],
)
async def test_a_probe_is_answered_as_the_kubelet_would_see_it(path: str, status: int, requests: int) -> None:
    asked: list[Request] = []
    async with application(asked) as port:
        prober = Prober("http", port, "", path, timeout=0.3 if path == "/slow" else 5.0)
        reply = await probe(prober, KUBELET, "127.0.0.1")
    assert (reply.status, len(asked)) == (status, requests)
    assert len(reply.body) <= 10 << 10
    assert asked[0].headers["host"] == f"127.0.0.1:{port}"
    assert asked[0].headers["x-a"] == "b"


async def test_a_probe_may_name_its_host() -> None:
    asked: list[Request] = []
    async with application(asked) as port:
        await probe(Prober("http", port, headers=(("Host", "web.test"),)), KUBELET, "127.0.0.1")
    assert asked[0].headers["host"] == "web.test"


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.7"])
async def test_an_applications_metrics_are_on_the_loopback_or_the_pods_address(host: str) -> None:
    asked: list[Request] = []
    (admin,) = free_ports(1)
    async with application(asked, host) as port:
        pages = StatusPages(
            ReadinessProbe(admin, dynamic=False),
            admin_port=admin,
            probers={},
            targets=[(port, "/metrics"), (port, "/slow")],
            application_ip="127.0.0.7",
            end=lambda: None,
            drain=lambda: asyncio.sleep(0),
            name_table=dict,
            figures=Figures(),
        )
        reply = await pages.handle(Request("GET", "/metrics", headers={"x-prometheus-scrape-timeout-seconds": "0.3"}))
    assert b"\nup 1\n" in reply.body
    assert b'istio_agent_scrape_failures_total{type="application"} 1' in reply.body
    assert [request.path for request in asked] == ["/metrics", "/slow"]
