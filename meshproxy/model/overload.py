"""What is measured to see an overload coming, and what is done against it (envoy.config.overload.v3)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from enum import StrEnum

from meshproxy.records import dataclass


class Action(StrEnum):
    """What can be done, by Envoy's names; how much of it, is the state of the action: 0 (nothing) to 1."""

    STOP_REQUESTS = "envoy.overload_actions.stop_accepting_requests"
    STOP_CONNECTIONS = "envoy.overload_actions.stop_accepting_connections"
    REJECT_CONNECTIONS = "envoy.overload_actions.reject_incoming_connections"
    DISABLE_KEEPALIVE = "envoy.overload_actions.disable_http_keepalive"
    SHRINK_HEAP = "envoy.overload_actions.shrink_heap"
    REDUCE_TIMEOUTS = "envoy.overload_actions.reduce_timeouts"


class Point(StrEnum):
    """Places on the way of a connection or request where it can be turned away ("load shed points")."""

    ACCEPT = "envoy.load_shed_points.tcp_listener_accept"
    DECODE_HEADERS = "envoy.load_shed_points.http_connection_manager_decode_headers"


@dataclass(frozen=True, slots=True)
class Trigger:
    """How the pressure on a resource makes the state of an action: 0 below `start`, 1 from `full` on.

    resource: the monitor's name. With a plain threshold both bounds are the same.
    """

    resource: str
    start: float
    full: float

    def state(self, pressure: float) -> float:
        """The state, 0 to 1, at this pressure."""
        if pressure >= self.full:
            return 1.0
        return (pressure - self.start) / (self.full - self.start) if pressure > self.start else 0.0


@dataclass(frozen=True, slots=True)
class TimerScale:
    """What is left of a timeout at the highest pressure: `minimum` seconds, or `share` of it."""

    minimum: float = 0.0
    share: float = 0.0

    def scaled(self, timeout: float, state: float) -> float:
        """The timeout, in seconds, when the action has this state."""
        least = min(max(self.minimum, timeout * self.share), timeout)
        return least + (timeout - least) * (1.0 - state)


@dataclass(frozen=True, slots=True)
class Monitor:
    """One resource. kind: "heap", "cgroup_memory", "cpu" or "file".

    limit: in bytes, for memory (0: that of the cgroup). path: of the file. container: CPU of the cgroup, not the host.
    """

    name: str
    kind: str
    limit: int = 0
    path: str = ""
    container: bool = False


@dataclass(frozen=True, slots=True)
class OverloadConfig:
    """`overload_manager`.

    refresh_interval: seconds between two looks at the monitors. actions, points: triggers by name.
    timers: by the name of the type in `ScaleTimersOverloadActionConfig`.
    max_connections: from clients, in all; None for no limit. connections_name: of the monitor that says so, "" for the
    runtime key.
    """

    refresh_interval: float = 1.0
    monitors: tuple[Monitor, ...] = ()
    actions: Mapping[str, tuple[Trigger, ...]] = field(default_factory=dict)
    points: Mapping[str, tuple[Trigger, ...]] = field(default_factory=dict)
    timers: Mapping[str, TimerScale] = field(default_factory=dict)
    max_connections: int | None = None
    connections_name: str = ""

    @property
    def sheds_requests(self) -> bool:
        """Whether requests may ever be answered without being looked at."""
        return Action.STOP_REQUESTS in self.actions or Point.DECODE_HEADERS in self.points
