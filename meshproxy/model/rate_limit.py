"""What a route says about rate limits (envoy.config.route.v3.RateLimit): how a request is described to a limiter."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from meshproxy.records import dataclass

Entries = tuple[tuple[str, str], ...]
"""A descriptor: keys and values, in the order of the actions that made them."""


@dataclass(frozen=True, slots=True, eq=False)
class RateLimit:
    """One entry of `rate_limits`.

    stage: filters with the same stage read it. enabled: draws whether it is looked at for this request.
    describe: `Stream` -> entries, or None when an action has nothing to say and the limit doesn't apply.
    hits: `Stream` -> how much the request weighs; None when that can't be said and the limit doesn't apply.
    override: `Stream` -> requests per unit, and the unit (of `RateLimitUnit`), in place of the limiter's own.
    at_end: it is told when the stream is over, and limits nothing then.
    """

    stage: int
    enabled: Callable[[], bool]
    describe: Callable[[Any], Entries | None]
    hits: Callable[[Any], int | None]
    override: Callable[[Any], tuple[int, int] | None] | None = None
    at_end: bool = False
