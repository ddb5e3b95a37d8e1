"""Pools that clients make by what they are: those that nobody uses any more don't stay."""

from __future__ import annotations

import asyncio
import random
from types import SimpleNamespace
from typing import Any

import pytest

from meshproxy.address import SocketAddress
from meshproxy.headers import RequestHeaders
from meshproxy.model.cluster import ClusterConfig
from meshproxy.model.endpoint import Endpoint
from meshproxy.model.proxy_header import ProxyHeaderOptions
from meshproxy.plugin.replies import ResetReason
from meshproxy.plugin.stream_info import ConnectionInfo, StreamInfo
from meshproxy.runtime.upstream.cluster import ActiveCluster
from meshproxy.runtime.upstream.connections import http_pool
from meshproxy.runtime_values import NO_RUNTIME
from meshproxy.telemetry.stats import StatsStore


class Sink:
    def __init__(self, client: int) -> None:
        self.stream_info = StreamInfo()
        self.stream_info.connection = ConnectionInfo()
        self.stream_info.connection.remote_address = f"192.0.2.1:{client}"
        self.stream_info.connection.local_address = "192.0.2.2:80"
        self.resets: list[ResetReason] = []

    def on_upstream_reset(self, reason: ResetReason, detail: str) -> None:
        self.resets.append(reason)


def cluster_of_one(log: Any = None) -> ActiveCluster:
    """A cluster whose connections tell who the client is, on the loop that runs."""
    worker: Any = SimpleNamespace(
        runtime=NO_RUNTIME,
        sources_vary=False,
        stats=StatsStore(),
        loop=asyncio.get_running_loop(),
        rng=random.Random(1),
        clock=None,
        log=log,
        measures=lambda: False,
        next_connection_id=lambda: 1,
    )
    endpoint = Endpoint(SocketAddress("127.0.0.1", 1))
    return ActiveCluster(worker, ClusterConfig("c", endpoints=(endpoint,), proxy_header=ProxyHeaderOptions()), None)


async def _refuse(*args: Any) -> None:
    raise ConnectionRefusedError


def test_pools_of_clients_that_are_gone_go_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_pool, "open_connection", _refuse)

    async def serve() -> tuple[int, int]:
        cluster = cluster_of_one()
        (host,) = cluster.hosts()
        for client in range(1, 1001):
            sink: Any = Sink(client)
            cluster.request(host, RequestHeaders(), True, sink)
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            assert sink.resets == [ResetReason.CONNECT_FAILURE]
        return len(cluster.pools.by_key), cluster.limits().connection_pools.active

    pools, counted = asyncio.run(serve())
    assert pools == counted
    assert pools <= 64
