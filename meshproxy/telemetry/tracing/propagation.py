"""Trace context in header fields: B3, several fields or one (openzipkin/b3-propagation), and W3C Trace Context.

What a peer sends is checked as strictly as the two specifications say; Envoy gives up tracing a request whose context
is malformed, and so do we (`Malformed`).
"""

from __future__ import annotations

import re

from meshproxy.headers import RequestHeaders
from meshproxy.telemetry.tracing.span import TraceContext

_TRACE_ID = re.compile(r"(?:[0-9a-fA-F]{16}){1,2}\Z")
_SPAN_ID = re.compile(r"[0-9a-fA-F]{16}\Z")
_PARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})\Z", re.IGNORECASE)


class Malformed(Exception):
    """A context that can't be read."""


def b3_sampled(request: RequestHeaders) -> bool | None:
    """What the B3 fields decide about sampling; None when they leave it to us."""
    single = request.get("b3")
    if single:
        parts = single.split("-")
        flag = parts[0] if len(parts) == 1 else parts[2] if len(parts) > 2 else ""
        return {"0": False, "1": True, "d": True}.get(flag)
    sampled = request.get("x-b3-sampled")
    if sampled is not None:
        return sampled in ("1", "true")
    return True if request.get("x-b3-flags") == "1" else None


def extract_b3(request: RequestHeaders, *, sampled: bool) -> TraceContext | None:
    """The context of the client; None when there is none. Raises Malformed."""
    single = request.get("b3")
    if single:
        parts = single.split("-")
        if len(parts) == 1:
            return None
        parent = parts[3] if len(parts) == 4 else ""
        return _b3(parts[0], parts[1], parent, sampled=sampled, single=True)
    trace_id, span_id = request.get("x-b3-traceid"), request.get("x-b3-spanid")
    if not trace_id or not span_id:
        return None
    return _b3(trace_id, span_id, request.get("x-b3-parentspanid") or "", sampled=sampled, single=False)


def _b3(trace_id: str, span_id: str, parent: str, *, sampled: bool, single: bool) -> TraceContext:
    if not _TRACE_ID.match(trace_id) or not _SPAN_ID.match(span_id) or (parent and not _SPAN_ID.match(parent)):
        raise Malformed
    return TraceContext(
        int(trace_id, 16), int(span_id, 16), int(parent or "0", 16), sampled, len(trace_id) == 32, single
    )


def _put(request: RequestHeaders, name: str, value: str) -> None:
    """Set a field at the end of the head, as Envoy does."""
    request.remove(name)
    request.fields[name] = value


def inject_b3(context: TraceContext, request: RequestHeaders) -> None:
    """Pass the context on as it came: in one field, or in several."""
    trace_id, span_id = trace_id_text(context), f"{context.span_id:016x}"
    flag = "1" if context.sampled else "0"
    parent = f"{context.parent_id:016x}" if context.parent_id else ""
    if context.single:
        _put(request, "b3", f"{trace_id}-{span_id}-{flag}" + (f"-{parent}" if parent else ""))
        return
    _put(request, "x-b3-traceid", trace_id)
    _put(request, "x-b3-spanid", span_id)
    if parent:
        _put(request, "x-b3-parentspanid", parent)
    _put(request, "x-b3-sampled", flag)


def trace_id_text(context: TraceContext) -> str:
    """The trace id in hexadecimal, 16 or 32 digits."""
    return f"{context.trace_id:032x}" if context.long else f"{context.trace_id:016x}"


def extract_w3c(request: RequestHeaders) -> TraceContext | None:
    """The context of `traceparent` and `tracestate`; None when there is none. Raises Malformed."""
    given = request.get("traceparent")
    if given is None:
        return None
    found = _PARENT.match(given)
    if found is None:
        raise Malformed
    version, trace_id, span_id, flags = found.groups()
    if version.lower() == "ff" or not int(trace_id, 16) or not int(span_id, 16):
        raise Malformed
    state = ",".join(request.get_all("tracestate"))
    return TraceContext(int(trace_id, 16), int(span_id, 16), 0, bool(int(flags, 16) & 1), state=state)


def inject_w3c(context: TraceContext, request: RequestHeaders, *, with_state: bool = True) -> None:
    """Pass the context on in `traceparent` and `tracestate`; without `with_state` the latter stays as it is."""
    flag = 1 if context.sampled else 0
    _put(request, "traceparent", f"00-{context.trace_id:032x}-{context.span_id:016x}-{flag:02x}")
    if with_state:
        _put(request, "tracestate", context.state)
