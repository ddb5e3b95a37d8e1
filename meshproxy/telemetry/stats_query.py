"""Which statistics a request to `/stats` wants, and in which form. The words and the complaints are Envoy's."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import re2

from meshproxy.records import dataclass
from meshproxy.telemetry.stats import HistogramData, ImportMode, StatsSnapshot
from meshproxy.telemetry.used_gauges import is_used

FORMATS = ("text", "json", "prometheus")
BUCKET_MODES = ("cumulative", "disjoint", "detailed", "summary")
_NATIVE = "prometheusnative"  # of Prometheus' binary form alone
TYPES = ("All", "Counters", "Gauges", "Histograms", "TextReadouts")

_NO_COUNTER = (0, False)
_NO_GAUGE: tuple[int, bool, ImportMode] = (0, False, "sum")


@dataclass(frozen=True, slots=True)
class StatsQuery:
    """format, buckets and type: see FORMATS, BUCKET_MODES ("" for the format's own way) and TYPES.

    wanted: whether a name matches `filter`; None wants all. text_readouts: shown in Prometheus' format too.
    """

    format: str = "text"
    buckets: str = ""
    type: str = "All"
    used_only: bool = False
    text_readouts: bool = False
    wanted: Callable[[str], bool] | None = None


def parse_stats_query(parameters: Mapping[str, str], path_format: str = "text") -> StatsQuery:
    """The query of `/stats?...`. path_format: the format when none is asked for ("prometheus" for its own path).

    Raises ValueError with the text of the 400 response.
    """
    output = parameters.get("format", path_format)
    if output not in FORMATS:
        raise ValueError(f"usage: /stats?format=({'|'.join(sorted(FORMATS))})\n\n")
    buckets = _buckets(parameters.get("histogram_buckets", ""), output)
    kind = parameters.get("type", "All")
    if kind not in TYPES:
        raise ValueError("invalid &type= param")
    if output == "prometheus":
        kind = "All"
    return StatsQuery(
        output, buckets, kind, "usedonly" in parameters, "text_readouts" in parameters, _wanted(parameters)
    )


def _buckets(mode: str, output: str) -> str:
    """One of BUCKET_MODES, or "". Raises ValueError."""
    if mode == "none":
        return "summary" if output == "prometheus" else ""
    if mode == _NATIVE:
        if output == "prometheus":
            raise ValueError(f"unsupported {_NATIVE} histogram type when not using protobuf exposition format")
        raise ValueError("Invalid histogram_buckets type for non prometheus stats type")
    if mode and mode not in BUCKET_MODES:
        raise ValueError(f"usage: /stats?histogram_buckets=({'|'.join((*BUCKET_MODES, _NATIVE))})\n")
    if output == "prometheus" and mode in ("detailed", "disjoint"):
        raise ValueError("unsupported prometheus histogram bucket mode")
    return mode


def _wanted(parameters: Mapping[str, str]) -> Callable[[str], bool] | None:
    pattern = parameters.get("filter", "")
    if not pattern:
        return None
    options = re2.Options()
    options.log_errors = False
    try:
        search = re2.compile(pattern, options).search
    except re2.error as error:
        message = error.args[0] if error.args else error
        text = message.decode() if isinstance(message, bytes) else str(message)
        raise ValueError(f"Invalid re2 regex: {text}") from None
    return lambda name: search(name) is not None


def select(snapshot: StatsSnapshot, query: StatsQuery) -> StatsSnapshot:
    """The part of a snapshot that is asked for."""

    def keep(kind: str, name: str, used: bool) -> bool:
        if query.type not in ("All", kind) or (query.used_only and not used):
            return False
        return query.wanted is None or query.wanted(name)

    chosen = StatsSnapshot(
        {name: stat for name, stat in snapshot.counters.items() if keep("Counters", name, stat[1])},
        {name: stat for name, stat in snapshot.gauges.items() if keep("Gauges", name, stat[1])},
        {name: data for name, data in snapshot.histograms.items() if keep("Histograms", name, bool(data.cumulative))},
        {name: text for name, text in snapshot.texts.items() if keep("TextReadouts", name, bool(text))},
    )
    if query.used_only:
        _add_used(snapshot, chosen, keep)
    else:
        _add_declared(snapshot, chosen, lambda kind, name: keep(kind, name, False))
    return chosen


def _add_used(snapshot: StatsSnapshot, chosen: StatsSnapshot, keep: Callable[[str, str, bool], bool]) -> None:
    """The gauges that nobody counts here, but that Envoy would have moved."""
    for names, prefixes in snapshot.declared.items():
        for prefix in prefixes:
            for name in names.gauges:
                full = prefix + name
                if full not in snapshot.gauges and keep("Gauges", full, is_used(full, False, snapshot.counters)):
                    chosen.gauges[full] = _NO_GAUGE


def _add_declared(snapshot: StatsSnapshot, chosen: StatsSnapshot, keep: Callable[[str, str], bool]) -> None:
    """What is shown though nobody has counted it."""
    for names, prefixes in snapshot.declared.items():
        for prefix in prefixes:
            for name in names.counters:
                if (full := prefix + name) not in snapshot.counters and keep("Counters", full):
                    chosen.counters[full] = _NO_COUNTER
            for name in names.gauges:
                if (full := prefix + name) not in snapshot.gauges and keep("Gauges", full):
                    chosen.gauges[full] = _NO_GAUGE
            for name in names.histograms:
                if (full := prefix + name) not in snapshot.histograms and keep("Histograms", full):
                    chosen.histograms[full] = HistogramData({}, {})
