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
from meshproxy.plugin.stream_info import StateMessage
from meshproxy.records import dataclass
from meshproxy_filters.grpc_heads import is_grpc, is_grpc_response

if TYPE_CHECKING:
    from meshproxy.plugin.view import ConfigView

FILTER_STATE = "envoy.filters.http.grpc_stats"


@dataclass(slots=True)
class GrpcCounts(StateMessage):
    """What `emit_filter_state` leaves for the access log."""

    request_message_count: int = 0
    response_message_count: int = 0

    def __str__(self) -> str:
        return f"{self.request_message_count},{self.response_message_count}"

    def fields(self) -> dict[str, str]:
        counts = (
            ("request_message_count", self.request_message_count),
            ("response_message_count", self.response_message_count),
        )
        return {name: str(count) for name, count in counts if count}


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
    _scope: StatsScope | None = None

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
        if not is_grpc(request.fields.get("content-type")):
            return
        self._request = MessageCounter()
        cluster = stream.clusters.get(stream.cluster_name)
        method = self._method_prefix(request.path)
        if cluster is not None and method is not None:
            self._scope = cluster.stats.scope.scope(f"grpc.{method}")

    def _method_prefix(self, path: str) -> str | None:
        """`<service>.<method>.` for a method that is counted by itself, else ""; None for a path that names none."""
        parts = [part for part in path.partition("?")[0].split("/") if part]
        if len(parts) != 2:
            return None
        service, method = parts
        methods = self.config.methods
        if methods is not None and (service, method) not in methods:
            return ""
        return f"{service.replace('.', '_') if self.config.replace_dots else service}.{method}."

    def on_request_body(self, data: bytes, end: bool, stream: Stream) -> None:
        if self._request is not None and (began := self._request.feed(data)):
            self._count_messages("request_message_count", began, stream)

    def on_response_body(self, data: bytes, end: bool, stream: Stream) -> None:
        if self._response is not None and (began := self._response.feed(data)):
            self._count_messages("response_message_count", began, stream)

    def on_response_headers(self, response: ResponseHeaders, stream: Stream) -> None:
        if is_grpc_response(response, stream.response_end):
            self._response = MessageCounter()
        self._charge(response)

    def on_response_trailers(self, trailers: Headers, stream: Stream) -> None:
        self._charge(trailers)
        if self.config.upstream_times and self._scope is not None:
            began = stream.request_complete or stream.start
            self._scope.histogram("upstream_rq_time").record(int((self.context.clock.now() - began) * 1000))

    def _count_messages(self, name: str, began: int, stream: Stream) -> None:
        if self._scope is not None:
            self._scope.counter(name).add(began)
        if self.config.emit_filter_state:
            if self._counts is None:
                self._counts = GrpcCounts()
                stream.set_filter_state(FILTER_STATE, self._counts)
            setattr(self._counts, name, getattr(self._counts, name) + began)

    def _charge(self, fields: Headers) -> None:
        """Count the call's outcome."""
        status, scope = fields.get("grpc-status"), self._scope
        if scope is None or status is None:
            return
        known = status.isascii() and status.isdigit() and len(status) <= 2
        scope.counter(status if known else "invalid").inc()
        scope.counter("success" if status == "0" else "failure").inc()
        scope.counter("total").inc()
