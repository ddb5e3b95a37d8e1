"""One picture: each headline quantity as a ratio to Envoy, with its target, and what the rounds said."""

from __future__ import annotations

from pathlib import Path
from statistics import median
from typing import Any

from bench.report import number
from bench.results import Result, Series

MET, MISSED, NEUTRAL, INK, GRID = "#2a8f6a", "#c8553d", "#5b7aa6", "#23282f", "#d9dde3"


def draw(path: Path, results: list[Result], subjects: list[str], facts: dict[str, Any]) -> bool:
    """Write a PNG. False: there was no ratio to draw, and nothing was written."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    rows = [(_label(result, one), one) for result in results for one in result.series if one.headline and one.ratios()]
    if not rows:
        return False
    figure, axes = pyplot.subplots(figsize=(10, 1.7 + 0.52 * len(rows)), dpi=150)
    right = max(1.15, 1.12 * max(max(one.ratios()) for _, one in rows))
    for index, (_, one) in enumerate(rows):
        _bar(axes, index, one, right)
    axes.axvline(1.0, color=INK, linewidth=1.2)
    axes.set_yticks(range(len(rows)), [label for label, _ in rows], fontsize=9.5, color=INK)
    axes.invert_yaxis()
    axes.set_xlim(0, right * 1.46)
    axes.set_xticks([tick / 4 for tick in range(int(right * 4) + 1)])
    axes.xaxis.grid(True, color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(length=0, labelcolor=INK)
    for side in ("top", "right", "left", "bottom"):
        axes.spines[side].set_visible(False)
    axes.set_title(
        f"What {subjects[-1]} costs, as a multiple of {subjects[0]}", loc="left", fontsize=13, color=INK, pad=26
    )
    rounds = facts["settings"]["rounds"]
    sides = f"right: {subjects[-1]} : {subjects[0]}"
    note = f"median of {rounds} interleaved rounds, thin line: least and greatest; black mark: target; {sides}"
    axes.text(0, 1.0, note, transform=axes.transAxes, fontsize=8.5, color="#6a7280", va="bottom")
    figure.text(0.99, 0.01, f"{facts['cpu']}, {facts['date']}", ha="right", fontsize=7, color="#8a919c")
    figure.tight_layout()
    figure.savefig(path)
    pyplot.close(figure)
    return True


def _label(result: Result, series: Series) -> str:
    return f"{result.title}: CPU" if series.quantity == "CPU per request" else series.quantity


def _bar(axes: Any, index: int, series: Series, right: float) -> None:
    ratios = series.ratios()
    middle, met = median(ratios), series.met()
    colour = NEUTRAL if met is None else MET if met else MISSED
    axes.barh(index, middle, height=0.56, color=colour)
    axes.plot([min(ratios), max(ratios)], [index, index], color=INK, linewidth=1.4, solid_capstyle="butt", alpha=0.75)
    if series.target is not None:
        axes.plot([series.target, series.target], [index - 0.4, index + 0.4], color="black", linewidth=2.4)
    first, *_, last = (number(median(values)) for values in series.values.values())
    target = "" if series.target is None else f", target {series.target:g}"
    axes.text(right * 1.02, index, f"{middle:.2f}", va="center", fontsize=10.5, fontweight="bold", color=colour)
    axes.text(right * 1.11, index, f"{last} : {first} {series.unit}{target}", va="center", fontsize=8, color="#6a7280")
