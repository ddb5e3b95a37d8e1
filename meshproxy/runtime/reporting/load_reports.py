"""Load reports to a management server (envoy.service.load_stats.v3.LoadReportingService).

    stream opens -> who we are                                -> the server says what it wants to know, and how often
    each interval, and when a stream opens anew               -> the loads of those clusters since the last report

It runs where the configuration is owned: in the one process, or in the parent of workers, which asks all of them. The
stream is opened again five seconds after its end, whatever that was (Envoy: the same); what the server wanted last
holds until it wants something else.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol

from google.protobuf.message import DecodeError

from meshproxy.balance.load_window import ClusterLoad, add_hosts, add_loads
from meshproxy.model.grpc_service import GrpcService
from meshproxy.plugin.context import Logger
from meshproxy.plugin.stats import StatsScope
from meshproxy.runtime.fetch import Fetcher
from meshproxy.runtime.grpc_client import OK, GrpcStream, open_stream
from meshproxy.telemetry.load_stats import SENDS_ALL_CLUSTERS, Order, encode_report

_METHOD = "/envoy.service.load_stats.v3.LoadReportingService/StreamLoadStats"
_RETRY_S = 5.0
_SHORTEST_S = 0.01
"""Between two reports: a server that names no interval would keep us busy with nothing else."""


class Workers(Protocol):
    """What of `meshproxy.runtime.workers.fleet.WorkerFleet` is used here."""

    async def ask(self, command: str, argument: Any = None) -> list[Any]: ...
    async def loads(self) -> list[dict[str, ClusterLoad]]: ...


class LoadReports:
    """The reports of one program. host: reaches the service. node: who we are (envoy.config.core.v3.Node)."""

    def __init__(
        self, host: Fetcher, service: GrpcService, node: Any, workers: Workers, stats: StatsScope, log: Logger
    ) -> None:
        self._host = host
        self._service = service
        self._workers = workers
        self._log = log
        self._node = type(node)()
        self._node.CopyFrom(node)
        self._node.client_features.append(SENDS_ALL_CLUSTERS)
        self._stream: GrpcStream | None = None
        self._order: Order | None = None
        self._since: dict[str, float] = {}  # by cluster: when its report begins
        self._timer: asyncio.TimerHandle | None = None
        self._working = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False
        scope = stats.scope("load_reporter.")
        self._requests = scope.counter("requests")
        self._responses = scope.counter("responses")
        self._errors = scope.counter("errors")
        self._retries = scope.counter("retries")

    def begin(self) -> None:
        """Open the stream."""
        self._stream = open_stream(self._host, self._service, _METHOD, self)
        if self._stream is None:
            self.on_closed(14, f"no host of cluster '{self._service.cluster}' is there")
        else:
            self._work(self._report)

    def close(self) -> None:
        """Report no more."""
        self._closed = True
        self._plan(None, None)
        for task in self._tasks:
            task.cancel()
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.reset()

    def _plan(self, delay: float | None, call: Callable[[], object] | None) -> None:
        """The one thing that is to be done next, by the clock."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if delay is not None and call is not None and not self._closed:
            self._timer = self._host.loop.call_later(delay, call)

    def _work(self, step: Callable[[], Awaitable[None]]) -> None:
        """Do something that takes turns of the loop, after what is being done."""
        task = self._host.loop.create_task(self._in_order(step))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _in_order(self, step: Callable[[], Awaitable[None]]) -> None:
        async with self._working:
            await step()

    async def _report(self) -> None:
        """Send what there is, and begin to count anew."""
        order, loop = self._order, self._host.loop
        loads = add_loads(await self._workers.loads()) if self._since else {}
        stream = self._stream
        if stream is None:
            return
        now = loop.time()
        seconds = {name: now - self._since.get(name, now) for name in loads}
        self._since.update(dict.fromkeys(loads, now))
        by_endpoint = order is not None and order.by_endpoint
        stream.send(encode_report(self._node, loads, seconds, add_hosts, by_endpoint=by_endpoint))
        self._responses.inc()
        if order is not None:
            await self._begin_period()

    async def _begin_period(self) -> None:
        """Count for the clusters that are wanted, until the next report is due."""
        order = self._order
        assert order is not None
        answers: Sequence[list[str]] = await self._workers.ask("track_loads", order.clusters)
        names = order.clusters if order.clusters is not None else [name for answer in answers for name in answer]
        now = self._host.loop.time()
        self._since = {name: self._since.get(name, now) for name in names}
        if self._stream is not None:
            self._plan(max(order.interval, _SHORTEST_S), self._interval_over)

    def _interval_over(self) -> None:
        self._timer = None
        self._work(self._report)

    def on_message(self, data: bytes) -> None:
        """The server says what it wants."""
        try:
            self._order = Order(data)
        except DecodeError:
            if self._stream is not None:
                self._stream.reset()
            self.on_closed(13, "what came is no response")
            return
        self._requests.inc()
        self._work(self._begin_period)

    def on_closed(self, status: int, message: str) -> None:
        """The stream is over; another one is opened after a while."""
        self._stream = None
        if status != OK:
            self._errors.inc()
            self._log.warning(
                "stream of load reports closed", cluster=self._service.cluster, status=status, message=message
            )
        self._plan(_RETRY_S, self._retry)

    def _retry(self) -> None:
        self._timer = None
        self._retries.inc()
        self.begin()
