"""What the results of active health checks make of a host, and when to check again (Envoy: HealthCheckerImplBase).

Pure: fed with results, asked for intervals. The first result counts at once for the better; after that
`healthy_threshold` successes or `unhealthy_threshold` failures in a row are needed, except that an answer which says
that the host is ill is believed at once.
"""

from __future__ import annotations

from enum import Enum
from random import Random
from typing import Protocol


class Transition(Enum):
    """What a result has changed."""

    UNCHANGED = 0
    CHANGED = 1
    PENDING = 2


class Options(Protocol):
    """What of `meshproxy.model.health_check.HealthCheck` is read here."""

    @property
    def interval(self) -> float: ...
    @property
    def unhealthy_threshold(self) -> int: ...
    @property
    def healthy_threshold(self) -> int: ...
    @property
    def interval_jitter(self) -> float: ...
    @property
    def interval_jitter_percent(self) -> int: ...
    @property
    def no_traffic_interval(self) -> float: ...
    @property
    def no_traffic_healthy_interval(self) -> float: ...
    @property
    def unhealthy_interval(self) -> float: ...
    @property
    def unhealthy_edge_interval(self) -> float: ...
    @property
    def healthy_edge_interval(self) -> float: ...


class HealthState:
    """One host. failed: whether it counts as ill; it does until its first success. first: it wasn't checked yet."""

    __slots__ = ("_in_a_row", "_options", "failed", "first")

    def __init__(self, options: Options) -> None:
        self._options = options
        self.first = True
        self._in_a_row = 0
        self.failed = True

    def succeeded(self) -> Transition:
        """A check found it well."""
        first, self.first = self.first, False
        if not self.failed:
            self._in_a_row = 0
            return Transition.UNCHANGED
        self._in_a_row += 1
        if not first and self._in_a_row < self._options.healthy_threshold:
            return Transition.PENDING
        self.failed = False
        self._in_a_row = 0
        return Transition.CHANGED

    def did_not_succeed(self, *, believed: bool) -> Transition:
        """A check failed. believed: the host itself said so, in an answer that isn't configured as retriable."""
        self.first = False
        if self.failed:
            self._in_a_row = 0
            return Transition.UNCHANGED
        self._in_a_row += 1
        if not believed and self._in_a_row < self._options.unhealthy_threshold:
            return Transition.PENDING
        self.failed = True
        self._in_a_row = 0
        return Transition.CHANGED

    def interval(self, succeeded: bool, transition: Transition, traffic: bool, random: Random) -> float:
        """Seconds until the next check. traffic: the cluster has ever opened a connection."""
        options = self._options
        pending = transition is Transition.PENDING
        if not traffic:
            calm = succeeded and not pending
            seconds = options.no_traffic_healthy_interval if calm else options.no_traffic_interval
        elif succeeded:
            seconds = options.healthy_edge_interval if pending else options.interval
        else:
            seconds = options.unhealthy_edge_interval if pending else options.unhealthy_interval
        share = seconds * options.interval_jitter_percent / 100.0
        return seconds + random.random() * options.interval_jitter + random.random() * share
