"""The pressure on a resource, 0 for none to 1 for the limit (and beyond), as the overload manager asks for it.

Memory is what this process has resident. Of several workers each looks at itself, with its share of the limit: they
accept alike, so they grow alike.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

from meshproxy.model.overload import Monitor

_CGROUP = Path("/sys/fs/cgroup")
_PAGE = os.sysconf("SC_PAGE_SIZE")

Measure = Callable[[], float]
"""The pressure now. Raises OSError or ValueError when it can't be told."""


def make_measure(monitor: Monitor, workers: int) -> Measure:
    """workers: among how many processes a limit of memory is shared out."""
    if monitor.kind == "heap":
        return lambda: _resident() * workers / monitor.limit
    if monitor.kind == "cgroup_memory":
        return lambda: _cgroup_memory(monitor.limit)
    if monitor.kind == "cpu":
        return Cpu(_cgroup_cpu if monitor.container else _host_cpu)
    return InjectedResource(monitor.path)


def _resident() -> int:
    with open("/proc/self/statm", "rb") as file:
        return int(file.read().split()[1]) * _PAGE


def _cgroup_memory(limit: int) -> float:
    """Of version 2 or 1 of the cgroups. limit: 0 for the cgroup's own; a lower one of the two counts."""
    used, most = _CGROUP / "memory.current", _CGROUP / "memory.max"
    if not used.exists():
        used, most = _CGROUP / "memory/memory.usage_in_bytes", _CGROUP / "memory/memory.limit_in_bytes"
    text = most.read_text().strip()
    limits = [value for value in (limit, 0 if text == "max" else int(text)) if value]
    return int(used.read_text()) / min(limits) if limits else 0.0


class Cpu:
    """Smoothed as in Envoy: a new value counts for a twentieth. read: busy and total time so far."""

    def __init__(self, read: Callable[[], tuple[float, float]]) -> None:
        self._read = read
        self._last = read()
        self._utilization = 0.0

    def __call__(self) -> float:
        busy, total = self._read()
        elapsed = total - self._last[1]
        if elapsed > 0:
            now = min(max((busy - self._last[0]) / elapsed, 0.0), 1.0)
            self._utilization = now * 0.05 + self._utilization * 0.95
        self._last = busy, total
        return self._utilization


def _host_cpu() -> tuple[float, float]:
    """Envoy counts user, nice and system as busy."""
    with open("/proc/stat", "rb") as file:
        times = [int(value) for value in file.readline().split()[1:]]
    return sum(times[:3]), sum(times[:4])


def _cgroup_cpu() -> tuple[float, float]:
    """CPU time of the cgroup, and what it could have used meanwhile."""
    version2 = _CGROUP / "cpu.stat"
    if version2.exists() and (_CGROUP / "cpu.max").exists():
        used = next(int(line.split()[1]) for line in version2.read_text().splitlines() if line.startswith("usage_usec"))
        quota, period = (_CGROUP / "cpu.max").read_text().split()
        cores = float(os.cpu_count() or 1) if quota == "max" else int(quota) / int(period)
        return used / 1e6, time.monotonic() * cores
    used_ns = int((_CGROUP / "cpuacct/cpuacct.usage").read_text())
    shares = int((_CGROUP / "cpu/cpu.shares").read_text())
    return used_ns / 1e9, time.monotonic() * shares / 1024


class InjectedResource:
    """The number in a file, read again when the file has been replaced or written."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._seen: tuple[int, int, int] | None = None
        self._pressure: float | None = None

    def __call__(self) -> float:
        found = os.stat(self._path)
        seen = found.st_ino, found.st_mtime_ns, found.st_size
        if seen != self._seen or self._pressure is None:
            self._pressure = None
            with open(self._path, encoding="ascii", errors="replace") as file:
                pressure = float(file.read().strip())
            if not 0 <= pressure <= 1:
                raise ValueError(f"pressure out of range: {pressure}")
            self._seen, self._pressure = seen, pressure
        return self._pressure
