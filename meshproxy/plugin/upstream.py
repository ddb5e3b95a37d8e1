"""Upstream, as a terminal filter sees it: clusters, hosts, and a stream or connection to one of them.

Callbacks, not futures: they run on the common way of every request. The one who opens an upstream gives itself as the
sink and is told what happens; after `reset()` or a final call (a body or trailers with the end, `on_upstream_reset`)
it hears nothing more, so a sink needs no generation counter.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Mapping
from dataclasses import field
from typing import Any, Protocol

from meshproxy.headers import Headers, RequestHeaders, ResponseHeaders
from meshproxy.matching import FractionalPercent
from meshproxy.model.cluster import ClusterConfig
from meshproxy.model.forwarding import DnsCacheOptions
from meshproxy.model.proxy_header import ProxyHeaderOptions
from meshproxy.model.retry import HostRefusal
from meshproxy.plugin.measures import ClusterMeasures
from meshproxy.plugin.replies import LocalReply, ResetReason
from meshproxy.plugin.stats import Counter, Gauge, StatsScope
from meshproxy.plugin.stream_info import StreamInfo, TlsInfo
from meshproxy.records import dataclass


class HostMonitor(Protocol):
    """Outlier detection of one host."""

    def on_failure(self, *, connected: bool, timeout: bool) -> None: ...


class HostChecks(Protocol):
    """Active health checks of one host."""

    def on_immediate_failure(self) -> None:
        """The host itself asks for no more requests."""


class HostLoads(Protocol):
    """The load reports of one host."""

    def on_answer(self, fields: Headers | ResponseHeaders) -> bool:
        """A response of the host has begun, or ended with these trailers. Returns whether there was a report in it."""


class Host(Protocol):
    """One endpoint of a cluster. `text` is "ip:port"; the counters are Envoy's per-host statistics.

    monitor: who watches for outliers, None where nobody does. The connection pools report to it; a filter tells what
    only it knows, that a request was given up waiting. checked: None where no active health checks are made.
    loads: None where load reports don't matter.
    """

    rq_error: int
    rq_success: int
    rq_timeout: int

    @property
    def monitor(self) -> HostMonitor | None: ...
    @property
    def checked(self) -> HostChecks | None: ...
    @property
    def loads(self) -> HostLoads | None: ...
    @property
    def text(self) -> str: ...
    @property
    def hostname(self) -> str: ...
    @property
    def metadata(self) -> Mapping[str, Any]: ...
    @property
    def priority(self) -> int: ...


@dataclass(slots=True)
class HostChoice:
    """What a retry asks of the host that is chosen for it.

    refusals, tried: a host that one of `refusals` refuses, told those `tried` before, is drawn again, up to `attempts`
    times; the last one is taken in any case. left_out: priorities that get nothing as long as others are available;
    the balancer empties it when none is.
    """

    refusals: tuple[HostRefusal, ...] = ()
    tried: tuple[Host, ...] = ()
    attempts: int = 1
    left_out: set[int] = field(default_factory=set)

    def refuses(self, host: Any) -> bool:
        """Whether to draw again."""
        return any(refuses(host, self.tried) for refuses in self.refusals)


class HttpUpstreamSink(Protocol):
    """Who hears what an upstream request does."""

    def on_upstream_ready(self, upstream: HttpUpstream) -> None:
        """The request has a connection. `upstream` replaces the handle that `request()` returned."""

    def on_upstream_response(self, response: ResponseHeaders, end: bool) -> None: ...
    def on_upstream_informational(self, response: ResponseHeaders) -> None: ...
    def on_upstream_body(self, data: bytes, end: bool) -> None: ...
    def on_upstream_trailers(self, trailers: Headers) -> None: ...
    def on_upstream_reset(self, reason: ResetReason, detail: str) -> None: ...

    def on_upstream_blocked(self, blocked: bool) -> None:
        """More than the buffer limit waits to be sent upstream (True), or room is there again (False)."""

    def on_upstream_read_done(self) -> None:
        """All that one read of the socket held has been handed over: write what was joined up."""


class HttpUpstream(ABC):
    """One request to one host, from `Cluster.request` until its response has ended.

    host: where it goes. local_address: our end, "ip:port"; "" while there is no connection. tls: of its handshake.
    """

    host: Host
    local_address: str = ""
    connection_id: int = 0
    protocol: str = ""
    tls: TlsInfo | None = None

    @abstractmethod
    def send_body(self, data: bytes, end: bool) -> None: ...

    @abstractmethod
    def send_trailers(self, trailers: Headers) -> None: ...

    @abstractmethod
    def flush(self) -> None:
        """Write what was joined up so far."""

    @abstractmethod
    def read_disable(self, disable: bool) -> None:
        """Stop or go on reading the response; doesn't nest."""

    @abstractmethod
    def reset(self) -> None:
        """Give the request up; the sink hears nothing more."""


class TcpUpstreamSink(Protocol):
    """Who hears what a raw upstream connection does."""

    def on_upstream_connected(self, upstream: TcpUpstream) -> None: ...
    def on_upstream_data(self, data: bytes, end: bool) -> None: ...
    def on_upstream_closed(self, reason: ResetReason | None, detail: str) -> None:
        """The connection is over, or never came to be. `reason` None: it was closed in order."""

    def on_upstream_blocked(self, blocked: bool) -> None: ...


class TcpUpstream(ABC):
    """A raw connection to one host."""

    host: Host
    local_address: str = ""
    connection_id: int = 0
    tls: TlsInfo | None = None

    @abstractmethod
    def write(self, data: bytes, end: bool) -> None:
        """Send; `end` half-closes after the data."""

    @abstractmethod
    def read_disable(self, disable: bool) -> None: ...

    @abstractmethod
    def close(self, *, reset: bool = False) -> None:
        """Close it; the sink hears nothing more."""


class ClusterStats(Protocol):
    """The counters of a cluster that terminal filters move; names as in Envoy's `cluster.<name>.`.

    scope: for what other filters count there.
    """

    @property
    def scope(self) -> StatsScope: ...

    upstream_rq_total: Counter
    upstream_rq_active: Gauge
    upstream_rq_completed: Counter
    upstream_rq_timeout: Counter
    upstream_rq_per_try_timeout: Counter
    upstream_rq_per_try_idle_timeout: Counter
    upstream_rq_rx_reset: Counter
    upstream_rq_tx_reset: Counter
    upstream_rq_retry: Counter
    upstream_rq_retry_success: Counter
    upstream_rq_retry_overflow: Counter
    upstream_rq_retry_limit_exceeded: Counter
    upstream_rq_retry_backoff_exponential: Counter
    upstream_rq_retry_backoff_ratelimited: Counter
    upstream_rq_max_duration_reached: Counter
    upstream_rq_maintenance_mode: Counter
    upstream_cx_none_healthy: Counter
    upstream_cx_connect_attempts_exceeded: Counter
    retry_or_shadow_abandoned: Counter

    def count_time(self, milliseconds: int, *, internal: bool) -> None:
        """How long a response took: `upstream_rq_time`, and the same under `external.` or `internal.`."""

    def count_response(self, status: int, *, internal: bool) -> None:
        """`upstream_rq_completed`, `_<code>`, `_<class>xx`, and the same under `external.` or `internal.`."""

    def count_retry_response(self, status: int) -> None:
        """The same under `retry.`, for an attempt whose response was thrown away."""


ORIGINAL_DST_ADDRESS = "envoy.network.transport_socket.original_dst_address"
"""In the filter state: "ip:port" that a cluster of type ORIGINAL_DST goes to before it looks anywhere else."""
DYNAMIC_HOST = "envoy.upstream.dynamic_host"
"""In the filter state: the host that a cluster that forwards takes instead of the request's."""
DYNAMIC_PORT = "envoy.upstream.dynamic_port"
"""The same for the port of a host without one."""

Prepared = LocalReply | None | Awaitable[LocalReply | None]
"""None: the host is known. Otherwise what to answer instead, maybe after some time."""


class NameCache(Protocol):
    """Names that requests bring, and their addresses."""

    def prepare(self, authority: str, default_port: int) -> Prepared:
        """See to it that the host's address is known, so that a cluster over this cache can pick it."""


class Forwarding(Protocol):
    """A cluster that sends a request to whatever host it names.

    default_port: of a host without one. own_clusters: each host has a cluster of its own instead of a place in a cache.
    """

    @property
    def default_port(self) -> int: ...
    @property
    def own_clusters(self) -> bool: ...
    def look_up(self, stream: StreamInfo) -> Prepared:
        """For a host that nobody has prepared: see to it that `pick` finds it."""

    def prepare_cluster(self, authority: str, timeout: float) -> Prepared:
        """With `own_clusters`: see to it that there is one for this host. timeout: seconds to wait for it."""


NO_MAINTENANCE = FractionalPercent(0)


class CopySpan(ABC):
    """The trace span of a copy of a request."""

    __slots__ = ()

    @abstractmethod
    def end(self, info: StreamInfo, status: int) -> None:
        """The copy is over. info: what is known of it; status: of the response, or the one that stands for its want."""


class Cluster(ABC):
    """A cluster with its hosts and connection pools. forwarding: None unless it forwards to what requests name.

    is_special: its configuration says something of requests that the router has to see to. drop_overload: per cent
    of them to be refused. maintenance: share of them that is refused because an operator says so. measures: None
    where nothing is measured. dropped: how many requests were refused, by limits too; shed: by `drop_overload`.
    """

    forwarding: Forwarding | None = None
    is_special: bool = True
    drop_overload: float = 0.0
    maintenance: FractionalPercent = NO_MAINTENANCE
    measures: ClusterMeasures | None = None
    dropped: int = 0
    shed: int = 0
    name: str
    config: ClusterConfig
    stats: ClusterStats

    @abstractmethod
    def pick(self, stream: StreamInfo, choice: HostChoice | None = None) -> Host | None:
        """Choose a host. choice: what a retry asks of it.

        None when there is none: `no healthy upstream`.
        """

    def encrypts(self, host: Host) -> bool:
        """Whether connections to this host are TLS."""
        return False

    def find_host(self, address: str) -> Host | None:
        """The host with this address, unless there is none or it is unhealthy."""
        return None

    @abstractmethod
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
        """Send a request head. What goes wrong is told to `sink`, possibly before this returns.

        protocol: of the client's request ("HTTP/2"), for clusters that speak to hosts as the client does.
        alpn: see `StreamInfo.alpn_override`.
        """

    @abstractmethod
    def mirror(
        self, request: RequestHeaders, end: bool, *, timeout: float, span: CopySpan | None = None
    ) -> HttpUpstream | None:
        """Send a copy of a request to a host of its own; the response is read and thrown away.

        timeout: seconds for the response, from the end of the request; 0 for none. The handle takes the body; `reset`
        gives the copy up, otherwise it goes on by itself. span: is told of its end. None: it couldn't be sent.
        """

    @abstractmethod
    def connect(self, host: Host, sink: TcpUpstreamSink, *, header: ProxyHeaderOptions | None = None) -> TcpUpstream:
        """Open a raw connection of one's own. What comes of it, `sink` is told after this has returned.

        header: of the PROXY protocol, the first thing that is written, in TLS where there is TLS.
        """

    @abstractmethod
    def membership(self) -> tuple[int, int, int]:
        """How many hosts there are, how many of them are healthy, and how many degraded."""

    @abstractmethod
    def try_retry(self, priority: str = "DEFAULT") -> bool:
        """Take one retry from the circuit breaker's budget; give it back with `end_retry`."""

    @abstractmethod
    def end_retry(self, priority: str = "DEFAULT") -> None: ...


class ClusterManager(Protocol):
    """All clusters in force."""

    def get(self, name: str) -> Cluster | None: ...

    def name_cache(self, options: DnsCacheOptions) -> NameCache:
        """The cache of this name, made when it is first asked for."""
