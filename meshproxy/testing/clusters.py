"""Clusters by script: what a filter's own calls, and a TCP proxy's connections, are answered with.

A test says beforehand what a cluster does (`returns`, `converses`, `hangs`, `fails`), and looks afterwards at what it
was sent (`requests`, `connections`). Hosts, limits and statistics are those of the plugin API, so that a filter can't
tell such a cluster from a live one; there are no sockets, and time passes when the test lets it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import field
from typing import Any

from meshproxy.headers import RequestHeaders
from meshproxy.model.cluster import ClusterConfig
from meshproxy.model.forwarding import DnsCacheOptions
from meshproxy.model.proxy_header import ProxyHeaderOptions
from meshproxy.plugin.replies import LocalReply, ResetReason
from meshproxy.plugin.stats import StatsScope
from meshproxy.plugin.stream_info import StreamInfo
from meshproxy.plugin.upstream import (
    Cluster,
    CopySpan,
    Host,
    HostChecks,
    HostChoice,
    HostLoads,
    HostMonitor,
    HttpUpstream,
    HttpUpstreamSink,
    TcpUpstream,
    TcpUpstreamSink,
)
from meshproxy.records import dataclass
from meshproxy.runtime.upstream.cluster_stats import LiveClusterStats
from meshproxy.testing.loop import SteppedLoop
from meshproxy.testing.scripted_request import Answer, Fields, Nobody, Received, ScriptedRequest, pairs
from meshproxy.testing.scripted_tcp import ScriptedTcpUpstream


@dataclass(slots=True)
class ScriptedHost:
    """An endpoint that isn't there."""

    text: str = "192.0.2.1:80"
    hostname: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    priority: int = 0
    rq_error: int = 0
    rq_success: int = 0
    rq_timeout: int = 0
    monitor: HostMonitor | None = None
    checked: HostChecks | None = None
    loads: HostLoads | None = None


class ScriptedCluster(Cluster):
    """A cluster that does what a test tells it. At first it answers every request with an empty 200.

    requests: what it was sent. connections: raw connections that were opened to it.
    """

    def __init__(self, name: str, loop: SteppedLoop, stats: StatsScope) -> None:
        self.name = name
        self.config = ClusterConfig(name)
        self.tls = None
        self.stats = LiveClusterStats(stats.scope(f"cluster.{name}."))
        self.requests: list[Received] = []
        self.connections: list[ScriptedTcpUpstream] = []
        self._loop = loop
        self._host: Host | None = ScriptedHost()
        self._answer: Callable[[Received], Answer] = lambda _: Answer(200)
        self._conversation: Callable[[bytes], Sequence[bytes] | None] | None = None
        self._connect_fault: tuple[ResetReason, str] | None = None
        self._connects = True
        self._membership = (1, 1, 0)

    # The script. Each returns the cluster, so that calls can be chained.

    def returns(
        self, status: int = 200, headers: Fields = (), body: bytes = b"", *, after: float = 0.0
    ) -> ScriptedCluster:
        """Answer every request so, `after` seconds."""
        answer = Answer(status, pairs(headers), body, after=after)
        self._answer = lambda _: answer
        return self

    def answers(self, answer: Callable[[Received], Answer]) -> ScriptedCluster:
        """Answer each request as `answer` says, once it is complete."""
        self._answer = answer
        return self

    def returns_grpc(self, message: bytes = b"", status: int = 0, *, after: float = 0.0) -> ScriptedCluster:
        """Answer every gRPC call with a serialised message, or with a status other than 0."""
        body = b"\0" + len(message).to_bytes(4, "big") + message if status == 0 else b""
        head = [("content-type", "application/grpc")]
        answer = Answer(200, head, body, trailers=[("grpc-status", str(status))], after=after)
        self._answer = lambda _: answer
        return self

    def converses(self, answer: Callable[[bytes], Sequence[bytes] | None]) -> ScriptedCluster:
        """Answer each message of a gRPC call with these messages, at once; None ends the call in order."""
        self._conversation = answer
        return self

    def hangs(self) -> ScriptedCluster:
        """Take requests and never answer; accept no connection."""
        self._answer = lambda _: Answer()
        self._connects = False
        return self

    def fails(self, reason: ResetReason = ResetReason.CONNECT_FAILURE, detail: str = "") -> ScriptedCluster:
        """Reset every request, and fail every connection, for this reason."""
        self._answer = lambda _: Answer(reset=reason, detail=detail)
        self._connect_fault = reason, detail
        return self

    def has_hosts(self, total: int, healthy: int, degraded: int = 0) -> ScriptedCluster:
        """How many hosts there are; without one that is healthy or degraded none can be picked."""
        self._membership = total, healthy, degraded
        self._host = ScriptedHost() if healthy + degraded else None
        return self

    # The cluster.

    def pick(self, stream: StreamInfo, choice: HostChoice | None = None) -> Host | None:
        return self._host

    def membership(self) -> tuple[int, int, int]:
        return self._membership

    def request(
        self,
        host: Host,
        request: RequestHeaders,
        end: bool,
        sink: HttpUpstreamSink,
        *,
        priority: str = "DEFAULT",
        protocol: str = "",
        alpn: str = "",
    ) -> HttpUpstream:
        copy = RequestHeaders(request.method, request.path, request.authority, request.scheme, request.items())
        received = Received(copy, complete=end)
        self.requests.append(received)
        upstream = ScriptedRequest(host, received, sink, self._loop)
        upstream.conversation = self._conversation
        if end:
            self._loop.call_soon(self._reply, upstream)
        else:
            upstream.on_complete = lambda: self._loop.call_soon(self._reply, upstream)
        return upstream

    def _reply(self, upstream: ScriptedRequest) -> None:
        answer = self._answer(upstream.received)
        self._loop.call_later(answer.after, upstream.answer, answer)

    def connect(self, host: Host, sink: TcpUpstreamSink, *, header: ProxyHeaderOptions | None = None) -> TcpUpstream:
        upstream = ScriptedTcpUpstream(host, sink)
        self.connections.append(upstream)
        if self._connect_fault is not None:
            self._loop.call_soon(upstream.close_by_peer, *self._connect_fault)
        elif self._connects:
            self._loop.call_soon(upstream.connected)
        return upstream

    def mirror(
        self, request: RequestHeaders, end: bool, *, timeout: float, span: CopySpan | None = None
    ) -> HttpUpstream | None:
        if self._host is None:
            return None
        return self.request(self._host, request, end, Nobody())

    def try_retry(self, priority: str = "DEFAULT") -> bool:
        return True

    def end_retry(self, priority: str = "DEFAULT") -> None:
        """There is no budget."""


class ScriptedNames:
    """A DNS cache (the plugin API's `NameCache`) in which every name has an address, except those of `failures`."""

    def __init__(self) -> None:
        self.failures: dict[str, LocalReply] = {}
        self.asked: list[tuple[str, int]] = []

    def prepare(self, authority: str, default_port: int) -> LocalReply | None:
        self.asked.append((authority, default_port))
        return self.failures.get(authority)


class ScriptedClusters:
    """Clusters by name (the plugin API's `ClusterManager`); one that no test asked for isn't there.

    names: every DNS cache.
    """

    def __init__(self, loop: SteppedLoop, stats: StatsScope) -> None:
        self._loop = loop
        self._stats = stats
        self._clusters: dict[str, ScriptedCluster] = {}
        self.names = ScriptedNames()

    def name_cache(self, options: DnsCacheOptions) -> ScriptedNames:
        return self.names

    def get(self, name: str) -> ScriptedCluster | None:
        return self._clusters.get(name)

    def ensure(self, name: str) -> ScriptedCluster:
        """The cluster of this name, made if need be."""
        if name not in self._clusters:
            self._clusters[name] = ScriptedCluster(name, self._loop, self._stats)
        return self._clusters[name]
