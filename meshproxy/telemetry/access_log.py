"""The buffer between many finished requests and one log file.

Lines are joined and written in one call: at 64 KiB, or when whoever owns the clock says so. The file itself is
injected, since this package does no input or output. A file that can't be written (a full disk) loses lines and
counts them; it never stops a request.
"""

from __future__ import annotations

from typing import Protocol

from meshproxy.telemetry.operator_values import latin

FLUSH_BYTES = 64 * 1024


class LogFile(Protocol):
    """Where lines go."""

    def write(self, data: bytes) -> object:
        """Take all of `data`. Raises OSError."""

    def reopen(self) -> None:
        """Open the path anew, for log rotation. Raises OSError, and goes on with the old file then."""


class LogBuffer:
    """Collects the lines of one file. flushes, failures: how often it was written to, and how often that failed."""

    __slots__ = ("_file", "_lines", "_size", "failures", "flushes")

    def __init__(self, file: LogFile) -> None:
        self._file = file
        self._lines: list[str] = []
        self._size = 0
        self.flushes = 0
        self.failures = 0

    def write(self, line: str) -> None:
        """Add one line (Latin-1 text, its newline included)."""
        self._lines.append(line)
        self._size += len(line)
        if self._size >= FLUSH_BYTES:
            self.flush()

    def flush(self) -> None:
        """Write what was collected."""
        if not self._lines:
            return
        text = "".join(self._lines)
        self._lines.clear()
        self._size = 0
        self.flushes += 1
        try:
            self._file.write(_encode(text))
        except OSError:
            self.failures += 1

    def reopen(self) -> None:
        """Write what was collected to the old file and go on with a new one. Raises OSError if there is none."""
        self.flush()
        self._file.reopen()


def _encode(text: str) -> bytes:
    try:
        return text.encode("latin-1")
    except UnicodeEncodeError:
        # A fact that a filter set in Unicode; header values never come here.
        return "".join([c if c <= "\xff" else latin(c) for c in text]).encode("latin-1")
