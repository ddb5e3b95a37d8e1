"""Numbers as Envoy's logs spell them.

Those of a `google.protobuf.Struct` are doubles. Printed is the shortest text that is read back as the same double, by
the rule of C++'s `std::to_chars`: with an exponent where that makes it shorter.
"""

from __future__ import annotations

import math
from decimal import Decimal

_PLAIN_BELOW = 100_000  # the first whole number that an exponent makes shorter


def number_text(number: float) -> str:
    """A number as JSON; null for what is none. What is infinite is `inf`, which no JSON is, but Envoy's word."""
    if isinstance(number, int) and -_PLAIN_BELOW < number < _PLAIN_BELOW:
        return str(number)
    value = float(number)
    if not math.isfinite(value):
        return "null" if math.isnan(value) else str(value)
    if value == 0:
        return "-0" if math.copysign(1, value) < 0 else "0"
    sign = "-" if value < 0 else ""
    decimal = Decimal(repr(abs(value))).normalize()
    _, digits, exponent = decimal.as_tuple()
    assert isinstance(exponent, int)
    text = "".join(map(str, digits))
    fraction = f".{text[1:]}" if len(text) > 1 else ""
    scientific = f"{text[0]}{fraction}e{exponent + len(text) - 1:+03d}"
    fixed = str(int(abs(value))) if exponent >= 0 else f"{decimal:f}"
    return sign + (fixed if len(fixed) <= len(scientific) else scientific)
