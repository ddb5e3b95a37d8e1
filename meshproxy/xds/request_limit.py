"""How many requests a stream may send (`rate_limit_settings`): a token bucket, fed with the time."""

from __future__ import annotations


class RequestLimit:
    """`burst` requests at once, refilled with `rate` a second. Envoy's defaults are 100 and 10."""

    __slots__ = ("_burst", "_rate", "_time", "_tokens")

    def __init__(self, burst: int, rate: float, now: float) -> None:
        self._burst = float(burst)
        self._rate = rate
        self._tokens = float(burst)
        self._time = now

    def take(self, now: float) -> bool:
        """Whether one more may go now."""
        self._tokens = min(self._burst, self._tokens + max(0.0, now - self._time) * self._rate)
        self._time = now
        if self._tokens < 1.0:
            return False
        self._tokens -= 1.0
        return True

    def wait(self) -> float:
        """Seconds until the next may go, counted from the last `take`."""
        return max(0.0, (1.0 - self._tokens) / self._rate)
