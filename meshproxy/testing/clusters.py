"""Clusters by script: what a filter's own calls, and a TCP proxy's connections, are answered with."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import field
from typing import Any

from meshproxy.headers import Headers, RequestHeaders, ResponseHeaders
from meshproxy.model.cluster import ClusterConfig
from meshproxy.model.forwarding import DnsCacheOptions
from meshproxy.model.proxy_header import ProxyHeaderOptions
from meshproxy.plugin.replies import LocalReply, ResetReason
from meshproxy.plugin.stats import StatsScope
from meshproxy.plugin.stream_info import StreamInfo
from meshproxy.plugin.upstream import (
    Cluster,
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
from meshproxy.runtime.cluster_stats import LiveClusterStats
from meshproxy.testing.loop import SteppedLoop

Fields = Mapping[str, str] | Sequence[tuple[str, str]]


def pairs(fields: Fields) -> list[tuple[str, str]]:
    """Header fields in either notation, as a list."""
    return list(fields.items()) if isinstance(fields, Mapping) else list(fields)


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


@dataclass(slots=True)
class Answer:
    """What a request is answered with: a response, or a reset, or (both None) nothing."""

    status: int | None = None
    headers: Sequence[tuple[str, str]] = ()
    body: bytes = b""
    trailers: Sequence[tuple[str, str]] = ()
    reset: ResetReason | None = None
    detail: str = ""
    after: float = 0.0


@dataclass(slots=True)
class Received:
    """A request that a scripted cluster was sent."""

    headers: RequestHeaders
    body: bytes = b""
    trailers: Headers | None = None
    complete: bool = False
    was_reset: bool = False

    @property
    def grpc_message(self) -> bytes:
        """The serialised message of a gRPC call."""
        return self.body[5:]

    @property
    def method(self) -> str:
        return self.headers.method

    @property
    def path(self) -> str:
        return self.headers.path


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
        upstream = _ScriptedUpstream(host, received, sink, self._loop)
        upstream.conversation = self._conversation
        if end:
            self._loop.call_soon(self._reply, upstream)
        else:
            upstream.on_complete = lambda: self._loop.call_soon(self._reply, upstream)
        return upstream

    def _reply(self, upstream: _ScriptedUpstream) -> None:
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

    def mirror(self, request: RequestHeaders, end: bool, *, timeout: float) -> HttpUpstream | None:
        if self._host is None:
            return None
        return self.request(self._host, request, end, _Nobody())

    def try_retry(self, priority: str = "DEFAULT") -> bool:
        return True

    def end_retry(self, priority: str = "DEFAULT") -> None:
        """There is no budget."""


class _Nobody(HttpUpstreamSink):
    """The sink of a copy: nobody looks at its response."""

    def on_upstream_ready(self, upstream: HttpUpstream) -> None: ...
    def on_upstream_response(self, response: ResponseHeaders, end: bool) -> None: ...
    def on_upstream_informational(self, response: ResponseHeaders) -> None: ...
    def on_upstream_body(self, data: bytes, end: bool) -> None: ...
    def on_upstream_trailers(self, trailers: Headers) -> None: ...
    def on_upstream_reset(self, reason: ResetReason, detail: str) -> None: ...
    def on_upstream_blocked(self, blocked: bool) -> None: ...
    def on_upstream_read_done(self) -> None: ...


class _ScriptedUpstream(HttpUpstream):
    """One request to a scripted cluster."""

    protocol = "HTTP/1.1"

    def __init__(self, host: Host, received: Received, sink: HttpUpstreamSink, loop: SteppedLoop) -> None:
        self.host = host
        self.received = received
        self.on_complete: Callable[[], object] = lambda: None
        self.conversation: Callable[[bytes], Sequence[bytes] | None] | None = None
        self._sink: HttpUpstreamSink | None = sink
        self._loop = loop
        self._begun = False
        loop.call_soon(self._ready)

    def _ready(self) -> None:
        if self._sink is not None:
            self._sink.on_upstream_ready(self)

    def answer(self, answer: Answer) -> None:
        sink = self._sink
        if sink is None or (answer.status is None and answer.reset is None):
            return
        self._sink = None
        if answer.reset is not None:
            sink.on_upstream_reset(answer.reset, answer.detail)
            return
        assert answer.status is not None
        more = bool(answer.trailers)
        sink.on_upstream_response(ResponseHeaders(answer.status, answer.headers), not answer.body and not more)
        if answer.body:
            sink.on_upstream_body(answer.body, not more)
        if more:
            sink.on_upstream_trailers(Headers(answer.trailers))
        sink.on_upstream_read_done()

    def _converse(self, message: bytes) -> None:
        sink, answer = self._sink, self.conversation
        if sink is None or answer is None:
            return
        if not self._begun:
            self._begun = True
            sink.on_upstream_response(ResponseHeaders(200, [("content-type", "application/grpc")]), False)
        messages = answer(message)
        if messages is None:
            self._sink = None
            sink.on_upstream_trailers(Headers([("grpc-status", "0")]))
            return
        for each in messages:
            sink.on_upstream_body(b"\0" + len(each).to_bytes(4, "big") + each, False)

    def send_body(self, data: bytes, end: bool) -> None:
        if self.conversation is not None:
            if data:
                self._loop.call_soon(self._converse, data[5:])
            return
        self.received.body += data
        if end:
            self._complete()

    def send_trailers(self, trailers: Headers) -> None:
        self.received.trailers = trailers
        self._complete()

    def _complete(self) -> None:
        self.received.complete = True
        self.on_complete()

    def flush(self) -> None:
        """Nothing is joined up here."""

    def read_disable(self, disable: bool) -> None:
        """A script isn't read."""

    def reset(self) -> None:
        self._sink = None
        self.received.was_reset = True


class ScriptedTcpUpstream(TcpUpstream):
    """The far end of a raw connection, played by a test.

    received: what was written to it. ended: the writer has half-closed. closed_by_proxy: "close" or "reset" once the
    proxy has closed it. paused: the proxy doesn't read.
    """

    def __init__(self, host: Host, sink: TcpUpstreamSink) -> None:
        self.host = host
        self.local_address = "192.0.2.2:50000"
        self.connection_id = 7
        self.received = b""
        self.ended = False
        self.paused = False
        self.closed_by_proxy = ""
        self._sink: TcpUpstreamSink | None = sink

    # What the proxy calls.

    def write(self, data: bytes, end: bool) -> None:
        self.received += data
        self.ended = self.ended or end

    def read_disable(self, disable: bool) -> None:
        self.paused = disable

    def close(self, *, reset: bool = False) -> None:
        self._sink = None
        self.closed_by_proxy = "reset" if reset else "close"

    # What a test calls.

    def connected(self) -> None:
        """The connection is there."""
        if self._sink is not None:
            self._sink.on_upstream_connected(self)

    def send(self, data: bytes, end: bool = False) -> None:
        """Send bytes to the proxy; `end` half-closes."""
        if self._sink is not None:
            self._sink.on_upstream_data(data, end)

    def blocks(self, blocked: bool) -> None:
        """The proxy's buffer for this side is full (True), or empty again."""
        if self._sink is not None:
            self._sink.on_upstream_blocked(blocked)

    def close_by_peer(self, reason: ResetReason | None = None, detail: str = "") -> None:
        """The connection is over; `reason` None: in order."""
        sink, self._sink = self._sink, None
        if sink is not None:
            sink.on_upstream_closed(reason, detail)


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
