"""Intervals between tries, as Envoy draws them (JitteredExponentialBackOff)."""

from __future__ import annotations

from random import Random


class JitteredBackoff:
    """Uniformly up to `base` seconds the first time, then up to twice as much each time, never above `maximum`."""

    __slots__ = ("_base", "_maximum", "_next", "_random")

    def __init__(self, base: float, maximum: float, random: Random) -> None:
        self._base = base
        self._maximum = maximum
        self._random = random
        self._next = base

    def next(self) -> float:
        """Seconds to wait now."""
        bound, self._next = self._next, min(self._next * 2, self._maximum)
        return self._random.random() * bound

    def reset(self) -> None:
        """It worked: begin anew."""
        self._next = self._base
