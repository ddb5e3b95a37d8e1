"""What a filter is given: the factory context when it is compiled, the stream or connection while it runs.

The classes here are abstract; the runtime implements them over sockets and `meshproxy.testing` without any. A filter
written against them can't tell the difference, which is what makes it testable.
"""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Collection, Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from meshproxy.clock import Clock
from meshproxy.headers import Headers, RequestHeaders, ResponseHeaders
from meshproxy.matching import FractionalPercent, HeaderMatcher, StringMatcher
from meshproxy.model.grpc_service import GrpcService
from meshproxy.model.listener import AccessLog, FilterSpec, LineFormatter
from meshproxy.model.rate_limit import RateLimit
from meshproxy.model.redirect import RedirectHistory
from meshproxy.model.route import HeaderMutations, RequestPredicate, Route, WeightedCluster
from meshproxy.model.snapshot import Node
from meshproxy.plugin.replies import LocalReply
from meshproxy.plugin.stats import StatsScope
from meshproxy.plugin.stream_info import NO_CONNECTION, ConnectionInfo, StreamInfo
from meshproxy.records import dataclass
from meshproxy.runtime_values import Live, RuntimeValues, Share

if TYPE_CHECKING:
    from meshproxy.model.forwarding import DnsCacheOptions
    from meshproxy.plugin.upstream import Cluster, ClusterManager
    from meshproxy.plugin.view import ConfigView, TypedView


T = TypeVar("T")


class Logger(Protocol):
    """The program's own log, for events; never for each request. Keywords become fields of the line."""

    def debug(self, event: str, **fields: Any) -> Any: ...
    def info(self, event: str, **fields: Any) -> Any: ...
    def warning(self, event: str, **fields: Any) -> Any: ...
    def error(self, event: str, **fields: Any) -> Any: ...


class Timer(Protocol):
    """Something that will happen, unless it is cancelled."""

    def cancel(self) -> None: ...


class ServerState(Protocol):
    """What the operator has told the process: `/healthcheck/fail` is in force; it is draining."""

    @property
    def health_failed(self) -> bool: ...
    @property
    def draining(self) -> bool: ...


@dataclass(slots=True)
class FactoryContext:
    """What there is when a filter's configuration is compiled, and as `self.context` in each of its instances.

    name: the filter's name in its chain. stats: the scope for its statistics, such as `http.ingress.`; root_stats: the
    one above all, for filters whose statistics have a prefix of their own.
    rng: every random decision is drawn from it, so that a test can seed it.
    runtime: the runtime values (`layered_runtime`), by key. They may change: `runtime.integer`, `number`, `flag` and
        `share` give what follows a key, and `RuntimeValues` says how it is read.
    compile_*: the compilers of things that several filters configure; they raise ConfigError. Their arguments are the
    messages that Envoy's filters have in common: `AccessLog`, a format string, `HeaderValueOption` with names to
    remove, `StringMatcher`, `RegexMatcher`, `HeaderMatcher`, `FractionalPercent`, `RuntimeFractionalPercent`,
    `DataSource`, `route.v3.RateLimit`, `RouteMatch`, `HeaderValue` (each overwrites), `MetadataMatcher`,
    `FilterStateMatcher`, `RuntimeFeatureFlag`, `GrpcService`, `Expr` of CEL with `CelExpressionConfig`.
    compile_http_matcher, compile_network_matcher: a matcher tree (`xds.type.matcher.v3.Matcher`) and what compiles its
    actions; they give a function of the stream, to the action or None. The former also takes the names of the inputs
    that are allowed, none for all.
    compile_attribute: a CEL expression as text, to a function of the stream that gives what JSON can say, None without
    a value; raises ValueError.
    compile_http_filter: another HTTP filter, from a `TypedExtensionConfig`. compile_upstream_filters: a chain of
    `HttpFilter` towards hosts, without its codec.
    shared_objects: see `shared`. traffic_direction: of the listener, "INBOUND", "OUTBOUND" or "UNSPECIFIED".
    """

    name: str
    stats: StatsScope
    root_stats: StatsScope
    log: Logger
    clock: Clock
    rng: random.Random
    node: Node
    runtime: RuntimeValues
    compile_access_logs: Callable[[Sequence[ConfigView]], tuple[AccessLog, ...]]
    compile_format: Callable[[str], LineFormatter]
    compile_header_mutations: Callable[[Sequence[ConfigView], Sequence[str]], HeaderMutations | None]
    compile_string_matcher: Callable[[ConfigView], StringMatcher]
    compile_regex_matcher: Callable[[ConfigView], StringMatcher]
    compile_header_matcher: Callable[[ConfigView], HeaderMatcher]
    compile_fraction: Callable[[ConfigView], FractionalPercent]
    compile_runtime_fraction: Callable[[ConfigView], Share]
    compile_data_source: Callable[[ConfigView], bytes]
    compile_rate_limits: Callable[[Sequence[ConfigView]], tuple[RateLimit, ...]]
    compile_route_match: Callable[[ConfigView], RequestPredicate]
    compile_header_values: Callable[[Sequence[ConfigView]], HeaderMutations | None]
    compile_metadata_matcher: Callable[[ConfigView], Callable[[Mapping[str, Any] | None], bool]]
    compile_filter_state_matcher: Callable[[ConfigView], Callable[[StreamInfo], bool]]
    compile_runtime_flag: Callable[[ConfigView], Live[bool]]
    compile_expression: Callable[[ConfigView, ConfigView | None], Callable[[StreamInfo], bool]]
    compile_http_matcher: Callable[[ConfigView, Callable[[TypedView], Any], Collection[str]], Callable[[Any], Any]]
    compile_network_matcher: Callable[[ConfigView, Callable[[TypedView], Any]], Callable[[Any], Any]]
    compile_attribute: Callable[[str], Callable[[StreamInfo], Any]]
    compile_http_filter: Callable[[ConfigView], FilterSpec]
    compile_upstream_filters: Callable[[Sequence[ConfigView]], tuple[FilterSpec, ...]]
    compile_grpc_service: Callable[[ConfigView], GrpcService]
    compile_dns_cache: Callable[[ConfigView], DnsCacheOptions]
    shared_objects: dict[Hashable, Any]
    traffic_direction: str

    def shared(self, key: Hashable, make: Callable[[], T]) -> T:
        """What all filters of one configuration that name the same `key` have in common; `make` makes it once."""
        if key not in self.shared_objects:
            self.shared_objects[key] = make()
        found: T = self.shared_objects[key]
        return found


@dataclass(frozen=True, slots=True)
class FetchReply:
    """The answer to `Stream.fetch`."""

    status: int
    headers: ResponseHeaders
    body: bytes


class FetchError(Exception):
    """`fetch` got no answer: unknown cluster, no healthy host, time-out, a reset, or a body over the limit."""


class StreamSpan(ABC):
    """The trace span of a stream, as the router sees it."""

    __slots__ = ()

    @abstractmethod
    def start_attempt(self, stream: Stream, *, spawns: bool) -> None:
        """An attempt is about to be sent: let its request carry the trace context. spawns: as a span of its own."""

    @abstractmethod
    def end_attempt(self, stream: Stream, status: int) -> None:
        """An attempt that another may follow is over. status: 0 for no response."""


class GrpcError(Exception):
    """A gRPC call failed. status: gRPC's, 14 where nobody could be asked and 4 where no answer came in time."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"status {status}: {message}" if message else f"status {status}")
        self.status = status


class GrpcCall(ABC):
    """A call with messages both ways."""

    @abstractmethod
    def send(self, message: bytes) -> None:
        """Send a serialised message; after the end of the call it goes nowhere."""

    @abstractmethod
    async def receive(self, timeout: float | None = None) -> bytes | None:
        """The next message; None when the service has ended the call in order.

        Raises GrpcError when it ended otherwise, TimeoutError after `timeout` seconds.
        """

    @abstractmethod
    def ignore(self) -> None:
        """What the service says isn't kept."""

    @abstractmethod
    def end(self, after: float = 0.0) -> None:
        """No more will be sent or read. after: the service has so many seconds yet for what it was sent."""


class Stream(StreamInfo, ABC):
    """One HTTP request and its response, as a filter sees them, and all that is known of it (`StreamInfo`).

    request: the head; may be changed until the router has sent it. request_end: the head was the whole request.
    half_closed: it asks for a tunnel, and the client has nothing to say in it (HTTP/2: END_STREAM on its head).
    response_end: the head was the whole response.
    done: the stream is over; nothing can be sent any more.
    route: what the route table decided; None before that, or when nothing matched.
    cluster_name: the cluster that the route chose, weights included; a filter may choose another one.
    span: of a stream that a tracer knows of; else None.
    redirects: what has been followed of them in the client's place (`follow`), None for nothing.
    weighted: the entry of the route's weighted clusters that was chosen, None without them.
    keeps_reply_status: a filter sets it that has made a request one of gRPC: replies of our own then tell of gRPC's
    status without hiding that of HTTP.
    """

    request: RequestHeaders
    request_end: bool = True
    half_closed: bool = False
    response_end: bool = False
    done: bool = False
    route: Route | None = None
    cluster_name: str = ""
    weighted: WeightedCluster | None = None
    span: StreamSpan | None = None
    redirects: RedirectHistory | None = None
    keeps_reply_status: bool = False
    connection: ConnectionInfo = NO_CONNECTION
    clusters: ClusterManager
    server: ServerState

    @abstractmethod
    async def fetch(
        self,
        cluster: str,
        method: str,
        path: str,
        *,
        headers: Sequence[tuple[str, str]] = (),
        body: bytes = b"",
        authority: str = "",
        timeout: float = 1.0,
        max_body: int = 1 << 20,
        tell_address: bool = True,
    ) -> FetchReply:
        """Ask a service of one of our clusters; the response's body is read whole.

        timeout: seconds, for everything. tell_address: send this machine's address as `x-forwarded-for`.
        Raises FetchError.
        """

    @abstractmethod
    async def call_grpc(self, service: GrpcService, path: str, message: bytes) -> bytes:
        """Call the method `/package.Service/Method` of a gRPC service: one serialised message each way.

        The service's timeout holds for the whole call. Raises GrpcError.
        """

    @abstractmethod
    def tell_grpc(self, service: GrpcService, path: str, message: bytes) -> None:
        """The same for whoever doesn't care what comes of it; also when the stream is over."""

    @abstractmethod
    def open_grpc(self, service: GrpcService, path: str) -> GrpcCall:
        """Begin a call with messages both ways; who opens it ends it. Raises GrpcError where nobody can be asked."""

    @abstractmethod
    def sleep(self, seconds: float) -> Awaitable[None]:
        """Wait on the proxy's clock (in a test: the fake one)."""

    @abstractmethod
    def schedule(self, delay: float, callback: Callable[[], None]) -> Timer:
        """Call back after `delay` seconds, unless the stream is over by then.

        From one second on the call may come up to 50 ms late: those deadlines are found by one sweep.
        """

    @abstractmethod
    def send_headers(self, response: ResponseHeaders, end: bool) -> None:
        """Answer: send a response head through the response hooks. `end`: it is the whole response."""

    @abstractmethod
    def send_body(self, data: bytes, end: bool) -> None:
        """Go on with the response's body. Raises RuntimeError when there was no head."""

    @abstractmethod
    def send_trailers(self, trailers: Headers) -> None:
        """End the response with trailers."""

    @property
    @abstractmethod
    def holds_request_head(self) -> bool:
        """Whether the request's head stands behind a filter that waits for body: then its body hook may change it."""

    @property
    @abstractmethod
    def holds_response_head(self) -> bool:
        """The same for the response."""

    @abstractmethod
    def give_request_body(self, giver: Any, data: bytes) -> None:
        """From `on_request_headers` of the filter `giver`, to a request without a body: it gets this one, which the
        filters behind see."""

    @abstractmethod
    def give_response_body(self, giver: Any, data: bytes) -> None:
        """The same for a response, from `on_response_headers`."""

    @abstractmethod
    def add_request_body(self, data: bytes) -> None:
        """From `on_request_trailers`: send `data` on before the trailers, to the filters behind this one."""

    @abstractmethod
    def add_response_body(self, data: bytes) -> None:
        """From `on_response_trailers`: send `data` on before the trailers, to the filters before this one."""

    @abstractmethod
    def send_informational(self, response: ResponseHeaders) -> None:
        """Send a 1xx head; it passes no response hook."""

    @abstractmethod
    def reply(self, reply: LocalReply) -> None:
        """Answer with a local reply, also in place of a response that a hook still holds; cut the stream if the client
        has seen one begin. For calls outside a hook."""

    @abstractmethod
    def reset(self, details: str = "", flags: str = "") -> None:
        """Cut the stream without a (further) answer."""

    @abstractmethod
    def flush(self) -> None:
        """Write what was joined up so far. Called once by whoever fed the stream from a socket."""

    @abstractmethod
    def read_disable(self, disable: bool) -> None:
        """Stop or go on reading the request's body; calls nest."""

    @abstractmethod
    def clear_route(self) -> None:
        """Match the route anew, after a filter has changed what routes are matched by."""

    @abstractmethod
    def match_route(self) -> Route | None:
        """The route that the request, as it is now, would be given; nothing is changed."""

    @abstractmethod
    def follow(self, response: ResponseHeaders, body: bytes) -> None:
        """Follow a redirect, the request having been pointed at its target: end this stream with `response`, which the
        client doesn't get, and begin the request anew, with `body`, as another stream in its place."""

    @abstractmethod
    def finalize_request(self, *, tell_original: bool = True) -> None:
        """Apply the route's rewrites and header changes to the request: the last thing before it goes upstream.

        tell_original: leave what was rewritten in `x-envoy-original-path` and `-host`.
        """

    @abstractmethod
    def finalize_response(self, response: ResponseHeaders) -> None:
        """Apply the route's header changes to a response."""

    @abstractmethod
    def log_access(self, logs: Sequence[AccessLog], info: StreamInfo) -> None:
        """Write `info` to those of `logs` whose filter lets it pass."""

    @abstractmethod
    def accept_upgrade(self) -> None:
        """From here on both directions carry raw bytes (101 or CONNECT)."""

    def metadata(self, namespace: str) -> dict[str, Any]:
        """The stream's dynamic metadata under `namespace`, to read and change."""
        if self.dynamic_metadata is None:
            self.dynamic_metadata = {}
        return self.dynamic_metadata.setdefault(namespace, {})


class Connection(ABC):
    """A downstream connection, as a network filter sees it.

    info: addresses, SNI, TLS. stream: the facts that access logs of a connection read.
    """

    info: ConnectionInfo
    clusters: ClusterManager
    clock: Clock

    @property
    @abstractmethod
    def stream(self) -> StreamInfo:
        """The facts of the connection as a whole: of TCP, and for the listener's own access log."""

    @abstractmethod
    def write(self, data: bytes, end: bool = False) -> None:
        """Send bytes through the write hooks; `end` half-closes after them."""

    @abstractmethod
    def close(self, *, reset: bool = False, delay: float = 0.0) -> None:
        """Close: after what was written, or at once with RST.

        delay: seconds to wait for the peer's close after our FIN's data, so that it can read them.
        """

    @abstractmethod
    def read_disable(self, disable: bool) -> None:
        """Stop or go on reading; calls nest."""

    @abstractmethod
    def schedule(self, delay: float, callback: Callable[[], None]) -> Timer:
        """Call back after `delay` seconds, unless the connection is closed by then (see `Stream.schedule`)."""

    @abstractmethod
    def sleep(self, seconds: float) -> Awaitable[None]:
        """Wait on the proxy's clock."""

    @abstractmethod
    def run(self, work: Awaitable[None]) -> None:
        """Let something go on that may have to wait, from where no hook could: a timer, an upstream's callback.

        Nobody waits for it. What it raises ends the connection, as it would from a hook.
        """

    @abstractmethod
    async def call_grpc(self, service: GrpcService, path: str, message: bytes) -> bytes:
        """See `Stream.call_grpc`."""

    @abstractmethod
    def log_access(self, logs: Sequence[AccessLog], info: StreamInfo) -> None:
        """Write `info` to those of `logs` whose filter lets it pass."""

    @property
    @abstractmethod
    def closed(self) -> bool:
        """The socket is gone, or about to be."""

    @abstractmethod
    def original_destination(self) -> tuple[str, int] | None:
        """Where the peer was going before the kernel or a PROXY protocol line brought it here."""


__all__ = [
    "Cluster",
    "Connection",
    "FactoryContext",
    "FetchError",
    "FetchReply",
    "GrpcCall",
    "GrpcError",
    "Logger",
    "ServerState",
    "Stream",
    "Timer",
]
