"""A mesh of 2,000 clusters, 2,000 routes and 20,000 endpoints: until it serves, what it takes, what one change costs.

`python -m tests.discovery.scale [--clusters N] [static|ads ...]` prints a line for Envoy and one for meshproxy, run one
after the other. `static`: all of it in the bootstrap; `ads`: all of it from a management server, clusters, endpoints,
listener and routes each in one push. Processor time is the program's own until it is ready.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

from envoy.config.route.v3 import route_pb2
from envoy.extensions.upstreams.http.v3 import http_protocol_options_pb2  # noqa: F401  # to be packed by name
from google.protobuf import json_format

from tests.discovery.ads_server import URLS, AdsServer, Stream
from tests.discovery.resources import cluster, endpoints, listener
from tests.discovery.subjects import ads_bootstrap, running, socket_address
from tests.discovery.web import web_server
from tests.system.program import Program, free_ports

HOSTS = 10
_TICKS = os.sysconf("SC_CLK_TCK")
_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
_HCM = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
_ROUTER = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"


def fields_of_cluster() -> dict[str, Any]:
    """What a control plane says of each cluster."""
    return {
        "circuit_breakers": {"thresholds": [{"max_connections": 4096, "max_requests": 4096, "max_retries": 100}]},
        "typed_extension_protocol_options": {
            _OPTIONS: {
                "@type": f"type.googleapis.com/{_OPTIONS}",
                "explicit_http_config": {"http_protocol_options": {}},
                "common_http_protocol_options": {"idle_timeout": "60s"},
            }
        },
        "metadata": {"filter_metadata": {"istio": {"services": [{"host": "web.default", "name": "web"}]}}},
        "common_lb_config": {"healthy_panic_threshold": {}},
        "outlier_detection": {"consecutive_5xx": 5, "interval": "10s"},
    }


def assignment(number: int, port: int, hosts: int = HOSTS) -> Any:
    """The endpoints of one cluster: the first one answers, the others are addresses of nobody. The first cluster, to
    which requests go, has no others.
    """
    message = endpoints(f"outbound|80||s{number}.default.svc", port)
    group = message.endpoints[0]
    group.locality.region, group.locality.zone = "r1", f"z{number % 3}"
    for host in range(1, hosts if number else 1):
        address = group.lb_endpoints.add().endpoint.address.socket_address
        address.address, address.port_value = f"127.{1 + host}.{number // 250}.{1 + number % 250}", 8080
    for one in group.lb_endpoints:
        one.load_balancing_weight.value = 1
        one.metadata.filter_metadata["istio"].update({"workload": f"web-{number};default;web;v1;Kubernetes"})
    return message


def name_of(number: int) -> str:
    return f"outbound|80||s{number}.default.svc"


def routes_of(count: int) -> Any:
    """A virtual host with a route for each cluster; any other host leads to the first one."""
    message = route_pb2.RouteConfiguration()
    hosts = [
        {
            "name": f"s{number}",
            "domains": [f"s{number}", f"s{number}.default.svc", f"s{number}.default.svc:80"],
            "routes": [
                {
                    "match": {"prefix": "/"},
                    "route": {
                        "cluster": name_of(number),
                        "timeout": "0s",
                        "retry_policy": {"retry_on": "connect-failure,refused-stream", "num_retries": 2},
                    },
                }
            ],
        }
        for number in range(count)
    ]
    hosts.append(
        {"name": "any", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, "route": {"cluster": name_of(0)}}]}
    )
    return json_format.ParseDict({"name": "r1", "virtual_hosts": hosts, "validate_clusters": False}, message)


def static_bootstrap(admin: int, port: int, upstream: int, count: int) -> dict[str, Any]:
    """Everything in one file."""
    clusters = []
    for number in range(count):
        load = json_format.MessageToDict(assignment(number, upstream), preserving_proto_field_name=True)
        clusters.append(
            {
                "name": name_of(number),
                "type": "STATIC",
                "connect_timeout": "10s",
                "load_assignment": load,
                **fields_of_cluster(),
            }
        )
    manager = {
        "@type": _HCM,
        "stat_prefix": "a",
        "route_config": json_format.MessageToDict(routes_of(count), preserving_proto_field_name=True),
        "http_filters": [{"name": "router", "typed_config": {"@type": _ROUTER}}],
    }
    front = {
        "name": "a",
        "address": socket_address("127.0.0.1", port),
        "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}],
    }
    return {
        "node": {"id": "n1", "cluster": "c1"},
        "admin": {"address": socket_address("127.0.0.1", admin)},
        "static_resources": {"clusters": clusters, "listeners": [front]},
    }


class Plane:
    """A management server that answers each first request with all there is."""

    def __init__(self, server: AdsServer, state: dict[str, list[Any]]) -> None:
        self.server = server
        self.state = state
        self.number = 0
        self.stream: Stream | None = None
        self.refused: list[str] = []
        self.heard = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        server.on_stream = self._begin

    def _begin(self, stream: Stream) -> None:
        self.stream = stream
        task = asyncio.ensure_future(self._serve(stream))
        self._tasks.add(task)

    async def _serve(self, stream: Stream) -> None:
        while not stream.ended.is_set():
            try:
                request = await stream.request(1.0)
            except TimeoutError:
                continue
            if request.HasField("error_detail"):
                self.refused.append(request.error_detail.message)
            elif not request.response_nonce:
                label = next(label for label, url in URLS.items() if url == request.type_url)
                self.push(label, self.state[label])
            else:
                self.heard.set()

    def push(self, label: str, resources: list[Any]) -> None:
        assert self.stream is not None
        self.number += 1
        self.stream.answer(label, f"v{self.number}", f"n{self.number}", resources)

    def close(self) -> None:
        for task in self._tasks:
            task.cancel()


def processor_time(program: Program) -> float:
    """Seconds that the program has had."""
    fields = Path(f"/proc/{program.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def memory(program: Program) -> float:
    """Its resident memory in MB."""
    for line in Path(f"/proc/{program.pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    return 0.0


async def ready(program: Program, port: int, seconds: float = 120.0) -> None:
    """Wait until a request comes through."""
    async with asyncio.timeout(seconds):
        while True:
            assert program.process.returncode is None, program.output()[-3000:]
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.write(b"GET / HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n")
                answer = await reader.read()
                writer.close()
                if answer.startswith(b"HTTP/1.1 200"):
                    return
            except OSError:
                pass
            await asyncio.sleep(0.02)


async def _loaded(port: int, trouble: Callable[[], Awaitable[object]]) -> tuple[float, float]:
    """p99 and maximum in milliseconds of 200 requests a second while something happens."""
    command = (sys.executable, "-m", "tests.discovery.load", str(port), "8", "4", "200")
    load = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    await asyncio.sleep(1)
    await trouble()
    out, _ = await load.communicate()
    outcome = json.loads(out)
    assert not outcome["failed"], outcome
    return outcome["p99"], outcome["max"]


async def stalls(program: Program, port: int, plane: Plane | None, found: dict[str, float]) -> None:
    """For how long requests are held up while somebody looks at everything, or everything is pushed again."""

    async def page(path: str) -> None:
        for _ in range(3):
            assert (await program.ask(path))[0] == 200

    async def pushes() -> None:
        assert plane is not None
        for label in ("CDS", "EDS"):
            changed = [type(one).FromString(one.SerializeToString()) for one in plane.state[label]]
            for one in changed:
                if label == "CDS":
                    one.connect_timeout.seconds += 1
                else:
                    one.endpoints[0].lb_endpoints[0].load_balancing_weight.value += 1
            plane.push(label, changed)
        await asyncio.sleep(2)

    troubles: dict[str, Callable[[], Awaitable[object]]] = {"quiet": lambda: asyncio.sleep(0)}
    for path in ("/config_dump", "/clusters", "/clusters?format=json", "/stats", "/stats/prometheus"):
        troubles[path] = partial(page, path)
    if plane is not None:
        troubles["everything pushed"] = pushes
    for name, trouble in troubles.items():
        p99, highest = await _loaded(port, trouble)
        found[f"{name} p99 ms"], found[f"{name} max ms"] = p99, highest


async def measure(kind: str, how: str, count: int, options: argparse.Namespace) -> dict[str, float]:
    """One program, one way."""
    admin, port = free_ports(2)
    server = AdsServer()
    await server.start()
    found: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        async with web_server() as upstream:
            plane = None
            if how == "static":
                config = static_bootstrap(admin, port, upstream, count)
            else:
                api = "DELTA_GRPC" if how == "delta" else "GRPC"
                config = ads_bootstrap(admin, server.address, api)
                state = {
                    "CDS": [cluster(name_of(number), **fields_of_cluster()) for number in range(count)],
                    "EDS": [assignment(number, upstream) for number in range(count)],
                    "LDS": [listener("a", port, "r1")],
                    "RDS": [routes_of(count)],
                }
                plane = Plane(server, state)
            began = time.monotonic()
            async with running(kind, config, Path(folder)) as program:
                await ready(program, port)
                found["ready s"] = time.monotonic() - began
                found["cpu s"] = processor_time(program)
                await asyncio.sleep(1)
                found["memory MB"] = memory(program)
                if options.stalls:
                    await stalls(program, port, plane, found)
                if plane is not None:
                    before = processor_time(program)
                    took = 0.0
                    for turn in range(1, 21):
                        plane.heard.clear()
                        began = time.monotonic()
                        plane.push("EDS", [assignment(turn, upstream, HOSTS + 1)])
                        await asyncio.wait_for(plane.heard.wait(), 30)
                        took += time.monotonic() - began
                    found["change ms"] = took / 20 * 1000
                    found["change cpu ms"] = (processor_time(program) - before) / 20 * 1000
                    assert not plane.refused, plane.refused[0][:500]
                    plane.close()
    await server.stop()
    return found


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ways", nargs="*", default=["static", "ads"])
    parser.add_argument("--clusters", type=int, default=2000)
    parser.add_argument("--programs", nargs="*", default=["envoy", "meshproxy"])
    parser.add_argument("--stalls", action="store_true", help="also how long requests are held up")
    options = parser.parse_args()
    for how in options.ways:
        for kind in options.programs:
            found = await measure(kind, how, options.clusters, options)
            figures = ", ".join(f"{name} {value:.2f}" for name, value in found.items())
            print(f"{how:7} {kind:10} {figures}", flush=True)


if __name__ == "__main__":
    asyncio.run(main())
