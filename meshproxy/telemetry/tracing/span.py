"""Spans, and the context that is passed on with a request."""

from __future__ import annotations

from dataclasses import field

from meshproxy.records import dataclass


@dataclass(frozen=True, slots=True)
class TraceContext:
    """Where a request belongs. Ids are numbers; parent_id: 0 for none. long: the trace id has 128 bits.

    single: it came in one `b3` field. state: `tracestate` as it came.
    """

    trace_id: int
    span_id: int
    parent_id: int = 0
    sampled: bool = True
    long: bool = True
    single: bool = False
    state: str = ""


@dataclass(slots=True)
class Span:
    """One piece of work. kind: "SERVER" or "CLIENT". start: seconds since 1970. duration: seconds.

    annotations: what happened meanwhile, and when, in seconds since 1970.
    """

    context: TraceContext
    name: str
    kind: str
    start: float
    shared: bool = False
    duration: float = 0.0
    tags: dict[str, str] = field(default_factory=dict)
    annotations: tuple[tuple[float, str], ...] = ()
