"""Time as a value that can be injected: timers use the monotonic clock, certificates and logs the wall clock."""

from __future__ import annotations

import time
from typing import Protocol

_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def http_date(wall: float) -> str:
    """Seconds since 1970 as the text of a Date field (RFC 9110 section 5.6.7)."""
    year, month, day, hour, minute, second, weekday, *_ = time.gmtime(wall)
    return f"{_DAYS[weekday]}, {day:02d} {_MONTHS[month - 1]} {year} {hour:02d}:{minute:02d}:{second:02d} GMT"


class Clock(Protocol):
    """Both clocks, in seconds."""

    def now(self) -> float:
        """Monotonic time: what every timeout is measured with. A step of the wall clock doesn't move it."""

    def wall(self) -> float:
        """Seconds since 1970: what is logged, and what a certificate's or a token's dates are compared with."""


class SystemClock:
    """The machine's clocks."""

    now = staticmethod(time.monotonic)
    wall = staticmethod(time.time)


class FakeClock:
    """A clock that stands still until a test moves it."""

    def __init__(self, now: float = 1000.0, wall: float = 1_700_000_000.0) -> None:
        self._now = now
        self._wall = wall

    def now(self) -> float:
        return self._now

    def wall(self) -> float:
        return self._wall

    def advance(self, seconds: float) -> None:
        """Let `seconds` pass on both clocks."""
        self._now += seconds
        self._wall += seconds
