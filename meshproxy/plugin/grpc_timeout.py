"""`grpc-timeout`: the deadline that a gRPC client sets (the gRPC protocol over HTTP/2, "Timeout")."""

from __future__ import annotations

_UNITS = {"H": 3600.0, "M": 60.0, "S": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9}
_LONGEST_DIGITS = 8
_LARGEST = 10**_LONGEST_DIGITS - 1


def parse_grpc_timeout(text: str | None) -> float | None:
    """Seconds; None when absent or malformed (at most eight digits and a unit)."""
    if not text or text[-1] not in _UNITS:
        return None
    digits = text[:-1]
    if not digits.isascii() or not digits.isdigit() or len(digits) > _LONGEST_DIGITS:
        return None
    return int(digits) * _UNITS[text[-1]]


def format_grpc_timeout(seconds: float) -> str:
    """The value for a time, in the smallest unit from milliseconds up that it fits into, as Envoy writes it."""
    value = int(seconds * 1000 + 0.5)
    if value <= _LARGEST:
        return f"{value}m"
    value //= 1000
    for unit in "SM":
        if value <= _LARGEST:
            return f"{value}{unit}"
        value //= 60
    return f"{min(value, _LARGEST)}H"
