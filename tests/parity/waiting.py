"""How long a thread wanted a CPU and got none, because others had it: time that is no property of a program.

The kernel tells for each thread, in nanoseconds, how long it stood in a run queue (/proc/PID/task/TID/schedstat).
A kernel without that file tells nothing, and then nothing is made allowance for.
"""

from __future__ import annotations

import contextlib
import os
import threading
from pathlib import Path


class Waiting:
    """Of the threads that a program had at `watch`, and of the one that called it."""

    def __init__(self) -> None:
        self._files: list[int] = []

    def watch(self, pid: int) -> None:
        with contextlib.suppress(OSError):
            ours = Path(f"/proc/self/task/{threading.get_native_id()}/schedstat")
            theirs = Path(f"/proc/{pid}/task").glob("*/schedstat")
            for path in (ours, *theirs):
                self._files.append(os.open(path, os.O_RDONLY | os.O_CLOEXEC))

    def seconds(self) -> float:
        """How long they have waited by now, together."""
        total = 0
        for file in self._files:
            with contextlib.suppress(OSError, IndexError):  # a thread may have ended
                total += int(os.pread(file, 100, 0).split()[1])
        return total / 1e9

    def close(self) -> None:
        for file in self._files:
            os.close(file)
        self._files.clear()
