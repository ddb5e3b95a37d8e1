"""A fault of ours while a connection opens: who waits for it is told that the connect failed, the log tells why."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from meshproxy.headers import RequestHeaders
from meshproxy.plugin.replies import ResetReason
from meshproxy.runtime.upstream.cluster import ActiveCluster
from meshproxy.runtime.upstream.connections import connect
from tests.unit.upstream.test_many_pools import Sink, cluster_of_one


class HeardSink(Sink):
    def __init__(self) -> None:
        super().__init__(1)
        self.over = asyncio.Event()
        self.detail = ""

    def on_upstream_reset(self, reason: ResetReason, detail: str) -> None:
        super().on_upstream_reset(reason, detail)
        self.detail = detail
        self.over.set()

    on_upstream_closed = on_upstream_reset


class Log:
    def __init__(self) -> None:
        self.errors: list[tuple[str, Any]] = []

    def error(self, event: str, **fields: Any) -> None:
        self.errors.append((event, fields["exc_info"]))


async def _raise(*args: Any) -> None:
    raise ValueError("a fault")


def _ask(cluster: ActiveCluster, sink: Any) -> None:
    cluster.request(cluster.hosts()[0], RequestHeaders(), True, sink)


def _connect(cluster: ActiveCluster, sink: Any) -> None:
    cluster.connect(cluster.hosts()[0], sink)


@pytest.mark.parametrize("begin", [_ask, _connect])
def test_ends_as_a_connect_failure(
    begin: Callable[[ActiveCluster, Any], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connect, "_connect", _raise)

    async def serve() -> None:
        log, sink = Log(), HeardSink()
        cluster = cluster_of_one(log)
        begin(cluster, sink)
        await asyncio.wait_for(sink.over.wait(), 5)
        assert sink.resets == [ResetReason.CONNECT_FAILURE]
        assert sink.detail == "internal error"
        assert [(event, str(error)) for event, error in log.errors] == [("connecting raised", "a fault")]
        assert cluster.limits().connections.active == 0
        assert cluster.stats.upstream_cx_connect_fail.value == 1

    asyncio.run(serve())
