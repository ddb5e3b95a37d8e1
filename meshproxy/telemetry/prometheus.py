"""Prometheus' exposition text, as Envoy's `/stats/prometheus` writes it.

Statistics whose names differ only in what became tags make one metric: a `# TYPE` line, then its members in the order
of their full names. Counters come first, then gauges, text readouts if asked for, and histograms; labels stand in the
order of extraction. No `# HELP` lines.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping

from meshproxy.in_parts import sorted_in_parts
from meshproxy.telemetry.histogram import QUANTILES, approximate_sum, counts_up_to, quantile_values
from meshproxy.telemetry.operator_values import latin
from meshproxy.telemetry.stats import HistogramData, StatsSnapshot
from meshproxy.telemetry.stats_query import StatsQuery, select
from meshproxy.telemetry.tags import TagProducer, Tags

# Names that a statistics filter makes for dashboards of its own: they lose this prefix and get no `envoy_`.
CUSTOM_NAMESPACES = ("istiocustom.", "wasmcustom.")

_NOT_IN_NAME = re.compile(r"[^a-zA-Z0-9_]")


def metric_name(name: str) -> str:
    """The metric's name for a statistic's name without its tags."""
    for namespace in CUSTOM_NAMESPACES:
        if name.startswith(namespace):
            return _NOT_IN_NAME.sub("_", name[len(namespace) :])
    return "envoy_" + _NOT_IN_NAME.sub("_", name)


def _number(value: float) -> str:
    return f"{value:.32g}"


def _labels(tags: Tags) -> str:
    return ",".join([_label(_NOT_IN_NAME.sub("_", name), value) for name, value in tags])


def _label(name: str, value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')
    return f'{name}="{escaped}"'


def _braced(labels: str) -> str:
    return f"{{{labels}}}"


def _groups(names: Iterable[str], producer: TagProducer) -> list[tuple[str, list[tuple[str, str]]]]:
    """(metric name, [(name, labels)]), both in order."""
    groups: dict[str, list[tuple[str, str]]] = {}
    for name in sorted_in_parts(names):
        rest, tags = producer.split(name)
        groups.setdefault(rest, []).append((name, _labels(tags)))
    return [(metric_name(rest), members) for rest, members in sorted(groups.items())]


def render_prometheus(snapshot: StatsSnapshot, producer: TagProducer, query: StatsQuery | None = None) -> str:
    """The whole text; Unicode names and values are given as Latin-1 text (one character per byte of UTF-8)."""
    return latin("".join(prometheus_lines(snapshot, producer, query)))


def prometheus_lines(snapshot: StatsSnapshot, producer: TagProducer, query: StatsQuery | None = None) -> Iterator[str]:
    """The same line by line, in Unicode."""
    query = query if query is not None else StatsQuery("prometheus")
    chosen = select(snapshot, query)
    numbers: Mapping[str, tuple[int, object]] | Mapping[str, tuple[int, object, object]]
    for kind, numbers in (("counter", chosen.counters), ("gauge", chosen.gauges)):
        for metric, members in _groups(numbers, producer):
            yield f"# TYPE {metric} {kind}\n"
            for name, labels in members:
                yield f"{metric}{_braced(labels)} {numbers[name][0]}\n"
            members.clear()  # to let all of them go at once would hold others up
    if query.text_readouts:
        for metric, members in _groups(chosen.texts, producer):
            yield f"# TYPE {metric} gauge\n"
            for name, labels in members:
                text = _label("text_value", chosen.texts[name])
                yield f"{metric}{_braced(_with(labels, text))} 0\n"
    form = "summary" if query.buckets == "summary" else "histogram"
    for metric, members in _groups(chosen.histograms, producer):
        yield f"# TYPE {metric} {form}\n"
        for name, labels in members:
            for line in _histogram(metric, labels, chosen.histograms[name], form == "summary"):
                yield f"{line}\n"


def _with(labels: str, last: str) -> str:
    return f"{labels},{last}" if labels else last


def _histogram(metric: str, labels: str, data: HistogramData, summary: bool) -> list[str]:
    bins = data.cumulative
    total = sum(bins.values())
    if summary:
        pairs = zip(QUANTILES, quantile_values(bins), strict=True)
        lines = [f"{metric}{_braced(_with(labels, _label('quantile', f'{q:g}')))} {_number(v)}" for q, v in pairs]
    else:
        steps = [(_number(b), c) for b, c in zip(data.bounds, counts_up_to(bins, data.bounds), strict=True)]
        buckets = (*steps, ("+Inf", total))
        lines = [f"{metric}_bucket{_braced(_with(labels, _label('le', b)))} {count}" for b, count in buckets]
    return [
        *lines,
        f"{metric}_sum{_braced(labels)} {_number(approximate_sum(bins))}",
        f"{metric}_count{_braced(labels)} {total}",
    ]
