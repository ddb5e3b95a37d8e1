"""How much memory a process has, as the kernel counts it."""

from __future__ import annotations

import os

_PAGE = os.sysconf("SC_PAGE_SIZE")


def process_memory(pid: int) -> tuple[int, int]:
    """Bytes of a process: private (anonymous) resident memory, and all resident memory; (0, 0) when it is gone."""
    try:
        with open(f"/proc/{pid}/statm", "rb") as file:
            numbers = file.read().split()
    except OSError:
        return 0, 0
    resident, shared = int(numbers[1]) * _PAGE, int(numbers[2]) * _PAGE
    return resident - shared, resident
