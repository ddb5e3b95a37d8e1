"""A request and its response as an HTTP filter sees them.

Abstract: the runtime implements it over sockets, and `meshproxy.testing` without any.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from meshproxy.headers import Headers, RequestHeaders, ResponseHeaders
from meshproxy.model.grpc_service import GrpcService
from meshproxy.model.listener import AccessLog
from meshproxy.model.redirect import RedirectHistory
from meshproxy.model.route import Route, WeightedCluster
from meshproxy.plugin.calls import FetchReply, GrpcCall, Outlet
from meshproxy.plugin.replies import LocalReply
from meshproxy.plugin.services import ServerState, Timer
from meshproxy.plugin.stream_info import NO_CONNECTION, ConnectionInfo, StreamInfo

if TYPE_CHECKING:
    from meshproxy.plugin.upstream import ClusterManager, CopySpan


T = TypeVar("T")


class StreamSpan(ABC):
    """The trace span of a stream, as the router sees it."""

    __slots__ = ()

    @abstractmethod
    def start_attempt(self, stream: Stream, *, spawns: bool) -> None:
        """An attempt is about to be sent: let its request carry the trace context. spawns: as a span of its own."""

    @abstractmethod
    def end_attempt(self, stream: Stream, status: int) -> None:
        """An attempt that another may follow is over. status: 0 for no response."""

    @abstractmethod
    def start_copy(self, request: RequestHeaders, sampled: bool | None) -> CopySpan | None:
        """A copy is about to be sent: let its head carry the trace context of a span of its own.

        sampled: whether that is collected; None: if the stream's own is.
        """


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
    status without hiding that of HTTP. client_is_grpc: what the client expects replies to be, where a filter has made
    the request one of gRPC or of plain HTTP; None where the request says.
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
    client_is_grpc: bool | None = None
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
    def give_response_body(self, giver: Any, data: bytes, trailers: Headers | None = None) -> None:
        """The same for a response, from `on_response_headers`, perhaps with trailers."""

    @abstractmethod
    def divert_request(self, giver: Any, *, holds_head: bool) -> Outlet:
        """From `on_request_headers` of the filter `giver`, which `buffers_request`: the body ends there. The hooks for
        body and trailers get it as ever, and what they return is of no account: only what the filter puts into the
        outlet goes on. holds_head: so does the head; else that goes on at once."""

    @abstractmethod
    def divert_response(self, giver: Any, *, holds_head: bool) -> Outlet:
        """The same for a response."""

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
