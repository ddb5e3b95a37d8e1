"""`envoy.filters.http.grpc_stats`: counts gRPC calls and their messages by cluster.

Counters stand under the cluster the call went to: `cluster.<name>.grpc.`, and with `stats_for_all_methods` or an
allow-list below that `<service>.<method>.`. Messages are counted by their five-byte frame heads (gRPC over HTTP/2,
"Length-Prefixed-Message"), which may be cut anywhere. Calls of Connect are counted with them (Connect: "Protocol").
"""

from __future__ import annotations

import json
from collections.abc import Mapping
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

_FRAME_HEAD = 5
_GRPC, _CONNECT_STREAM, _CONNECT_UNARY = "gRPC", "Connect stream", "Connect"
_CONNECT_END = 2
"""The flag of the message that ends a stream of Connect."""

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
    """Counts the messages in a body of gRPC, or of a stream of Connect, that comes in pieces."""

    __slots__ = ("_head", "_last", "_left", "count")

    def __init__(self) -> None:
        self.count = 0
        self._head = b""
        self._left = 0
        self._last: bytearray | None = None

    def feed(self, data: bytes) -> int:
        """Take a piece; say how many messages began in it."""
        before = self.count
        position, size = 0, len(data)
        while position < size:
            if self._left:
                step = min(self._left, size - position)
                self._left -= step
                if self._last is not None:
                    self._last += data[position : position + step]
                position += step
                continue
            if not self._head:
                if self._last is not None:
                    break
                self._begin(data[position])
            needed = _FRAME_HEAD - len(self._head)
            self._head += data[position : position + needed]
            position += needed
            if len(self._head) == _FRAME_HEAD:
                self._left = int.from_bytes(self._head[1:], "big")
                self._head = b""
        return self.count - before

    def _begin(self, flags: int) -> None:
        self.count += 1


class ResponseCounter(MessageCounter):
    """The same of a response, where a message may be the one that ends a stream of Connect: that doesn't count."""

    __slots__ = ()

    def _begin(self, flags: int) -> None:
        if flags & _CONNECT_END:
            self._last = bytearray()
        else:
            self.count += 1

    def succeeded(self) -> bool:
        """Whether the stream ended as it should, and without an error."""
        if self._last is None or self._left or self._head:
            return False
        try:
            said = json.loads(self._last)
        except ValueError:
            return False
        return isinstance(said, dict) and "error" not in said


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

    _protocol: str = ""
    _response_is_grpc: bool = False
    _requests: MessageCounter | None = None
    _responses: ResponseCounter | None = None
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
        self._protocol = _protocol_of(request.fields)
        if not self._protocol:
            return
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
        began = 0
        if self._protocol in (_GRPC, _CONNECT_STREAM):
            if self._requests is None:
                self._requests = MessageCounter()
            began = self._requests.feed(data)
        elif self._protocol == _CONNECT_UNARY and end:
            began = 1
        if began:
            self._count_messages("request_message_count", began, stream)

    def on_response_headers(self, response: ResponseHeaders, stream: Stream) -> None:
        self._response_is_grpc = is_grpc_response(response, stream.response_end)
        if not self._protocol:
            return
        if self._protocol == _CONNECT_UNARY:
            self._charge_outcome(response.status == 200)
        elif not (response.status == 200 and _is_connect_stream(response.fields)):
            self._charge(response)
        if stream.response_end:
            self._note_time(stream)

    def on_response_body(self, data: bytes, end: bool, stream: Stream) -> None:
        began = 0
        if self._response_is_grpc or self._protocol == _CONNECT_STREAM:
            if self._responses is None:
                self._responses = ResponseCounter()
            began = self._responses.feed(data)
        elif self._protocol == _CONNECT_UNARY and end:
            began = 1
        if began:
            self._count_messages("response_message_count", began, stream)
        if end and self._protocol in (_CONNECT_STREAM, _CONNECT_UNARY) and not self._response_is_grpc:
            if self._protocol == _CONNECT_STREAM:
                self._charge_outcome(self._responses is not None and self._responses.succeeded())
            self._note_time(stream)

    def on_response_trailers(self, trailers: Headers, stream: Stream) -> None:
        if self._protocol == _GRPC:
            self._charge(trailers)
            self._note_time(stream)

    def _note_time(self, stream: Stream) -> None:
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
        self._charge_outcome(status == "0")

    def _charge_outcome(self, success: bool) -> None:
        if self._scope is not None:
            self._scope.counter("success" if success else "failure").inc()
            self._scope.counter("total").inc()


def _protocol_of(fields: Mapping[str, str]) -> str:
    """The protocol of a request with these fields, "" for none that is counted here."""
    if is_grpc(fields.get("content-type")):
        return _GRPC
    if _is_connect_stream(fields):
        return _CONNECT_STREAM
    return _CONNECT_UNARY if "connect-protocol-version" in fields else ""


def _is_connect_stream(fields: Mapping[str, str]) -> bool:
    return fields.get("content-type", "").startswith("application/connect+")
