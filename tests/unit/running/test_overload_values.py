"""The arithmetic of the overload manager, and what its monitors read."""

from __future__ import annotations

from pathlib import Path

import pytest

from meshproxy.model.overload import Monitor, TimerScale, Trigger
from meshproxy.runtime.resource_monitors import Cpu, make_measure


@pytest.mark.parametrize(
    ("start", "full", "pressure", "state"),
    [(0.9, 0.9, 0.89, 0.0), (0.9, 0.9, 0.9, 1.0), (0.8, 0.9, 0.8, 0.0), (0.8, 0.9, 0.85, 0.5), (0.8, 0.9, 1.5, 1.0)],
)
def test_the_state_that_a_pressure_makes(start: float, full: float, pressure: float, state: float) -> None:
    assert Trigger("r", start, full).state(pressure) == pytest.approx(state)


def test_timeouts_shrink_to_what_is_left_of_them() -> None:
    assert [TimerScale(minimum=2.0).scaled(10.0, state) for state in (0.0, 0.5, 1.0)] == [10.0, 6.0, 2.0]
    assert TimerScale(share=0.1).scaled(10.0, 1.0) == pytest.approx(1.0)
    assert TimerScale(minimum=5.0).scaled(3.0, 1.0) == 3.0  # never longer than it was
    assert TimerScale(minimum=5.0).scaled(0.0, 1.0) == 0.0  # none stays none


def test_an_injected_resource(tmp_path: Path) -> None:
    path = tmp_path / "pressure"
    measure = make_measure(Monitor("r", "file", path=str(path)), 1)
    with pytest.raises(FileNotFoundError):
        measure()
    path.write_text("0.5\n")
    assert measure() == 0.5
    for bad in ("1.5", "many"):
        path.write_text(bad)
        with pytest.raises(ValueError):
            measure()
    path.write_text("0.25")
    assert measure() == 0.25


def test_memory_is_counted_for_all_workers() -> None:
    one, four = (make_measure(Monitor("r", "heap", limit=1 << 40), workers)() for workers in (1, 4))
    assert 0 < one < four < 1


def test_cpu_time_is_smoothed() -> None:
    readings = iter([(0.0, 0.0), (10.0, 10.0), (10.0, 20.0), (10.0, 20.0)])
    measure = Cpu(lambda: next(readings))
    assert measure() == pytest.approx(0.05)
    assert measure() == pytest.approx(0.0475)
    assert measure() == pytest.approx(0.0475)  # no time has passed
