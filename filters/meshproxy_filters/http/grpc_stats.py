"""`envoy.filters.http.grpc_stats`: counts gRPC calls and their messages by cluster.

Counters stand under the cluster the call went to: `cluster.<name>.grpc.`, and with `stats_for_all_methods` or an
allow-list below that `<service>.<method>.`. Messages are counted by their five-byte frame heads (gRPC over HTTP/2,
"Length-Prefixed-Message"), which may be cut anywhere.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from meshproxy.headers import Headers, RequestHeaders, ResponseHeaders
from meshproxy.plugin.context import FactoryContext, Stream
from meshproxy.plugin.http import HttpFilter
from meshproxy.plugin.stats import StatsScope
from meshproxy.records import dataclass

if TYPE_CHECKING:
    from meshproxy.plugin.view import ConfigView

FILTER_STATE = "envoy.filters.http.grpc_stats"


@dataclass(slots=True)
class GrpcCounts:
    """What `emit_filter_state` leaves for the access log."""

    request_message_count: int = 0
    response_message_count: int = 0


class MessageCounter:
    """Counts the messages in a gRPC body that comes in pieces."""

    __slots__ = ("_head", "_left", "count")

    def __init__(self) -> None:
        self.count = 0
        self._head = b""
        self._left = 0

    def feed(self, data: bytes) -> int:
        """Take a piece; say how many messages began in it."""
        before = self.count
        position, size = 0, len(data)
        while position < size:
            if self._left:
                step = min(self._left, size - position)
                self._left -= step
                position += step
                continue
            needed = 5 - len(self._head)
            self._head += data[position : position + needed]
            position += needed
            if len(self._head) == 5:
                self._left = int.from_bytes(self._head[1:], "big")
                self._head = b""
                self.count += 1
        return self.count - before


@dataclass(frozen=True, slots=True)
class GrpcStatsConfig:
    """methods: (service, method) that are counted by themselves; None: every one of them.

    upstream_times: note how long the upstream took, from the end of the request to its trailers.
    """

    emit_filter_state: bool = False
    methods: frozenset[tuple[str, str]] | None = frozenset()
    replace_dots: bool = False
    upstream_times: bool = False


class GrpcStats(HttpFilter[GrpcStatsConfig]):
    """See the module."""

    _request: MessageCounter | None = None
    _response: MessageCounter | None = None
    _counts: GrpcCounts | None = None
    _method: str = ""
    _charged: bool = False

    @classmethod
    def compile(cls, view: ConfigView, context: FactoryContext) -> GrpcStatsConfig:
        methods: frozenset[tuple[str, str]] | None = frozenset()
        allowed = view.view("individual_method_stats_allowlist")
        if allowed is not None:
            services = allowed.views("services")
            methods = frozenset(
                (service.text("name"), method) for service in services for method in service.texts("method_names")
            )
        elif view.boolean("stats_for_all_methods"):
            methods = None
        return GrpcStatsConfig(
            view.boolean("emit_filter_state"),
            methods,
            view.boolean("replace_dots_in_grpc_service_name"),
            view.boolean("enable_upstream_stats"),
        )

    def on_request_headers(self, request: RequestHeaders, stream: Stream) -> None:
        content_type = request.fields.get("content-type", "")
        if not content_type.startswith("application/grpc") or content_type[16:17] not in ("", "+", ";"):
            return
        self._request, self._response = MessageCounter(), MessageCounter()
        self._method = self._method_prefix(request.path)

    def _method_prefix(self, path: str) -> str:
        """`<service>.<method>.` for a method that is counted by itself, else ""."""
        parts = path.partition("?")[0].split("/")
        if len(parts) != 3 or not parts[1] or not parts[2]:
            return ""
        methods = self.config.methods
        if methods is not None and (parts[1], parts[2]) not in methods:
            return ""
        service = parts[1].replace(".", "_") if self.config.replace_dots else parts[1]
        return f"{service}.{parts[2]}."

    def on_request_body(self, data: bytes, end: bool, stream: Stream) -> None:
        if self._request is not None and (began := self._request.feed(data)):
            self._count_messages("request_message_count", began, stream)

    def on_response_body(self, data: bytes, end: bool, stream: Stream) -> None:
        if self._response is not None and (began := self._response.feed(data)):
            self._count_messages("response_message_count", began, stream)

    def on_response_headers(self, response: ResponseHeaders, stream: Stream) -> None:
        if self._request is not None and "grpc-status" in response.fields:
            self._charge(response, stream)

    def on_response_trailers(self, trailers: Headers, stream: Stream) -> None:
        if self._request is None:
            return
        self._charge(trailers, stream)
        if self.config.upstream_times:
            scope = self._scope(stream)
            if scope is not None:
                began = stream.request_complete or stream.start
                scope.histogram("upstream_rq_time").record(int((self.context.clock.now() - began) * 1000))

    def _scope(self, stream: Stream) -> StatsScope | None:
        cluster = stream.clusters.get(stream.cluster_name)
        return None if cluster is None else cluster.stats.scope.scope(f"grpc.{self._method}")

    def _count_messages(self, name: str, began: int, stream: Stream) -> None:
        scope = self._scope(stream)
        if scope is not None:
            scope.counter(name).add(began)
        if self.config.emit_filter_state:
            if self._counts is None:
                self._counts = GrpcCounts()
                stream.set_filter_state(FILTER_STATE, self._counts)
            setattr(self._counts, name, getattr(self._counts, name) + began)

    def _charge(self, fields: Headers, stream: Stream) -> None:
        """Count the call's outcome, once."""
        status = fields.get("grpc-status")
        scope = self._scope(stream)
        if self._charged or scope is None or status is None:
            return
        self._charged = True
        known = status.isascii() and status.isdigit() and len(status) <= 2
        scope.counter(status if known else "invalid").inc()
        scope.counter("success" if status == "0" else "failure").inc()
        scope.counter("total").inc()
