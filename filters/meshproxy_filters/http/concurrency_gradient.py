"""The limit of requests at once that follows how long they take (Envoy: "Adaptive Concurrency").

Theory. The shortest time that requests can take (`min_rtt`) is measured now and then, while only a few are let through.
Between that, each `update_interval` looks at the time that its requests took (a percentile of them). The
quotient of the two, the gradient, moves the limit: up where requests take no longer than they must, down where they
do, by no more than a factor of two, with room for a burst. Five intervals at the lowest limit say that the measured
minimum is no longer true, and it is measured anew.

Nothing runs by itself: what timers would have done is made up for at the next event, in the order of the times at
which it was due. That comes to the same, since only requests change anything in between.
"""

from __future__ import annotations

import math
from collections import Counter
from random import Random
from typing import TYPE_CHECKING

from meshproxy.plugin.context import FactoryContext
from meshproxy.plugin.stats import StatsScope
from meshproxy.records import dataclass

if TYPE_CHECKING:
    from meshproxy.plugin.view import ConfigView

_NEVER = float("inf")
_STUCK = 5


class GradientStats:
    """`http.<prefix>.adaptive_concurrency.gradient_controller.`"""

    def __init__(self, scope: StatsScope) -> None:
        self.rq_blocked = scope.counter("rq_blocked")
        self.burst_queue_size = scope.gauge("burst_queue_size")
        self.concurrency_limit = scope.gauge("concurrency_limit")
        self.gradient = scope.gauge("gradient")
        self.min_rtt_calculation_active = scope.gauge("min_rtt_calculation_active")
        self.min_rtt_msecs = scope.gauge("min_rtt_msecs")
        self.sample_rtt_msecs = scope.gauge("sample_rtt_msecs")


@dataclass(frozen=True, slots=True)
class GradientConfig:
    """Times in seconds, shares 0-1. fixed_min_rtt: None to measure it."""

    percentile: float
    max_limit: int
    update_interval: float
    min_rtt_interval: float
    fixed_min_rtt: float | None
    request_count: int
    jitter: float
    min_concurrency: int
    buffer: float


class Samples:
    """Times in whole microseconds, kept with two digits: the room that they take doesn't grow with their number."""

    def __init__(self) -> None:
        self._counts: Counter[int] = Counter()
        self.count = 0

    def add(self, microseconds: int) -> None:
        scale = 10 ** max(len(str(microseconds)) - 2, 0)
        self._counts[microseconds // scale * scale] += 1
        self.count += 1

    def take(self, share: float) -> int:
        """The time that this share of them didn't exceed; afterwards they are forgotten."""
        wanted, found = share * self.count, 0
        for value in sorted(self._counts):
            found += self._counts[value]
            if found >= wanted:
                break
        self.clear()
        return value

    def clear(self) -> None:
        self._counts.clear()
        self.count = 0


class GradientController:
    """See the module. Every method is told the time."""

    def __init__(self, config: GradientConfig, stats: GradientStats, rng: Random, now: float) -> None:
        self._config = config
        self._stats = stats
        self._rng = rng
        self._samples = Samples()
        self._outstanding = 0
        self._limit = config.min_concurrency
        self._limit_after = 0  # 0: the minimum isn't being measured
        self._times_at_lowest = 0
        self._epoch = now
        self._min_rtt = 0
        self._update_at = now + config.update_interval
        self._measure_at = _NEVER
        if config.fixed_min_rtt is not None:
            self._set_min_rtt(int(config.fixed_min_rtt * 1_000_000))
            self._set_limit(self._limit)
        else:
            self._begin_measuring(now)

    def admit(self, now: float) -> bool:
        """Take a place for a request, if there is one; give it back with `record` or `cancel`."""
        self.catch_up(now)
        if self._outstanding < self._limit:
            self._outstanding += 1
            return True
        self._stats.rq_blocked.value += 1
        return False

    def cancel(self) -> None:
        """A request came to no end that says anything."""
        self._outstanding -= 1

    def record(self, since: float, now: float) -> None:
        """A request has been answered."""
        self._outstanding -= 1
        self.catch_up(now)
        if since < self._epoch:
            return
        self._samples.add(round((now - since) * 1_000_000))
        if self._limit_after and self._samples.count >= self._config.request_count:
            self._end_measuring(now)

    def catch_up(self, now: float) -> None:
        """Do what was due until now."""
        while True:
            at = min(self._update_at, self._measure_at)
            if at > now:
                return
            if at == self._measure_at:
                self._measure_at = _NEVER
                self._begin_measuring(at)
                continue
            if not self._samples.count:
                # Nothing comes of an interval without requests, nor of those after it.
                interval = self._config.update_interval
                until = min(now, self._measure_at)
                self._update_at += interval * (math.floor((until - at) / interval) + 1)
                continue
            self._update_at += self._config.update_interval
            self._end_interval(at)

    def _begin_measuring(self, at: float) -> None:
        if self._limit_after:
            return
        self._stats.min_rtt_calculation_active.set(1)
        self._limit_after = self._limit
        self._update_at = _NEVER
        self._set_limit(self._config.min_concurrency)
        self._samples.clear()
        self._epoch = at

    def _end_measuring(self, at: float) -> None:
        config = self._config
        self._set_min_rtt(self._samples.take(config.percentile))
        limit, self._limit_after = self._limit_after, 0
        self._set_limit(limit)
        self._stats.min_rtt_calculation_active.set(0)
        spread = math.ceil(config.min_rtt_interval * 1000 * config.jitter)
        jitter = self._rng.randrange(spread) / 1000 if spread else 0.0
        self._measure_at = at + config.min_rtt_interval + jitter
        self._update_at = at + config.update_interval

    def _set_min_rtt(self, microseconds: int) -> None:
        self._min_rtt = microseconds
        self._stats.min_rtt_msecs.set(microseconds // 1000)

    def _end_interval(self, at: float) -> None:
        config, stats = self._config, self._stats
        took = self._samples.take(config.percentile)
        stats.sample_rtt_msecs.set(took // 1000)
        fastest = self._min_rtt * (1 + config.buffer)
        gradient = max(0.5, min(2.0, fastest / took if took else 2.0))
        stats.gradient.set(int(gradient * 1000))
        limit = self._limit * gradient
        burst = math.sqrt(limit)
        stats.burst_queue_size.set(int(burst))
        self._set_limit(max(config.min_concurrency, min(config.max_limit, int(limit + burst))))
        if self._times_at_lowest >= _STUCK and config.fixed_min_rtt is None:
            self._measure_at = at

    def _set_limit(self, limit: int) -> None:
        lowest = self._config.min_concurrency
        stuck = not self._limit_after and self._limit == limit == lowest
        self._times_at_lowest = self._times_at_lowest + 1 if stuck else 0
        self._limit = limit
        self._stats.concurrency_limit.set(limit)


def read_controller(view: ConfigView, scope: StatsScope, context: FactoryContext) -> GradientController:
    """`GradientControllerConfig`. Raises ConfigError."""
    limit, minimum = view.required("concurrency_limit_params"), view.required("min_rtt_calc_params")
    fixed = minimum.duration("fixed_value")
    interval = minimum.duration("interval")
    if fixed is None and interval is None:
        minimum.fail("one of 'interval' and 'fixed_value' is required")
    config = GradientConfig(
        percentile=view.number("sample_aggregate_percentile", 50.0) / 100,
        max_limit=limit.integer("max_concurrency_limit", 1000),
        update_interval=limit.seconds("concurrency_update_interval", 0.0),
        min_rtt_interval=interval or 0.0,
        fixed_min_rtt=fixed,
        request_count=minimum.integer("request_count", 50),
        jitter=minimum.number("jitter", 15.0) / 100,
        min_concurrency=minimum.integer("min_concurrency", 3),
        buffer=minimum.number("buffer", 25.0) / 100,
    )
    if config.update_interval <= 0:
        limit.fail("field 'concurrency_update_interval' is required", "concurrency_update_interval")
    now = context.clock.now
    controller = GradientController(config, GradientStats(scope), context.rng, now())
    scope.before_read(lambda: controller.catch_up(now()))
    return controller
