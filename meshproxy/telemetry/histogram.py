"""Distributions: counting is one look-up, and the arithmetic of bins and quantiles is done when someone asks.

Envoy keeps its histograms with libcircllhist: values are whole numbers, put into bins of two significant decimal digits
(1, 2 ... 99, then 100-109, 110-119 ...). Keeping the same bins gives the same quantiles, digit for digit. Bins are kept
sparsely by their index: 0 for the value 0, then upwards.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence

# Lower bounds of the bins from index 1 on. A fraction falls into the bin of its whole part, as Envoy cuts it off.
_LOWER = (*range(1, 100), *(digits * 10**power for power in range(1, 15) for digits in range(10, 100)))

# Upper bounds in Prometheus' output unless `histogram_bucket_settings` says otherwise.
DEFAULT_BOUNDS: tuple[float, ...] = (
    0.5, 1, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10000, 30000, 60000, 300000, 600000, 1800000, 3600000,
)  # fmt: skip

QUANTILES = (0.0, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.995, 0.999, 1.0)

Bins = Mapping[int, int]


def bin_bounds(index: int) -> tuple[float, float]:
    """Lower bound and width of a bin."""
    if index == 0:
        return 0.0, 0.0
    lower = _LOWER[index - 1]
    if lower < 10:
        return float(lower), 0.1
    return float(lower), float(10 ** (len(str(lower)) - 2))


def bin_index(value: float) -> int:
    """The bin of a value."""
    return bisect_right(_LOWER, value)


class _Recording(dict[float, int]):
    """Counts by value. When there are many different values, each bin's are put together under its lower bound."""

    __slots__ = ()
    _LIMIT = 2048  # more than there are bins, so that putting together always makes room

    def __missing__(self, value: float) -> int:
        if len(self) < self._LIMIT:
            return 0
        bins = self.bins()
        self.clear()
        self.update({bin_bounds(index)[0]: count for index, count in bins.items()})
        return self.get(value, 0)

    def bins(self) -> dict[int, int]:
        bins: dict[int, int] = {}
        for value, count in self.items():
            index = bin_index(value)
            bins[index] = bins.get(index, 0) + count
        return bins


class Histogram:
    """A distribution of values that aren't negative.

    Values recorded become visible with `latch`, which whoever flushes the statistics calls; `interval` holds those
    of the last interval, `cumulative` all.
    """

    __slots__ = ("_recording", "bounds", "cumulative", "interval", "name")

    def __init__(self, name: str, bounds: tuple[float, ...] = DEFAULT_BOUNDS) -> None:
        self.name = name
        self.bounds = bounds
        self._recording = _Recording()
        self.interval: dict[int, int] = {}
        self.cumulative: dict[int, int] = {}

    def record(self, value: float) -> None:
        """Count one value; a negative one counts as 0."""
        self._recording[value] += 1

    def record_many(self, value: float, count: int) -> None:
        """Count one value `count` times."""
        self._recording[value] += count

    def recorded(self) -> dict[float, int]:
        """The values since the interval began, and how often each came."""
        return dict(self._recording)

    def latch(self) -> None:
        """End an interval."""
        self.interval = self._recording.bins()
        if self.interval:
            self._recording.clear()
            for index, count in self.interval.items():
                self.cumulative[index] = self.cumulative.get(index, 0) + count


def quantile_values(bins: Bins, quantiles: Sequence[float] = QUANTILES) -> list[float]:
    """The value at each quantile, spreading a bin's samples evenly in it; nan when there are no values."""
    total = sum(bins.values())
    if not total:
        return [math.nan] * len(quantiles)
    ordered = sorted(bins.items())
    values = []
    for quantile in quantiles:
        rank = max(1, math.ceil(quantile * total))
        below = 0
        for index, count in ordered:
            if below + count >= rank:
                lower, width = bin_bounds(index)
                values.append(lower + width * ((rank - below) / (count + 1)))
                break
            below += count
    return values


def counts_up_to(bins: Bins, bounds: Sequence[float]) -> list[int]:
    """For each upper bound, how many values are in bins that begin at or below it."""
    lows = sorted((bin_bounds(index)[0], count) for index, count in bins.items())
    counts = []
    running, place = 0, 0
    for bound in bounds:
        while place < len(lows) and lows[place][0] <= bound:
            running += lows[place][1]
            place += 1
        counts.append(running)
    return counts


def approximate_sum(bins: Bins) -> float:
    """The sum of the values, each taken as the harmonic mean of its bin's bounds."""
    total = 0.0
    for index, count in sorted(bins.items()):
        lower, width = bin_bounds(index)
        if lower:
            total += count * (2 * lower * (lower + width) / (2 * lower + width))
    return total
