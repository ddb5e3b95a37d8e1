"""Times to live of resources: what isn't renewed in time is gone.

A server that dies must not leave behind, for ever, what was meant for a minute (a fault injected for a test). Only
resources that carry a time to live are here, so for everybody else this costs nothing.
"""

from __future__ import annotations


class TtlTable:
    """When each resource of a type ends. Times are monotonic, in seconds."""

    __slots__ = ("_ends",)

    def __init__(self) -> None:
        self._ends: dict[str, float] = {}

    def note(self, name: str, ttl: float | None, now: float) -> None:
        """The resource came, or was said to be still good. ttl: None when it lives for ever."""
        if ttl is None:
            self._ends.pop(name, None)
        else:
            self._ends[name] = now + ttl

    def forget(self, name: str) -> None:
        """The resource is gone."""
        self._ends.pop(name, None)

    @property
    def next(self) -> float | None:
        """When the first one ends."""
        return min(self._ends.values()) if self._ends else None

    def expire(self, now: float) -> list[str]:
        """Those whose time is over; they are forgotten."""
        expired = [name for name, end in self._ends.items() if end <= now]
        for name in expired:
            del self._ends[name]
        return expired
