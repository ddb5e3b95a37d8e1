"""How many files the process may have open: as many as the kernel grants, for every connection is one (as in Envoy).

The soft limit is 1024 in most places, for the sake of programs that use `select`; 500 requests at a time are over it.
"""

from __future__ import annotations

import contextlib
import resource


def raise_limit() -> None:
    """Bring the soft limit up to the hard one; processes that are started from now on have it as well."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):  # where that is forbidden, the soft limit will have to do
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
