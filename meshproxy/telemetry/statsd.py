"""Statistics as lines of statsd, in its three dialects, and lines as datagrams.

    statsd      envoy.cluster.up.upstream_rq_total:3|c
    DogStatsD   envoy.cluster.upstream_rq_total:3|c|#envoy.cluster_name:up
    Graphite    envoy.cluster.upstream_rq_total;envoy.cluster_name=up:3|c

A counter is told by what it has risen since the last time, and only if it has ever been used, as in Envoy.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from meshproxy.telemetry.stats import StatsSnapshot
from meshproxy.telemetry.tags import TagProducer


class StatsdWriter:
    """Makes the lines of one sink. tags: takes names apart, for the dialects that have tags."""

    def __init__(self, dialect: str, prefix: str, tags: TagProducer) -> None:
        self._dialect = dialect
        self._prefix = prefix
        self._tags = tags
        self._before: dict[str, int] = {}
        self._heads: dict[str, tuple[str, str]] = {}

    def _around(self, name: str) -> tuple[str, str]:
        """What stands before the value, and behind the type."""
        known = self._heads.get(name)
        if known is None:
            known = self._heads[name] = self._take_apart(name)
        return known

    def _take_apart(self, name: str) -> tuple[str, str]:
        if self._dialect == "statsd":
            return f"{self._prefix}.{name}:", ""
        rest, tags = self._tags.split(name)
        if self._dialect == "graphite":
            return f"{self._prefix}.{rest}{''.join(f';{key}={value}' for key, value in tags)}:", ""
        written = ",".join(f"{key}:{value}" for key, value in tags)
        return f"{self._prefix}.{rest}:", f"|#{written}" if written else ""

    def flush(self, snapshot: StatsSnapshot) -> Iterator[str]:
        """What has changed since the last flush."""
        for name, (value, used) in snapshot.counters.items():
            if used:
                # After a reset it begins anew.
                risen = value - self._before.get(name, 0)
                self._before[name] = value
                head, tail = self._around(name)
                yield f"{head}{risen if risen >= 0 else value}|c{tail}"
        for name, (value, used, _) in snapshot.gauges.items():
            if used:
                head, tail = self._around(name)
                yield f"{head}{value}|g{tail}"

    def samples(self, name: str, recorded: Mapping[float, int]) -> Iterator[str]:
        """The values that a histogram has noted, each as often as it came."""
        head, tail = self._around(name)
        for value, count in recorded.items():
            line = f"{head}{int(value)}|ms{tail}"
            for _ in range(count):
                yield line


def datagrams(lines: Iterable[str], max_bytes: int) -> Iterator[bytes]:
    """Lines joined up to `max_bytes`; a longer one goes alone. 0: each goes alone."""
    waiting = b""
    for line in lines:
        data = line.encode("utf-8", "replace")
        if waiting and len(waiting) + 1 + len(data) <= max_bytes:
            waiting += b"\n" + data
        else:
            if waiting:
                yield waiting
            waiting = data
    if waiting:
        yield waiting
