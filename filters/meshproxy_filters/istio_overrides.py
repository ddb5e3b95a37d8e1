"""The configuration of `istio.stats` (`stats.PluginConfig`): at which end we stand, and what is changed in the metrics.

A metric can be left out, lose labels, and get labels whose values are CEL expressions; a new one can be defined by an
expression for its value. The order is Istio's: a label of the standard is replaced or removed, others come behind.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from meshproxy.plugin.context import FactoryContext
from meshproxy.plugin.stream_info import StreamInfo
from meshproxy.records import dataclass
from meshproxy_filters.istio_labels import STANDARD_LABELS, Labels

if TYPE_CHECKING:
    from meshproxy.plugin.view import ConfigView

METRICS = (
    "requests_total",
    "request_duration_milliseconds",
    "request_bytes",
    "response_bytes",
    "request_messages_total",
    "response_messages_total",
    "tcp_connections_opened_total",
    "tcp_connections_closed_total",
    "tcp_sent_bytes_total",
    "tcp_received_bytes_total",
)
HISTOGRAMS = frozenset({"request_duration_milliseconds", "request_bytes", "response_bytes"})

Read = Callable[[StreamInfo], str | None]


class Kind(enum.Enum):
    COUNTER = "COUNTER"
    GAUGE = "GAUGE"
    HISTOGRAM = "HISTOGRAM"


@dataclass(frozen=True, slots=True)
class CustomMetric:
    """expression: the index of that of its value."""

    name: str
    expression: int


@dataclass(frozen=True, slots=True, eq=False)
class Overrides:
    """dropped: metrics that aren't counted. replaced, added: by metric and label the index of the expression; None for
    a label that is left out. kinds: of the metrics that are defined here."""

    expressions: tuple[Read, ...]
    dropped: frozenset[str]
    replaced: Mapping[str, Mapping[str, int | None]]
    added: Mapping[str, Mapping[str, int]]
    custom: tuple[CustomMetric, ...]
    kinds: Mapping[str, Kind]

    def apply(self, metric: str, labels: Labels, values: tuple[str, ...]) -> Labels:
        """The labels of one metric. values: of the expressions."""
        replaced = self.replaced.get(metric, {})
        found = []
        for name, value in [] if metric in self.kinds else labels:
            index = replaced.get(name, -1)
            if index is not None:
                found.append((name, value if index < 0 else values[index]))
        return found + [(name, values[index]) for name, index in self.added.get(metric, {}).items()]


class _Reader:
    """Gathers what the entries of one configuration say."""

    def __init__(self, context: FactoryContext) -> None:
        self._context = context
        self._indices: dict[str, int] = {}
        self._expressions: list[Read] = []
        self._dropped: set[str] = set()
        self._replaced: dict[str, dict[str, int | None]] = {}
        self._added: dict[str, dict[str, int]] = {}
        self._custom: dict[str, CustomMetric] = {}
        self._kinds: dict[str, Kind] = {}

    def overrides(self) -> Overrides:
        return Overrides(
            tuple(self._expressions),
            frozenset(self._dropped),
            self._replaced,
            self._added,
            tuple(self._custom.values()),
            self._kinds,
        )

    def _index(self, view: ConfigView, text: str, name: str) -> int:
        if text not in self._indices:
            try:
                self._expressions.append(self._context.compile_attribute_text(text))
            except ValueError as error:
                view.fail(str(error), name)
            self._indices[text] = len(self._expressions) - 1
        return self._indices[text]

    def define(self, view: ConfigView) -> None:
        """`MetricDefinition`. A metric of the standard can't be defined anew."""
        name, text, kind = view.text("name"), view.text("value"), Kind(view.enum("type"))
        if name in METRICS:
            self._context.log.warning("istio.stats: a metric of the standard isn't defined anew", metric=name)
        elif name not in self._custom:
            self._custom[name] = CustomMetric(name, self._index(view, text, "value"))
            self._kinds[name] = kind

    def change(self, view: ConfigView) -> None:
        """`MetricConfig`. Names that nobody knows change nothing, as in Istio; they are said."""
        view.ignore("match")
        name = view.text("name")
        removed, dimensions, dropped = view.texts("tags_to_remove"), view.text_map("dimensions"), view.boolean("drop")
        if name and name not in METRICS and name not in self._custom:
            self._context.log.warning("istio.stats: there is no such metric", metric=name)
            return
        if dropped:
            self._dropped.update((name,) if name in METRICS else ())
            return
        for label in removed:
            if label in STANDARD_LABELS:
                for metric in METRICS if not name else (name,):
                    self._replaced.setdefault(metric, {})[label] = None
            else:
                self._context.log.warning("istio.stats: no label of the standard", label=label)
        for label in sorted(dimensions):
            index = self._index(view, dimensions[label], "dimensions")
            for metric in (name,) if name else (*METRICS, *self._custom):
                if label in STANDARD_LABELS and metric not in self._custom:
                    self._replaced.setdefault(metric, {})[label] = index
                else:
                    self._added.setdefault(metric, {})[label] = index


def read_overrides(view: ConfigView, context: FactoryContext) -> Overrides:
    """`definitions` and `metrics` of a `stats.PluginConfig`. Raises ConfigError."""
    reader = _Reader(context)
    for entry in view.views("definitions"):
        reader.define(entry)
    for entry in view.views("metrics"):
        reader.change(entry)
    return reader.overrides()
