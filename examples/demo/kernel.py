"""The few system calls that make a world of its own: namespaces, and a death that takes the children along.

Python has `os.unshare` and `os.setns` only from 3.12 on, hence ctypes.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
from collections.abc import Callable, Iterator

_CLONE_NEWNS = 0x00020000  # linux/sched.h
_CLONE_NEWPID = 0x20000000
_CLONE_NEWNET = 0x40000000
_PR_SET_PDEATHSIG = 1  # linux/prctl.h

_libc = ctypes.CDLL(None, use_errno=True)


def _checked(result: int) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def alone(main: Callable[[], int]) -> int:
    """Runs `main` in a child that is the first process of its own process and mount namespaces; its exit code.

    However that child or this process ends, even by SIGKILL, the kernel ends everything that it started and takes its
    mounts away, and the network namespaces that only those mounts held. Raises OSError where that is not permitted.
    """
    _checked(_libc.unshare(_CLONE_NEWNS | _CLONE_NEWPID))
    child = os.fork()
    if child == 0:
        code = 1
        try:
            _checked(_libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL))
            subprocess.run(["mount", "--make-rprivate", "/"], check=True)
            code = main()
        finally:
            os._exit(code)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal sends it to the child as well, which decides
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda received, _: os.kill(child, received))
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)


@contextlib.contextmanager
def network_of(path: str) -> Iterator[None]:
    """This thread is in the network namespace at `path`; a socket made here stays there."""
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    there = os.open(path, os.O_RDONLY)
    try:
        _checked(_libc.setns(there, _CLONE_NEWNET))
        try:
            yield
        finally:
            _checked(_libc.setns(home, _CLONE_NEWNET))
    finally:
        os.close(home)
        os.close(there)
