"""The agent's HTTP surface on 15020: readiness, one page of metrics, the application's probes, drain and end.

What changes something is POST and only from this pod; what a kubelet or Prometheus asks may come from outside.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence

from meshproxy.agent.application.probes import Prober, probe
from meshproxy.agent.figures import Figures
from meshproxy.agent.http import HttpError, Reply, Request, Unreachable, fetch, json_reply, text_reply
from meshproxy.agent.metrics import Page, merge
from meshproxy.agent.readiness import ReadinessProbe
from meshproxy.errors import ConfigError, Problem

_ANNOTATIONS = "ISTIO_PROMETHEUS_ANNOTATIONS"
_SCRAPE_WITHIN = 5.0
_TIMEOUT = "x-prometheus-scrape-timeout-seconds"
_PASSED_ON = frozenset(("accept", "user-agent", _TIMEOUT))


def read_scrape_targets(variables: Mapping[str, str]) -> list[tuple[int, str]]:
    """Where the application's metrics are, as (port, path): the pod's `prometheus.io/*` annotations as the injector
    hands them over. Raises ConfigError."""
    text = variables.get(_ANNOTATIONS, "")
    if not text:
        return []
    try:
        given = json.loads(text)
        entries = given if isinstance(given, list) else [given]
        targets = []
        for entry in entries:
            if str(entry.get("scrape", "false")).lower() != "true":
                continue
            path = str(entry.get("path") or "/metrics")
            ports = [part for part in str(entry.get("port") or "80").split(",") if part]
            targets += [(int(port), path if path.startswith("/") else f"/{path}") for port in ports]
    except (ValueError, AttributeError, RecursionError) as error:
        raise ConfigError(Problem(_ANNOTATIONS, f"can't be read: {error}", "environment")) from None
    return targets


class StatusPages:
    """What is answered on which path. end, drain: what `/quitquitquit` and `/drain` set going."""

    def __init__(
        self,
        readiness: ReadinessProbe,
        *,
        admin_port: int,
        probers: Mapping[str, Prober],
        targets: list[tuple[int, str]],
        application_ip: str,
        end: Callable[[], None],
        drain: Callable[[], Awaitable[None]],
        name_table: Callable[[], object],
        figures: Figures,
    ) -> None:
        self._readiness = readiness
        self._admin_port = admin_port
        self._probers = probers
        self._targets = targets
        self._application_ip = application_ip
        self._end = end
        self._drain = drain
        self._name_table = name_table
        self._figures = figures
        self._was_ready = False
        figures.read("ready", lambda: int(self._was_ready))

    async def handle(self, request: Request) -> Reply:
        path = request.path
        if path == "/healthz/ready":
            return await self._ready()
        if path in ("/stats/prometheus", "/metrics"):
            return await self._metrics(request)
        if path in ("/quitquitquit", "/drain"):
            return await self._command(request)
        if path.startswith(("/app-health/", "/app-lifecycle/")):
            return await self._probe(request)
        if path == "/debug/ndsz":
            if not request.is_local:
                return text_reply("only from this pod\n", 403)
            return json_reply(self._name_table())
        return text_reply("not found\n", 404)

    async def _ready(self) -> Reply:
        found = await self._readiness.check()
        self._was_ready = found.ready
        return text_reply(found.text(), 200 if found.ready else 503)

    async def _command(self, request: Request) -> Reply:
        if not request.is_local:
            return text_reply("only from this pod\n", 403)
        if request.method != "POST":
            return Reply(405, b"POST is needed\n", [("content-type", "text/plain"), ("allow", "POST")])
        if request.path == "/drain":
            await self._drain()
        else:
            self._end()
        return text_reply("OK\n")

    async def _probe(self, request: Request) -> Reply:
        prober = self._probers.get(request.path)
        if prober is None:
            return text_reply(f"there is no probe {request.path}\n", 400)
        return await probe(prober, request, self._application_ip)

    async def _metrics(self, request: Request) -> Reply:
        self._figures.add("scrapes_total")
        headers = [(name, value) for name, value in request.headers.items() if name in _PASSED_ON]
        within = _scrape_timeout(request.headers.get(_TIMEOUT, ""))
        proxies = [("127.0.0.1", self._admin_port)] if self._admin_port else []
        sources = [self._scrape("envoy", (host,), port, "/stats/prometheus", [], within) for host, port in proxies]
        # An application may listen on the loopback alone, where pilot-agent looks for it, or on the pod's address.
        hosts = tuple(dict.fromkeys(("127.0.0.1", self._application_ip)))
        sources += [self._scrape("application", hosts, port, path, headers, within) for port, path in self._targets]
        pages = await asyncio.gather(*sources)
        proxy = pages[0] if proxies else None
        applications = [page for page in pages[len(proxies) :] if page is not None]
        page = merge(self._figures.render(), proxy, applications)
        return Reply(200, page.body, [("content-type", page.content_type)])

    async def _scrape(
        self, kind: str, hosts: Sequence[str], port: int, path: str, headers: list[tuple[str, str]], within: float
    ) -> Page | None:
        """What the first of the hosts answers that anybody listens on."""
        reply = Reply(0)
        for host in hosts:
            try:
                reply = await fetch(host, port, path, headers=headers, timeout=within)
            except Unreachable:
                continue
            except HttpError:
                pass
            break
        if reply.status != 200:
            self._figures.add("scrape_failures_total", kind)
            return None
        return Page(reply.body, reply.content_type)


def _scrape_timeout(header: str) -> float:
    """Seconds for one source: a little less than Prometheus says that it waits, else what is usual."""
    try:
        seconds = float(header)
    except ValueError:
        return _SCRAPE_WITHIN
    return min(max(seconds * 0.9, 0.1), 60.0) if seconds > 0 else _SCRAPE_WITHIN
