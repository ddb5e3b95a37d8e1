"""`envoy.filters.http.admission_control`: refuses a share of requests that grows as requests upstream fail.

Theory (client-side throttling, Google's SRE book, chapter 21). Outcomes of the last `sampling_window` are kept per
second. Of n requests with s successes the share (n - s / sr_threshold) / (n + 1), to the power of 1 / aggression, is
refused, but no more than `max_rejection_probability`; none is while fewer requests come than `rps_threshold`. What
is refused counts as no outcome. With several workers each knows its own requests.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from random import Random
from typing import TYPE_CHECKING

from meshproxy.headers import Headers, RequestHeaders, ResponseHeaders
from meshproxy.plugin.context import FactoryContext, Stream
from meshproxy.plugin.http import HttpFilter
from meshproxy.plugin.replies import LocalReply
from meshproxy.plugin.stats import StatsScope
from meshproxy.records import dataclass
from meshproxy.runtime_values import Live, constant
from meshproxy_filters.grpc_heads import grpc_status, is_grpc_response

if TYPE_CHECKING:
    from meshproxy.plugin.view import ConfigView

_DENIED = LocalReply(503, details="denied by admission control")
_WINDOW = 30
_ACCURACY = 10_000
_GRPC_SUCCESSES = frozenset((0, 1, 2, 3, 5, 6, 9, 11, 12, 16))


class AdmissionControlStats:
    """`http.<prefix>.admission_control.`"""

    def __init__(self, scope: StatsScope) -> None:
        self.rq_rejected = scope.counter("rq_rejected")
        self.rq_success = scope.counter("rq_success")
        self.rq_failure = scope.counter("rq_failure")


class Outcomes:
    """What became of the requests of the last seconds. window: how many of them, whole ones."""

    def __init__(self, window: int, now: Callable[[], float]) -> None:
        self._window = window
        self._now = now
        self._seconds: deque[tuple[float, list[int]]] = deque()
        self.requests = 0
        self.successes = 0

    def record(self, success: bool) -> None:
        self.update()
        counts = self._seconds[-1][1]
        counts[0] += 1
        counts[1] += success
        self.requests += 1
        self.successes += success

    def update(self) -> None:
        """Forget what is too old."""
        now, seconds = self._now(), self._seconds
        while seconds and now - seconds[0][0] >= self._window:
            requests, successes = seconds.popleft()[1]
            self.requests -= requests
            self.successes -= successes
        if not seconds or now - seconds[-1][0] >= 1:
            seconds.append((now, [0, 0]))

    @property
    def per_second(self) -> int:
        """Requests in a second, on the average of what is known."""
        if not self.requests:
            return 0
        return self.requests // max(1, int(self._now() - self._seconds[0][0]))


@dataclass(frozen=True, slots=True, eq=False)
class AdmissionControlConfig:
    """sr_threshold, max_rejection: per cent. http_successes: ranges of statuses that are none of failure."""

    stats: AdmissionControlStats
    outcomes: Outcomes
    enabled: Live[bool]
    aggression: Live[float]
    sr_threshold: Live[float]
    rps_threshold: Live[int]
    max_rejection: Live[float]
    http_successes: tuple[range, ...]
    grpc_successes: frozenset[int]
    rng: Random

    def refuses(self) -> bool:
        """Draw whether to refuse a request."""
        outcomes = self.outcomes
        outcomes.update()
        total = outcomes.requests
        if not total or outcomes.per_second < self.rps_threshold.value:
            return False
        threshold = max(min(self.sr_threshold.value, 100.0), 1.0) / 100
        share = (total - outcomes.successes / threshold) / (total + 1)
        if share <= 0:
            return False
        share = math.pow(share, 1.0 / max(self.aggression.value, 1.0))
        return min(share, self.max_rejection.value / 100) * _ACCURACY > self.rng.randrange(_ACCURACY)


class AdmissionControl(HttpFilter[AdmissionControlConfig]):
    """See the module."""

    _counts: bool = True
    _awaits_trailers: bool = False

    @classmethod
    def compile(cls, view: ConfigView, context: FactoryContext) -> AdmissionControlConfig:
        return _read(view, context)

    def on_request_headers(self, request: RequestHeaders, stream: Stream) -> LocalReply | None:
        config = self.config
        if not config.enabled.value or stream.health_check:
            self._counts = False
            return None
        if config.refuses():
            self._counts = False
            config.stats.rq_rejected.value += 1
            return _DENIED
        return None

    def on_response_headers(self, response: ResponseHeaders, stream: Stream) -> None:
        if not self._counts:
            return
        if not is_grpc_response(response, stream.response_end):
            self._record(any(response.status in each for each in self.config.http_successes))
            return
        status = grpc_status(response)
        if status is None:
            self._awaits_trailers = True
        else:
            self._record(status in self.config.grpc_successes)

    def on_response_trailers(self, trailers: Headers, stream: Stream) -> None:
        if self._awaits_trailers:
            self._record(grpc_status(trailers) in self.config.grpc_successes)

    def _record(self, success: bool) -> None:
        config = self.config
        counter = config.stats.rq_success if success else config.stats.rq_failure
        counter.value += 1
        config.outcomes.record(success)


def _read(view: ConfigView, context: FactoryContext) -> AdmissionControlConfig:
    criteria = view.view("success_criteria")
    if criteria is None:
        view.fail("field 'success_criteria' is required")
    threshold = view.view("sr_threshold")
    if threshold is not None and threshold.number("default_value") < 1.0:
        view.fail("a threshold of the success rate is at least 1 per cent", "sr_threshold")
    enabled = view.view("enabled")
    window = view.seconds("sampling_window", float(_WINDOW))
    return AdmissionControlConfig(
        AdmissionControlStats(context.stats.scope("admission_control.")),
        Outcomes(int(window), context.clock.now),
        context.compile_runtime_flag(enabled) if enabled is not None else constant(True),
        _number(view, "aggression", 1.0, context),
        _number(view, "sr_threshold", 95.0, context),
        _rps(view, context),
        _number(view, "max_rejection_probability", 80.0, context),
        _read_http(criteria.view("http_criteria")),
        _read_grpc(criteria.view("grpc_criteria")),
        context.rng,
    )


def _number(view: ConfigView, name: str, default: float, context: FactoryContext) -> Live[float]:
    """`RuntimeDouble` or `RuntimePercent`."""
    found = view.view(name)
    if found is None:
        return constant(default)
    return context.runtime.number(found.text("runtime_key"), found.number("default_value"))


def _rps(view: ConfigView, context: FactoryContext) -> Live[int]:
    found = view.view("rps_threshold")
    if found is None:
        return constant(0)
    return context.runtime.integer(found.text("runtime_key"), found.integer("default_value"))


def _read_http(view: ConfigView | None) -> tuple[range, ...]:
    if view is None:
        return (range(500),)
    ranges = []
    for entry in view.views("http_success_status"):
        start, end = entry.integer("start"), entry.integer("end")
        if not 100 <= start < end <= 600:
            entry.fail(f"invalid HTTP range: [{start}, {end})")
        ranges.append(range(start, end))
    return tuple(ranges)


def _read_grpc(view: ConfigView | None) -> frozenset[int]:
    if view is None:
        return _GRPC_SUCCESSES
    statuses = view.integers("grpc_success_status")
    for status in statuses:
        if status > 16:
            view.fail(f"invalid gRPC code {status}", "grpc_success_status")
    return frozenset(statuses)
