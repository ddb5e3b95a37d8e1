"""`/stats` as text and as JSON, as Envoy prints them: everything by name, histograms last."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import Any

from meshproxy.in_parts import sorted_in_parts
from meshproxy.telemetry.histogram import QUANTILES, bin_bounds, counts_up_to, quantile_values
from meshproxy.telemetry.operator_values import latin
from meshproxy.telemetry.stats import HistogramData, StatsSnapshot
from meshproxy.telemetry.stats_query import StatsQuery, select


def render_text(snapshot: StatsSnapshot, query: StatsQuery | None = None) -> str:
    """`text_lines` as one Latin-1 text."""
    return latin("".join(text_lines(snapshot, query)))


def text_lines(snapshot: StatsSnapshot, query: StatsQuery | None = None) -> Iterator[str]:
    """`name: value` lines; text readouts first, then counters and gauges, then histograms."""
    query = query if query is not None else StatsQuery()
    chosen = select(snapshot, query)
    for name, text in sorted_in_parts(chosen.texts.items()):
        yield f'{name}: "{text}"\n'
    numbers = {name: stat[0] for table in (chosen.counters, chosen.gauges) for name, stat in table.items()}
    for name, value in sorted_in_parts(numbers.items()):
        yield f"{name}: {value}\n"
    for name, data in _by_name(chosen.histograms):
        yield f"{name}:{_histogram_text(data, query.buckets)}\n"


def _by_name(histograms: dict[str, HistogramData]) -> list[tuple[str, HistogramData]]:
    return [(name, histograms[name]) for name in sorted_in_parts(histograms)]


def _histogram_text(data: HistogramData, mode: str) -> str:
    """What follows the name and its colon."""
    if mode in ("cumulative", "disjoint"):
        interval, cumulative = _bucket_counts(data, mode == "disjoint")
        pairs = zip(data.bounds, interval, cumulative, strict=True)
        return "".join([f" B{bound:g}({i},{c})" for bound, i, c in pairs])
    if not data.cumulative:
        return " No recorded values"
    if mode == "detailed":
        return (
            f"\n  totals={_bins_text(data.cumulative)}\n  intervals={_bins_text(data.interval)}"
            f"\n  summary={_summary_text(data)}"
        )
    return f" {_summary_text(data)}"


def _summary_text(data: HistogramData) -> str:
    pairs = zip(QUANTILES, quantile_values(data.interval), quantile_values(data.cumulative), strict=True)
    return " ".join([f"P{100 * quantile:g}({interval:g},{total:g})" for quantile, interval, total in pairs])


def _bins_text(bins: dict[int, int]) -> str:
    """`lower,width:count, ...`."""
    shown = [(bin_bounds(index), count) for index, count in sorted(bins.items())]
    return ", ".join([f"{lower:g},{width:g}:{count}" for (lower, width), count in shown])


def _bucket_counts(data: HistogramData, disjoint: bool) -> tuple[list[int], list[int]]:
    """Counts of the interval and of all time at each bound, of that bucket alone if `disjoint`."""
    both = []
    for bins in (data.interval, data.cumulative):
        counts = counts_up_to(bins, data.bounds)
        both.append([n - before for n, before in zip(counts, [0, *counts], strict=False)] if disjoint else counts)
    return both[0], both[1]


def render_json(snapshot: StatsSnapshot, query: StatsQuery | None = None) -> str:
    """The same as one JSON object, `{"stats": [...]}`; a histogram's values are null before it has any."""
    query = query if query is not None else StatsQuery("json")
    chosen = select(snapshot, query)
    stats: list[Any] = [{"name": name, "value": text} for name, text in sorted_in_parts(chosen.texts.items())]
    numbers = {name: stat[0] for table in (chosen.counters, chosen.gauges) for name, stat in table.items()}
    stats += [{"name": name, "value": value} for name, value in sorted_in_parts(numbers.items())]
    if chosen.histograms:
        stats.append({"histograms": _histograms_json(chosen, query.buckets)})
    return latin(_dump({"stats": stats}))


def _histograms_json(chosen: StatsSnapshot, mode: str) -> Any:
    named = _by_name(chosen.histograms)
    if mode in ("cumulative", "disjoint"):
        return [{"name": name, "buckets": _buckets_json(data, mode == "disjoint")} for name, data in named]
    quantiles = [100 * quantile for quantile in QUANTILES]
    if mode == "detailed":
        details = [
            {
                "name": name,
                "totals": _bins_json(data.cumulative),
                "intervals": _bins_json(data.interval),
                "percentiles": _quantiles_json(data),
            }
            for name, data in named
        ]
        return {"supported_percentiles": quantiles, "details": details}
    computed = [{"name": name, "values": _quantiles_json(data)} for name, data in named]
    return {"supported_quantiles": quantiles, "computed_quantiles": computed}


def _buckets_json(data: HistogramData, disjoint: bool) -> list[Any]:
    interval, cumulative = _bucket_counts(data, disjoint)
    return [
        {"upper_bound": bound, "interval": i, "cumulative": c}
        for bound, i, c in zip(data.bounds, interval, cumulative, strict=True)
    ]


def _quantiles_json(data: HistogramData) -> list[Any]:
    pairs = zip(quantile_values(data.cumulative), quantile_values(data.interval), strict=True)
    return [{"cumulative": _or_null(total), "interval": _or_null(interval)} for total, interval in pairs]


def _or_null(value: float) -> float | None:
    return None if math.isnan(value) else value


def _bins_json(bins: dict[int, int]) -> list[Any]:
    shown = [(bin_bounds(index), count) for index, count in sorted(bins.items())]
    return [{"lower_bound": lower, "width": width, "count": count} for (lower, width), count in shown]


def _dump(value: Any) -> str:
    """JSON on one line in the given order; numbers in the shorter of their two ways of writing, as Envoy does."""
    if isinstance(value, dict):
        return "{" + ",".join([f"{json.dumps(key)}:{_dump(item)}" for key, item in value.items()]) + "}"
    if isinstance(value, list):
        return "[" + ",".join([_dump(item) for item in value]) + "]"
    if isinstance(value, float):
        return _short_number(value)
    return json.dumps(value, ensure_ascii=False)


def _short_number(value: float) -> str:
    """The fewest digits that give `value` again: 300000.0 is 3e+05, 1800000.0 stays 1800000."""
    digits = repr(value).removesuffix(".0")
    for precision in range(17):
        exponential = f"{value:.{precision}e}"
        if float(exponential) == value:
            return digits if len(digits) <= len(exponential) else exponential
    return digits
