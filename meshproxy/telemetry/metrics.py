"""Statistics as metrics that are pushed: which are told, under which name, and what came since the last time.

As in Envoy only what has ever been used is told. A histogram that is told by deltas is left out where nothing came.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

from meshproxy.model.stats_sink import MetricForm
from meshproxy.records import dataclass
from meshproxy.telemetry.histogram import Bins
from meshproxy.telemetry.stats import StatsSnapshot
from meshproxy.telemetry.tags import TagProducer

Tags = Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Metric:
    """kind: "counter", "gauge" or "histogram". value: of the former two. bins, bounds: of the last."""

    kind: Literal["counter", "gauge", "histogram"]
    name: str
    tags: Tags
    value: int = 0
    bins: Bins | None = None
    bounds: Sequence[float] = ()


class MetricReader:
    """Makes metrics of snapshots, one after the other."""

    def __init__(self, form: MetricForm, tags: TagProducer) -> None:
        self._form = form
        self._tags = tags
        self._names: dict[str, tuple[str, Tags]] = {}
        self._counts: dict[str, int] = {}
        self._bins: dict[str, Bins] = {}

    def read(self, snapshot: StatsSnapshot) -> Iterator[Metric]:
        for name, (value, used) in snapshot.counters.items():
            if used:
                yield Metric("counter", *self._named(name), self._risen(name, value))
        for name, (value, used, _) in snapshot.gauges.items():
            if used:
                yield Metric("gauge", *self._named(name), value)
        for name, data in snapshot.histograms.items():
            bins = self._new_bins(name, data.cumulative) if self._form.histogram_deltas else data.cumulative
            if bins:
                yield Metric("histogram", *self._named(name), bins=bins, bounds=data.bounds)

    def _named(self, name: str) -> tuple[str, Tags]:
        known = self._names.get(name)
        if known is None:
            form = self._form
            rest, tags = self._tags.split(name)
            shown = rest if form.extracted else name
            known = self._names[name] = (f"{form.prefix}{shown}", tags if form.tagged else ())
        return known

    def _risen(self, name: str, value: int) -> int:
        if not self._form.counter_deltas:
            return value
        risen = value - self._counts.get(name, 0)
        self._counts[name] = value
        return risen if risen >= 0 else value  # after a reset it begins anew

    def _new_bins(self, name: str, bins: Bins) -> Bins:
        before = self._bins.get(name, {})
        self._bins[name] = dict(bins)
        return {index: more for index, count in bins.items() if (more := count - before.get(index, 0)) > 0}
