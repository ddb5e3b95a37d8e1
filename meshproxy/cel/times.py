"""Durations and timestamps: their texts, and the parts of a date ("Timestamps and Durations" of the language).

Two texts of each: the one that a text log prints (`1h30m`, `2020-01-01T00:00:00+00:00`, as absl formats them) and the
one of JSON (`5400s`, `2020-01-01T00:00:00Z`, as protobuf does).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from zoneinfo import ZoneInfo

from meshproxy.cel.values import Duration, EvaluationError, Timestamp

SECOND = 1_000_000_000
_UNITS = {"h": 3600 * SECOND, "m": 60 * SECOND, "s": SECOND, "ms": 1_000_000, "us": 1_000, "ns": 1}
_PIECE = re.compile(r"([0-9]{0,12})(?:\.([0-9]{0,20}))?(ns|us|ms|s|m|h)")
_TIME = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})[Tt]([0-9]{2}):([0-9]{2}):([0-9]{2})(?:\.([0-9]{1,18}))?"
    r"(?:[Zz]|([+-])([0-9]{2}):([0-9]{2}))"
)
_OFFSET = re.compile(r"([+-]?)([0-9]{2}):([0-9]{2})")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST = int((datetime(1, 1, 1, tzinfo=UTC) - _EPOCH).total_seconds()) * SECOND
_LAST = 253_402_300_800 * SECOND
_LONGEST = 315_576_000_000 * SECOND


def duration(nanoseconds: int) -> Duration:
    """Raises EvaluationError beyond the range of the language (10,000 years)."""
    if not -_LONGEST <= nanoseconds <= _LONGEST:
        raise EvaluationError("a duration out of range")
    return Duration(nanoseconds)


def timestamp(nanoseconds: int) -> Timestamp:
    """Raises EvaluationError outside the years 1 to 9999."""
    if not _FIRST <= nanoseconds < _LAST:
        raise EvaluationError("a timestamp out of range")
    return Timestamp(nanoseconds)


def parse_duration(text: str) -> Duration:
    """`1h30m`, `-1.5s`, `0`. Raises EvaluationError."""
    body = text[1:] if text[:1] in ("-", "+") else text
    total, position = 0, 0
    while body != "0" and (position < len(body) or not body):
        match = _PIECE.match(body, position)
        if match is None or not (match.group(1) or match.group(2)):
            raise EvaluationError(f"{text!r} is no duration")
        unit = _UNITS[match.group(3)]
        fraction = match.group(2) or ""
        total += int(match.group(1) or 0) * unit + (int(fraction) * unit // 10 ** len(fraction) if fraction else 0)
        position = match.end()
    return duration(-total if text[:1] == "-" else total)


def parse_timestamp(text: str) -> Timestamp:
    """RFC 3339. Raises EvaluationError."""
    match = _TIME.fullmatch(text)
    if match is None:
        raise EvaluationError(f"{text!r} is no timestamp")
    *date, fraction, sign, hours, minutes = match.groups()
    try:
        year, month, day, hour, minute, second = map(int, date)
        moment = datetime(year, month, day, hour, minute, second, tzinfo=UTC)
    except ValueError:
        raise EvaluationError(f"{text!r} is no timestamp") from None
    seconds = int((moment - _EPOCH).total_seconds())
    if sign:
        seconds -= (1 if sign == "+" else -1) * (int(hours) * 3600 + int(minutes) * 60)
    return timestamp(seconds * SECOND + int((fraction or "0")[:9].ljust(9, "0")))


def show_duration(value: int) -> str:
    """`1h30m`, `341.691us`, `0`."""
    if not value:
        return "0"
    sign, rest = ("-" if value < 0 else ""), abs(value)
    if rest < SECOND:
        for unit in ("ms", "us", "ns"):
            if rest >= _UNITS[unit]:
                return sign + _decimal(rest, _UNITS[unit]) + unit
    text = sign
    for unit in ("h", "m"):
        whole, rest = divmod(rest, _UNITS[unit])
        if whole:
            text += f"{whole}{unit}"
    return text + (_decimal(rest, SECOND) + "s" if rest else "")


def _decimal(value: int, unit: int) -> str:
    whole, rest = divmod(value, unit)
    digits = len(str(unit)) - 1
    return f"{whole}.{rest:0{digits}d}".rstrip("0") if rest else str(whole)


def _fraction(nanoseconds: int) -> str:
    """Behind the seconds of protobuf's JSON: nothing, or 3, 6 or 9 digits."""
    if not nanoseconds:
        return ""
    for digits in (3, 6):
        if nanoseconds % 10 ** (9 - digits) == 0:
            return f".{nanoseconds // 10 ** (9 - digits):0{digits}d}"
    return f".{nanoseconds:09d}"


def json_duration(value: int) -> str:
    """`5400s`, `0.001s`."""
    seconds, rest = divmod(abs(value), SECOND)
    return f"{'-' if value < 0 else ''}{seconds}{_fraction(rest)}s"


def _date_and_time(value: int, zone: tzinfo = UTC) -> datetime:
    try:
        return (_EPOCH + timedelta(seconds=value // SECOND)).astimezone(zone)
    except OverflowError:
        raise EvaluationError("a timestamp out of range") from None


def show_timestamp(value: int) -> str:
    """`2020-01-01T00:00:00.5+00:00`."""
    rest = value % SECOND
    return f"{_date_and_time(value):%Y-%m-%dT%H:%M:%S}{f'.{rest:09d}'.rstrip('0') if rest else ''}+00:00"


def json_timestamp(value: int) -> str:
    """`2020-01-01T00:00:00.500Z`."""
    return f"{_date_and_time(value):%Y-%m-%dT%H:%M:%S}{_fraction(value % SECOND)}Z"


def _zone(name: str) -> tzinfo:
    match = _OFFSET.fullmatch(name)
    if match is not None:
        offset = timedelta(hours=int(match.group(2)), minutes=int(match.group(3)))
        return timezone(-offset if match.group(1) == "-" else offset)
    try:
        return ZoneInfo(name)
    except (OSError, ValueError):  # unknown (a KeyError that is an OSError too), or no name of a file
        raise EvaluationError(f"no time zone {name!r}") from None
    except KeyError:
        raise EvaluationError(f"no time zone {name!r}") from None


DATE_PARTS: Mapping[str, Callable[[datetime, int], int]] = {
    "getFullYear": lambda moment, value: moment.year,
    "getMonth": lambda moment, value: moment.month - 1,
    "getDate": lambda moment, value: moment.day,
    "getDayOfMonth": lambda moment, value: moment.day - 1,
    "getDayOfWeek": lambda moment, value: moment.isoweekday() % 7,
    "getDayOfYear": lambda moment, value: moment.timetuple().tm_yday - 1,
    "getHours": lambda moment, value: moment.hour,
    "getMinutes": lambda moment, value: moment.minute,
    "getSeconds": lambda moment, value: moment.second,
    "getMilliseconds": lambda moment, value: value % SECOND // 1_000_000,
}

_DURATION_PARTS: Mapping[str, Callable[[int], int]] = {
    "getHours": lambda value: value // _UNITS["h"],
    "getMinutes": lambda value: value // _UNITS["m"],
    "getSeconds": lambda value: value // SECOND,
    "getMilliseconds": lambda value: value % SECOND // 1_000_000,
}


def part_of(name: str, value: object, zone: str | None) -> int:
    """A part of a timestamp in a time zone (UTC without one), or of a duration. Raises EvaluationError."""
    if isinstance(value, Timestamp):
        return DATE_PARTS[name](_date_and_time(value, UTC if zone is None else _zone(zone)), value)
    if isinstance(value, Duration) and zone is None and name in _DURATION_PARTS:
        part = _DURATION_PARTS[name](abs(value))
        return -part if value < 0 else part
    raise EvaluationError(f"no overload of {name}")
