"""A token bucket: tokens come at a steady rate up to a maximum, and each event takes some.

Theory (Envoy's AtomicTokenBucketImpl): the only state is the time at which the bucket was empty. What is in it follows
from the time that has passed, so nothing has to be refilled by a timer, and taking tokens moves that time forward.
Time is given by the caller, in seconds of the monotonic clock.
"""

from __future__ import annotations

import math


class TokenBucket:
    """maximum: tokens that it holds. rate: tokens that come per second. first: what is in it at first; None: all."""

    __slots__ = ("_empty_at", "maximum", "rate")

    def __init__(self, maximum: int, rate: float, now: float, first: float | None = None) -> None:
        self.maximum = maximum
        self.rate = rate
        self._empty_at = now - (maximum if first is None else first) / rate

    def tokens(self, now: float) -> float:
        """What is in it."""
        tokens = (now - self._empty_at) * self.rate
        return tokens if tokens < self.maximum else self.maximum

    def take(self, now: float, amount: int = 1) -> bool:
        """Take `amount` if there is that much; say whether it was. As in Envoy nothing can't be taken."""
        tokens = (now - self._empty_at) * self.rate
        if tokens >= self.maximum:
            tokens = self.maximum
        if tokens < amount or amount <= 0:
            return False
        self._empty_at = now - (tokens - amount) / self.rate
        return True

    def take_part(self, now: float, amount: int) -> int:
        """Take `amount`, or as many whole tokens of it as there are; say how many were taken."""
        taken = min(amount, int(self.tokens(now)))
        return taken if self.take(now, taken) else 0

    def seconds_to_token(self, now: float) -> float:
        """How long until there is a whole token; 0 when there is one."""
        missing = 1 - self.tokens(now)
        return missing / self.rate if missing > 0 else 0.0

    def reset_seconds(self, now: float) -> int:
        """`seconds_to_token` in whole seconds, rounded up."""
        return math.ceil(self.seconds_to_token(now))
