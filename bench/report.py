"""The results as a table for people, a JSON file for programs, and Markdown for the documentation."""

from __future__ import annotations

import json
import os
import platform
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

from bench.results import Result, Series

GREEN, RED, DIM, BOLD, PLAIN = "\x1b[32m", "\x1b[31m", "\x1b[2m", "\x1b[1m", "\x1b[0m"


def number(value: float) -> str:
    """Three significant digits, thousands grouped."""
    if value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.{2 if value >= 1 else 3}f}"


def ratio_text(series: Series) -> str:
    if series.absolute and series.values:
        values = series.judged()
        return f"[{number(min(values))}-{number(max(values))}]"
    ratios = series.ratios()
    return f"{median(ratios):.2f} [{min(ratios):.2f}-{max(ratios):.2f}]" if ratios else ""


def target_text(series: Series) -> str:
    if series.target is None:
        return ""
    return f"<= {series.target:g}{' ' + series.unit if series.absolute else ''}"


def verdict(series: Series) -> str:
    met = series.met()
    return "" if met is None else "met" if met else "missed"


def _cells(series: Series, subjects: list[str]) -> list[str]:
    values = [number(median(series.values[name])) if name in series.values else "" for name in subjects]
    return [f"{series.quantity}, {series.unit}", *values, ratio_text(series), target_text(series), verdict(series)]


def table(results: list[Result], subjects: list[str], colour: bool) -> str:
    """Medians over the rounds; the ratio with its least and greatest round."""
    heads = ["", *subjects, "ratio [min-max]", "target", ""]
    rows = [(series, _cells(series, subjects)) for result in results for series in result.series]
    widths = [max(len(row[column]) for row in [heads, *(cells for _, cells in rows)]) for column in range(len(heads))]

    def line(cells: list[str]) -> str:
        aligned = [
            cells[0].ljust(widths[0]),
            *(cell.rjust(width) for cell, width in zip(cells[1:], widths[1:], strict=True)),
        ]
        return "  " + "  ".join(aligned).rstrip()

    def paint(text: str, code: str) -> str:
        return f"{code}{text}{PLAIN}" if colour and code else text

    out = [paint(line(heads), DIM)]
    for result in results:
        out.append(paint(f"{result.name}: {result.title}", BOLD))
        for series in result.series:
            met = series.met()
            out.append(paint(line(_cells(series, subjects)), "" if met is None else GREEN if met else RED))
        out += [paint(f"  ! {warning}", RED) for warning in result.warnings]
    return "\n".join(out)


def markdown(results: list[Result], subjects: list[str], about: dict[str, Any]) -> str:
    """The headline figures and those beside them, for `docs/performance.md`."""
    settings = about["settings"]
    out = [
        f"Measured {about['date']}: {about['cpu']} ({about['cpus']} CPUs), Linux {about['kernel']}, Python "
        f"{about['python']}; {settings['rounds']} rounds of {settings['seconds']} s, "
        f"{'both proxies at once' if settings['together'] else 'one proxy after the other'}.",
        "",
        f"![What {subjects[-1]} costs, as a multiple of {subjects[0]}](images/performance.png)",
        "",
        f"| | {' | '.join(subjects)} | ratio [min-max] | target | |",
        f"|---|{'--:|' * (len(subjects) + 2)}---|",
    ]
    for result in results:
        out.append(f"| **{result.title}** |{' |' * (len(subjects) + 3)}")
        out += [f"| {' | '.join(_cells(series, subjects))} |" for series in result.series]
    warnings = [f"{result.name}: {warning}" for result in results for warning in result.warnings]
    if warnings:
        out += ["", "Doubtful: " + "; ".join(warnings) + "."]
    return "\n".join(out)


def about(settings: dict[str, Any], versions: dict[str, str]) -> dict[str, Any]:
    """Where and how it was measured: absolute figures mean nothing without."""
    cpu = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if "model name" in line
        ),
        platform.machine(),
    )
    return {
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "cpu": cpu,
        "cpus": os.cpu_count(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "versions": versions,
        "settings": settings,
    }


def write_json(path: Path, results: list[Result], facts: dict[str, Any]) -> None:
    path.write_text(json.dumps(facts | {"results": [result.as_json() for result in results]}, indent=2) + "\n")


def insert(page: Path, text: str) -> None:
    """Put `text` between the marks of a Markdown page, in place of what an earlier run left there."""
    begin, end = "<!-- figures: begin -->", "<!-- figures: end -->"
    before, found, rest = page.read_text().partition(begin)
    _, closed, after = rest.partition(end)
    if not found or not closed:
        raise ValueError(f"{page} lacks {begin} and {end}")
    page.write_text(f"{before}{begin}\n{text}\n{end}{after}")


def show(results: list[Result], subjects: list[str]) -> None:
    print(table(results, subjects, colour=sys.stdout.isatty() and "NO_COLOR" not in os.environ))
