"""`grpc-timeout`, read and written."""

from __future__ import annotations

import pytest

from meshproxy.plugin.grpc_timeout import format_grpc_timeout, parse_grpc_timeout


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("1H", 3600.0), ("2M", 120.0), ("3S", 3.0), ("4m", 0.004), ("5u", 5e-6), ("99999999n", 0.099999999), ("0S", 0.0)],
)
def test_read(text: str, seconds: float) -> None:
    assert parse_grpc_timeout(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", [None, "", "S", "5", "5s", "-5S", "1.5S", "123456789S", " 5S", "٣S"])
def test_malformed(text: str | None) -> None:
    assert parse_grpc_timeout(text) is None


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.3, "300m"),
        (99_999.999, "99999999m"),
        (100_000.0, "100000S"),
        (9000 * 3600.0, "32400000S"),
        (100_000_000.0, "1666666M"),
        (1e13, "99999999H"),
    ],
)
def test_written(seconds: float, text: str) -> None:
    assert format_grpc_timeout(seconds) == text
