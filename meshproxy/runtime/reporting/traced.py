"""The span of one request, and with `spawn_upstream_span` those of its attempts."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

from meshproxy.headers import RequestHeaders, ResponseHeaders
from meshproxy.plugin.context import Stream, StreamSpan
from meshproxy.plugin.stream_info import StreamInfo
from meshproxy.plugin.upstream import CopySpan
from meshproxy.telemetry.tracing.annotations import attempt_annotations, request_annotations
from meshproxy.telemetry.tracing.propagation import inject_b3, inject_w3c
from meshproxy.telemetry.tracing.span import Span
from meshproxy.telemetry.tracing.tags import attempt_tags, outcome_tags, request_tags

if TYPE_CHECKING:
    from meshproxy.runtime.downstream.http_tracing import HttpTracing


class TracedRequest(StreamSpan):
    """decoration: the operation that the other side is to be told, "" for none; None: the configuration says the span's
    name, and nobody is told or asked. The span is None where there is no tracer, or where the client's context was
    malformed."""

    __slots__ = ("_attempt", "_attempt_began", "_egress", "_span", "_tracing", "decoration")

    def __init__(self, tracing: HttpTracing, span: Span | None, *, egress: bool, decoration: str | None) -> None:
        self._tracing = tracing
        self._span = span
        self._egress = egress
        self._attempt: Span | None = None
        self._attempt_began = 0.0
        self.decoration = decoration

    def rename(self, operation: str) -> None:
        """The span is known by this name."""
        if self._span is not None:
            self._span.name = operation

    def start_attempt(self, stream: Stream, *, spawns: bool) -> None:
        span = self._span
        if span is None:
            return
        if spawns or self._tracing.config.spawn_upstream_span:
            parent = span.context
            context = replace(parent, span_id=self._tracing.new_id(), parent_id=parent.span_id)
            named = self._tracing.names_for(stream.route).upstream
            name = named(stream) if named is not None else ""
            span = Span(context, name or f"router {stream.upstream_cluster} egress", "CLIENT", time.time())
            if stream.attempt_count > 1:
                span.tags["retry.count"] = str(stream.attempt_count - 1)
            self._attempt = span
        self._inject(span, stream.request)

    def start_copy(self, request: RequestHeaders, sampled: bool | None) -> CopySpan | None:
        parent = self._span
        if parent is None:
            return None
        context = replace(parent.context, span_id=self._tracing.new_id(), parent_id=parent.context.span_id)
        if sampled is not None:
            context = replace(context, sampled=sampled)
        span = Span(context, "mirror", "CLIENT", time.time())
        self._inject(span, request)
        return _TracedCopy(self, span)

    def _inject(self, span: Span, request: RequestHeaders) -> None:
        if self._tracing.is_w3c:
            inject_w3c(span.context, request)
            return
        inject_b3(span.context, request)
        if self._tracing.adds_w3c:
            inject_w3c(span.context, request, with_state=False)

    def end_attempt(self, stream: Stream, status: int) -> None:
        span, self._attempt = self._attempt, None
        if span is None:
            return
        span.duration = time.time() - span.start
        span.tags |= attempt_tags(stream)
        if self._tracing.config.verbose:
            span.annotations = attempt_annotations(stream)
        span.tags |= outcome_tags(stream, status, self._tracing.tags_for(stream.route))
        flags = [
            flag for flag in stream.flags.split(",") if flag not in ("", "URX")
        ]  # that of the request, not of a try
        span.tags["response_flags"] = ",".join(flags) or "-"
        self.report(span)

    def on_response(self, response: ResponseHeaders) -> None:
        """Exchange the operation with the peer."""
        if self.decoration is None:
            return
        if not self._egress:
            if self.decoration:
                response["x-envoy-decorator-operation"] = self.decoration
        elif "x-envoy-decorator-operation" in response.fields:
            given = response["x-envoy-decorator-operation"]
            if given:
                self.rename(given)
            response.remove("x-envoy-decorator-operation")

    def finish(self, stream: Stream) -> None:
        """The request is over."""
        self.end_attempt(stream, stream.response_code if stream.response is not None else 0)
        span = self._span
        if span is None:
            return
        named = self._tracing.names_for(stream.route).operation
        if named is not None:
            self.rename(named(stream) or span.name)
        span.duration = stream.end - stream.start
        if self._tracing.config.verbose:
            span.annotations = request_annotations(stream)
        span.tags |= request_tags(stream, self._tracing.config.max_path_length)
        span.tags |= outcome_tags(stream, stream.response_code, self._tracing.tags_for(stream.route))
        self.report(span)

    def report(self, span: Span) -> None:
        """A span is over: hand it to the exporter, if it is to be collected."""
        exporter = self._tracing.exporter
        if exporter is not None and span.context.sampled:
            exporter.report(span)


class _TracedCopy(CopySpan):
    __slots__ = ("_owner", "_span")

    def __init__(self, owner: TracedRequest, span: Span) -> None:
        self._owner = owner
        self._span = span

    def end(self, info: StreamInfo, status: int) -> None:
        span = self._span
        span.duration = time.time() - span.start
        span.tags = attempt_tags(info) | outcome_tags(info, status, ())
        self._owner.report(span)
