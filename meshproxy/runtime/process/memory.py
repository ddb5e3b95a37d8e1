"""How much memory processes have, as the kernel counts it."""

from __future__ import annotations

import os
from collections.abc import Sequence

_PAGE = os.sysconf("SC_PAGE_SIZE")


def process_memory(pids: Sequence[int]) -> tuple[int, int]:
    """Bytes of these processes: private (anonymous) resident memory, and all resident memory.

    What forks share is counted once, by halves and thirds (Pss). A process that is gone counts nothing.
    """
    if len(pids) == 1:
        return _of_one(pids[0])
    totals = [_proportional(pid) for pid in pids]
    return sum(anonymous for anonymous, _ in totals), sum(whole for _, whole in totals)


def _of_one(pid: int) -> tuple[int, int]:
    try:
        with open(f"/proc/{pid}/statm", "rb") as file:
            numbers = file.read().split()
    except OSError:
        return 0, 0
    resident, shared = int(numbers[1]) * _PAGE, int(numbers[2]) * _PAGE
    return resident - shared, resident


def _proportional(pid: int) -> tuple[int, int]:
    found = {b"Pss:": 0, b"Pss_Anon:": 0}
    try:
        with open(f"/proc/{pid}/smaps_rollup", "rb") as file:
            for line in file:
                words = line.split()
                if words[0] in found:
                    found[words[0]] = int(words[1]) * 1024
    except OSError:
        return 0, 0
    return found[b"Pss_Anon:"], found[b"Pss:"]
