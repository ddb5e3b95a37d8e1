"""Times of day as Envoy's `%START_TIME(...)%` prints them: strftime, and fractions of a second.

Envoy takes the specifiers of strftime, those of absl::FormatTime (`%E3S`, `%E*S`, `%E#f`, `%Ez`, `%ET`, `%E4Y`), and
its own `%3f` (milliseconds), `%1f` to `%9f`, `%f` (nanoseconds) and `%s` (seconds since 1970).

Everything but the fraction changes once a second only, so it is rendered once a second and kept. A wall clock that is
a double resolves a quarter of a microsecond; digits beyond the sixth are therefore always 0.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable

DEFAULT_UTC = "%Y-%m-%dT%H:%M:%S.%3fZ"
DEFAULT_LOCAL = "%Y-%m-%dT%H:%M:%S.%3f%z"

# One specifier. The longest first; a "%" before anything else is printed as it stands.
_SPECIFIER = re.compile(
    r"%(E\*S|E\*f|E([0-9]|1[0-5])[Sf]|E4Y|E\*z|Ez|ET|::?z|E[cCxXyY]|O[deHImMSuUVwWy]|[1-9]?f|"
    r"[aAbBcCdDeFgGhHIjklmMnpPrRsStTuUVwWxXyYzZ%])"
)
# What is the same in UTC whatever the machine's zone; libc would print the local one.
_UTC_TEXT = {"z": "+0000", "Z": "UTC", "Ez": "+00:00", "E*z": "+00:00:00", ":z": "+00:00", "::z": "+00:00:00"}
_ALL_DIGITS = -1
# Half a microsecond: a double lies just below the decimal fraction it stands for as often as just above it.
_HALF_MICROSECOND = 5e-7

# Looking a number up costs a quarter of formatting it with leading zeros.
_MILLIS = [f"{milli:03d}" for milli in range(1000)]

_Part = str | int | tuple[str]


def _specifier_parts(name: str, utc: bool) -> list[_Part]:
    """A constant, ("strftime text",), or a number of fraction digits, for one specifier."""
    if name in ("E*S", "E*f"):
        return [("%S",), ".", _ALL_DIGITS] if name == "E*S" else [_ALL_DIGITS]
    if name.endswith(("S", "f")) and name.startswith("E"):
        digits = int(name[1:-1])
        seconds: list[_Part] = [("%S",)] if name.endswith("S") else []
        separator: list[_Part] = ["."] if seconds and digits else []
        return [*seconds, *separator, *([digits] if digits else [])]
    if name.endswith("f"):
        return [int(name[:-1] or "9")]
    if name == "ET":
        return ["T"]
    if name == "E4Y":
        return [("%Y",)]
    if name == "%":
        return ["%"]
    if utc and name in _UTC_TEXT:
        return [_UTC_TEXT[name]]
    return [(f"%{name}",)]


def _split(pattern: str, utc: bool) -> list[_Part]:
    parts: list[_Part] = []
    end = 0
    for match in _SPECIFIER.finditer(pattern):
        if match.start() > end:
            parts.append(pattern[end : match.start()])
        parts.extend(_specifier_parts(match.group(1), utc))
        end = match.end()
    if end < len(pattern):
        parts.append(pattern[end:])
    return parts


def _offset(second: int, colons: str) -> str:
    """The local zone's offset from UTC, +hh:mm, with :ss for `%E*z` and `%::z`."""
    seconds = time.localtime(second).tm_gmtoff
    sign = "-" if seconds < 0 else "+"
    hours, rest = divmod(abs(seconds), 3600)
    text = f"{sign}{hours:02d}:{rest // 60:02d}"
    return f"{text}:{rest % 60:02d}" if colons in ("%E*z", "%::z") else text


def _render_second(part: str | tuple[str], second: int, utc: bool) -> str:
    if isinstance(part, str):
        return part
    specifier = part[0]
    if specifier == "%s":
        return str(second)
    if specifier in ("%Ez", "%E*z", "%:z", "%::z"):
        return _offset(second, specifier)
    return time.strftime(specifier, time.gmtime(second) if utc else time.localtime(second))


def _fraction(digits: int) -> Callable[[int], str]:
    """Microseconds -> that many digits, cut off, not rounded."""
    if digits == _ALL_DIGITS:
        return lambda micros: f"{micros:06d}".rstrip("0") or "0"
    if digits == 3:
        return lambda micros: _MILLIS[micros // 1000]
    return lambda micros: f"{micros:06d}".ljust(digits, "0")[:digits]


def compile_time(pattern: str, utc: bool = True) -> Callable[[float], str]:
    """A function from seconds since 1970 to text. utc: else the machine's time zone. An unknown specifier stays."""
    parts = _split(pattern, utc)
    fractions = [part for part in parts if isinstance(part, int)]
    if len(fractions) == 1:
        return _one_fraction(parts, fractions[0], utc)
    return _any_fractions(parts, utc)


def _one_fraction(parts: list[_Part], digits: int, utc: bool) -> Callable[[float], str]:
    """The common shape: text of the second, a fraction, text of the second."""
    place = next(index for index, part in enumerate(parts) if isinstance(part, int))
    before = [part for part in parts[:place] if not isinstance(part, int)]
    after = [part for part in parts[place + 1 :] if not isinstance(part, int)]
    fraction = _fraction(digits)
    last = -1
    head = tail = ""

    def refresh(second: int) -> None:
        nonlocal last, head, tail
        head = "".join([_render_second(part, second, utc) for part in before])
        tail = "".join([_render_second(part, second, utc) for part in after])
        last = second

    last_milli = -1
    text = ""

    def render_millis(wall: float) -> str:
        # Under load many streams begin in the same millisecond.
        nonlocal last_milli, text
        milli = int(wall * 1000 + 0.0005)
        if milli == last_milli:
            return text
        second = milli // 1000
        if second != last:
            refresh(second)
        last_milli = milli
        text = head + _MILLIS[milli % 1000] + tail
        return text

    def render(wall: float) -> str:
        wall += _HALF_MICROSECOND
        second = int(wall)
        if second != last:
            refresh(second)
        return head + fraction(int((wall - second) * 1_000_000)) + tail

    return render_millis if digits == 3 else render


def _any_fractions(parts: list[_Part], utc: bool) -> Callable[[float], str]:
    fractions = {part: _fraction(part) for part in parts if isinstance(part, int)}
    last = -1
    texts: list[str | int] = []

    def render(wall: float) -> str:
        nonlocal last, texts
        wall += _HALF_MICROSECOND
        second = int(wall)
        if second != last:
            texts = [part if isinstance(part, int) else _render_second(part, second, utc) for part in parts]
            last = second
        micros = int((wall - second) * 1_000_000)
        return "".join([fractions[text](micros) if isinstance(text, int) else text for text in texts])

    return render
