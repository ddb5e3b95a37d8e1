"""Statistics as a filter sees them: handles that are made when the configuration is compiled and then only counted.

A handle is asked for by name once, never per request. On the request path `counter.value += 1` is the whole cost.
Names are Envoy's: words joined by "."; the scope of a filter already carries its prefix.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Protocol

from meshproxy.records import dataclass


class Counter(Protocol):
    """A number that only rises. Add to `value` directly where every nanosecond counts."""

    value: int

    def inc(self) -> None:
        """Add one."""

    def add(self, amount: int) -> None:
        """Add `amount`, which isn't negative."""


class Gauge(Protocol):
    """A number that rises and falls, such as what is active now."""

    value: int

    def set(self, value: int) -> None: ...

    def inc(self) -> None: ...

    def dec(self) -> None: ...

    def add(self, amount: int) -> None: ...

    def sub(self, amount: int) -> None: ...


class Histogram(Protocol):
    """A distribution of values that aren't negative: milliseconds unless the name says otherwise."""

    def record(self, value: float) -> None: ...

    def record_many(self, value: float, count: int) -> None: ...


class TextReadout(Protocol):
    """A text, such as the version of a configuration."""

    value: str


@dataclass(frozen=True, slots=True)
class StatNames:
    """Names of statistics by kind, without the prefix that they are used with."""

    counters: tuple[str, ...] = ()
    gauges: tuple[str, ...] = ()
    histograms: tuple[str, ...] = ()


class StatsScope(Protocol):
    """Makes statistics whose names begin with the scope's prefix. The same name gives the same object."""

    def counter(self, name: str) -> Counter: ...

    def gauge(self, name: str) -> Gauge: ...

    def histogram(self, name: str) -> Histogram: ...

    def text_readout(self, name: str) -> TextReadout: ...

    def before_read(self, fold: Callable[[], None]) -> None:
        """Call `fold` before anybody looks: for what is counted in one plain number on the path of a request."""

    def before_latch(self, fold: Callable[[], None]) -> None:
        """Call `fold` before an interval of the histograms ends: for values noted elsewhere meanwhile."""

    def declare(self, names: StatNames) -> None:
        """Show `names` at zero as long as nobody counts them. Costs no object for each, unlike a handle."""

    def scope(self, prefix: str) -> StatsScope:
        """The scope whose prefix is this one's and `prefix`, which ends with "."."""

    def close(self) -> None:
        """Give up the statistics of this scope, and of those made from it, that nobody else holds."""


def tagged_name(name: str, tags: Collection[tuple[str, str]]) -> str:
    """The name of a statistic that says its tags itself, such as `requests.reporter=.=source;.;code=.=200;.;`.

    Prometheus gets the tags as labels, in this order; no extractor is asked. Values may be anything.
    """
    if not tags:
        return name
    return f"{name}." + "".join([f"{key}=.={value.replace(';.;', ';_;')};.;" for key, value in tags])
