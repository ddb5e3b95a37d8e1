"""What tells a changed file from the one that was read, for whoever looks at files again and again."""

from __future__ import annotations

import os

Signature = tuple[tuple[int, ...] | None, ...]


def signature(names: tuple[str, ...]) -> Signature:
    """What tells a changed file, through any symbolic link on its way (Kubernetes' `..data`)."""
    return tuple(_stat(name) for name in names)


def _stat(name: str) -> tuple[int, ...] | None:
    try:
        found = os.stat(name)
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size
