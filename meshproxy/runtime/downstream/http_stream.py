"""One request of a downstream connection: the filter chain's stream, and what the connection manager decides for it.

Route, cluster, plan, local replies, statistics, the access log: all that is the same on every codec. Below the filters
stands the wire, and that is what the subclasses add: `Http1ServerStream`, `Http2ServerStream`.
"""

from __future__ import annotations

import asyncio
import time
from abc import abstractmethod
from collections.abc import Awaitable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from meshproxy.headers import RequestHeaders, ResponseHeaders
from meshproxy.model.grpc_service import GrpcService
from meshproxy.model.listener import AccessLog
from meshproxy.model.route import ForwardAction, Route, VirtualHost, WeightedCluster
from meshproxy.plugin.context import FactoryContext, FetchReply, GrpcCall
from meshproxy.plugin.http import HttpFilter, TerminalHttpFilter
from meshproxy.plugin.replies import PAYLOAD_TOO_LARGE, RESPONSE_TOO_LARGE, LocalReply
from meshproxy.plugin.stream_info import StreamInfo
from meshproxy.routing.finalize import choose_cluster, finalize_request
from meshproxy.routing.mutations import apply_mutations
from meshproxy.routing.table import RouteIndex
from meshproxy.runtime.downstream.hooks import run_hook
from meshproxy.runtime.downstream.http_edge import strip_response
from meshproxy.runtime.downstream.http_stream_timers import StreamTimers
from meshproxy.runtime.downstream.local_reply import shape_reply
from meshproxy.runtime.fetch import fetch
from meshproxy.runtime.grpc_call import OpenCall
from meshproxy.runtime.grpc_client import call, tell
from meshproxy.runtime.sleeping import sleep
from meshproxy.telemetry.proxy_status import tell_status

if TYPE_CHECKING:
    from meshproxy.runtime.downstream.http_downstream import DownstreamConnection

_NO_FILTERS: list[HttpFilter[Any]] = []  # replaced, never changed


class HttpServerStream(StreamTimers):
    """See the module. `owner` is the connection's codec side.

    The facts that every request sets are slots: CPython keeps at most 30 attributes of an instance in its compact form,
    and a stream has more. A slot hides the default of the base class, so `__init__` sets each of them.

    raw_wanted: the upgrade that the request asks for and may have. raw: it was granted. expected_here: we answer an
    `expect: 100-continue` ourselves. malformed: the codec refused the request, which Envoy notes only after the
    answer. close_after: the connection ends with this response. codec: what %PROTOCOL% says, unless it turns out
    otherwise.
    """

    __slots__ = (
        "answered",
        "attempt_count",
        "bytes_sent",
        "close_after",
        "clusters",
        "connection",
        "details",
        "done",
        "end",
        "filters",
        "last_activity",
        "on_wire",
        "owner",
        "plan",
        "protocol",
        "raw",
        "raw_wanted",
        "request",
        "request_end",
        "request_received",
        "response",
        "response_code",
        "route",
        "server",
        "start",
        "start_wall",
    )

    codec: ClassVar[str]
    access_log_type = "DownstreamEnd"
    internal: bool = False
    raw_wanted: str
    raw: bool
    tells_request_id: bool = False
    expected_here: bool = False
    malformed: bool = False
    close_after: bool
    weighted: WeightedCluster | None = None
    _hooks: set[asyncio.Task[Any]] | None = None

    def __init__(self, owner: DownstreamConnection, request: RequestHeaders, end: bool, now: float) -> None:
        self.owner = owner
        connection = owner.connection
        self.connection = connection.info
        self.server = worker = owner.worker
        self.clusters = worker.clusters
        self.plan = owner.manager.default_plan
        self.protocol = self.codec
        self.request = request
        self.request_end = self.request_received = end
        self.start = self.last_activity = now
        self.start_wall = time.time()
        self.filters = _NO_FILTERS
        self.route = self.response = None
        self.answered = self.on_wire = self.done = self.raw = self.close_after = False
        self.details = self.raw_wanted = ""
        self.response_code = self.bytes_sent = self.attempt_count = 0
        self.end = 0.0
        if end:
            self.request_complete = now

    @property
    def hides_addresses(self) -> bool:  # type: ignore[override]  # read only where a PROXY protocol header is made
        return not self.owner.manager.config.tells_addresses

    @property
    def body_limit(self) -> int:
        """The listener's `per_connection_buffer_limit_bytes`."""
        return self.owner.connection.listener.per_connection_buffer_limit

    # Route.

    @property
    def _virtual_host(self) -> VirtualHost | None:
        if self.malformed:
            return None
        return self.owner.manager.routes.virtual_host(self.route, self.request)

    # Few ask, so the common way doesn't note them.

    @property
    def virtual_host_name(self) -> str:  # type: ignore[override]  # computed, and nobody sets it
        host = self._virtual_host
        return "" if host is None else host.name

    @property
    def virtual_host_metadata(self) -> Mapping[str, Any] | None:  # type: ignore[override]  # as above
        host = self._virtual_host
        return None if host is None else host.metadata

    def choose_route(self) -> None:
        """Match the request, and choose the cluster if it is to be forwarded."""
        manager = self.owner.manager
        self.route = route = manager.routes.find(self.request, self)
        if route is None:
            return
        if route.name:
            self.route_name = route.name
        if route.metadata:
            self.route_metadata = route.metadata
        action = route.action
        if type(action) is ForwardAction:
            if action.cluster:
                self.cluster_name = self.upstream_cluster = action.cluster
            else:
                self.cluster_name, self.weighted = choose_cluster(action, self.request, manager.rng, self)
                self.upstream_cluster = self.cluster_name

    def clear_route(self) -> None:
        self.weighted = None
        self.cluster_name = self.upstream_cluster = self.route_name = ""
        self.route_metadata = None
        self.choose_route()

    def forget_route(self) -> None:
        """The request is answered without any."""
        self.route = self.weighted = self.route_metadata = None
        self.cluster_name = self.upstream_cluster = self.route_name = ""

    def match_route(self) -> Route | None:
        # Not counted: whoever asks this clears the route next, and then it is found once more.
        return RouteIndex.find(self.owner.manager.routes, self.request, self)

    def follow(self, response: ResponseHeaders, body: bytes) -> None:
        """See `Stream`. As in Envoy the next stream goes on with this one's times and bytes, and with nothing else."""
        owner = self.owner
        self.response = response
        self.response_code = response.status
        self.details = "internal_redirect"
        successor = self.make_successor(not body)
        successor.start, successor.start_wall = self.start, self.start_wall
        successor.protocol, successor.request_id = self.protocol, self.request_id
        successor.bytes_received = self.bytes_received
        successor.request_received = True
        successor.request_complete = self.request_complete
        successor.close_after = self.close_after
        successor.redirects = self.redirects
        self._complete(owner.worker.loop.time())
        owner.replace(self, successor)
        # Not from here: the upstream connection that has just answered isn't free yet.
        owner.worker.loop.call_soon(owner.readmit, successor, body)

    @abstractmethod
    def make_successor(self, end: bool) -> HttpServerStream:
        """A stream for the same request at the same place of the connection. end: it has no body."""

    def finalize_request(self, *, tell_original: bool = True) -> None:
        route = self.route
        if route is not None and route not in self.owner.manager.unchanging_routes:
            finalize_request(route, self.weighted, self.request, self, tell_original=tell_original)

    def finalize_response(self, response: ResponseHeaders) -> None:
        if self.weighted is not None and self.weighted.response_mutations:
            apply_mutations(self.weighted.response_mutations, response, self)
        if self.route is not None and self.route.response_mutations:
            apply_mutations(self.route.response_mutations, response, self)

    # What filters call; see `Stream`.

    def sleep(self, seconds: float) -> Awaitable[None]:
        return sleep(self.owner.worker.loop, seconds)

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
        request = RequestHeaders(method, path, authority or cluster, fields=headers)
        return await fetch(self.owner.worker, cluster, request, body, timeout, max_body, tell_address)

    async def call_grpc(self, service: GrpcService, path: str, message: bytes) -> bytes:
        return await call(self.owner.worker, service, path, message)

    def tell_grpc(self, service: GrpcService, path: str, message: bytes) -> None:
        tell(self.owner.worker, service, path, message)

    def open_grpc(self, service: GrpcService, path: str) -> GrpcCall:
        return OpenCall(self.owner.worker, service, path)

    def log_access(self, logs: Sequence[AccessLog], info: StreamInfo) -> None:
        self.owner.worker.access_logs.log(tuple(logs), info)

    def accept_upgrade(self) -> None:
        self.raw = True
        # As Envoy, to which the request goes on.
        self.owner.manager.stats.rq_response_before_rq_complete.value += 1
        self.owner.manager.stats.cx_upgrades_active.value += 1
        self.request_received = False

    def block_response(self, blocked: bool) -> None:
        self.tell_blocked(blocked)

    def tell_blocked(self, blocked: bool) -> None:
        """Tell whoever answers that the client can't take more (True), or can again (False)."""
        if self.done or not self._headers_passed:
            return  # nobody answers any more, or not yet
        terminal = self.filters[-1]
        if isinstance(terminal, TerminalHttpFilter):
            terminal.on_response_blocked(blocked, self)

    # The chain's needs.

    def run_hook(self, hook: Awaitable[Any]) -> Any:
        return run_hook(self.owner.worker.loop, hook, self)

    def keep(self, task: asyncio.Task[Any]) -> None:
        if self._hooks is None:
            self._hooks = set()
        self._hooks.add(task)
        task.add_done_callback(self._hooks.discard)

    def report_failure(self, name: str, context: FactoryContext, error: Exception) -> None:
        context.stats.counter(f"filter.{name}.exceptions").inc()
        context.log.error("filter raised", filter=name, exc_info=error, request_id=self.request_id)

    def _closes_after_bad_request(self) -> bool:
        """Envoy's rule for whatever is called a bad request by us: over HTTP/1 nobody knows where the next begins."""
        return self.protocol.startswith("HTTP/1") and not self.owner.manager.config.stream_error_on_invalid_http_message

    def shape_reply(self, reply: LocalReply) -> tuple[ResponseHeaders, bytes]:
        if reply.close or (reply.status == 400 and self._closes_after_bad_request()):
            self.close_after = True
        if reply is PAYLOAD_TOO_LARGE:
            self.owner.manager.stats.rq_too_large.value += 1
        elif reply is RESPONSE_TOO_LARGE:
            self.owner.manager.stats.rs_too_large.value += 1
        if self.upstream_cluster and not self.hosts_attempted:
            self._tell_of_cluster()
        return shape_reply(reply, self.owner.manager.config.local_reply, self)

    def _tell_of_cluster(self) -> None:
        """What logs and metrics say of the cluster that a request would have gone to, had no filter answered it."""
        cluster = self.clusters.get(self.upstream_cluster)
        if cluster is None:
            self.upstream_cluster = ""
            return
        self.upstream_cluster_alt = cluster.config.alt_stat_name
        if cluster.config.metadata:
            self.upstream_cluster_metadata = cluster.config.metadata

    # The end.

    def complete_head(self, response: ResponseHeaders, now: float, *, upgraded: bool) -> None:
        """What every response's head gets last. upgraded: it grants an upgrade, and names it."""
        owner = self.owner
        config = owner.manager.config
        fields = response.fields
        strip_response(response, upgraded=upgraded)
        if "date" not in fields:
            fields["date"] = owner.worker.date(now)
        transformation = config.server_header_transformation
        if transformation == "OVERWRITE" or (transformation == "APPEND_IF_ABSENT" and "server" not in fields):
            fields["server"] = config.server_name
        if (config.always_set_request_id_in_response or self.tells_request_id) and self.request_id:
            fields["x-request-id"] = self.request_id
        if self.flags and config.proxy_status is not None and not self.malformed:
            tell_status(config.proxy_status, response, self)
        if self.health_check:
            # An answer to a health check doesn't count with the others, which its code soon will.
            owner.manager.stats.rq_health_check.value += 1
            owner.manager.stats.codes[response.status] -= 1
        if config.via:
            fields["via"] = f"{fields['via']}, {config.via}" if "via" in fields else config.via
        if self.raw and config.log_tunnels:
            self.response_code = response.status
            self.log_now("DownstreamTunnelSuccessfullyEstablished")
        if self.span is not None and owner.manager.tracing is not None:
            owner.manager.tracing.tell_decoration(self, response)
        self.first_downstream_tx = self.last_activity = now

    def reset(self, details: str = "", flags: str = "") -> None:
        """See `Stream`."""
        if self.done:
            return
        if flags:
            self.add_flag(flags)
        if details:
            self.details = details.replace(" ", "_")
        self.flush()
        self.owner.manager.stats.rq_tx_reset.value += 1
        self.cut()

    @abstractmethod
    def cut(self) -> None:
        """End the stream so that the client knows its response to be incomplete."""

    def abandon(self, details: str, flags: str) -> None:
        """The connection is gone under the stream."""
        if self.done:
            return
        if flags:
            self.add_flag(flags)
        if not self.response_code or details:
            self.details = details
        self._complete(self.owner.worker.loop.time())

    def _complete(self, now: float) -> None:
        self.done = self.request_over = True
        self.end = now
        if self._timers is not None:
            self.cancel_timers()
        if self._hooks is not None:
            for task in tuple(self._hooks):
                task.cancel()
        stats = self.owner.manager.stats
        stats.finished += 1
        if self.raw:
            stats.cx_upgrades_active.value -= 1
        stats.rq_time.record(int((now - self.start) * 1000))
        config = self.owner.manager.config
        if self.owner.meter is not None and (self.plan.complete or config.access_logs):
            self.share_bytes()
        if self.plan.complete and self.filters:
            self.complete()
        if config.access_logs:
            self.owner.worker.access_logs.log(config.access_logs, self)
        if self.span is not None and self.owner.manager.tracing is not None:
            self.owner.manager.tracing.finish(self)
        self.filters = _NO_FILTERS

    @abstractmethod
    def share_bytes(self) -> None:
        """Note the bytes on the wire that were this stream's own; called if the connection has a meter."""

    @abstractmethod
    def request_ended(self, now: float) -> None:
        """The request has come whole."""
