"""Tells when a file is moved into a directory: how a file that is watched comes to be another one.

A file that is written in place is half a file for a while, and half a list of clusters is a list of clusters. So, as in
Envoy, only a move (rename(2)) counts as a change. inotify tells of it at once; where there is no instance of it to be
had, the file is looked at twice a second.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import struct
from collections.abc import Callable

_IN_MOVED_TO = 0x80
_NONBLOCK_CLOEXEC = os.O_NONBLOCK | os.O_CLOEXEC
_EVENT = struct.Struct("iIII")
_LOOK_EVERY = 0.5
_BUFFER = 65536


class Moves:
    """Watches directories for one event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._callbacks: dict[int, dict[Callable[[str], None], None]] = {}
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._descriptor: int = self._libc.inotify_init1(_NONBLOCK_CLOEXEC)
        if self._descriptor >= 0:
            loop.add_reader(self._descriptor, self._read)

    def watch(self, directory: str, moved: Callable[[str], None]) -> Callable[[], None] | None:
        """Call `moved` with the name of whatever is moved into `directory`. Returns what ends it; None: impossible."""
        if self._descriptor < 0:
            return None
        watch: int = self._libc.inotify_add_watch(self._descriptor, os.fsencode(directory), _IN_MOVED_TO)
        if watch < 0:
            return None
        self._callbacks.setdefault(watch, {})[moved] = None
        return lambda: self._unwatch(watch, moved)

    def _unwatch(self, watch: int, moved: Callable[[str], None]) -> None:
        callbacks = self._callbacks.get(watch)
        if callbacks is None:
            return
        callbacks.pop(moved, None)
        if not callbacks and self._descriptor >= 0:
            del self._callbacks[watch]
            self._libc.inotify_rm_watch(self._descriptor, watch)

    def _read(self) -> None:
        try:
            data = os.read(self._descriptor, _BUFFER)
        except BlockingIOError:
            return
        at = 0
        while at + _EVENT.size <= len(data):
            watch, _, _, length = _EVENT.unpack_from(data, at)
            at += _EVENT.size
            name = os.fsdecode(data[at : at + length].rstrip(b"\0"))
            at += length
            for moved in list(self._callbacks.get(watch, ())):
                moved(name)

    def close(self) -> None:
        """Watch nothing any more."""
        if self._descriptor >= 0:
            self._loop.remove_reader(self._descriptor)
            os.close(self._descriptor)
            self._descriptor = -1


class FileWatch:
    """One file, through its own directory and through `watched_directory` ("": none). Calls `changed`."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        moves: Moves,
        path: str,
        watched_directory: str,
        changed: Callable[[], None],
    ) -> None:
        self._loop = loop
        self._path = path
        self._changed = changed
        self._name = os.path.basename(path)
        self._timer: asyncio.TimerHandle | None = None
        # With a directory of its own to watch (Kubernetes swaps the link `..data` in it), any move there counts.
        directory = watched_directory or os.path.dirname(path) or "."
        moved = self._moved_there if watched_directory else self._moved_here
        self._end = moves.watch(directory, moved)
        if self._end is None:
            self._seen = self._look_at()
            self._timer = loop.call_later(_LOOK_EVERY, self._look)

    def _moved_here(self, name: str) -> None:
        if name == self._name:
            self._changed()

    def _moved_there(self, name: str) -> None:
        self._changed()

    def _look_at(self) -> tuple[int, int, int] | None:
        try:
            found = os.stat(self._path)
        except OSError:
            return None
        return found.st_dev, found.st_ino, found.st_ctime_ns

    def _look(self) -> None:
        self._timer = self._loop.call_later(_LOOK_EVERY, self._look)
        seen = self._look_at()
        if seen is not None and seen != self._seen:
            self._seen = seen
            self._changed()

    def close(self) -> None:
        """Watch it no more."""
        if self._end is not None:
            self._end()
        if self._timer is not None:
            self._timer.cancel()
