"""Times as Envoy 1.40 printed them for 1795443511.812309."""

from __future__ import annotations

import time

import pytest

from meshproxy.telemetry.timestamps import DEFAULT_LOCAL, DEFAULT_UTC, compile_time

WALL = 1795443511.812309


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        (DEFAULT_UTC, "2026-11-23T14:18:31.812Z"),
        ("%Y", "2026"),
        ("%s", "1795443511"),
        ("%s.%3f", "1795443511.812"),
        ("%s.%6f", "1795443511.812309"),
        ("%s.%9f", "1795443511.812309000"),
        ("%f", "812309000"),
        ("%1f %2f %5f %8f", "8 81 81230 81230900"),
        ("%Y/%m/%dT%H:%M:%S%z", "2026/11/23T14:18:31+0000"),
        ("%Y-%m-%dT%H:%M:%E3S%Ez", "2026-11-23T14:18:31.812+00:00"),
        ("%E*S %E4Y %ET", "31.812309 2026 T"),
        ("%q %0f x%", "%q %0f x%"),
        ("%a %b %j %Z", "Mon Nov 327 UTC"),
        ("%E0S|%E2f|%E*f|%%", "31|81|812309|%"),
    ],
)
def test_utc(pattern: str, expected: str) -> None:
    render = compile_time(pattern)
    assert render(WALL) == expected
    assert render(WALL) == expected


@pytest.mark.parametrize("pattern", [DEFAULT_UTC, "%6f %S", "%3f|%3f %S"])
def test_the_cached_second_follows_the_clock_both_ways(pattern: str) -> None:
    render = compile_time(pattern)
    for wall in (WALL, WALL + 0.2, WALL + 61, WALL - 3600, WALL):
        assert render(wall) == compile_time(pattern)(wall)
    assert render(WALL) != render(WALL + 0.2)


@pytest.mark.parametrize(
    ("wall", "expected"),
    [
        (1700000000.123, "2023-11-14T22:13:20.123Z"),
        (1700000000.9999, "2023-11-14T22:13:20.999Z"),
        (1700000001.0, "2023-11-14T22:13:21.000Z"),
        (0.0, "1970-01-01T00:00:00.000Z"),
    ],
)
def test_milliseconds_are_cut_off_but_not_by_rounding_of_doubles(wall: float, expected: str) -> None:
    assert compile_time(DEFAULT_UTC)(wall) == expected


def test_local_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "XYZ-05:30")
    time.tzset()
    try:
        assert compile_time(DEFAULT_LOCAL, utc=False)(WALL) == "2026-11-23T19:48:31.812+0530"
        assert compile_time("%Ez %Z", utc=False)(WALL) == "+05:30 XYZ"
        assert compile_time("%H %Z %Ez")(WALL) == "14 UTC +00:00"
    finally:
        monkeypatch.undo()
        time.tzset()
