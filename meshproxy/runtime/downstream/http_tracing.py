"""Tracing of one connection manager: whether a request is traced, its span, and the context that it takes along.

Order and rules are Envoy's (ConnectionManagerUtility::mutateTracingRequestHeader, ActiveStream::traceRequest). Only
connection managers with `tracing` have one of these; a stream without a span pays one look at an attribute.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from meshproxy.headers import RequestHeaders, ResponseHeaders
from meshproxy.model.tracing import OpenTelemetryProvider, Sampling, SpanNames, TagValue, TracingConfig, ZipkinProvider
from meshproxy.plugin.stats import StatsScope
from meshproxy.runtime.reporting.trace_exporter import TraceExporter
from meshproxy.runtime.reporting.traced import TracedRequest
from meshproxy.telemetry.request_id import (
    CLIENT,
    FORCED,
    NOT_TRACED,
    SAMPLED,
    stable_value,
    trace_reason,
    with_trace_reason,
)
from meshproxy.telemetry.tracing.propagation import Malformed, b3_sampled, extract_b3, extract_w3c
from meshproxy.telemetry.tracing.span import Span, TraceContext

if TYPE_CHECKING:
    from meshproxy.model.route import Route
    from meshproxy.runtime.downstream.http_stream import HttpServerStream
    from meshproxy.runtime.worker import Worker

_COUNTERS = {
    NOT_TRACED: "not_traceable",
    SAMPLED: "random_sampling",
    FORCED: "service_forced",
    CLIENT: "client_enabled",
}


class HttpTracing:
    """See the module. For one worker."""

    def __init__(self, config: TracingConfig, worker: Worker, stats: StatsScope, rng: random.Random) -> None:
        self.config = config
        self.node = worker.node
        self._rng = rng
        scope = stats.scope("tracing.")
        self._counters = {reason: scope.counter(name) for reason, name in _COUNTERS.items()}
        self.exporter = TraceExporter(worker, config.provider, config.flushing) if config.provider is not None else None

    @staticmethod
    def finish(stream: HttpServerStream) -> None:
        """A stream that has a span is over."""
        if isinstance(stream.span, TracedRequest):
            stream.span.finish(stream)

    @staticmethod
    def tell_decoration(stream: HttpServerStream, response: ResponseHeaders) -> None:
        """A response goes to the client: `x-envoy-decorator-operation` is taken from it, or written into it."""
        if isinstance(stream.span, TracedRequest):
            stream.span.on_response(response)

    def begin(self, stream: HttpServerStream, *, edge: bool) -> None:
        """A request has its route: decide, and open its span. edge: it comes from outside, with an id that we keep."""
        request = stream.request
        if edge and self.config.pack_reason:
            self._pack(stream, NOT_TRACED)
        reason = self._decide(stream)
        self._counters[reason].inc()
        stream.sampled = reason != NOT_TRACED
        egress = stream.owner.connection.listener.traffic_direction == "OUTBOUND"
        span = self._open(request, stream, egress=egress)
        if self.names_for(stream.route).operation is None:
            stream.span = self._decorated(stream, span, egress=egress)
        else:
            stream.span = TracedRequest(self, span, egress=egress, decoration=None)

    def _decorated(self, stream: HttpServerStream, span: Span | None, *, egress: bool) -> TracedRequest:
        """The span's name is the operation that the route or the client says; the next one is told."""
        request = stream.request
        route = stream.route
        operation = route.decorator if route is not None else ""
        propagate = route is not None and route.decorator_propagate
        traced = TracedRequest(self, span, egress=egress, decoration=operation if propagate else "")
        if operation:
            traced.rename(operation)
        if egress:
            if traced.decoration:
                request["x-envoy-decorator-operation"] = traced.decoration
        elif "x-envoy-decorator-operation" in request.fields:
            given = request["x-envoy-decorator-operation"]
            if given:
                traced.rename(given)
                traced.decoration = ""
            request.remove("x-envoy-decorator-operation")
        return traced

    # The decision.

    def _decide(self, stream: HttpServerStream) -> str:
        config = self.config
        if not config.by_request_id:
            return SAMPLED
        stable = stable_value(stream.request_id)
        if stable is None:
            return NOT_TRACED
        sampling = _sampling_of(stream.route) or config.sampling
        fields = stream.request.fields
        reason = trace_reason(stream.request_id)
        if reason == NOT_TRACED:
            if "x-client-trace-id" in fields and sampling.client.covers(self._rng.getrandbits(32)):
                reason = CLIENT
            elif "x-envoy-force-trace" in fields:
                reason = FORCED
            elif sampling.random.covers(stable):
                reason = SAMPLED
            if reason != NOT_TRACED:
                self._pack(stream, reason)
        if reason != NOT_TRACED and not sampling.overall.covers(stable):
            reason = NOT_TRACED
            self._pack(stream, reason)
        return reason

    def _pack(self, stream: HttpServerStream, reason: str) -> None:
        if self.config.pack_reason:
            stream.request_id = with_trace_reason(stream.request_id, reason)
            stream.request["x-request-id"] = stream.request_id

    # The span.

    def _open(self, request: RequestHeaders, stream: HttpServerStream, *, egress: bool) -> Span | None:
        provider = self.config.provider
        if provider is None:
            return None
        try:
            if isinstance(provider, ZipkinProvider):
                span = self._open_zipkin(provider, request, stream, egress=egress)
            else:
                span = self._open_otel(request, stream, egress=egress)
        except Malformed:
            return None
        stream.trace_id = f"{span.context.trace_id:032x}" if span.context.long else f"{span.context.trace_id:016x}"
        stream.span_id = f"{span.context.span_id:016x}"
        stream.sampled = span.context.sampled
        node = self.node
        span.tags["node_id"] = node.id
        if node.zone:
            span.tags["zone"] = node.zone
        return span

    def new_id(self) -> int:
        """A span id."""
        return self._rng.getrandbits(64) or 1

    def _kind(self, *, egress: bool) -> str:
        return "CLIENT" if egress and not self.config.spawn_upstream_span else "SERVER"

    def _open_zipkin(
        self, provider: ZipkinProvider, request: RequestHeaders, stream: HttpServerStream, *, egress: bool
    ) -> Span:
        decided = b3_sampled(request)
        sampled = stream.sampled if decided is None else decided
        parent = extract_b3(request, sampled=sampled)
        if parent is None and provider.w3c:
            parent = extract_w3c(request)
        kind = self._kind(egress=egress)
        shared = kind == "SERVER" and provider.shared
        if parent is None:
            number = self.new_id()
            high = self.new_id() << 64 if provider.trace_id_128bit else 0
            context = TraceContext(high | number, number, 0, sampled, provider.trace_id_128bit, "b3" in request)
        elif shared:
            context = parent
        else:
            context = TraceContext(
                parent.trace_id, self.new_id(), parent.span_id, parent.sampled, parent.long, parent.single
            )
        return Span(context, request.authority, kind, stream.start_wall, shared=shared)

    def _open_otel(self, request: RequestHeaders, stream: HttpServerStream, *, egress: bool) -> Span:
        parent = extract_w3c(request)
        assert isinstance(self.config.provider, OpenTelemetryProvider)
        sampler = self.config.provider.sampler
        name = f"egress {request.authority}" if egress else "ingress"
        if parent is None:
            trace_id = self._rng.getrandbits(128) or 1
            sampled = stream.sampled if sampler is None else sampler(None, trace_id)
            context = TraceContext(trace_id, self.new_id(), 0, sampled)
        else:
            sampled = parent.sampled and stream.sampled if sampler is None else sampler(parent, parent.trace_id)
            context = TraceContext(parent.trace_id, self.new_id(), parent.span_id, sampled, state=parent.state)
        return Span(context, name, self._kind(egress=egress), stream.start_wall)

    def names_for(self, route: Route | None) -> SpanNames:
        """What spans of requests on a route are called."""
        own = self.config.names
        if route is None or route.tracing is None:
            return own
        given = route.tracing.names
        return SpanNames(given.operation or own.operation, given.upstream or own.upstream)

    def tags_for(self, route: Route | None) -> tuple[tuple[str, TagValue], ...]:
        """The custom tags of requests on a route."""
        if route is None or route.tracing is None or not route.tracing.tags:
            return self.config.tags
        return tuple({**dict(self.config.tags), **dict(route.tracing.tags)}.items())

    @property
    def is_w3c(self) -> bool:
        """Whether the context goes on in W3C's fields alone."""
        return isinstance(self.config.provider, OpenTelemetryProvider)

    @property
    def adds_w3c(self) -> bool:
        """Whether it goes on in W3C's fields besides B3's."""
        return isinstance(self.config.provider, ZipkinProvider) and self.config.provider.w3c


def _sampling_of(route: Route | None) -> Sampling | None:
    return route.tracing.sampling if route is not None and route.tracing is not None else None
