"""Load reports: what both programs tell a management server of the same requests."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Any

import pytest
from envoy.service.load_stats.v3 import lrs_pb2

from tests.discovery.ads_server import AdsServer, Stream
from tests.discovery.dialogue import PATIENCE_S, Dialogue
from tests.discovery.subjects import management_cluster, running, socket_address
from tests.discovery.web import web_server
from tests.system.program import free_ports

KINDS = ["meshproxy", pytest.param("envoy", marks=pytest.mark.envoy)]
_HTTP = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
_ROUTER = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"
_TCP = "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy"
_REPORT = (
    'endpoint-load-metrics: JSON {"cpu_utilization": 0.5, "named_metrics": {"queue": 3}, "request_cost": {"db": 2}}\r\n'
)
_CLUSTERS = ("localities", "limited", "shed", "closed", "named", "raw", "slow")


def _place(zone: str, *ports: int, priority: int = 0) -> dict[str, Any]:
    return {
        "locality": {"region": "r", "zone": zone},
        "priority": priority,
        "load_balancing_weight": 1,
        "lb_endpoints": [{"endpoint": {"address": socket_address("127.0.0.1", port)}} for port in ports],
    }


def _cluster(name: str, *places: dict[str, Any], **more: Any) -> dict[str, Any]:
    policy = more.pop("policy", {})
    assignment = {"cluster_name": name, "endpoints": list(places), "policy": policy}
    return {"name": name, "connect_timeout": "1s", "load_assignment": assignment, **more}


def _config(admin: int, server: str, front: int, raw: int, hosts: dict[str, int], folder: Path) -> dict[str, Any]:
    """One listener whose paths are the names of clusters, and one that passes bytes on."""
    shed = {"drop_overloads": [{"category": "too much", "drop_percentage": {"numerator": 100}}]}
    assignment = folder / "eds.yaml"
    assignment.write_text(
        "resources:\n- '@type': type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment\n"
        "  cluster_name: other\n  endpoints:\n  - lb_endpoints:\n    - endpoint: {address: {socket_address: "
        f"{{address: 127.0.0.1, port_value: {hosts['good']}}}}}}}\n"
    )
    clusters = [
        management_cluster("lrs", server),
        _cluster(
            "localities",
            _place("a", hosts["good"], hosts["bad"]),
            _place("b", hosts["gone"], priority=1),
            lrs_report_endpoint_metrics=["cpu_utilization", "named_metrics.*", "request_cost.db", "eps"],
        ),
        _cluster("limited", _place("a", hosts["good"]), circuit_breakers={"thresholds": [{"max_pending_requests": 0}]}),
        _cluster("shed", _place("a", hosts["good"]), policy=shed, lrs_server={"self": {}}),
        _cluster("closed", _place("a", hosts["good"])),
        {
            "name": "named",
            "type": "EDS",
            "eds_cluster_config": {
                "service_name": "other",
                "eds_config": {"path_config_source": {"path": str(assignment)}, "initial_fetch_timeout": "0s"},
            },
        },
        _cluster("raw", _place("a", hosts["good"])),
        _cluster("slow", _place("a", hosts["slow"])),
        {
            "name": "aimed",
            "type": "ORIGINAL_DST",
            "lb_policy": "CLUSTER_PROVIDED",
            "original_dst_lb_config": {"use_http_header": True},
        },
    ]
    routes = [
        {"match": {"prefix": f"/{cluster['name']}"}, "route": {"cluster": cluster["name"], "timeout": "0s"}}
        for cluster in clusters
    ]
    manager = {
        "@type": _HTTP,
        "stat_prefix": "s",
        "route_config": {"virtual_hosts": [{"name": "v", "domains": ["*"], "routes": routes}]},
        "http_filters": [{"name": "envoy.filters.http.router", "typed_config": {"@type": _ROUTER}}],
    }
    filters = {
        front: {"name": "envoy.filters.network.http_connection_manager", "typed_config": manager},
        raw: {
            "name": "envoy.filters.network.tcp_proxy",
            "typed_config": {"@type": _TCP, "stat_prefix": "t", "cluster": "raw"},
        },
    }
    return {
        "node": {"id": "n", "cluster": "c", "locality": {"zone": "a"}},
        "admin": {"address": socket_address("127.0.0.1", admin)},
        "layered_runtime": {"layers": [{"name": "s", "static_layer": {"upstream.maintenance_mode.closed": 100}}]},
        "cluster_manager": {
            "load_stats_config": {
                "api_type": "GRPC",
                "transport_api_version": "V3",
                "grpc_services": [{"envoy_grpc": {"cluster_name": "lrs"}}],
            }
        },
        "static_resources": {
            "clusters": clusters,
            "listeners": [
                {"name": str(port), "address": socket_address("127.0.0.1", port), "filter_chains": [{"filters": [one]}]}
                for port, one in filters.items()
            ],
        },
    }


class Reports:
    """What a program tells, added up."""

    def __init__(self, stream: Stream, hosts: dict[str, int]) -> None:
        self._stream = stream
        self._names = {port: name for name, port in hosts.items()}
        self.clusters: set[str] = set()
        self.counts: dict[str, float] = {}
        self.seconds: dict[str, float] = {}

    async def next(self) -> None:
        """One more report."""
        request = await self._stream.request(PATIENCE_S)
        for stats in request.cluster_stats:
            name = stats.cluster_name + (f"/{stats.cluster_service_name}" if stats.cluster_service_name else "")
            self.clusters.add(name)
            self.seconds[name] = self.seconds.get(name, 0.0) + stats.load_report_interval.ToMicroseconds() / 1e6
            self._add(f"{name} dropped", stats.total_dropped_requests)
            for dropped in stats.dropped_requests:
                self._add(f"{name} dropped as {dropped.category}", dropped.dropped_count)
            for place in stats.upstream_locality_stats:
                where = f"{name} {place.priority} {place.locality.region}/{place.locality.zone}"
                self._note(where, place)
                for endpoint in place.upstream_endpoint_stats:
                    port = endpoint.address.socket_address.port_value
                    self._note(f"{where} {self._names.get(port, port)}", endpoint)

    def _note(self, where: str, load: Any) -> None:
        self._add(f"{where} succeeded", load.total_successful_requests)
        self._add(f"{where} failed", load.total_error_requests)
        self._add(f"{where} begun", load.total_issued_requests)
        if load.total_requests_in_progress:
            self.counts[f"{where} under way"] = load.total_requests_in_progress
        for metric in load.load_metric_stats:
            self._add(f"{where} had {metric.metric_name}", metric.num_requests_finished_with_metric)
            self._add(f"{where} sum of {metric.metric_name}", metric.total_metric_value)

    def _add(self, what: str, number: float) -> None:
        if number:
            self.counts[what] = self.counts.get(what, 0) + number

    async def until(self, expected: dict[str, float]) -> None:
        """The sums are these soon, and stay."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE_S):
                while any(self.counts.get(what, 0) < number for what, number in expected.items()):
                    await self.next()
        await self.next()
        assert sorted(self.counts.items()) == sorted(expected.items())


def order(*clusters: str, by_endpoint: bool = False) -> lrs_pb2.LoadStatsResponse:
    """What a server wants; without names: of every cluster."""
    wanted = lrs_pb2.LoadStatsResponse(
        clusters=clusters, send_all_clusters=not clusters, report_endpoint_granularity=by_endpoint
    )
    wanted.load_reporting_interval.FromMilliseconds(100)
    return wanted


@contextlib.asynccontextmanager
async def _hanging() -> AsyncIterator[int]:
    """The port of a server that never answers."""
    writers = []

    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]
        for writer in writers:
            writer.close()


async def _ask(talk: Dialogue, port: int, statuses: Iterable[tuple[str, int]]) -> None:
    for path, status in statuses:
        assert (await talk.get(port, path))[0] == status, path


_PLACE = "localities 0 r/a"
_OWN = {"lrs 0 / under way": 1, "lrs 0 / lrs under way": 1}
_METRICS = {"cpu_utilization": 0.5, "named_metrics.queue": 3.0, "request_cost.db": 2.0, "eps": 0.0}


def _expected() -> dict[str, float]:
    found: dict[str, float] = {
        **_OWN,
        "limited dropped": 2,
        "shed dropped": 3,
        "shed dropped as too much": 3,
        "closed dropped": 1,
        "named/other 0 / succeeded": 1,
        "named/other 0 / begun": 1,
        "named/other 0 / good succeeded": 1,
        "named/other 0 / good begun": 1,
        "slow 0 r/a begun": 1,
        "slow 0 r/a slow begun": 1,
        "slow 0 r/a under way": 1,
        "slow 0 r/a slow under way": 1,
    }
    for where, good, bad in ((_PLACE, 2, 2), (f"{_PLACE} good", 2, 0), (f"{_PLACE} bad", 0, 2)):
        found |= {f"{where} succeeded": good, f"{where} failed": bad, f"{where} begun": good + bad}
        if good:
            found |= {f"{where} had {name}": good for name in _METRICS}
            found |= {f"{where} sum of {name}": good * value for name, value in _METRICS.items()}
    return {what: number for what, number in found.items() if number}


@pytest.mark.parametrize("kind", KINDS)
async def test_load_is_told(kind: str, tmp_path: Path) -> None:
    server = AdsServer()
    await server.start()
    try:
        await _load_is_told(kind, server, tmp_path)
    finally:
        await server.stop()


async def _load_is_told(kind: str, server: AdsServer, tmp_path: Path) -> None:
    admin, front, raw, gone = free_ports(4)
    async with web_server(head=_REPORT) as good, web_server(status="500 No") as bad, _hanging() as slow:
        hosts = {"good": good, "bad": bad, "gone": gone, "slow": slow, "lrs": server.port}
        config = _config(admin, server.address, front, raw, hosts, tmp_path)
        async with running(kind, config, tmp_path) as program:
            talk = Dialogue(kind, False, server, program, [front, raw], good)
            await talk.connected()
            hello = await talk.stream.request(PATIENCE_S)
            assert (hello.node.id, hello.node.locality.zone) == ("n", "a")
            assert "envoy.lrs.supports_send_all_clusters" in hello.node.client_features
            assert not hello.cluster_stats
            await talk.becomes_ready()
            await _ask(talk, front, [("/named", 200)])  # before anybody asked: not told
            talk.stream.send(order(by_endpoint=True))
            reports = Reports(talk.stream, hosts)
            await reports.next()
            assert reports.counts == _OWN
            assert reports.clusters == {"lrs", "aimed", "named/other", *_CLUSTERS} - {"named"}
            assert sorted([(await talk.get(front, "/localities"))[0] for _ in range(4)]) == [200, 200, 500, 500]
            await _ask(
                talk, front, [*[("/limited", 503)] * 2, *[("/shed", 503)] * 3, ("/closed", 503), ("/named", 200)]
            )
            waiting = asyncio.ensure_future(talk.get(front, "/slow"))
            began = asyncio.get_running_loop().time()
            await reports.until(_expected())
            passed = asyncio.get_running_loop().time() - began
            assert len(set(map(round, reports.seconds.values()))) == 1
            assert 0 < reports.seconds["shed"] < passed + PATIENCE_S
            waiting.cancel()
            assert await talk.statistic("load_reporter.requests") == 1
            assert await talk.statistic("load_reporter.responses") > 2
            assert await talk.statistic("load_reporter.errors") == 0
