"""The statistics of several processes as those of one, also after a process has died."""

from __future__ import annotations

import re
from collections.abc import Iterable

from meshproxy.telemetry.stats import StatsSnapshot, merge

# What every worker finds out for itself and must not be added up.
_SAME_EVERYWHERE = re.compile(
    r"cluster\..+\.(?:membership_\w+|max_host_weight|version)\Z|overload\..+\.(?:pressure|active|scale_percent)\Z"
)


class Retired:
    """What workers that are gone had counted: counters and histograms must never fall."""

    def __init__(self) -> None:
        self._total = StatsSnapshot()

    def add(self, last: StatsSnapshot) -> None:
        """A worker is gone; `last` is the latest that is known of it."""
        lasting = StatsSnapshot(last.counters, {}, last.histograms, {})
        self._total = merge([self._total, lasting])

    def clear(self) -> None:
        """The counters have been reset."""
        self._total = StatsSnapshot()

    def merged(self, own: StatsSnapshot, workers: Iterable[StatsSnapshot]) -> StatsSnapshot:
        """All together."""
        return merge([self._total, own, *(_adjusted(worker) for worker in workers)])


def _adjusted(snapshot: StatsSnapshot) -> StatsSnapshot:
    gauges = snapshot.gauges
    for name, (value, used, _) in list(gauges.items()):
        if name.startswith(("cluster.", "overload.")) and _SAME_EVERYWHERE.match(name):
            gauges[name] = (value, used, "max")
    return snapshot
