"""When a thread that doesn't come back counts as stuck (envoy.config.bootstrap.v3.Watchdog)."""

from __future__ import annotations

from meshproxy.records import dataclass


@dataclass(frozen=True, slots=True)
class Watchdog:
    """All in seconds, with Envoy's defaults.

    miss, megamiss: after which a miss is counted. kill: after which the process ends; 0 for never. kill_jitter: at most
    so much longer than that.
    """

    miss: float = 0.2
    megamiss: float = 1.0
    kill: float = 0.0
    kill_jitter: float = 0.0

    def strictest(self, other: Watchdog) -> Watchdog:
        """For a thread that is both: the shorter time of each kind counts."""
        kill = min([each for each in (self, other) if each.kill], key=lambda each: each.kill, default=self)
        return Watchdog(min(self.miss, other.miss), min(self.megamiss, other.megamiss), kill.kill, kill.kill_jitter)
