"""Which gauges were ever moved, though they are back at 0: `/stats?usedonly` shows them, as Envoy does.

Theory: most gauges rise and fall once per request or connection, where noting that they did would cost each of them
something. But where a gauge counts what there is, a counter beside it counts what there ever was, and it rises at the
same moment: so the counter says whether the gauge was used, and it is asked only when somebody looks.
"""

from __future__ import annotations

from collections.abc import Mapping

_ACTIVE = "active"
_ALWAYS = (".membership_excluded", ".warming_state")
"""Of a cluster: set when it begins."""

_BREAKERS = {
    "cx_open": ("upstream_cx_total",),
    "rq_open": ("upstream_rq_total",),
    "rq_pending_open": ("upstream_rq_pending_total",),
    "cx_pool_open": ("upstream_cx_http1_total", "upstream_cx_http2_total"),
}
_BREAKERS_OF_DEFAULT = ".circuit_breakers.default."


def tellers(name: str) -> tuple[str, ...]:
    """The counters that may tell whether gauge `name` was used; whether there are such isn't known here."""
    if name.endswith("_active") or name.endswith(".active"):
        if name.endswith(".downstream_pre_cx_active"):
            return (name.removesuffix("pre_cx_active") + "cx_total",)
        return (name.removesuffix(_ACTIVE) + "total",)
    if name.endswith("cx_rx_bytes_buffered"):
        return (name.removesuffix("buffered") + "total",)
    cluster, _, which = name.partition(_BREAKERS_OF_DEFAULT)
    return tuple(f"{cluster}.{each}" for each in _BREAKERS.get(which, ()))


def is_used(name: str, noted: bool, counters: Mapping[str, tuple[int, bool]]) -> bool:
    """Whether gauge `name`, which is 0, wasn't always. noted: whether that was noted where it moved."""
    if name.endswith(_ALWAYS):
        return True
    known = [counters[each][1] for each in tellers(name) if each in counters]
    return any(known) if known else noted
