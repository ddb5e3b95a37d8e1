"""Measured values: one series per quantity, one value per round and subject; and the ratios, formed round by round.

A ratio is taken inside a round and the median over the rounds comes last. What slows the whole machine for a second
then slows both sides of one ratio, where a ratio of two medians could pair a good moment with a bad one.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from statistics import median
from typing import Any


@dataclass(slots=True)
class Series:
    """One quantity. values: per subject, in the order of the rounds.

    comparable: a ratio of the subjects' values means something. headline: it stands in the chart.
    target: the greatest ratio of the last subject to the first that is a success, or, if `absolute`, the greatest
    value.
    """

    quantity: str
    unit: str
    target: float | None = None
    absolute: bool = False
    headline: bool = False
    comparable: bool = True
    values: dict[str, list[float]] = field(default_factory=dict)

    def add(self, subject: str, value: float) -> None:
        self.values.setdefault(subject, []).append(value)

    def ratios(self) -> list[float]:
        """Last subject to first, per round; empty when there is one subject only."""
        if self.absolute or not self.comparable or len(self.values) < 2:
            return []
        first, *_, last = self.values.values()
        return [b / a for a, b in zip(first, last, strict=True) if a > 0]

    def judged(self) -> list[float]:
        """The values that the target speaks of."""
        return next(iter(self.values.values()), []) if self.absolute else self.ratios()

    def met(self) -> bool | None:
        """None: there is no target, or nothing to hold against it."""
        judged = self.judged()
        return None if self.target is None or not judged else median(judged) <= self.target

    def as_json(self) -> dict[str, Any]:
        ratios = self.ratios()
        return {
            "quantity": self.quantity,
            "unit": self.unit,
            "target": self.target,
            "target_is": "value" if self.absolute else "ratio",
            "met": self.met(),
            "rounds": self.values,
            "median": {subject: median(values) for subject, values in self.values.items()},
            "ratio": {"rounds": ratios, "median": median(ratios), "min": min(ratios), "max": max(ratios)}
            if ratios
            else None,
        }


@dataclass(slots=True)
class Result:
    """A scenario's outcome. warnings: what makes its figures doubtful."""

    name: str
    title: str
    series: list[Series]
    warnings: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        series = [one.as_json() for one in self.series]
        return {"scenario": self.name, "title": self.title, "series": series, "warnings": self.warnings}
