"""Slow start: a host that has just become healthy gets its share of load little by little.

(envoy.config.cluster.v3.Cluster.SlowStartConfig; Envoy's documentation: "Slow start mode".) During the window its
weight is multiplied by max(minimum, (time in the window / window) ** (1 / aggression)). The window begins when the host
is added or, with active health checks, when they find it well again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from meshproxy.balance.host import Health, Host
from meshproxy.runtime_values import Live

_LEAST = 0.001


class SlowStart:
    """The slow start of one cluster. now: monotonic seconds. window: seconds. minimum: share of the weight, 0 to 1."""

    __slots__ = ("_aggression", "_latest", "_minimum", "_now", "_window")

    def __init__(self, now: Callable[[], float], window: float, aggression: Live[float], minimum: float) -> None:
        self._now = now
        self._window = window
        self._aggression = aggression
        self._minimum = minimum
        self._latest = float("-inf")

    def note(self, hosts: Iterable[Host]) -> None:
        """Let the window of those begin that are healthy and had none yet."""
        now = self._now()
        for host in hosts:
            if host.health is Health.HEALTHY:
                if not host.healthy_since:
                    host.healthy_since = now
                self._latest = max(self._latest, host.healthy_since)

    @property
    def under_way(self) -> bool:
        """Whether any host is still in its window."""
        return self._now() - self._latest <= self._window

    def factor(self, host: Host) -> float:
        """What the weight of a host is multiplied by, now."""
        since = host.healthy_since
        if not since or host.health is not Health.HEALTHY:
            return 1.0
        elapsed = self._now() - since
        if elapsed >= self._window:
            return 1.0
        aggression = self._aggression.value
        exponent = 1.0 / aggression if aggression > 0.0 else 1.0
        share: float = (max(_LEAST, elapsed) / self._window) ** exponent
        return max(share, self._minimum, 1e-9)
