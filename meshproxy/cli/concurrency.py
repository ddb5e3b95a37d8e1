"""How many workers `--concurrency 0` means: as many as the container may really run at once."""

from __future__ import annotations

import math
import os
from pathlib import Path


def derive_concurrency(
    root: Path = Path("/sys/fs/cgroup"), process: Path = Path("/proc/self/cgroup")
) -> tuple[int, str]:
    """Workers and where the number comes from: the CPU quota of the control group (rounded up), or the affinity.

    root, process: where control groups are mounted, and which one we are in.
    """
    cpus = len(os.sched_getaffinity(0))
    quota = _quota(root, process)
    if quota is not None and math.ceil(quota) < cpus:
        return max(math.ceil(quota), 1), f"CPU quota of the control group ({quota:g})"
    return cpus, f"CPU affinity ({cpus})"


def _quota(root: Path, process: Path) -> float | None:
    """CPUs that the control group grants, version 2 or 1; None without a limit."""
    folders = [root / _own_group(process), root]
    for folder in folders:
        try:
            granted, period = (folder / "cpu.max").read_text().split()
            return None if granted == "max" else int(granted) / int(period)
        except (OSError, ValueError):
            continue
    try:
        granted_us = int((root / "cpu/cpu.cfs_quota_us").read_text())
        period_us = int((root / "cpu/cpu.cfs_period_us").read_text())
    except (OSError, ValueError):
        return None
    return granted_us / period_us if granted_us > 0 and period_us > 0 else None


def _own_group(process: Path) -> str:
    try:
        lines = process.read_text().splitlines()
    except OSError:
        return ""
    return next((line[3:].lstrip("/") for line in lines if line.startswith("0::")), "")
