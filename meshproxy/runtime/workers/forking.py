"""Becoming a worker: what a child does right after the fork, and how its end reads.

A child never returns into the parent's code: it leaves with `os._exit`.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import traceback
from collections.abc import Callable
from typing import NoReturn

Sockets = dict[str, list[socket.socket]]
"""Listening sockets by listener name."""

WorkerMain = Callable[[int, socket.socket, socket.socket, Sockets], int]
"""What a worker does: (index, its end of the channel, where listening sockets come later, its own) -> exit code."""


def become_worker(
    index: int, main: WorkerMain, control: socket.socket, later: socket.socket, sockets: Sockets
) -> NoReturn:
    """To be called in the child. control: its end of the channel. later: where listening sockets come later."""
    code = 70  # EX_SOFTWARE
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for number in (signal.SIGINT, signal.SIGUSR1, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)  # the parent gets them too and passes on what they mean
        own = {sock.fileno() for each in sockets.values() for sock in each}
        _close_descriptors_except({control.fileno(), later.fileno(), *own})
        code = main(index, control, later, sockets)
    except BaseException:  # this process isn't the parent: nothing may get out of here
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def describe_status(status: int) -> str:
    """A wait status for people."""
    if os.WIFSIGNALED(status):
        return f"signal {signal.Signals(os.WTERMSIG(status)).name}"
    return f"exit code {os.waitstatus_to_exitcode(status)}"


def _close_descriptors_except(kept: set[int]) -> None:
    """Close what was inherited and isn't ours: the parent's loop, admin connections, other workers' sockets.

    The Python objects that owned these descriptors stay referenced from the parent's frames below us and are never
    finalised, because a worker ends with `os._exit`.
    """
    for name in os.listdir("/proc/self/fd"):
        descriptor = int(name)
        if descriptor > 2 and descriptor not in kept and not _is_log(descriptor):
            try:
                os.close(descriptor)
            except OSError:
                pass  # the listing's own descriptor


def _is_log(descriptor: int) -> bool:
    """Whether a regular file is open there: the program's log is the only one that may be."""
    try:
        return os.path.isfile(f"/proc/self/fd/{descriptor}") and os.get_inheritable(descriptor) is False
    except OSError:
        return False
