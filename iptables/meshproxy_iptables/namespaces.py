"""Entering a pod's network namespace, and keeping the host's name service out (CNI mode).

A CNI plugin runs on the host, with the host's files, for a pod. iptables resolves names of owners through
nsswitch.conf, and a host whose users live in LDAP would then be asked over a network that is not up yet. In a mount
namespace of our own, nsswitch.conf is empty, and only /etc/passwd and /etc/group count.
"""

from __future__ import annotations

import os

from .errors import InterceptionError

_NEWNS, _NEWNET = 0x00020000, 0x40000000
_BIND, _RECURSIVE, _PRIVATE = 0x1000, 0x4000, 0x40000
NSSWITCH = "/etc/nsswitch.conf"


def enter_network(path: str) -> None:
    """Moves this process into the network namespace at `path`. Raises InterceptionError; needs CAP_SYS_ADMIN."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError as error:
        raise InterceptionError(f"--network-namespace {path}: {error.strerror}") from None
    try:
        _call(f"--network-namespace {path}", "setns", descriptor, _NEWNET)
    finally:
        os.close(descriptor)


def hide_name_service() -> None:
    """Makes names of owners come from local files only. Raises InterceptionError; needs CAP_SYS_ADMIN."""
    if not os.path.exists(NSSWITCH):
        return
    _call("--cni-mode", "unshare", _NEWNS)
    _call("--cni-mode", "mount", None, b"/", None, _RECURSIVE | _PRIVATE, None)
    _call("--cni-mode", "mount", b"/dev/null", NSSWITCH.encode(), None, _BIND, None)


def _call(what: str, function: str, *arguments: object) -> None:
    """A function of the C library; Python 3.11 has none of these three."""
    import ctypes  # loading it takes longer than a whole run without it

    libc = ctypes.CDLL(None, use_errno=True)
    if getattr(libc, function)(*arguments):
        raise InterceptionError(f"{what}: {function}: {os.strerror(ctypes.get_errno())}")
