"""What is counted for a route that has a `stat_prefix`, in plain numbers; see `runtime.downstream.route_stats`."""

from __future__ import annotations

from collections import defaultdict


class RouteCounts:
    """What has happened since it was last looked at.

    codes: responses by status. times: responses by the milliseconds they took.
    """

    __slots__ = (
        "codes",
        "retry",
        "retry_limit_exceeded",
        "retry_overflow",
        "retry_success",
        "timeout",
        "times",
        "total",
    )

    def __init__(self) -> None:
        self.total = 0
        self.timeout = 0
        self.retry = 0
        self.retry_success = 0
        self.retry_overflow = 0
        self.retry_limit_exceeded = 0
        self.codes: defaultdict[int, int] = defaultdict(int)
        self.times: defaultdict[int, int] = defaultdict(int)
