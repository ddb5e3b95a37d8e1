"""What of requests is traced, and who is told (HttpConnectionManager.Tracing, envoy.config.trace.v3)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from meshproxy.matching import FractionalPercent
from meshproxy.model.grpc_service import GrpcService
from meshproxy.records import dataclass
from meshproxy.runtime_values import Share

ALL = FractionalPercent(100)
TagValue = Callable[[Any], str]
"""The value of a custom tag: `StreamInfo` -> text; "" for none."""


class Parent(Protocol):
    """What a sampler asks of the context that a request came with."""

    @property
    def sampled(self) -> bool: ...


Sampler = Callable[[Parent | None, int], bool]
"""Whether a span is sent: the context that the request came with, if any, and the trace id."""


@dataclass(frozen=True, slots=True)
class Sampling:
    """Shares of requests: of those that ask for it by `x-client-trace-id`, of all, and of those that are chosen."""

    client: Share = ALL
    random: Share = ALL
    overall: Share = ALL


@dataclass(frozen=True, slots=True)
class ZipkinProvider:
    """Spans go to `path` of `cluster` as Zipkin's JSON (v2); the context goes on in B3 fields, with `w3c` in both.

    shared: the span of a server has the id of its client's.
    """

    cluster: str
    path: str
    host: str
    trace_id_128bit: bool = False
    shared: bool = True
    w3c: bool = False


@dataclass(frozen=True, slots=True)
class OpenTelemetryProvider:
    """Spans go as OTLP to `grpc`, or over HTTP to `path` of `cluster`, or nowhere; the context goes on in `traceparent`
    and `tracestate`.

    attributes: of the resource that spans are from, `service.name` among them. sampler: decides what is sent, instead
    of the connection manager. max_waiting: spans; more are dropped. headers: further fields of the requests that carry
    spans. timeout: seconds.
    """

    attributes: tuple[tuple[str, str], ...]
    cluster: str = ""
    path: str = "/"
    host: str = ""
    timeout: float = 5.0
    headers: tuple[tuple[str, str], ...] = ()
    grpc: GrpcService | None = None
    sampler: Sampler | None = None
    max_waiting: int = 1024


@dataclass(frozen=True, slots=True)
class Flushing:
    """Spans are sent when there are `at_least` of them, and every `interval` seconds; a request takes `timeout`."""

    at_least: int = 5
    interval: float = 5.0
    timeout: float = 5.0


@dataclass(frozen=True, slots=True, eq=False)
class SpanNames:
    """operation: of the request's span, in place of any decoration. upstream: of an attempt's. None: as is usual."""

    operation: TagValue | None = None
    upstream: TagValue | None = None


@dataclass(frozen=True, slots=True, eq=False)
class TracingConfig:
    """Of a connection manager. by_request_id: the id decides, so that every proxy on the way decides alike.

    spawn_upstream_span: each attempt has a span of its own below the request's.
    names: of spans, where the configuration gives them. verbose: spans tell when bytes came and went.
    """

    sampling: Sampling
    tags: tuple[tuple[str, TagValue], ...]
    max_path_length: int
    spawn_upstream_span: bool
    provider: ZipkinProvider | OpenTelemetryProvider | None
    flushing: Flushing
    by_request_id: bool
    pack_reason: bool
    names: SpanNames
    verbose: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class RouteTracing:
    """What a route says of it; its tags come after the connection manager's and replace those of the same name."""

    sampling: Sampling
    tags: tuple[tuple[str, TagValue], ...]
    names: SpanNames
