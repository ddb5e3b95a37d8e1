"""Dates as HTTP writes them."""

from __future__ import annotations

from email.utils import formatdate

from meshproxy.clock import http_date


def test_dates_are_those_of_the_standard_library() -> None:
    for wall in (0, 951_782_400.5, *range(1_700_000_000, 1_800_000_000, 9_999_991)):
        assert http_date(wall) == formatdate(wall, usegmt=True)
