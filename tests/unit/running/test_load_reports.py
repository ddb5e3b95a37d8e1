"""The stream of load reports: what is told, when it ends and when it comes back."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from envoy.config.core.v3 import base_pb2
from envoy.service.load_stats.v3 import lrs_pb2

from meshproxy.model.grpc_service import GrpcService
from meshproxy.runtime.process.configuration import make_logger
from meshproxy.runtime.reporting import load_reports
from meshproxy.telemetry.stats import StatsStore

LOAD = {"service": "", "dropped": 1, "shed": 0, "category": "", "places": {}}


class Call:
    """A stream as the reports see it."""

    def __init__(self) -> None:
        self.sent: list[Any] = []
        self.was_reset = False

    def send(self, data: bytes) -> None:
        self.sent.append(lrs_pb2.LoadStatsRequest.FromString(data))

    def reset(self) -> None:
        self.was_reset = True


class Rig:
    """Reports with a service that a test plays, and workers with one cluster. It is its own host."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.loop = asyncio.get_running_loop()
        self.clusters: Any = None
        self.calls: list[Call] = []
        self.reachable = True
        self.tracked: list[Any] = []
        self.stats = StatsStore()
        monkeypatch.setattr(load_reports, "open_stream", self.open)
        monkeypatch.setattr(load_reports, "_RETRY_S", 0.0)
        node = base_pb2.Node(id="n")
        service = GrpcService("lrs", "lrs")
        self.reports = load_reports.LoadReports(self, service, node, self, self.stats.scope(""), make_logger("main"))

    def open(self, *_: Any) -> Call | None:
        if not self.reachable:
            return None
        self.calls.append(Call())
        return self.calls[-1]

    async def ask(self, command: str, argument: Any = None) -> list[Any]:
        assert command == "track_loads"
        self.tracked.append(argument)
        return [["c"], ["c"]]

    async def loads(self) -> list[Any]:
        return [{"c": {**LOAD}}, {"c": {**LOAD}}]

    def wants(self, *names: str) -> None:
        message = lrs_pb2.LoadStatsResponse(clusters=names, send_all_clusters=not names)
        message.load_reporting_interval.FromMilliseconds(1)
        self.reports.on_message(message.SerializeToString())

    async def sends(self, call: int, reports: int) -> Call:
        """The call has sent so many requests soon."""
        async with asyncio.timeout(10):
            while len(self.calls) <= call or len(self.calls[call].sent) < reports:
                await asyncio.sleep(0)
        return self.calls[call]

    def counted(self, name: str) -> int:
        return self.stats.scope("load_reporter.").counter(name).value


async def test_reports_begin_with_what_the_server_wants(monkeypatch: pytest.MonkeyPatch) -> None:
    rig = Rig(monkeypatch)
    rig.reports.begin()
    call = await rig.sends(0, 1)
    assert not call.sent[0].cluster_stats
    assert list(call.sent[0].node.client_features) == ["envoy.lrs.supports_send_all_clusters"]
    rig.wants()
    await rig.sends(0, 3)
    assert rig.tracked[0] is None
    stats = call.sent[1].cluster_stats[0]
    assert (stats.cluster_name, stats.total_dropped_requests) == ("c", 2)
    assert stats.load_report_interval.ToNanoseconds() > 0
    rig.wants("c", "d", "c")
    await rig.sends(0, 5)
    assert rig.tracked[-1] == ["c", "d"]
    rig.reports.close()
    assert call.was_reset


async def test_a_new_stream_begins_with_what_the_last_one_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    rig = Rig(monkeypatch)
    rig.reports.begin()
    await rig.sends(0, 1)
    rig.wants("c")
    await rig.sends(0, 2)
    rig.reports.on_closed(14, "gone")
    second = await rig.sends(1, 2)
    assert [len(request.cluster_stats) for request in second.sent[:2]] == [1, 1]
    assert second.sent[0].node.id == "n"
    assert (rig.counted("errors"), rig.counted("retries"), rig.counted("requests")) == (1, 1, 1)
    rig.reports.on_closed(0, "")  # in order: no error
    await rig.sends(2, 1)
    assert rig.counted("errors") == 1
    rig.reports.close()


async def test_a_service_out_of_reach_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    rig = Rig(monkeypatch)
    rig.reachable = False
    rig.reports.begin()
    while rig.counted("errors") < 3:
        await asyncio.sleep(0)
    rig.reachable = True
    await rig.sends(0, 1)
    rig.reports.on_message(b"\xff")
    assert rig.calls[0].was_reset
    await rig.sends(1, 1)
    rig.reports.close()
