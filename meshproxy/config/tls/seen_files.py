"""What tells a changed file from the one that was read, for whoever looks at files again and again."""

from __future__ import annotations

import os


class SeenFiles:
    """Files as they were just before they were read, so that a change in between is seen as one."""

    def __init__(self) -> None:
        self._seen: dict[str, tuple[int, ...] | None] = {}

    def note(self, name: str) -> None:
        """`name` is going to be read."""
        if name not in self._seen:
            self._seen[name] = _stat(name)

    def changed(self) -> bool:
        """Whether one of them is another by now. Costs one stat() per file."""
        return any(_stat(name) != seen for name, seen in self._seen.items())

    def __len__(self) -> int:
        return len(self._seen)


def _stat(name: str) -> tuple[int, ...] | None:
    """Follows any symbolic link on the way (Kubernetes' `..data`)."""
    try:
        found = os.stat(name)
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size
