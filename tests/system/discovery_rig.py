"""A program whose resources are in files, a bounded load on it, and what came of each request."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

from .program import Client, Program, free_ports, serving

_T = "type.googleapis.com/envoy.config"
_HCM = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
_ROUTER = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"


class Files:
    """The resources, each kind in a file that is only ever replaced by a move."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.port, self.admin = free_ports(2)

    def put(self, name: str, text: str) -> None:
        """Move a new file to the place of `name`."""
        fresh = self.directory / f"{name}.fresh"
        fresh.write_text(text)
        fresh.rename(self.directory / f"{name}.yaml")

    def source(self, name: str) -> str:
        return f"{{path_config_source: {{path: {self.directory}/{name}.yaml}}}}"

    def bootstrap(self) -> str:
        return f"""
node: {{id: test, cluster: test}}
admin: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {self.admin}}}}}}}
dynamic_resources:
  cds_config: {self.source("cds")}
  lds_config: {self.source("lds")}
"""

    def endpoints(self, version: str, *ports: int, cluster: str = "up") -> None:
        hosts = ", ".join(
            f"{{endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}}}}}"
            for port in ports
        )
        self.put(
            f"eds-{cluster}",
            f"version_info: '{version}'\nresources:\n"
            f"- {{'@type': {_T}.endpoint.v3.ClusterLoadAssignment, cluster_name: {cluster}, "
            f"endpoints: [{{lb_endpoints: [{hosts}]}}]}}\n",
        )

    def clusters(self, version: str, *names: str, timeout: str = "1s") -> None:
        entries = "".join(
            f"- {{'@type': {_T}.cluster.v3.Cluster, name: {name}, type: EDS, connect_timeout: {timeout}, "
            f"eds_cluster_config: {{eds_config: {self.source(f'eds-{name}')}}}}}\n"
            for name in names
        )
        self.put("cds", f"version_info: '{version}'\nresources:\n{entries}")

    def routes(self, version: str, cluster: str = "up") -> None:
        self.put(
            "rds",
            f"version_info: '{version}'\nresources:\n"
            f"- {{'@type': {_T}.route.v3.RouteConfiguration, name: routes, virtual_hosts: [{{name: all, domains: ['*'],"
            f" routes: [{{match: {{prefix: /}}, route: {{cluster: {cluster}, timeout: 0s}}, response_headers_to_add: "
            f"[{{header: {{key: x-routes, value: '{version}'}}}}]}}]}}]}}\n",
        )

    def listener(self, version: str, *, address: str = "127.0.0.1", filters: str = "", more: str = "") -> None:
        self.put(
            "lds",
            f"version_info: '{version}'\nresources:\n"
            f"- {{'@type': {_T}.listener.v3.Listener, name: in, {more}"
            f"address: {{socket_address: {{address: {address}, port_value: {self.port}}}}}, "
            f"filter_chains: [{{filters: [{{name: http, typed_config: {{'@type': {_HCM}, stat_prefix: test, {filters}"
            f"rds: {{route_config_name: routes, config_source: {self.source('rds')}}}, "
            f"http_filters: [{{name: router, typed_config: {{'@type': {_ROUTER}}}}}]}}}}]}}]}}\n",
        )

    def all(self, *ports: int) -> None:
        """A first version of everything."""
        self.endpoints("1", *ports)
        self.clusters("1", "up")
        self.routes("1")
        self.listener("1")


@contextlib.asynccontextmanager
async def discovering(files: Files, *flags: str) -> AsyncIterator[Program]:
    """A program on these files; killed afterwards if it still runs."""
    async with serving(files.directory, files.bootstrap(), files.port, files.admin, *flags) as program:
        yield program


class Load:
    """Clients that send requests one after the other, on connections that they keep, until told to stop.

    failed: what went wrong. A connection that the program said it would close is no failure.
    """

    def __init__(self, port: int, clients: int = 8, pause: float = 0.004) -> None:
        self._port = port
        self._clients = clients
        self._pause = pause
        self._stop = False
        self.done = 0
        self.failed: Counter[str] = Counter()
        self.seen: Counter[str] = Counter()
        self.times: list[float] = []

    async def __aenter__(self) -> Load:
        self._tasks = [asyncio.create_task(self._client()) for _ in range(self._clients)]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._stop = True
        await asyncio.gather(*self._tasks)

    async def reaches(self, count: int, seconds: float = 60.0) -> None:
        """Wait until so many requests were answered well."""
        async with asyncio.timeout(seconds):
            while self.done < count and not self.failed:
                await asyncio.sleep(0.02)

    async def _client(self) -> None:
        client = None
        while not self._stop:
            try:
                if client is None:
                    client = await Client.connect(self._port)
                began = time.perf_counter()
                status, fields, _ = await client.get()
                self.times.append(time.perf_counter() - began)
                self.seen[fields.get("x-routes", "")] += 1
                if status == 200:
                    self.done += 1
                else:
                    self.failed[str(status)] += 1
                if fields.get("connection") == "close":
                    client.close()
                    client = None
            except (OSError, asyncio.IncompleteReadError, TimeoutError) as error:
                self.failed[type(error).__name__] += 1
                client = None
            await asyncio.sleep(self._pause)
